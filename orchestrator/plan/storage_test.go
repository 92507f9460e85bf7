package plan

import (
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/render"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// What is given a folder of the owner's is not started while that is not there, and is not
// stopped because of it either.
func TestPlanWaitsForTheOwnersFolders(t *testing.T) {
	m := pair()
	m.Containers[0].Storage = []manifest.StorageMount{{Name: "photos", Path: "/photos", Access: manifest.ReadWrite}}
	folders := map[string]manifest.Folder{"photos": {Dir: "/srv/photos", ID: "x"}}
	for _, c := range []struct {
		name       string
		seen, goal state.Goal
		known      map[string]manifest.Folder
		why        string // the folder cannot be used
		want       string
		waiting    string
	}{
		{"it is there", state.Stopped, state.Running, folders, "", "prepare, write-units, start[pair-db pair]", ""},
		{"it is not there", state.Stopped, state.Running, folders, "connect the disk", "prepare, write-units, wait", "waiting for its folder photos: connect the disk"},
		{"it goes while the application runs", state.Running, state.Running, folders, "connect the disk", "", ""},
		{"the application is to be stopped", state.Running, state.Stopped, folders, "connect the disk", "write-units, stop[pair pair-db]", ""},
		{"the node does not know it", state.Stopped, state.Running, map[string]manifest.Folder{}, "", "blocked", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &render.Renderer{DataDir: dataDir}
			r.SetFolders(c.known)
			o := world(m.WithFolders(folders), c.seen)
			o.Folders = map[string]string{"photos": c.why}
			got := Make(Input{Desired: []state.Desired{{App: "pair", Goal: c.goal, Generation: 1, Manifest: m}}, Observed: o, Renderer: r})
			if verbs(got) != c.want || got[0].Waiting != c.waiting {
				t.Errorf("planned %q, waiting %q, blocked %q", verbs(got), got[0].Waiting, got[0].Blocked)
			}
		})
	}
}

// A folder that has moved is another unit, so that the container is made anew.
func TestAFolderThatHasMovedIsRenderedAnew(t *testing.T) {
	m := pair()
	m.Containers[0].Storage = []manifest.StorageMount{{Name: "photos", Path: "/photos", Access: manifest.ReadOnly}}
	r := &render.Renderer{DataDir: dataDir}
	spec := func(dir string) string {
		r.SetFolders(map[string]manifest.Folder{"photos": {Dir: dir}})
		out, err := r.Render(m, nil, nil, true, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		return out.Specs["pair"]
	}
	if a, b, c := spec("/srv/photos"), spec("/mnt/photos"), spec("/srv/photos"); a == b || a != c {
		t.Errorf("%s, %s, %s", a, b, c)
	}
	if m.Containers[0].Storage[0].Dir != "" {
		t.Error("rendering changes the manifest")
	}
}
