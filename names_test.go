package archipelago

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog"
)

// scheme begins an address, and names a protocol, whichever application speaks it, too.
var scheme = regexp.MustCompile(`\b[a-z]+://`)

// named gives the lines of a text, from 1, on which one of these words stands, but for schemes.
func named(text string, words []string) (lines []int) {
	var quoted []string
	for _, w := range words {
		quoted = append(quoted, regexp.QuoteMeta(w))
	}
	word := regexp.MustCompile(`(?i)\b(` + strings.Join(quoted, "|") + `)\b`)
	n := 0
	for line := range strings.Lines(text) {
		n++
		if word.MatchString(scheme.ReplaceAllString(line, "")) {
			lines = append(lines, n)
		}
	}
	return lines
}

// TestNothingInGoNamesAnApplication reads all Go code but tests, fixtures and the programs
// of the applications themselves: what an application needs is said by its manifest.
func TestNothingInGoNamesAnApplication(t *testing.T) {
	cat, err := catalog.Load("catalog/apps", "catalog/field", "catalog/upstream")
	if err != nil {
		t.Fatal(err)
	}
	ids := cat.IDs()
	if got := named("x\nif app == \""+ids[0]+"\" {\n// "+strings.ToUpper(ids[0][:1])+ids[0][1:]+" only\n"+ids[0]+"like\n"+ids[0]+"://host\n", ids); !slices.Equal(got, []int{2, 3}) {
		t.Fatalf("planted names were found in the lines %v", got)
	}
	out, err := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard", "*.go").Output()
	if err != nil {
		t.Fatal(err)
	}
	files := strings.Fields(string(out))
	if len(files) < 100 {
		t.Fatalf("only %d files", len(files))
	}
	for _, f := range files {
		dirs := strings.Split(filepath.ToSlash(f), "/")
		if strings.HasSuffix(f, "_test.go") || strings.HasPrefix(f, "catalog/field/") || slices.Contains(dirs, "fixture") || slices.Contains(dirs, "testdata") {
			continue
		}
		b, err := os.ReadFile(f)
		if os.IsNotExist(err) {
			continue // deleted, and not yet committed
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range named(string(b), ids) {
			t.Errorf("%s:%d names an application", f, line)
		}
	}
}
