package archipelago

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// documents gives the text of every Markdown file, by path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	docs := map[string]string{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (path == "out" || path == ".git"):
			return filepath.SkipDir
		case filepath.Ext(path) == ".md":
			b, err := os.ReadFile(path)
			docs[path] = string(b)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if docs["README.md"] == "" {
		t.Fatal("README.md was not found")
	}
	return docs
}

var (
	link    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	target  = regexp.MustCompile("(?m)(?:`|^)make((?: [a-z][a-z0-9-]*)+)")
	rule    = regexp.MustCompile(`(?m)^([a-z][a-z0-9-]*):`)
	unword  = regexp.MustCompile(`[^a-z0-9 _-]`)
)

// anchors are the fragments that GitHub gives a document's headings.
func anchors(doc string) map[string]bool {
	out := map[string]bool{}
	for _, h := range heading.FindAllStringSubmatch(doc, -1) {
		out[strings.ReplaceAll(unword.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-")] = true
	}
	return out
}

func TestLinksInDocumentsResolve(t *testing.T) {
	docs := documents(t)
	for path, text := range docs {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], ":") {
				continue // elsewhere on the web
			}
			file, fragment, _ := strings.Cut(m[1], "#")
			file = filepath.Join(filepath.Dir(path), file)
			if strings.HasPrefix(m[1], "#") {
				file = path
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s links to %s: %v", path, m[1], err)
			} else if fragment != "" && !anchors(docs[file])[fragment] {
				t.Errorf("%s links to %s, which has no such heading", path, m[1])
			}
		}
	}
}

// TestTargetsInDocumentsExist wants every "make TARGET" that a document tells people
// to type to be a target of the Makefile.
func TestTargetsInDocumentsExist(t *testing.T) {
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, m := range rule.FindAllStringSubmatch(string(makefile), -1) {
		known[m[1]] = true
	}
	for path, text := range documents(t) {
		for _, m := range target.FindAllStringSubmatch(text, -1) {
			for _, name := range strings.Fields(m[1]) {
				if !known[name] {
					t.Errorf("%s says 'make %s'; the Makefile has no target %s", path, strings.TrimSpace(m[1]), name)
				}
			}
		}
	}
}
