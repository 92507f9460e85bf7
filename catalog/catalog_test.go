package catalog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// folders writes a manifest for each application; what it requires follows its id,
// as in "a:b,c".
func folders(t *testing.T, apps ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, app := range apps {
		id, others, _ := strings.Cut(app, ":")
		text := fmt.Sprintf("apiVersion: archipelago/v1\nid: %[1]s\nname: %[1]s\nversion: \"1\"\ncontainers:\n  - name: %[1]s\n    image: {build: image}\n", id)
		for i, other := range strings.FieldsFunc(others, func(r rune) bool { return r == ',' }) {
			if i == 0 {
				text += "requires:\n"
			}
			text += "  - app: " + other + "\n"
		}
		if err := os.MkdirAll(filepath.Join(dir, id), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, id, "manifest.yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLoadRefusesARequirementCycleWithItsPath(t *testing.T) {
	dir := folders(t, "a:b", "b:c", "c:a", "d:a", "e")
	c, err := Load(dir)
	if !errors.Is(err, ErrInvalid) || !errors.Is(err, ErrCycle) {
		t.Fatalf("loaded %v: %v", c.IDs(), err)
	}
	for _, want := range []string{
		filepath.Join(dir, "a", "manifest.yaml") + ": requirements go round in a circle: a requires b requires c requires a",
		filepath.Join(dir, "c", "manifest.yaml") + ": requirements go round in a circle: c requires a requires b requires c",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nexpected %s", err, want)
		}
	}
	if got := strings.Join(c.IDs(), " "); got != "d e" {
		t.Errorf("%s are left, expected d and e: they are on no circle", got)
	}
	if c, err := Load(folders(t, "a:b,c", "b:d", "c:d", "d")); err != nil || len(c) != 4 {
		t.Errorf("a diamond: %v, %v", c.IDs(), err)
	}
	if _, err := Load(folders(t, "a:a")); err == nil || !strings.Contains(err.Error(), "cannot require itself") {
		t.Errorf("one that requires itself: %v", err)
	}
}
