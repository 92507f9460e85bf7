package main

import (
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
			case strings.Contains(line, "validate") && (!strings.Contains(string(out), "is valid") || strings.Contains(string(out), "warning")):
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
// warning but of what a store shows, and its units such as Podman takes.
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
		_, problems, warnings, err := manifest.Lint(m.ID, []byte(text))
		if err != nil || len(problems) > 0 {
			t.Errorf("%s: %v %v", m.ID, err, problems)
		}
		for _, w := range warnings {
			if !slices.Contains([]string{manifest.RuleNoIcon, manifest.RuleNoCategory, manifest.RuleNoTagline}, w.Rule) {
				t.Errorf("%s: %v", m.ID, w)
			}
		}
	}
}
