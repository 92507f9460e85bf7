package findings

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

const bad = `apiVersion: archipelago/v1
id: photos
name: Photos
version: 1.0
containers:
  - name: photos
    image: {ref: "registry.example/photos:latest", digest: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}
    volums: []
`

func put(t *testing.T, file, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// found gives the findings of the bad manifest, as bad.yaml.
func found(t *testing.T) []File {
	t.Helper()
	t.Chdir(t.TempDir())
	files, err := Check(put(t, "bad.yaml", bad))
	if err != nil {
		t.Fatal(err)
	}
	if problems, _, bad := Count(files); problems != 2 || bad != 1 {
		t.Fatalf("%+v", files)
	}
	return files
}

func TestPeopleSeeTheLineACaretTheWordAndWhereToReadOn(t *testing.T) {
	var out strings.Builder
	if err := Text(&out, found(t)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"bad.yaml:4:10: version: expected a string, found a number; quote it: version: \"1.0\"\n    4 | version: 1.0\n      |          ^\n    see " + manifest.Page + "#version\n",
		"bad.yaml:8:5: containers[0].volums: unknown field; did you mean \"volumes\"?\n    8 |     volums: []\n      |     ^\n    see " + manifest.Page + "#containers\n",
		"bad.yaml:7:18: warning: containers[0].image.ref: the tag \"latest\" moves",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, &out)
		}
	}
}

func TestTheCaretStandsBelowTheColumn(t *testing.T) {
	long := strings.Repeat("x", 300) + "HERE" + strings.Repeat("y", 300)
	for _, c := range []struct {
		text   string
		column int
		at     rune
	}{
		{"name: Pair", 7, 'P'}, {"\tname", 2, 'n'}, {"größe: x", 8, 'x'}, {long, 301, 'H'}, {long, 1, 'x'}, {long, 604, 'y'}, {"HERE" + strings.Repeat("y", 200), 1, 'H'}, {"a\r", 1, 'a'},
	} {
		lines := strings.Split(File{lines: []string{c.text}}.excerpt(manifest.Problem{Line: 1, Column: c.column}), "\n")
		caret := slices.Index([]rune(lines[1]), '^')
		if shown := []rune(lines[0]); caret < 0 || caret >= len(shown) || shown[caret] != c.at || len(shown) > 200 {
			t.Errorf("column %d of %.20q:\n%s", c.column, c.text, strings.Join(lines, "\n"))
		}
		if strings.Count(lines[0], "\t") != strings.Count(lines[1], "\t") { // as wide as in the line above
			t.Errorf("column %d of %.20q: the caret's line has other tabs:\n%s", c.column, c.text, strings.Join(lines, "\n"))
		}
	}
	if got := (File{lines: []string{"a"}}).excerpt(manifest.Problem{Line: 2, Column: 1}) + (File{}).excerpt(manifest.Problem{}); got != "" {
		t.Errorf("of no line: %q", got)
	}
}

func TestProgramsAreToldTheSame(t *testing.T) {
	files := found(t)
	var out bytes.Buffer
	if err := JSON(&out, files); err != nil {
		t.Fatal(err)
	}
	var said struct {
		Files []struct {
			File     string
			Valid    bool
			Findings []finding
		}
		Errors, Warnings int
	}
	if err := json.Unmarshal(out.Bytes(), &said); err != nil {
		t.Fatal(err)
	}
	want := finding{"error", "", manifest.RuleUnknownField, 8, 5, "containers[0].volums", "unknown field", "volumes", manifest.Page + "#containers"}
	if len(said.Files) != 1 || said.Files[0].Valid || said.Errors != 2 || said.Warnings != len(files[0].Warnings) || !slices.Contains(said.Files[0].Findings, want) {
		t.Errorf("%s", &out)
	}
	out.Reset()
	if err := GitHub(&out, files); err != nil {
		t.Fatal(err)
	}
	if line := "::error file=bad.yaml,line=4,col=10,title=wrong-type::version: expected a string, found a number; quote it: version: \"1.0\"%0A" + manifest.Page + "#version\n"; !strings.Contains(out.String(), line) || !strings.Contains(out.String(), "::warning file=bad.yaml,line=7,col=18,title=floating-tag::") {
		t.Errorf("%s", &out)
	}
	out.Reset()
	if err := SARIF(&out, "1.2.3", files); err != nil {
		t.Fatal(err)
	}
	var log sarifLog
	if err := json.Unmarshal(out.Bytes(), &log); err != nil {
		t.Fatal(err)
	}
	rules := map[string]bool{}
	for _, r := range log.Runs[0].Tool.Driver.Rules {
		rules[r.ID] = r.ShortDescription.Text != ""
	}
	for _, r := range log.Runs[0].Results {
		if !rules[r.RuleID] || r.Locations[0].Physical.Region.StartLine < 1 || r.Locations[0].Physical.Artifact.URI != "bad.yaml" {
			t.Errorf("%+v", r)
		}
	}
	if problems, warnings, _ := Count(files); log.Version != "2.1.0" || len(log.Runs[0].Results) != problems+warnings {
		t.Errorf("%s", &out)
	}
}

func TestAProblemMayBeInAFileBesideTheManifest(t *testing.T) {
	t.Chdir(t.TempDir())
	files := []File{{Name: "manifest.yaml", lines: []string{"x"}, Problems: []manifest.Problem{{File: put(t, "image/conf", "one\ntwo {{\n"), Line: 2, Column: 5, Message: "ends too early", Rule: manifest.RuleMeaning}}}}
	for want, tell := range map[string]func(io.Writer) error{
		"image/conf:2:5: ends too early\n    2 | two {{\n      |     ^\n": func(w io.Writer) error { return Text(w, files) },
		`"file":"image/conf"`:                  func(w io.Writer) error { return JSON(w, files) },
		"::error file=image/conf,line=2,col=5": func(w io.Writer) error { return GitHub(w, files) },
		`"uri": "image/conf"`:                  func(w io.Writer) error { return SARIF(w, "", files) },
	} {
		var out strings.Builder
		if err := tell(&out); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("no %q, %v:\n%s", want, err, &out)
		}
	}
}

func TestDirectoriesAreSearchedForManifests(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, f := range []string{"apps/a/manifest.yaml", "apps/b/manifest.yaml", "apps/b/image/other.yaml", "apps/.git/manifest.yaml", "one.yaml"} {
		put(t, f, "x")
	}
	if err := os.Symlink("apps", "link"); err != nil {
		t.Fatal(err)
	}
	if got, err := Files("link"); err != nil || len(got) != 2 {
		t.Errorf("by a link: %q, %v", got, err)
	}
	got, err := Files("apps", "one.yaml", "apps/b/manifest.yaml", "./one.yaml")
	if want := []string{"apps/a/manifest.yaml", "apps/b/manifest.yaml", "one.yaml"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	for _, none := range []string{"apps/b/image", "nowhere"} {
		if got, err := Files(none); err == nil || !strings.Contains(err.Error(), none) {
			t.Errorf("%s: %q, %v", none, got, err)
		}
	}
}

func TestAFileThatCannotBeReadIsAProblemOfItsOwn(t *testing.T) {
	t.Chdir(t.TempDir())
	put(t, "large.yaml", strings.Repeat("x", 10<<20))
	files, err := Check("gone.yaml", "large.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"no such file", "too large for a manifest"} {
		if p := files[i].Problems; len(p) != 1 || !strings.Contains(p[0].Message, want) || p[0].Line != 0 {
			t.Errorf("%+v", p)
		}
	}
	var out bytes.Buffer
	for _, err := range []error{Text(&out, files), JSON(&out, files), GitHub(&out, files), SARIF(&out, "", files)} {
		if err != nil {
			t.Error(err)
		}
	}
}

// BenchmarkCheck looks at 100 manifests of the size of those that are shipped.
func BenchmarkCheck(b *testing.B) {
	apps, err := filepath.Glob("../../apps/*/manifest.yaml")
	if err != nil || len(apps) == 0 {
		b.Fatal(apps, err)
	}
	dir := b.TempDir()
	var names []string
	for i := range 100 {
		app := filepath.Join(dir, fmt.Sprint(i))
		if err := os.CopyFS(app, os.DirFS(filepath.Dir(apps[i%len(apps)]))); err != nil { // with its icon
			b.Fatal(err)
		}
		names = append(names, filepath.Join(app, "manifest.yaml"))
	}
	for b.Loop() {
		files, err := Check(names...)
		if problems, _, _ := Count(files); err != nil || problems > 0 {
			b.Fatal(problems, err)
		}
	}
}

func TestEveryWarningLeadsToTheFieldThatIsMissing(t *testing.T) {
	const bare = "apiVersion: archipelago/v1\nid: a\nname: A\nversion: \"1\"\nrequires: [{app: b}]\ncontainers: [{name: a, image: {build: image}}]\n"
	_, _, warnings, err := manifest.Lint("m.yaml", []byte(bare))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, w := range warnings {
		got[w.Rule] = strings.TrimPrefix(docs(w), manifest.Page)
	}
	for rule, want := range map[string]string{
		manifest.RuleNoIcon: "#icon", manifest.RuleNoCategory: "#category", manifest.RuleNoTagline: "#tagline", manifest.RuleNoCanary: "#canary", manifest.RuleNoBudget: "#budget",
		manifest.RuleNoHealth: "#containers.health", manifest.RuleRootUser: "#containers.user", manifest.RuleWholeApp: "#requires.uses",
	} {
		if got[rule] != want {
			t.Errorf("%s leads to %q, expected %q", rule, got[rule], want)
		}
	}
}
