package plan

import (
	"maps"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/disk"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
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

// What has a volume on a disk that is not there is neither started nor changed, and nothing of it
// is deleted; it is stopped and taken off all the same.
func TestPlanWaitsForTheDiskOfAVolume(t *testing.T) {
	const dir, late = "/mnt/big/pair/db", "disk BIG (bbbb) at /mnt/big: connect and mount it"
	const lost = "; or, if that is lost, make the directory /mnt/big/pair"
	update := &state.Update{To: pair(), Phase: state.RollingBack}
	for _, c := range []struct {
		name    string
		seen    state.Goal
		desired state.Desired
		place   state.Place
		absent  string // the directory whose disk is
		want    string
		waiting string
	}{
		{"it is there", state.Stopped, state.Desired{Goal: state.Running}, state.Place{Dir: dir}, "", "start[pair-db pair]", ""},
		{"it is not there", state.Stopped, state.Desired{Goal: state.Running}, state.Place{Dir: dir}, dir, "wait", "waiting for " + late},
		{"it goes while the application runs", state.Running, state.Desired{Goal: state.Running}, state.Place{Dir: dir}, dir, "wait", "waiting for " + late},
		{"it is to be restarted", state.Running, state.Desired{Goal: state.Running, Restart: 1}, state.Place{Dir: dir}, dir, "wait", "waiting for " + late},
		{"an update is rolled back", state.Stopped, state.Desired{Goal: state.Running, Update: update}, state.Place{Dir: dir}, dir, "wait", "waiting for " + late},
		{"it is to be stopped", state.Running, state.Desired{Goal: state.Stopped}, state.Place{Dir: dir}, dir, "write-units, stop[pair pair-db]", ""},
		{"it is to go", state.Running, state.Desired{Goal: state.Absent}, state.Place{Dir: dir}, dir, "stop[pair pair-db], remove, forget", ""},
		{"it is to go with its data", state.Running, state.Desired{Goal: state.Absent, Purge: true}, state.Place{Dir: dir}, dir, "stop[pair pair-db], remove, wait", "waiting for " + late + lost},
		{"only what it left there is to be deleted", state.Running, state.Desired{Goal: state.Absent, Purge: true}, state.Place{Left: dir}, dir, "stop[pair pair-db], remove, wait", "waiting for " + late + lost},
		{"what it left there is in nobody's way", state.Stopped, state.Desired{Goal: state.Running}, state.Place{Left: dir}, dir, "start[pair-db pair]", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := c.desired
			d.App, d.Generation, d.Manifest = "pair", 1, pair()
			data := state.Data{App: "pair", Migration: 2, Volumes: []string{"db"}, Places: map[string]state.Place{"db": c.place}}
			moved := state.Records{Data: map[string]state.Data{"pair": data}}.Moved()
			o := world(d.Manifest.WithMoved(moved), c.seen)
			if c.seen == state.Stopped {
				o.Files = world(d.Manifest.WithMoved(moved), state.Running).Files
			}
			o.Disks = map[string]string{c.absent: late}
			r := &render.Renderer{DataDir: dataDir}
			r.SetMoved(moved)
			got := Make(Input{Desired: []state.Desired{d}, Data: map[string]state.Data{"pair": data}, Observed: o, Renderer: r})
			if verbs(got) != c.want || got[0].Waiting != c.waiting {
				t.Errorf("planned %q, waiting %q, blocked %q", verbs(got), got[0].Waiting, got[0].Blocked)
			}
			if d.Goal != state.Absent || !d.Purge {
				return
			}
			none := Make(Input{Desired: []state.Desired{d}, Data: map[string]state.Data{"pair": data}, Observed: host.Observation{Disks: o.Disks}, Renderer: r})
			if verbs(none) != "wait" {
				t.Errorf("once it is taken off: %q", verbs(none))
			}
		})
	}
}

// The disk is part of no container: an application runs on when it becomes known.
func TestADiskThatBecomesKnownMakesNoContainerAnew(t *testing.T) {
	m := pair()
	r := &render.Renderer{DataDir: dataDir}
	r.SetMoved(manifest.Moved{"pair": {"db": "/mnt/My big/pair/db"}})
	before, err := r.Render(m, nil, nil, true, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetDisks(map[string]disk.Disk{"/mnt/My big/pair/db": {UUID: "bbbb", Name: "BIG", At: "/mnt/My big"}, "/mnt/other": {UUID: "cccc", At: "/mnt/other"}})
	after, err := r.Render(m, nil, nil, true, nil, nil)
	if err != nil || !maps.Equal(before.Specs, after.Specs) {
		t.Errorf("%v, %v, %v", before.Specs, after.Specs, err)
	}
	const line = "\n[Service]\nExecCondition=%h/.local/bin/archipelago on-disk \"/mnt/My big/pair/db\" \"bbbb\" \"/mnt/My big\"\n"
	for _, name := range []string{"pair.container", "pair-db.container"} {
		if body := after.Files[name]; !strings.Contains(body, line) || strings.Replace(body, line, "\n[Service]\n", 1) != before.Files[name] {
			t.Errorf("%s:\n%s", name, body)
		}
	}
}
