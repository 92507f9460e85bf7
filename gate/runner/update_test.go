package runner

import (
	"slices"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes/fleet"
	"github.com/archipelago-cloud/archipelago/reports"
)

// TestOneInstallGoesThroughAnUpdate has an earlier release of one of two applications.
func TestOneInstallGoesThroughAnUpdate(t *testing.T) {
	dir := t.TempDir()
	r, _ := newRunner(t, dir)
	onOneNode(r, 4)
	r.Plan.Asked.Steps = []string{matrix.Install, matrix.Uninstall}
	r.Plan.Previous = &reports.Previous{Source: "beta 7", Releases: map[string]reports.Release{"a": {Version: "0.9", Manifest: "old"}}}
	r.Fleet.Previous = catalog.Catalog{"a": {Manifest: &manifest.Manifest{ID: "a", Version: "0.9"}}}
	r.Fleet.Images, r.Fleet.PreviousImages = make([]fleet.Image, 3), make([]fleet.Image, 1)
	node := &fake{}
	r.Machine = func(*fleet.Node) Machine { return node }
	if err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for c, res := range statuses(t, dir) {
		want := ""
		if c.App == "a" && c.Cycle == 4 && c.Step == matrix.Install {
			want = "0.9"
		}
		if res.Updated != want {
			t.Errorf("%s was updated from %q, expected %q", c, res.Updated, want)
		}
	}
	if !slices.Equal(node.images, []string{"pulled 3", "bare", "pulled 1"}) {
		t.Errorf("images: %q", node.images)
	}
}
