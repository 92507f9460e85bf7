package compose

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// implied are what the language says of every container, or nothing at all: they may be
// left away, and nobody has to be told.
var implied = []*regexp.Regexp{
	regexp.MustCompile(`^(version|name|services\.[^.]+\.restart)\b.*=(always|unless-stopped|["0-9.]+|[a-z0-9_-]+)$`),
	regexp.MustCompile(`=(false|null|bridge|default|tcp|bind|volume|"?0\.0\.0\.0"?|host|ingress|service_started|)$`),
	regexp.MustCompile(`\.(x-[^.]+|create_host_path|propagation|selinux|required|mode|name|app_protocol|project_directory)\b`),
	regexp.MustCompile(`^services\.[^.]+\.(cap_drop|security_opt|networks|expose|container_name)\b`),    // all are dropped; no-new-privileges; one network
	regexp.MustCompile(`^(volumes|networks|configs|secrets)(\.[^.]+)?$|^volumes\.[^.]+\.driver=local$`), // a name that says no more than its use
	regexp.MustCompile(`\.healthcheck\.test\.0=CMD$|^services\.[^.]+\.links\.\d=[^:]+$|\.bind$`),
	regexp.MustCompile(`^services\.app_proxy\.environment\.APP_HOST=`), // the main container, which another rule finds, too
	regexp.MustCompile(`^(x-|services\.[^.]+\.x-)`),
}

// cut gives the documents without one of their entries, for each entry in turn.
func cut(text []byte, each func(path string, without []byte)) {
	var doc yaml.Node
	if yaml.Unmarshal(text, &doc) != nil || len(doc.Content) == 0 {
		return
	}
	var walk func(n *yaml.Node, path string)
	without := func(n *yaml.Node, i, count int, path string) {
		kept := n.Content
		n.Content = slices.Delete(slices.Clone(kept), i, i+count)
		if out, err := yaml.Marshal(&doc); err == nil {
			each(path, out)
		}
		n.Content = kept
	}
	value := func(n *yaml.Node) string {
		if n.Kind == yaml.ScalarNode {
			return "=" + n.Value
		}
		return ""
	}
	walk = func(n *yaml.Node, path string) {
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				at := strings.TrimPrefix(path+"."+n.Content[i].Value, ".")
				without(n, i, 2, at+value(n.Content[i+1]))
				walk(n.Content[i+1], at)
			}
		case yaml.SequenceNode:
			for i, c := range n.Content {
				at := fmt.Sprintf("%s.%d", path, i)
				without(n, i, 1, at+value(c))
				walk(c, at)
			}
		}
	}
	walk(doc.Content[0], "")
}

// listed tells whether an item is about the whole of what the entry is in.
func listed(all []Item, p string) bool {
	p, _, _ = strings.Cut(p, "=")
	return slices.ContainsFunc(all, func(i Item) bool {
		field := i.Field
		if strings.Contains(i.Reason, "the service is left out") || strings.Contains(i.Reason, "the service runs to its end") {
			field = "services." + i.service
		} else if several.MatchString(field) {
			return false
		}
		return p == field || strings.HasPrefix(p, field+".")
	})
}

// several are fields of whose entries each has an item of its own, and what is above fields.
var several = regexp.MustCompile(`^[^.]*$|^services\.[^.]+(\.(volumes|ports|environment|devices|configs|secrets|cap_add|extra_hosts|env_file))?$`)

// said is all that an import says, without the lines.
func said(r *Result) string {
	var b strings.Builder
	for l := range strings.Lines(string(r.Manifest)) {
		if !strings.HasPrefix(strings.TrimSpace(l), "# TODO") {
			b.WriteString(l)
		}
	}
	for _, i := range r.Items {
		fmt.Fprintf(&b, "%s: %s; %s\n", i.Field, i.Reason, i.Instead)
	}
	return b.String()
}

// silent gives what can be taken out of a file of compose, and nobody notices.
func silent(t *testing.T, dir, name string) (all []string) {
	t.Helper()
	path := filepath.Join(dir, name)
	text, err := os.ReadFile(path)
	if err != nil || bytes.Contains(text, []byte("\n---")) {
		return nil
	}
	defer os.WriteFile(path, text, 0o644)
	before, err := Import(t.Context(), Options{Dir: dir, Files: []string{name}, ID: "same"})
	if err != nil {
		return nil
	}
	cut(text, func(p string, without []byte) {
		if slices.ContainsFunc(implied, func(r *regexp.Regexp) bool { return r.MatchString(p) }) {
			return
		}
		write1(t, dir, name, string(without))
		after, err := Import(t.Context(), Options{Dir: dir, Files: []string{name}, ID: "same"})
		if err == nil && said(after) == said(before) && !listed(before.Items, p) {
			all = append(all, p)
		}
	})
	return all
}

// TestNothingIsDroppedSilently takes every entry out of every file of the corpus: then the
// manifest is another one, or the list of what it does not carry.
func TestNothingIsDroppedSilently(t *testing.T) {
	names, dirs, _ := cases(t)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each has a directory of its own
			for _, file := range usualNames[0] {
				for _, p := range silent(t, dirs[name], file) {
					t.Errorf("nobody notices whether there is %s", p)
				}
			}
		})
	}
}
