package quadlet

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

var update = flag.Bool("update", false, "write the golden files")

func parse(t *testing.T) *manifest.Manifest {
	t.Helper()
	m, err := manifest.ParseFile("testdata/pair.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestUnitsAreAsTheGoldenFiles(t *testing.T) {
	u := Render(parse(t), "/var/lib/archipelago", true)
	if got, want := slices.Sorted(maps.Keys(u.Files)), []string{"archipelago-pair.network", "pair-db.container", "pair.container"}; !slices.Equal(got, want) {
		t.Fatalf("files %v, expected %v", got, want)
	}
	for name, body := range u.Files {
		golden := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(golden, []byte(body), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if body != string(want) {
			t.Errorf("%s:\n%s\nexpected:\n%s", name, body, want)
		}
	}
}

func TestStoppedApplicationDoesNotStartAtBoot(t *testing.T) {
	m := parse(t)
	boot, not := Render(m, "/d", true), Render(m, "/d", false)
	for name, body := range not.Files {
		if strings.Contains(body, "[Install]") {
			t.Errorf("%s is started at boot", name)
		}
	}
	if !maps.Equal(boot.Specs, not.Specs) {
		t.Error("starting at boot changes the spec: a stop would make every container stale")
	}
}

// TestNoValueBecomesADirective feeds values that mean something to systemd; each
// must stay inside its own line and its own quotes.
func TestNoValueBecomesADirective(t *testing.T) {
	m := parse(t)
	m.Containers[0].Environment = map[string]string{"A": `x" --privileged "`, "B": `$HOME ${PATH} %h`, "C": `back\slash`, "D": "semi; Privileged=true"}
	m.Containers[0].Command = []string{"sh", "-c", `echo "$1" 100%`, `--`}
	for name, body := range Render(m, "/d", true).Files {
		for line := range strings.SplitSeq(body, "\n") {
			if strings.HasPrefix(line, "Privileged") || strings.HasPrefix(line, "PodmanArgs") {
				t.Errorf("%s has the line %q", name, line)
			}
			if value, ok := strings.CutPrefix(line, "Environment="); ok {
				inside := strings.TrimSuffix(strings.TrimPrefix(value, `"`), `"`)
				for _, bare := range []string{`"`, "$", "%"} {
					rest := strings.NewReplacer(`\\`, "", `\"`, "", "$$", "", "%%", "").Replace(inside)
					if strings.Contains(rest, bare) {
						t.Errorf("%s: %q leaves a bare %s", name, line, bare)
					}
				}
			}
		}
	}
}

func FuzzRender(f *testing.F) {
	f.Add("value", "word")
	f.Add(`a"b$c%d\`, "x y;z")
	f.Fuzz(func(t *testing.T, value, word string) {
		for _, s := range []string{value, word} {
			if strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
				return // the schema refuses control characters
			}
		}
		m := &manifest.Manifest{ID: "a", Name: value, Version: "1", Containers: []manifest.Container{{
			Name: "a", Environment: map[string]string{"K": value}, Command: []string{word}, Health: &manifest.Health{Exec: []string{word}}}}}
		plain := &manifest.Manifest{ID: "a", Name: "v", Version: "1", Containers: []manifest.Container{{
			Name: "a", Environment: map[string]string{"K": "v"}, Command: []string{"w"}, Health: &manifest.Health{Exec: []string{"w"}}}}}
		got, want := keys(Render(m, "/d", true).Files["a.container"]), keys(Render(plain, "/d", true).Files["a.container"])
		if !slices.Equal(got, want) {
			t.Fatalf("value %q, word %q: directives %v, expected %v", value, word, got, want)
		}
	})
}

// keys are the directives of a unit, in order.
func keys(body string) (out []string) {
	for line := range strings.SplitSeq(body, "\n") {
		k, _, _ := strings.Cut(line, "=")
		if !strings.HasPrefix(k, "#") {
			out = append(out, k)
		}
	}
	return out
}
