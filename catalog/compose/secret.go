package compose

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// secrets are what has become a secret: one for each variable, and one for each value,
// that stands for it in all containers.
type secrets struct {
	of        map[string]string            // what it was -> its name
	env       map[string]map[string]string // service -> variable -> name
	taken     map[string]bool
	generated []*node
}

func newSecrets() *secrets {
	return &secrets{of: map[string]string{}, env: map[string]map[string]string{}, taken: map[string]bool{}}
}

func (s *secrets) mount(service, variable, name string) {
	if s.env[service] == nil {
		s.env[service] = map[string]string{}
	}
	s.env[service][variable] = name
}

// unique gives a name that no secret and no setting has.
func (s *secrets) unique(name string) string {
	name = cmp.Or(name, "secret")
	for n, base := 2, name; s.taken[name]; n++ {
		name = fmt.Sprintf("%s-%d", base, n)
	}
	s.taken[name] = true
	return name
}

var (
	secretWord = regexp.MustCompile(`(^|[_.-])(PASS|PASSWD|PWD|PW|PASSWORD|PASSPHRASE|SECRET|TOKEN|SALT|SEED|APIKEY|KEY|AUTHKEY)\d*$|PASSWORD\d*$|SECRET(_KEY|_BASE|_KEY_BASE)?$|SECRET_[A-Z]+_KEY$`)
	publicWord = regexp.MustCompile(`(PUBLIC|PUB|SSH|PRIMARY|SORT|FOREIGN|PARTITION|CACHE|ROUTING|LICENSE_PUBLIC)_KEY$|^KEY$`)
	// Somebody else gives these out: the owner has them, and no node could make them up.
	issued     = regexp.MustCompile(`(^|_)(API|APIKEY|SMTP|MAIL|EMAIL|AWS|S3|B2|CLIENT|OAUTH2?|OIDC|LDAP|LICENSE|CLAIM|TUNNEL|BOT|WEBHOOK|AUTHKEY|IMAP|TWILIO|GOOGLE|GITHUB|GITLAB|OPENAI|ANTHROPIC|CF|DNS|VPN|WIREGUARD|OPENVPN|PUSHOVER|SENTRY|STRIPE)(_|$)`)
	shownWord  = regexp.MustCompile(`(^|_)(ADMIN|INIT|INITIAL|DEFAULT|LOGIN|WEB|UI|SUPERUSER|OWNER)(_|$)|^(APP_)?PASSWORD$|ADMIN.*PASS`)
	switched   = regexp.MustCompile(`(?i)^(true|false|yes|no|on|off|[0-9]|none|null)$`)
	hexForm    = regexp.MustCompile(`^([0-9a-f]{2}){16,128}$`)
	uuidForm   = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	base64Form = regexp.MustCompile(`^[A-Za-z0-9+/]{22,}={1,2}$`)
)

// sensitive tells whether the value of a variable of that name is a secret.
func sensitive(name string) bool {
	name = strings.ToUpper(name)
	return secretWord.MatchString(name) && !publicWord.MatchString(name)
}

// candidate is a variable of a container that holds a secret.
type candidate struct {
	member     *member
	key, value string
	what       string // var:NAME or val:VALUE; equal ones are one secret
	field      string // default: the variable
	at         Place  // default: that of the variable
}

// sortSecrets decides which variables become secrets: those whose values stand nowhere
// else, since there the language takes none.
func (im *importer) sortSecrets() {
	var all []candidate
	var clear []string // where no secret may be
	for _, m := range im.members {
		for _, s := range m.Secrets {
			im.secrets.taken[slug(s.Source)] = true
		}
		for _, key := range sortedKeys(m.env) {
			value := *m.env[key]
			name, variable := onlyMark(value)
			switch {
			case !variableName.MatchString(key):
				clear = append(clear, value)
			case variable && im.address[name] == "" && (sensitive(name) || sensitive(key) || im.dialect.asked[name].secret()):
				all = append(all, candidate{member: m, key: key, value: value, what: "var:" + name})
			case sensitive(key) && value != "" && !marked(value) && !switched.MatchString(value) && !strings.HasPrefix(value, "/"):
				all = append(all, candidate{member: m, key: key, value: value, what: "val:" + value})
			default:
				clear = append(clear, value)
			}
		}
		clear = append(append(clear, m.Command...), m.Entrypoint...)
		if m.HealthCheck != nil {
			clear = append(clear, im.checkInTheClear(m)...)
		}
	}
	for _, text := range clear {
		for _, m := range mark.FindAllStringSubmatch(text, -1) {
			if k := im.vars[m[1]]; k != nil && m[0] != text {
				k.amid = true
			}
		}
	}
	im.secretFiles()
	for i, c := range all {
		if elsewhere(c, clear) {
			im.left(c.member.Name, "environment."+c.key, im.placeOfVariable(c.member, c.key), "its value stands in another text, too, where the language takes no secret, so it is in the clear", "the parts of that text as variables of their own, if the program knows them; then a generated secret")
			continue
		}
		name, known := im.secrets.of[c.what]
		if len(c.member.Secrets)+len(im.secrets.env[c.member.Name]) >= mostMounts || !known && len(im.secrets.generated) >= mostGenerated {
			im.left(c.member.Name, "environment."+c.key, im.placeOfVariable(c.member, c.key), fmt.Sprintf("a container has at most %d secrets, and an application %d, so this one is in the clear", mostMounts, mostGenerated), "one file of the program's configuration for several of them: files: [{path, content, template: true}]")
			continue
		}
		if !known {
			users := map[*member]bool{}
			for _, o := range all {
				if o.what == c.what {
					users[o.member] = true
				}
			}
			name = im.makeSecret(all[i], len(users))
		}
		im.secrets.mount(c.member.Name, c.key, name)
	}
}

// checkInTheClear are the words of a check, without the variables that its shell has from
// the container's environment.
func (im *importer) checkInTheClear(m *member) []string {
	words := slices.Clone(m.HealthCheck.Test)
	if len(words) == 0 || words[0] != "CMD-SHELL" {
		return words
	}
	for i, w := range words {
		words[i] = mark.ReplaceAllStringFunc(w, func(ref string) string {
			name, _ := onlyMark(ref)
			if m.variable(name) != "" {
				return ""
			}
			return ref
		})
	}
	return words
}

// variable is the one in a member's environment that is a variable of the file, and that a
// shell can read.
func (m *member) variable(name string) string {
	for _, key := range sortedKeys(m.env) {
		if v, ok := onlyMark(*m.env[key]); ok && v == name && named.FindString(key) == key {
			return key
		}
	}
	return ""
}

// elsewhere tells whether a secret is in a text in the clear.
func elsewhere(c candidate, clear []string) bool {
	name, variable := strings.CutPrefix(c.what, "var:")
	return slices.ContainsFunc(clear, func(text string) bool {
		switch {
		case variable:
			full, only := onlyMark(text)
			return strings.Contains(text, string(markBegin)+name+string(markEnd)) && !(only && full == name)
		case text == c.value:
			return len(c.value) >= 8
		case len(c.value) >= 8:
			return strings.Contains(text, c.value)
		}
		return strings.Contains(text, ":"+c.value+"@") || strings.Contains(text, "-p"+c.value) || strings.Contains(text, "pass "+c.value) || strings.Contains(text, "password="+c.value)
	})
}

// makeSecret declares a secret: one that the node makes, or, of what somebody else gives
// out, one that the owner sets.
func (im *importer) makeSecret(c candidate, users int) string {
	label := c.key
	if v, ok := strings.CutPrefix(c.what, "var:"); ok {
		label = v
	}
	name := im.secrets.unique(slug(label))
	im.secrets.of[c.what] = name
	field, at := c.field, c.at
	if field == "" {
		field, at = "environment."+c.key, im.placeOfVariable(c.member, c.key)
	}
	n := mapping()
	n.set("name", scalar(name))
	if other := im.dialect.foreign(label); other != "" && len(im.settings) < mostSettings {
		n.set("secret", scalar(true))
		im.settings = append(im.settings, n.from(c.member.Name, field, at))
		im.left(c.member.Name, field, at, fmt.Sprintf("%s is what %q offers others; the setting %s stands for it", label, other, name), "requires: [{app: ID, uses: [EXPORT]}] and {{app:ID.EXPORT.host}}, {{app:ID.EXPORT.port}} or imports in its place")
		return name
	}
	ask := im.dialect.asked[label]
	if ask.kind != "random" && (users == 1 || ask.kind != "") && issued.MatchString(strings.ToUpper(label)) && len(im.settings) < mostSettings {
		n.set("secret", scalar(true))
		ask.setting(n)
		im.settings = append(im.settings, n.from(c.member.Name, field, at))
		im.note(c.member.Name, field, at, fmt.Sprintf("it is the setting %s, which its owner has; the variable does not exist while that is not set", name))
		return name
	}
	literal := strings.TrimPrefix(c.what, "val:")
	switch {
	case ask.secret():
		ask.generated(n)
	case uuidForm.MatchString(literal):
		n.set("form", scalar("uuid"))
	case hexForm.MatchString(literal) || strings.HasSuffix(label, "SEED"):
		n.set("form", scalar("hex"))
		if hexForm.MatchString(literal) {
			n.set("bytes", scalar(len(literal)/2))
		}
	case base64Form.MatchString(literal):
		n.set("form", scalar("base64"))
	}
	if shownWord.MatchString(strings.ToUpper(label)) && ask.kind != "random" {
		n.set("shown", scalar(true))
	}
	im.secrets.generated = append(im.secrets.generated, n)
	im.note(c.member.Name, field, at, fmt.Sprintf("the node makes the secret %s, another one everywhere", name))
	return name
}

// secretFiles declares what "secrets" of the file names (compose-spec, 09-secrets.md).
func (im *importer) secretFiles() {
	for _, m := range im.members {
		for _, s := range m.Secrets {
			what := "file:" + s.Source
			def, declared := im.project.Secrets[s.Source]
			if def.Environment != "" {
				what = "var:" + def.Environment
			}
			if _, known := im.secrets.of[what]; known {
				continue
			}
			at := im.place("secrets", s.Source)
			if !declared {
				at = im.place("services", m.Name, "secrets", s.Source)
			}
			name := cmp.Or(slug(s.Source), "secret")
			im.secrets.of[what] = name
			n := mapping()
			n.set("name", scalar(name))
			if issued.MatchString(strings.ToUpper(strings.ReplaceAll(s.Source, "-", "_"))) && len(im.settings) < mostSettings {
				n.set("secret", scalar(true))
				im.settings = append(im.settings, n.from("", "secrets."+s.Source, at))
				im.note("", "secrets."+s.Source, at, fmt.Sprintf("it is the setting %s, which its owner has", name))
				continue
			}
			im.secrets.generated = append(im.secrets.generated, n)
			im.note("", "secrets."+s.Source, at, fmt.Sprintf("the node makes the secret %s, another one everywhere; what the file holds is not carried", name))
		}
	}
}

// mountSecrets gives a container its secrets, as files and as variables.
func (im *importer) mountSecrets(m *member) {
	out := sequence()
	for _, s := range m.Secrets {
		what := "file:" + s.Source
		if def := im.project.Secrets[s.Source]; def.Environment != "" {
			what = "var:" + def.Environment
		}
		path := cmp.Or(s.Target, s.Source)
		if !strings.HasPrefix(path, "/") {
			path = "/run/secrets/" + path
		}
		n := mapping()
		n.set("name", scalar(im.secrets.of[what]))
		n.set("path", scalar(path))
		out.add(n.from(m.Name, "secrets", im.place("services", m.Name, "secrets", s.Source)))
	}
	for _, key := range sortedKeys(im.secrets.env[m.Name]) {
		n := mapping()
		n.set("name", scalar(im.secrets.env[m.Name][key]))
		n.set("env", scalar(key))
		out.add(n.from(m.Name, "environment."+key, im.placeOfVariable(m, key)))
	}
	if len(out.items) > 0 {
		m.node.set("secrets", out)
	}
}
