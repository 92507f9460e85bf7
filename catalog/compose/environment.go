package compose

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/dotenv"
)

// Bounds of the manifest's language that are counted here, so that what is over them is
// said of what is over them.
const (
	mostVariables = 64
	mostSettings  = 30
	mostMounts    = 16
	mostGenerated = 30
	mostRetries   = 20
	longestStop   = 10 * time.Minute
)

// readEnv gives a member its environment: that of its files, and over it its own.
func (im *importer) readEnv(m *member, env map[string]string) error {
	for _, f := range m.EnvFiles {
		name := im.relative(f.Path)
		at := im.place("services", m.Name, "env_file", name)
		path, text, err := im.open(f.Path, im.root, at)
		switch {
		case errors.Is(err, fs.ErrNotExist) && !bool(f.Required):
			im.note(m.Name, "env_file", at, name+" is not there, and need not be")
			continue
		case errors.Is(err, fs.ErrNotExist) && (im.MissingEnvFiles || im.dialect.id != ""): // a store's hooks may make it
			im.left(m.Name, "env_file", at, name+" is not there, so its variables are not carried", "environment: of the container")
			continue
		case errors.Is(err, errOutside) && im.MissingEnvFiles:
			im.left(m.Name, "env_file", at, name+" is elsewhere, and is not read, so its variables are not carried", "environment: of the container")
			continue
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("%s: the env_file %s is not there: write it, or give --without-env-files to go on without its variables", at, name)
		case err != nil:
			return err
		}
		vars := map[string]string{}
		if f.Format == "raw" {
			raw(string(text), vars)
		} else if err := dotenv.ParseWithFormat(bytes.NewReader(text), path, vars, mapped(env), f.Format); err != nil {
			return fmt.Errorf("%s: %s: %w", at, name, err)
		}
		for k, v := range vars {
			m.env[k] = &v
		}
	}
	for k, v := range m.Environment {
		if v == nil { // passed on from whoever starts it
			value, ok := env[k]
			if !ok {
				value = string(markBegin) + k + string(markEnd)
				if im.vars[k] == nil {
					im.vars[k] = &variable{name: k}
				}
			}
			v = &value
		}
		m.env[k] = v
	}
	return nil
}

// raw reads NAME=VALUE as it stands there, without quotes or variables (compose-spec,
// 05-services.md, env_file.format).
func raw(text string, vars map[string]string) {
	for l := range strings.Lines(text) {
		l = strings.TrimRight(l, "\r\n")
		if k, v, ok := strings.Cut(strings.TrimLeft(l, " \t"), "="); ok && !strings.HasPrefix(k, "#") {
			vars[k] = v
		}
	}
}

// variables writes the environment, but for what has become a secret.
func (im *importer) variables(m *member) {
	out := mapping()
	for _, key := range sortedKeys(m.env) {
		if _, secret := im.secrets.env[m.Name][key]; secret {
			continue
		}
		field := "environment." + key
		at := im.placeOfVariable(m, key)
		if !variableName.MatchString(key) {
			im.left(m.Name, field, at, "a name of a variable is of capital letters, digits and underscores", "the program's configuration file, in an image built with it")
			continue
		}
		value := *m.env[key]
		if name, ok := onlyMark(value); ok && im.address[name] == "" {
			if k := im.vars[name]; im.reached(m, field, value, at) == value && k.setting == "" && (!k.defaults || k.fallback == "") && k.required == "" && !k.amid && !im.dialect.asked[name].answered() && im.optional(m, key, k) {
				continue
			}
		}
		value = im.inTheClear(m, field, value, at)
		value = im.rehost(key, value)
		if value == "" {
			im.note(m.Name, field, at, "a variable that is empty is left out")
			continue
		}
		if len(out.items) == mostVariables {
			im.left(m.Name, field, at, fmt.Sprintf("a container has at most %d variables", mostVariables), "the program's configuration file")
			continue
		}
		if literalSetting.MatchString(value) && !strings.Contains(*m.env[key], string(markBegin)) {
			im.left(m.Name, field, at, "the text would be taken for a setting", "another value")
			continue
		}
		out.set(key, scalar(value).from(m.Name, field, at))
	}
	if len(out.items) > 0 {
		m.node.set("environment", out)
	}
}

// variableName is how the language has them.
var variableName = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,63}$`)

var literalSetting = regexp.MustCompile(`\{\{setting:`)

func (im *importer) placeOfVariable(m *member, key string) Place {
	if _, own := m.Environment[key]; own || len(m.EnvFiles) == 0 {
		return im.place("services", m.Name, "environment", key)
	}
	return im.place("services", m.Name, "env_file")
}

// optional makes a variable that nobody has a value for one that the owner may set.
func (im *importer) optional(m *member, key string, k *variable) bool {
	at := im.placeOfVariable(m, key)
	if len(im.settings)+1 > mostSettings || len(m.Secrets)+len(im.secrets.env[m.Name]) >= mostMounts {
		im.left(m.Name, "environment."+key, at, fmt.Sprintf("the variable %s has no value, and there are more of that kind than an application has settings, or a container secrets; it is left out", k.name), "a value in .env, or one file of the program's configuration for several of them")
		return true
	}
	name, known := im.secrets.of["var:"+k.name]
	if known { // another container has it, too
		im.secrets.mount(m.Name, key, name)
		return true
	}
	name = im.settingName(k.name)
	s := mapping()
	s.set("name", scalar(name))
	s.set("secret", scalar(true))
	im.dialect.asked[k.name].setting(s)
	im.settings = append(im.settings, s.from(m.Name, "environment."+key, at))
	im.secrets.mount(m.Name, key, name)
	im.secrets.of["var:"+k.name] = name
	if other := im.dialect.foreign(k.name); other != "" {
		im.left(m.Name, "environment."+key, at, fmt.Sprintf("%s is what %q offers others; the setting %s stands for it", k.name, other, name), "requires: [{app: ID, uses: [EXPORT]}] and {{app:ID.EXPORT.host}}, {{app:ID.EXPORT.port}} or imports in its place")
		return true
	}
	im.note(m.Name, "environment."+key, at, fmt.Sprintf("the variable %s has no value: it is the setting %s, and does not exist while that is not set", k.name, name))
	return true
}

func (im *importer) settingName(variable string) string {
	return im.secrets.unique(strings.Trim(slug(variable), "-"))
}

// inTheClear puts settings in the place of variables, in a text that everybody may read.
func (im *importer) inTheClear(m *member, field, text string, at Place) string {
	text = im.reached(m, field, text, at)
	return mark.ReplaceAllStringFunc(text, func(ref string) string {
		name, _ := onlyMark(ref)
		if host := im.aliases[im.address[name]]; host != "" {
			return host
		}
		k := im.vars[name]
		if k == nil {
			return ""
		}
		if k.defaults && k.fallback == "" {
			return ""
		}
		if k.setting != "" {
			return "{{setting:" + k.setting + "}}"
		}
		ask, isAsked := im.dialect.asked[name]
		value, guessed := cmp.Or(ask.fallback, k.fallback), false
		if value == "" && ask.kind == "boolean" {
			value = "false"
		}
		if value == "" {
			value, guessed = im.guess(name), true
		}
		key := strings.TrimPrefix(field, "environment.")
		if r := []rune(value); len(im.settings) >= mostSettings || len(r) > 300 || im.rehost(key, value) != value || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return value
		}
		k.setting = im.settingName(name)
		s := mapping()
		s.set("name", scalar(k.setting))
		s.set("default", scalar(value))
		ask.setting(s)
		im.settings = append(im.settings, s)
		switch {
		case guessed && isAsked:
			im.note(m.Name, field, at, fmt.Sprintf("the store asks for %s; it is the setting %s, with the default %q until its owner says it", name, k.setting, value))
		case guessed && storesOwn.MatchString(name):
			im.left(m.Name, field, at, fmt.Sprintf("%s is what a store sets, of itself or of another application; the setting %s stands for it", name, k.setting), "a default that is right everywhere, or {{app:ID.EXPORT.host}} of an application that it requires")
		case guessed:
			reason := fmt.Sprintf("the variable %s has no value; the setting %s stands for it, with the default %q", name, k.setting, value)
			if k.required != "" {
				reason += " (" + k.required + ")"
			}
			im.left(m.Name, field, at, reason, "the default that is right, or a value in .env")
		case sensitive(name):
			im.left(m.Name, field, at, fmt.Sprintf("%s is in the middle of a text, where the language takes no secret; the setting %s is no secret", name, k.setting), "the parts of the text as variables of their own, if the program knows them")
		}
		return "{{setting:" + k.setting + "}}"
	})
}

var storesOwn = regexp.MustCompile(`^(APP|DEVICE|TOR|UMBREL|NETWORK|BITCOIN|LIGHTNING)_`)

// guess is a default that lets a program start, where nobody said one.
func (im *importer) guess(variable string) string {
	for _, g := range guesses {
		if g.name.MatchString(variable) {
			return g.value
		}
	}
	return "change-me"
}

var guesses = []struct {
	name  *regexp.Regexp
	value string
}{
	{regexp.MustCompile(`(?i)URL|URI|ORIGIN`), "http://localhost"},
	{regexp.MustCompile(`(?i)EMAIL|MAIL`), "admin@example.com"},
	{regexp.MustCompile(`(?i)HOST|DOMAIN|FQDN|SERVER_NAME|(^|_)IP$|ADDRESS`), "localhost"},
	{regexp.MustCompile(`(?i)PORT$`), "8080"},
	{regexp.MustCompile(`(?i)USER|LOGIN`), "admin"},
	{regexp.MustCompile(`(?i)^TZ$|TIMEZONE|TIME_ZONE`), "Etc/UTC"},
	{regexp.MustCompile(`(?i)(^|_)(DB|DATABASE)(_NAME)?$`), "app"},
}

// inCheck is a variable in a check: the variable of the container that has the same value,
// if a shell reads it, so that no secret is said; a setting elsewhere.
func (im *importer) inCheck(m *member, name string, inShell bool, at Place) string {
	if host := im.aliases[im.address[name]]; host != "" {
		return host
	}
	if inShell {
		if key := m.variable(name); key != "" {
			return "${" + key + "}"
		}
	}
	return im.inTheClear(m, "healthcheck", string(markBegin)+name+string(markEnd), at)
}
