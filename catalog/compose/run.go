package compose

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/mattn/go-shellwords"
	"go.yaml.in/yaml/v4"
)

// begins is what a command line that runs a container begins with.
var begins = regexp.MustCompile(`^\s*(\$ |# )?(sudo\s+)?(podman|docker|nerdctl)\s+(container\s+)?(run|create)\s`)

// RunLines reads a file, up to more than what is taken of any, and tells whether it holds
// command lines that run containers.
func RunLines(name string) (text []byte, is bool, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	if text, err = io.ReadAll(io.LimitReader(f, MaxSize+1)); err != nil {
		return nil, false, err
	}
	for _, l := range logical(string(text)) {
		if begins.MatchString(l.text) {
			return text, true, nil
		}
		if t := strings.TrimSpace(l.text); t != "" && !strings.HasPrefix(t, "#") && !beside.MatchString(t) {
			return text, false, nil
		}
	}
	return text, false, nil
}

// beside is what stands before such a line, and makes nothing that a manifest has to say.
var beside = regexp.MustCompile(`^(\$ |# )?(sudo\s+)?(podman|docker|nerdctl)\s+(network\s+create|volume\s+create|pull)\s|^(set -|mkdir |cd )`)

// line is one of a shell, with the number of its first line in the file.
type line struct {
	text string
	at   int
}

// logical joins the lines that a backslash continues.
func logical(text string) (all []line) {
	open := false
	n := 0
	for l := range strings.Lines(text) {
		n++
		l = strings.TrimRight(l, "\r\n")
		more := strings.HasSuffix(l, "\\")
		l = strings.TrimSuffix(l, "\\")
		if open {
			all[len(all)-1].text += " " + strings.TrimSpace(l)
		} else {
			all = append(all, line{l, n})
		}
		open = more
	}
	return all
}

// ImportRun converts command lines, podman run … or docker run …: each becomes a container.
// Name is for places only.
func ImportRun(ctx context.Context, name string, text []byte, o Options) (*Result, error) {
	if len(text) > MaxSize {
		return nil, fmt.Errorf("%s: more than %d bytes", name, MaxSize)
	}
	im, err := newImporter(o)
	if err != nil {
		return nil, err
	}
	services := &yaml.Node{Kind: yaml.MappingNode}
	for _, l := range logical(string(text)) {
		t := strings.TrimSpace(l.text)
		switch {
		case t == "" || strings.HasPrefix(t, "#") && !begins.MatchString(t):
			continue
		case beside.MatchString(t):
			im.note("", strings.Join(strings.Fields(t)[:2], " "), Place{name, l.at}, "the application's network, volumes and images are made by the node")
			continue
		case !begins.MatchString(t):
			return nil, fmt.Errorf("%s:%d: expected podman run or docker run, not %.40q", name, l.at, t)
		}
		if err := im.run(services, Place{name, l.at}, begins.ReplaceAllString(l.text, "")); err != nil {
			return nil, err
		}
	}
	if len(services.Content) == 0 {
		return nil, fmt.Errorf("%s: no command line there that runs a container", name)
	}
	return im.ofServices(ctx, name, services)
}

// ofServices converts services that were written in another way than as a compose file.
func (im *importer) ofServices(ctx context.Context, name string, services *yaml.Node) (*Result, error) {
	doc := &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{word("services", 1), services}}
	if len(services.Content) == 2 {
		doc.Content = append(doc.Content, word("name", 1), word(slug(services.Content[0].Value), 1))
	}
	volumes := &yaml.Node{Kind: yaml.MappingNode}
	for _, s := range values(services) {
		all, _ := child(s, "volumes")
		for _, v := range items(all) {
			source, _ := child(v, "source")
			if kind, _ := child(v, "type"); kind != nil && kind.Value == "volume" && source != nil {
				if _, known := child(volumes, source.Value); known == nil {
					volumes.Content = append(volumes.Content, word(source.Value, v.Line), &yaml.Node{Kind: yaml.MappingNode})
				}
			}
		}
	}
	if len(volumes.Content) > 0 {
		doc.Content = append(doc.Content, word("volumes", 1), volumes)
	}
	out, err := yaml.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	path := filepath.Join(im.root, name)
	s := &source{name: name, path: path, docs: []*yaml.Node{doc}, text: out}
	im.sources[path], im.order = s, []*source{s}
	im.survey(s, doc)
	return im.convert(ctx, []string{path})
}

func word(text string, at int) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text, Line: at, Style: yaml.DoubleQuotedStyle}
}

// run reads the words of one command line into a service.
func (im *importer) run(services *yaml.Node, at Place, text string) error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("%s: %s", at, fmt.Sprintf(format, args...))
	}
	text = regexp.MustCompile(`\$\(pwd\)|\$\{PWD\}|\$PWD|\x60pwd\x60`).ReplaceAllString(text, ".")
	parser := shellwords.NewParser()
	words, err := parser.Parse(strings.ReplaceAll(text, "\n", " "))
	if err != nil {
		return fail("not a line that a shell takes: %v", err)
	}
	if parser.Position >= 0 {
		return fail("the line holds more than one command (; & | < >); write each on a line of its own")
	}
	return im.runWords(services, at, words)
}

// runWords reads what follows "run".
func (im *importer) runWords(services *yaml.Node, at Place, words []string) error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("%s: %s", at, fmt.Sprintf(format, args...))
	}
	service := &yaml.Node{Kind: yaml.MappingNode, Line: at.Line}
	for len(words) > 0 && strings.HasPrefix(words[0], "-") {
		w := words[0]
		words = words[1:]
		if w == "--" {
			break
		}
		name, value, assigned := strings.Cut(strings.TrimLeft(w, "-"), "=")
		o, known := options[name]
		if !known && !strings.HasPrefix(w, "--") { // several letters, the last of which may take a value
			name, value, assigned, o, known = letters(name, value, assigned)
		}
		if !known {
			return fail("the option %s is not known here, nor whether a value follows it; leave it out, and see to it by hand", w)
		}
		switch {
		case o.flag && !assigned:
			value = "true"
		case !o.flag && !assigned:
			if len(words) == 0 {
				return fail("the option %s has no value", w)
			}
			value, words = words[0], words[1:]
		}
		if err := im.option(service, name, o, value, at); err != nil {
			return fail("--%s %s: %v", name, value, err)
		}
	}
	if len(words) == 0 {
		return fail("no image is named")
	}
	set(service, "image", word(words[0], at.Line))
	if len(words) > 1 {
		command := &yaml.Node{Kind: yaml.SequenceNode, Line: at.Line}
		for _, w := range words[1:] {
			command.Content = append(command.Content, word(escaped(w), at.Line))
		}
		set(service, "command", command)
	}
	name := slug(lastOf(words[0]))
	if n, _ := child(service, "container_name"); n != nil {
		name = n.Value
	}
	for n, base := 2, name; ; n++ {
		if _, taken := child(services, name); taken == nil {
			break
		}
		name = fmt.Sprintf("%s-%d", base, n)
	}
	services.Content = append(services.Content, word(name, at.Line), service)
	return nil
}

// letters takes short options apart: -it, and -p8080:80.
func letters(name, value string, assigned bool) (string, string, bool, option, bool) {
	for i, r := range name {
		o, known := options[string(r)]
		switch rest := name[i+1:]; {
		case !known:
			return name, value, assigned, o, false
		case !o.flag && rest != "":
			if assigned {
				rest += "=" + value
			}
			return string(r), rest, true, o, true
		case rest == "":
			return string(r), value, assigned, o, true
		}
	}
	return name, value, assigned, option{}, false
}

func lastOf(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	ref = ref[strings.LastIndexByte(ref, '/')+1:]
	ref, _, _ = strings.Cut(ref, ":")
	return ref
}

// escaped keeps a dollar sign that a shell has not taken from being one of Compose.
func escaped(s string) string { return strings.ReplaceAll(s, "$", "$$") }
