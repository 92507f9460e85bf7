package compose

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// described is one thing that a store shows of an application, as the store has it.
type described struct {
	field, text string // field: of the manifest
	at          Place
}

// asked is a value that a store asks its owner for, or makes.
type asked struct {
	kind, label, fallback string
	required              bool
	encoding              string // of a random one
	length                int    // of a random one; 0: not said
	options               []string
	at                    Place
}

// theirs are the names by which stores describe an application, and what they are here. An
// empty one is read elsewhere. All that has no name here is noted.
var theirs = map[string]string{
	"tagline": "tagline", "short_desc": "tagline", "description": "description", "category": "category", "categories": "category",
	"website": "website", "repo": "source", "source": "source", "releaseNotes": "release_notes", "release_notes": "release_notes",
	"id": "", "store_app_id": "", "name": "", "title": "", "version": "", "port": "", "port_map": "", "path": "", "index": "", "url_suffix": "", "main": "",
	"dependencies": "", "form_fields": "", "$schema": "", "manifestVersion": "",
}

// unheeded are parts of a description that have no field here, and why.
var unheeded = map[string]string{
	"icon":                    "pictures are files beside the manifest: icon: icon.svg",
	"thumbnail":               "pictures are files beside the manifest: screenshots: [one.png]",
	"gallery":                 "pictures are files beside the manifest: screenshots: [one.png]",
	"screenshot_link":         "pictures are files beside the manifest: screenshots: [one.png]",
	"defaultUsername":         "who signs in first is said by interfaces.web.login",
	"defaultPassword":         "who signs in first is said by interfaces.web.login",
	"tips":                    "what an owner has to know before the first start belongs into the description",
	"permissions":             "what an application may do follows from its manifest",
	"supported_architectures": "a node pulls what fits it",
	"architectures":           "a node pulls what fits it",
	"uid":                     "whose the files are is said by the user of a container",
	"gid":                     "whose the files are is said by the user of a container",
	"https":                   "the node's proxy speaks HTTP to a container",
	"scheme":                  "the node's proxy speaks HTTP to a container",
}

// descriptions are the files beside a compose file that describe it to a store: NAME-app.yml,
// or a config.json that says which store's it is.
func (im *importer) descriptions() (n *yaml.Node, name string, err error) {
	found, _ := filepath.Glob(filepath.Join(im.root, "*-app.yml"))
	slices.Sort(found)
	for _, f := range append(found, filepath.Join(im.root, "config.json")) {
		name := filepath.Base(f)
		_, text, err := im.open(name, im.root, Place{File: name})
		json := name == "config.json" // of a program, mostly
		switch {
		case json && err != nil, errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, "", err
		}
		docs, err := parse(name, text)
		switch {
		case json && (err != nil || !storesConfig(docs[0])):
			continue
		case err != nil:
			return nil, "", err
		}
		return docs[0], name, nil
	}
	return nil, "", nil
}

func storesConfig(n *yaml.Node) bool {
	for _, key := range []string{"id", "name", "short_desc"} {
		if v, _ := child(n, key); v == nil || v.Kind != yaml.ScalarNode {
			return false
		}
	}
	return true
}

// describedBy reads a description. It takes nothing for granted: a store's files are written
// by many.
func (im *importer) describedBy(d *dialect, n *yaml.Node, file, below string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i].Value, target(n.Content[i+1])
		at := Place{file, n.Content[i].Line}
		field, known := theirs[key]
		text := inOurLanguage(value)
		switch {
		case !known && text != "" && text != "false":
			im.note("", below+key, at, cmp.Or(unheeded[key], "it is for the store alone"))
		case field != "" && text != "" && !slices.ContainsFunc(d.shown, func(s described) bool { return s.field == field }):
			d.shown = append(d.shown, described{field, text, at})
		}
		switch key {
		case "dependencies":
			for _, v := range items(value) {
				if v.Kind == yaml.ScalarNode && v.Value != "" && !slices.Contains(d.dependsOn, v.Value) {
					d.dependsOn = append(d.dependsOn, v.Value)
				}
			}
			d.described = at
		case "form_fields":
			im.form(d, value, file)
		}
	}
}

// inOurLanguage is a text; of one by language the English one, or else the first, and of
// several the first.
func inOurLanguage(n *yaml.Node) string {
	n = target(n)
	switch {
	case n == nil || len(n.Content) == 0 && n.Kind != yaml.ScalarNode || n.Tag == "!!null":
		return ""
	case n.Kind == yaml.ScalarNode:
		return strings.TrimSpace(n.Value)
	case n.Kind == yaml.SequenceNode:
		return inOurLanguage(n.Content[0])
	}
	for _, lang := range []string{"en_us", "en_US", "en", "custom", "en_gb", "en_GB"} {
		if v, _ := child(n, lang); v != nil && v.Kind == yaml.ScalarNode && v.Value != "" {
			return strings.TrimSpace(v.Value)
		}
	}
	return inOurLanguage(n.Content[1])
}

// asks reads a data.yml with what a store asks an owner for.
func (im *importer) asks(d *dialect) {
	const name = "data.yml"
	_, text, err := im.open(name, im.root, Place{File: name})
	if err != nil {
		return
	}
	if docs, err := parse(name, text); err == nil { // others write such a file, too
		more, _ := child(docs[0], "additionalProperties")
		fields, _ := child(more, "formFields")
		im.form(d, fields, name)
	}
}

// form reads what a store asks an owner for.
func (im *importer) form(d *dialect, n *yaml.Node, file string) {
	for _, f := range items(n) {
		get := func(key string) string {
			v, _ := child(f, key)
			if v == nil || v.Kind != yaml.ScalarNode || v.Tag == "!!null" {
				return ""
			}
			return v.Value
		}
		variable := cmp.Or(get("env_variable"), get("envKey"))
		if variable == "" {
			continue
		}
		a := asked{kind: get("type"), label: oneLine(get("labelEn")), fallback: oneLine(get("default")), required: get("required") == "true", encoding: get("encoding"), at: Place{file, f.Line}}
		if l, _ := child(f, "label"); l != nil {
			a.label = oneLine(inOurLanguage(l))
		}
		a.length, _ = strconv.Atoi(get("min"))
		if hint := oneLine(get("hint")); hint != "" && hint != a.label {
			a.label = oneLine(strings.TrimSuffix(cmp.Or(a.label, hint), ".") + ": " + hint)
		}
		options, _ := child(f, "options")
		if options == nil {
			options, _ = child(f, "values")
		}
		for _, o := range items(options) {
			if v, _ := child(o, "value"); v != nil && v.Value != "" {
				a.options = append(a.options, v.Value)
			}
		}
		if regex := get("regex"); regex != "" {
			im.note("", "form_fields."+variable+".regex", a.at, "a setting takes any line, or one of its values: "+regex)
		}
		d.asked[variable] = a
	}
}

// setting says of a setting what the store says of it. The default is set already.
func (a asked) setting(s *node) {
	if a.label != "" {
		s.set("summary", scalar(a.label))
	}
	if v := s.get("default"); len(a.options) > 0 && len(a.options) <= 32 && v != nil && slices.ContainsFunc(a.options, func(o string) bool { return quoted(o) == v.text }) {
		s.set("values", words(a.options))
	}
}

// secret tells whether a value is one that nobody but the application should know.
func (a asked) secret() bool { return a.kind == "random" || a.kind == "password" }

// generated says how the node makes one. What a person types is shown.
func (a asked) generated(n *node) {
	switch {
	case a.kind == "password":
		n.set("shown", scalar(true))
	case a.encoding == "base64":
		n.set("form", scalar("base64"))
		n.set("bytes", scalar(min(max(a.length, 16), 128)))
	case a.encoding == "hex" || a.length%2 == 0 && a.length >= 32:
		n.set("form", scalar("hex"))
		n.set("bytes", scalar(min(max(a.length/2, 16), 128)))
	}
}

// list writes what a store shows of the application.
func (im *importer) list() {
	for _, s := range im.dialect.shown {
		text := s.text
		switch s.field {
		case "tagline":
			if text = strings.Join(strings.Fields(text), " "); len([]rune(text)) > 80 {
				im.note("", s.field, s.at, "a tagline has at most 80 characters; this one is the summary")
				continue
			}
		case "category":
			name, known := categories[strings.ToLower(text)]
			if !known {
				name = "other"
				im.note("", s.field, s.at, fmt.Sprintf("the category %q is not one of those here, so it is %s", oneLine(text), name))
			}
			text = name
		case "description":
			text = simpler(text)
		case "source", "website":
			text = strings.Replace(text, "http://", "https://", 1)
		}
		if s.field == "description" || s.field == "release_notes" {
			if short := shortened(text, 2000); short != text {
				im.note("", s.field, s.at, fmt.Sprintf("it is shortened: of %d characters, at most 2000 are taken", len([]rune(text))))
				text = short
			}
		}
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		if s.field == "description" && text != strings.TrimSpace(s.text) {
			im.note("", s.field, s.at, "of its Markdown, what is not taken here is written as plain text: headings, pictures, HTML, quotations, blocks of code and links without TLS")
		}
		if strings.HasPrefix(s.text, "http://") && (s.field == "source" || s.field == "website") {
			im.note("", s.field, s.at, "it is a link by https, which alone is taken")
		}
		im.top.set(s.field, block(text).from("", s.field, s.at))
	}
}

// categories are those of stores, by what they are here.
var categories = map[string]string{
	"ai": "ai", "automation": "automation", "bitcoin": "bitcoin", "communication": "communication", "data": "data", "development": "development", "files": "files",
	"finance": "finance", "games": "games", "home": "home", "knowledge": "knowledge", "media": "media", "monitoring": "monitoring", "network": "network", "news": "news",
	"office": "office", "photos": "photos", "security": "security", "social": "social", "web": "web", "other": "other",
	"networking": "network", "developer": "development", "developer tools": "development", "crypto": "finance", "utilities": "other", "utility": "other", "tools": "other", "others": "other",
	"featured": "other", "gaming": "games", "game": "games", "books": "media", "music": "media", "video": "media", "photography": "photos", "gallery": "photos",
	"productivity": "office", "documents": "office", "backup": "files", "cloud": "files", "storage": "files", "downloader": "files", "download": "files",
	"chat": "communication", "messaging": "communication", "email": "communication", "database": "data", "databases": "data", "analytics": "data", "smart home": "home",
	"home automation": "home", "iot": "home", "education": "knowledge", "notes": "knowledge", "wiki": "knowledge", "privacy": "security", "vpn": "network", "dns": "network",
	"blog": "web", "cms": "web", "lightning": "bitcoin", "lightning node": "bitcoin",
}

var (
	fences    = regexp.MustCompile("(?m)^[ \t]*(```|~~~).*$")
	pictures  = regexp.MustCompile(`!\[([^\]]*)\]\([^)]*\)`)
	tags      = regexp.MustCompile(`(?s)<!--.*?-->|</?[A-Za-z!?][^<>]*>`)
	addresses = regexp.MustCompile(`<(https?://[^<>\s]+|[^<>@\s]+@[^<>\s]+)>`)
	headings  = regexp.MustCompile(`(?m)^[ \t]*#{1,6}[ \t]*(.*?)[ \t#]*$`)
	rules     = regexp.MustCompile(`(?m)^[ \t]*([-=_*][ \t]*){2,}$`)
	quotes    = regexp.MustCompile(`(?m)^[ \t]*(>[ \t]?)+`)
	indents   = regexp.MustCompile(`(?m)^[ \t]{4,}`)
	links     = regexp.MustCompile(`\[([^\]]*)\]\(([^)\s]*)[^)]*\)`)
	plainHTTP = regexp.MustCompile(`(^|[\s(])http://`)
	blankRuns = regexp.MustCompile(`\n[ \t]*\n(?:[ \t]*\n)+`)
)

// simpler makes a description of any Markdown: the words stay.
func simpler(text string) string {
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\t", " ").Replace(text)
	for _, r := range []struct {
		what *regexp.Regexp
		by   string
	}{
		{fences, ""}, {pictures, "$1"}, {addresses, "$1"}, {tags, ""}, {quotes, ""}, {rules, ""}, {headings, "\n$1\n"}, {indents, "  "},
	} {
		text = r.what.ReplaceAllString(text, r.by)
	}
	text = links.ReplaceAllStringFunc(text, func(link string) string {
		m := links.FindStringSubmatch(link)
		if strings.HasPrefix(m[2], "https://") {
			return link
		}
		return m[1]
	})
	return blankRuns.ReplaceAllString(plainHTTP.ReplaceAllString(text, "${1}https://"), "\n\n")
}

// shortened cuts a text at the end of a line or of a word.
func shortened(text string, most int) string {
	r := []rune(text)
	if len(r) <= most {
		return text
	}
	cut := string(r[:most-2])
	if i := strings.LastIndexAny(cut, "\n "); i > len(cut)/2 {
		cut = cut[:i]
	}
	return strings.TrimSpace(cut) + " …"
}

// most that an application requires.
const mostRequired = 8

var appName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// requires writes what the store says that must be there, too.
func (im *importer) requires() {
	out := sequence()
	for _, other := range im.dialect.dependsOn {
		at := im.dialect.described
		switch {
		case !appName.MatchString(other) || other == im.ID:
			im.left("", "dependencies", at, fmt.Sprintf("it requires %q of its store, which is no id of another application", oneLine(other)), "requires: [{app: ID}], with the id that it has in this catalog")
			continue
		case len(out.items) == mostRequired:
			im.left("", "dependencies", at, fmt.Sprintf("it requires %q of its store, and an application requires at most %d", other, mostRequired), "nothing, if one of the others requires it")
			continue
		}
		n := mapping()
		n.set("app", scalar(other))
		out.add(n.from("", "dependencies", at))
		im.left("", "dependencies", at, fmt.Sprintf("it requires %q of its store; the files do not say what of it is used", other), "requires: [{app: ID, uses: [EXPORT]}], with the id and the exports that it has in this catalog")
	}
	if len(out.items) > 0 {
		im.top.set("requires", out)
	}
}

// unasked notes what a store asks for, and no text refers to.
func (im *importer) unasked() {
	for _, name := range sortedKeys(im.dialect.asked) {
		if _, secret := im.secrets.of["var:"+name]; !secret && im.vars[name] == nil && !im.fixed[name] {
			im.note("", "form_fields."+name, im.dialect.asked[name].at, "nothing that is carried refers to it")
		}
	}
}

// number reads a number of an extension, whatever form it has there.
func number(v any) int {
	switch v := v.(type) {
	case int:
		return v
	case float64:
		return int(v)
	case json.Number:
		n, _ := v.Int64()
		return int(n)
	case string:
		n, _ := strconv.Atoi(v)
		return n
	}
	return 0
}

// answered tells whether there is a value without the owner's.
func (a asked) answered() bool { return a.fallback != "" || a.kind == "boolean" }
