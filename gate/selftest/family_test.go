//go:build lab

package selftest

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

// family are the fixtures of which each requires the one before.
var family = []string{"chain", "node", "leaf"}

// familyWith writes the catalog of the family, with chain edited by replacing old by new.
func familyWith(t *testing.T, replacements ...string) string {
	t.Helper()
	dir := catalogOf(t, "family", family...)
	file := filepath.Join(dir, "chain", "manifest.yaml")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.NewReplacer(replacements...).Replace(string(b))), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// catalogOf writes the catalog of fixtures that belong together.
func catalogOf(t *testing.T, folder string, ids ...string) string {
	t.Helper()
	dir := t.TempDir()
	image, err := fs.Sub(fixture, "fixture/image")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if err := os.CopyFS(filepath.Join(dir, id, "image"), image); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, id, "image", "entrypoint"), 0o755); err != nil {
			t.Fatal(err)
		}
		b, err := fixture.ReadFile("fixture/" + folder + "/" + id + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, id, "manifest.yaml"), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestAFamilyIsGreen asks for the last of a family of three, and wants all of it green, in
// its order, and from nodes without images in the second cycle.
func TestAFamilyIsGreen(t *testing.T) {
	status, r := gate(t, t.TempDir(), nil, "--catalog", familyWith(t), "--apps", "leaf", "--cycles", "2")
	if status != 0 || r.Verdict != reports.Green || !slices.Equal(r.Asked.Apps, []string{"chain", "leaf", "node"}) || r.Bare != 2 {
		t.Fatalf("exit status %d, verdict %s of %q, bare cycle %d, first failure %+v", status, r.Verdict, r.Asked.Apps, r.Bare, r.First)
	}
	if len(r.Reruns) > 0 || len(r.Unfit) > 0 {
		t.Errorf("run again: %+v; unfit: %q", r.Reruns, r.Unfit)
	}
	ended := map[reports.Cell]time.Time{}
	for _, a := range r.Apps {
		for _, c := range a.Cells {
			ended[c.Cell] = c.At
		}
	}
	for _, n := range r.Nodes {
		if n.Kind != reports.Lab || n.CPUs == 0 || n.Memory == 0 {
			t.Errorf("%+v does not say that it is a lab's, or what it carries", n)
		}
		for i, app := range family[1:] {
			at := func(app, step string) time.Time {
				return ended[reports.Cell{App: app, Node: n.Name, Cycle: 1, Step: step}]
			}
			if before := family[i]; !at(before, matrix.Reinstall).Before(at(app, matrix.Install)) || !at(app, matrix.Uninstall).Before(at(before, matrix.Uninstall)) {
				t.Errorf("on %s, %s and %s were not in order", n.Name, before, app)
			}
		}
	}
	t.Logf("%.0f s", r.Seconds)
}

// TestAFixtureThatFailsIsNotItsRequirersFailure breaks the first of the family.
func TestAFixtureThatFailsIsNotItsRequirersFailure(t *testing.T) {
	status, r := gate(t, t.TempDir(), nil, "--catalog", familyWith(t, `MARK: "1"`, "TITLE: Welcome"), "--apps", "leaf", "--cycles", "1", "--only", ".228",
		"--steps", strings.Join([]string{matrix.Install, matrix.UIReachable, matrix.Uninstall}, ","))
	if status != 1 || r.First == nil || r.First.App != "chain" || r.First.Step != matrix.UIReachable {
		t.Fatalf("exit status %d, first failure %+v", status, r.First)
	}
	for _, a := range r.Apps {
		for _, c := range a.Cells {
			if a.ID != "chain" && (c.Status != reports.NotRun || !strings.Contains(c.Reason, "fixture chain, which it requires: ui-reachable failed earlier in the cycle")) {
				t.Errorf("%s is %s: %s", c.Cell, c.Status, c.Reason)
			}
		}
	}
}
