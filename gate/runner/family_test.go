package runner

import (
	"fmt"
	"slices"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

// chained are three applications, of which each requires the one before, and one more.
func chained() catalog.Catalog {
	cat := catalog.Catalog{}
	for id, requires := range map[string]string{"chain": "", "node": "chain", "page": "node", "alone": ""} {
		m := &manifest.Manifest{ID: id}
		if requires != "" {
			m.Requires = []manifest.Requirement{{App: requires}}
		}
		cat[id] = &catalog.Entry{Manifest: m}
	}
	return cat
}

func TestAFamilyGoesInItsOrder(t *testing.T) {
	dir := t.TempDir()
	r, seen := runnerOf(t, dir, chained())
	onOneNode(r, 1)
	if err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	at := func(app, step string) int {
		i := slices.Index(seen.told, fmt.Sprintf("%s %s", reports.Passed, reports.Cell{App: app, Node: "x", Cycle: 1, Step: step}))
		if i < 0 {
			t.Errorf("%s of %s did not pass", step, app)
		}
		return i
	}
	if !(at("chain", matrix.Stop) < at("node", matrix.Install) && at("node", matrix.Stop) < at("page", matrix.Install) && at("page", matrix.Uninstall) < at("node", matrix.Uninstall) && at("node", matrix.Uninstall) < at("chain", matrix.Uninstall)) {
		t.Errorf("%q", seen.told)
	}
	for app, want := range map[string]string{"chain": "", "node": "+chain", "page": "+chain+node", "alone": ""} {
		for _, step := range []string{matrix.Install, matrix.Uninstall} {
			if got := statuses(t, dir)[reports.Cell{App: app, Node: "x", Cycle: 1, Step: step}].Note; got != want {
				t.Errorf("%s of %s has the fixtures %q, expected %q", step, app, got, want)
			}
		}
		if got := statuses(t, dir)[reports.Cell{App: app, Node: "x", Cycle: 1, Step: matrix.RebootSurvive}].Note; got != "" {
			t.Errorf("the reboot of %s has the fixtures %q: all are in it", app, got)
		}
	}
}

func TestAFixtureThatFailsKeepsWhatRequiresItFromBeingRun(t *testing.T) {
	t.Setenv(planted, "failed node "+matrix.Stop)
	dir := t.TempDir()
	r, _ := runnerOf(t, dir, chained())
	onOneNode(r, 2)
	if err := r.Run(t.Context()); err != nil {
		t.Error(err)
	}
	got := statuses(t, dir)
	for _, c := range r.Plan.Cells() {
		want := reports.Passed
		switch {
		case c.App == "page", c.App == "node" && (c.Step == matrix.RebootSurvive || c.Step == matrix.Uninstall):
			want = reports.NotRun
		case c.App == "node" && c.Step == matrix.Stop:
			want = reports.Failed
		}
		if got[c].Status != want {
			t.Errorf("%s is %+v, expected %s", c, got[c], want)
		}
		if c.App == "page" && got[c].Reason != "fixture node, which it requires: stop failed earlier in the cycle" {
			t.Errorf("%s: %q", c, got[c].Reason)
		}
	}
	// What failed is left, and stands in the way of the end of what it requires.
	for _, step := range []string{matrix.Install, matrix.Uninstall} {
		for cycle, want := range map[int]string{1: map[string]string{matrix.Uninstall: "-node"}[step], 2: "-node"} {
			if c := (reports.Cell{App: "chain", Node: "x", Cycle: cycle, Step: step}); got[c].Note != want {
				t.Errorf("%s: %q, expected %q", c, got[c].Note, want)
			}
		}
	}
}
