package main

import (
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/internal/quadlettest"
)

// onLab marks the commands of the guide that need nodes.
const onLab = "# lab"

func blocks(t *testing.T, file, language string) (out []string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?s)\n```"+language+"\n(.*?\n)```").FindAllSubmatch(b, -1) {
		out = append(out, string(m[1]))
	}
	return out
}

// TestTheGuideRuns types every command of the guide that needs no node, one after the other;
// TestCallsInDocumentsAreTaken reads the others.
func TestTheGuideRuns(t *testing.T) {
	dir, ran, left := t.TempDir(), 0, 0
	for _, block := range blocks(t, "../../docs/app-guide.md", "sh") {
		for line := range strings.Lines(block) {
			if strings.HasSuffix(strings.TrimSpace(line), onLab) {
				left++
				continue
			}
			ran++
			cmd := exec.CommandContext(t.Context(), "sh", "-euc", line)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%s%v: %s", line, err, out)
			}
			switch {
			case strings.Contains(line, "validate") && (!strings.Contains(string(out), "is valid") || warned.MatchString(ofListings.ReplaceAllString(string(out), ""))):
				t.Errorf("%s%s", line, out)
			case strings.Contains(line, "render") && !strings.Contains(string(out), "0.2.0") == strings.Contains(line, "--diff"):
				t.Errorf("%s%s", line, out)
			}
		}
	}
	if ran < 8 || left < 8 {
		t.Errorf("%d commands were run, and %d need a lab", ran, left)
	}
}

// What a store shows is the author's to write, so a manifest in a document may lack it.
var warned, ofListings = regexp.MustCompile(`warning: `), regexp.MustCompile(`warning: no (icon|category|tagline):`)

// TestTheGuideCoversTheWay wants the commands of an application's way in the guide.
func TestTheGuideCoversTheWay(t *testing.T) {
	all := strings.Join(blocks(t, "../../docs/app-guide.md", "sh"), "")
	at := -1
	for _, step := range []string{"init", "validate", "render", "dev", "test", "publish"} {
		i := strings.Index(all, "archy app "+step+" ")
		if i < at {
			t.Errorf("%s is missing, or in the wrong place", step)
		}
		at = i
	}
}

// TestPatternsAreManifests wants every manifest of the patterns to be valid, without a
// warning, and its units such as Podman takes.
func TestPatternsAreManifests(t *testing.T) {
	all := blocks(t, "../../docs/patterns.md", "yaml")
	if len(all) < 7 {
		t.Fatalf("only %d manifests", len(all))
	}
	var ids []string
	for _, text := range all {
		m, err := manifest.Parse("patterns.md", []byte(text))
		if err != nil {
			t.Errorf("%v\n%s", err, text)
			continue
		}
		if slices.Contains(ids, m.ID) {
			t.Errorf("two are called %s", m.ID)
		}
		ids = append(ids, m.ID)
		files, err := rendered(m, nil)
		if err == nil {
			err = quadlettest.Generate(files)
		}
		if err != nil {
			t.Errorf("%s: %v", m.ID, err)
		}
		dir := t.TempDir()
		if err := os.WriteFile(dir+"/manifest.yaml", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		root := Command()
		root.SetArgs([]string{"app", "validate", dir})
		var said strings.Builder
		root.SetOut(io.Discard)
		root.SetErr(&said)
		if err := root.ExecuteContext(t.Context()); err != nil || warned.MatchString(ofListings.ReplaceAllString(said.String(), "")) {
			t.Errorf("%s: %v\n%s", m.ID, err, &said)
		}
	}
}
