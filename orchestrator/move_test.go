package orchestrator

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/operation"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// movingNode is a node with the pair installed, whose volume holds "content", and a big disk.
func movingNode(t *testing.T, h *fakeHost, dir string) (r *Reconciler, disk string) {
	t.Helper()
	h.copying = func(from, to string) error {
		if there(to) {
			return errors.New(to + " is there already")
		}
		return errors.Join(os.MkdirAll(filepath.Dir(to), 0o711), os.CopyFS(to, os.DirFS(from)))
	}
	h.deleting = os.RemoveAll
	r = node(t, h, dir)
	r.place = func(_, dir, _ string) (string, error) { return dir, nil }
	disk = filepath.Join(dir, "disk")
	if err := os.MkdirAll(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := r.store.Get("pair"); err == nil {
		return r, disk
	}
	if err := ask(t, r, "install"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.dataDir, "pair", "db", "file"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	return r, disk
}

// inForce wants the volume to be in a directory, with its content, and its unit to say so.
func inForce(t *testing.T, h *fakeHost, r *Reconciler, dir string) {
	t.Helper()
	if got := r.store.Data("pair").Dir(r.dataDir, "pair", "db"); got != dir {
		t.Errorf("in force is %s, expected %s", got, dir)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(b) != "content" {
		t.Errorf("%s: %q, %v", dir, b, err)
	}
	synctest.Wait()
	time.Sleep(time.Minute)
	synctest.Wait()
	if got := stateOf(t, r); got != view.Up {
		t.Errorf("it is %s", got)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if unit := h.obs.Files["pair-db.container"]; !strings.Contains(unit, "\nVolume="+dir+":/data\n") {
		t.Errorf("the unit does not have %s:\n%s", dir, unit)
	}
}

func gone(t *testing.T, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		if there(dir) {
			t.Errorf("%s is there", dir)
		}
	}
}

func TestAVolumeMovesAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, dir := empty(), t.TempDir()
		r, disk := movingNode(t, h, dir)
		home := r.dataDir + "/pair/db"
		var said []string
		copied := h.copying
		h.copying = func(from, to string) error { time.Sleep(20 * time.Second); return copied(from, to) }
		to, err := r.MoveVolume(t.Context(), "pair", "db", disk, "owner", func(message string) { said = append(said, message) })
		if err != nil || to != disk+"/pair/db" {
			t.Fatal(to, err)
		}
		copying := "copying its volume db to " + to
		if want := []string{"stopped to move its volume db", copying, copying + ", for 15s so far", "deleting " + home}; !slices.Equal(said, want) {
			t.Errorf("%q", said)
		}
		inForce(t, h, r, to)
		gone(t, home)
		if f := r.moves(); !f.OK || f.Detail != "db of pair at "+to {
			t.Errorf("%+v", f)
		}
		// Uninstalled and installed again, it is where it was moved.
		for _, verb := range []string{"uninstall", "install"} {
			if err := ask(t, r, verb); err != nil {
				t.Fatal(verb, err)
			}
		}
		inForce(t, h, r, to)
		gone(t, home)
		if _, err := r.MoveVolume(t.Context(), "pair", "db", disk, "owner", func(string) {}); !errors.Is(err, request.ErrRefused) || !strings.Contains(err.Error(), "already") {
			t.Errorf("where it is: %v", err)
		}
		second := filepath.Join(dir, "second")
		if _, err = r.MoveVolume(t.Context(), "pair", "db", second, "owner", func(string) {}); err != nil {
			t.Fatal(err)
		}
		inForce(t, h, r, second+"/pair/db")
		gone(t, disk+"/pair")
		if to, err = r.MoveVolume(t.Context(), "pair", "db", "", "owner", func(string) {}); err != nil || to != home {
			t.Fatal(to, err)
		}
		inForce(t, h, r, home)
		gone(t, second+"/pair")
		if data := r.store.Data("pair"); data.Places != nil {
			t.Errorf("%+v", data)
		}
	})
}

func TestAPurgeDeletesWhatWasMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, dir := empty(), t.TempDir()
		r, disk := movingNode(t, h, dir)
		to, err := r.MoveVolume(t.Context(), "pair", "db", disk, "owner", func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(disk, disk+"-away"); err != nil {
			t.Fatal(err)
		}
		gen, err := r.Request(request.Request{App: "pair", Verb: "uninstall", Purge: true})
		if err != nil {
			t.Fatal(err)
		}
		var last view.Progress
		if err := r.Watch(t.Context(), "pair", gen, func(p view.Progress) error { last = p; return nil }); err != nil || !strings.Contains(last.Err, to) || !strings.Contains(last.Err, "connect and mount its disk") {
			t.Errorf("its disk is not there: %+v, %v", last, err)
		}
		if len(r.store.Data("pair").Volumes) == 0 {
			t.Error("what is on the disk is forgotten")
		}
		if err := os.Rename(disk+"-away", disk); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		gone(t, disk+"/pair", r.dataDir+"/pair")
		if data := r.store.Data("pair"); data.App != "" {
			t.Errorf("%+v", data)
		}
		if !there(disk) {
			t.Error("the disk's own directory is deleted")
		}
	})
}

// TestAPurgeThatWasCutGoesOn: what it has deleted is not taken for a disk that is not there.
func TestAPurgeThatWasCutGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, dir := empty(), t.TempDir()
		r, disk := movingNode(t, h, dir)
		if _, err := r.MoveVolume(t.Context(), "pair", "db", disk, "owner", func(string) {}); err != nil {
			t.Fatal(err)
		}
		h.mu.Lock()
		h.fail["delete"] = errors.New("planted")
		h.mu.Unlock()
		if _, err := r.Request(request.Request{App: "pair", Verb: "uninstall", Purge: true}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		gone(t, disk+"/pair")
		h.mu.Lock()
		delete(h.fail, "delete")
		h.mu.Unlock()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := stateOf(t, r); got != view.NotInstalled || r.store.Data("pair").App != "" {
			t.Errorf("it is %s, and %+v is on record", got, r.store.Data("pair"))
		}
	})
}

func TestAnApplicationWaitsForTheDiskOfItsVolume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, dir := empty(), t.TempDir()
		r, disk := movingNode(t, h, dir)
		to, err := r.MoveVolume(t.Context(), "pair", "db", disk, "owner", func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		inForce(t, h, r, to)
		if err := ask(t, r, "stop"); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Rename(disk, disk+"-away"), os.Mkdir(disk, 0o700)); err != nil { // an empty mount point
			t.Fatal(err)
		}
		if _, err := r.Request(request.Request{App: "pair", Verb: "start"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		v, err := r.App("pair")
		if err != nil || v.State != view.Waiting || v.Note != "waiting for the disk of its volume db: "+to+" is not there; connect and mount it" {
			t.Errorf("%s: %s, %s, %v", v.State, v.Note, v.Error, err)
		}
		if entries, err := os.ReadDir(disk); err != nil || len(entries) > 0 {
			t.Errorf("something is written underneath: %v, %v", entries, err)
		}
		if err := ask(t, r, "stop"); err != nil {
			t.Errorf("it cannot be stopped: %v", err)
		}
		if err := errors.Join(os.Remove(disk), os.Rename(disk+"-away", disk)); err != nil {
			t.Fatal(err)
		}
		if err := ask(t, r, "start"); err != nil {
			t.Fatal(err)
		}
		inForce(t, h, r, to)
	})
}

func TestAMoveThatFailsLeavesEverythingAsItWas(t *testing.T) {
	for _, name := range []string{"no space", "cancelled", "it cannot be stopped"} {
		synctest.Test(t, func(t *testing.T) {
			h, dir := empty(), t.TempDir()
			r, disk := movingNode(t, h, dir)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			planted := errors.New("planted")
			h.copying = func(_, to string) error {
				if err := os.MkdirAll(to+incomplete, 0o700); err != nil {
					t.Error(err)
				}
				if name == "cancelled" {
					cancel()
					return context.Cause(ctx)
				}
				return planted
			}
			if name == "it cannot be stopped" {
				h.mu.Lock()
				h.fail["stop"] = planted
				h.mu.Unlock()
			}
			_, err := r.MoveVolume(ctx, "pair", "db", disk, "owner", func(string) {})
			if want := map[bool]error{true: context.Canceled, false: planted}[name == "cancelled"]; !errors.Is(err, want) {
				t.Errorf("%s: %v", name, err)
			}
			h.mu.Lock()
			delete(h.fail, "stop")
			h.mu.Unlock()
			inForce(t, h, r, r.dataDir+"/pair/db")
			gone(t, disk+"/pair")
			if data := r.store.Data("pair"); data.Places != nil {
				t.Errorf("%s: %+v", name, data)
			}
		})
	}
}

// TestAMoveSurvivesACut: whatever a cut leaves on the disk and on record, one copy is complete
// and in force, and the next daemon deletes the rest, or names it.
func TestAMoveSurvivesACut(t *testing.T) {
	type disk struct{ home, half, whole bool }
	for _, c := range []struct {
		name  string
		place func(home, to string) state.Place
		there disk
		left  disk
		moved bool
	}{
		{"before anything is copied", func(_, to string) state.Place { return state.Place{To: to} }, disk{home: true}, disk{home: true}, false},
		{"in mid-copy", func(_, to string) state.Place { return state.Place{To: to} }, disk{home: true, half: true}, disk{home: true}, false},
		{"once the copy is complete", func(_, to string) state.Place { return state.Place{To: to} }, disk{home: true, whole: true}, disk{home: true, whole: true}, false},
		{"once it is in force", func(home, to string) state.Place { return state.Place{Dir: to, Left: home} }, disk{home: true, whole: true}, disk{whole: true}, true},
		{"once what it left is deleted", func(home, to string) state.Place { return state.Place{Dir: to, Left: home} }, disk{whole: true}, disk{whole: true}, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			h, dir := empty(), t.TempDir()
			home, to := dir+"/data/pair/db", dir+"/disk/pair/db"
			store, err := state.Open(dir + "/state")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := store.Accept([]state.Desired{{App: "pair", Goal: state.Running, Manifest: pair(), Installed: true}}); err != nil {
				t.Fatal(err)
			}
			if err := store.PutData(state.Data{App: "pair", Version: "1", Migration: 2, Volumes: []string{"db"}, Places: map[string]state.Place{"db": c.place(home, to)}}); err != nil {
				t.Fatal(err)
			}
			fill := func(dir string, is bool) {
				if !is {
					return
				}
				if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(dir+"/file", []byte("content"), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			fill(home, c.there.home)
			fill(to+incomplete, c.there.half)
			fill(to, c.there.whole)
			r, _ := movingNode(t, h, dir)
			if c.moved {
				inForce(t, h, r, to)
			} else {
				inForce(t, h, r, home)
			}
			if got := (disk{there(home), there(to + incomplete), there(to)}); got != c.left {
				t.Errorf("%s: left are %+v, expected %+v", c.name, got, c.left)
			}
			f, stays := r.moves(), c.left.home && c.left.whole
			if f.OK == stays || stays && !strings.Contains(f.Detail, to) {
				t.Errorf("%s: %+v", c.name, f)
			}
			// It is moved all the same, once its owner has looked at what was left.
			if stays {
				if _, err := r.MoveVolume(t.Context(), "pair", "db", dir+"/disk", "owner", func(string) {}); !errors.Is(err, request.ErrRefused) || !strings.Contains(err.Error(), to) {
					t.Errorf("%s: over what a cut has left: %v", c.name, err)
				}
				if err := os.RemoveAll(to); err != nil {
					t.Fatal(err)
				}
			}
			if !c.moved {
				if _, err := r.MoveVolume(t.Context(), "pair", "db", dir+"/disk", "owner", func(string) {}); err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
				inForce(t, h, r, to)
				gone(t, home)
			}
		})
	}
}

// TestWhatAMoveLeftStaysWhileTheDiskIsNotThere: it may be the only copy that is left.
func TestWhatAMoveLeftStaysWhileTheDiskIsNotThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, dir := empty(), t.TempDir()
		r, disk := movingNode(t, h, dir)
		home := r.dataDir + "/pair/db"
		if err := r.recordPlace("pair", "db", state.Place{Dir: disk + "/pair/db", Left: home}); err != nil {
			t.Fatal(err)
		}
		r.settleMoves(t.Context())
		if b, err := os.ReadFile(home + "/file"); err != nil || string(b) != "content" {
			t.Errorf("%q, %v", b, err)
		}
		if f := r.moves(); f.OK || !strings.Contains(f.Detail, home) {
			t.Errorf("%+v", f)
		}
	})
}

func TestAMoveIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, dir := empty(), t.TempDir()
		r, disk := movingNode(t, h, dir)
		if err := r.changeFolders(func(folders map[string]manifest.Folder, _ state.Records) error {
			folders["photos"] = manifest.Folder{Dir: dir + "/photos"}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		refused := func(what string, want error, why, app, volume, to string) {
			t.Helper()
			h.mu.Lock()
			h.calls = nil
			h.mu.Unlock()
			if _, err := r.MoveVolume(t.Context(), app, volume, to, "owner", func(string) {}); !errors.Is(err, want) || !strings.Contains(err.Error(), why) {
				t.Errorf("%s: %v", what, err)
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			if got := strings.Join(h.calls, " "); strings.Contains(got, "copy") || strings.Contains(got, "stop") {
				t.Errorf("%s is refused, and yet %s", what, got)
			}
		}
		refused("what is not installed", request.ErrNotInstalled, "nope", "nope", "db", disk)
		refused("a volume that there is not", request.ErrRefused, `no volume "photos" here; it has db`, "pair", "photos", disk)
		refused("a folder that others have", request.ErrRefused, "your folder photos", "pair", "db", dir+"/photos")
		refused("a directory in a folder that others have", request.ErrRefused, "your folder photos", "pair", "db", dir+"/photos/big")
		r.place = func(string, string, string) (string, error) { return "", errors.New("it is the system's") }
		refused("a place that cannot be", request.ErrRefused, "it is the system's", "pair", "db", "/etc")
		r.place = func(_, dir, _ string) (string, error) { return dir, nil }
		release, err := r.operations.Hold(t.Context(), "pair", "a backup is being made")
		if err != nil {
			t.Fatal(err)
		}
		refused("while a backup is being made", operation.ErrBusy, "a backup is being made", "pair", "db", disk)
		release()
		r.moving.Lock()
		refused("beside another move", operation.ErrBusy, "another volume is being moved", "pair", "db", disk)
		r.moving.Unlock()
		if err := r.recordPlace("pair", "db", state.Place{Dir: disk + "/pair/db"}); err != nil {
			t.Fatal(err)
		}
		refused("into itself", request.ErrRefused, "would share files", "pair", "db", disk+"/pair/db")
		if _, _, err := r.AddFolder(t.Context(), "all", disk, false, "owner"); !errors.Is(err, request.ErrRefused) || !strings.Contains(err.Error(), disk+"/pair/db") {
			t.Errorf("a folder that holds a volume: %v", err)
		}
	})
}

// TestAMoveThatWaitsHoldsUpNoOther: work of its application may last; what changes meanwhile counts.
func TestAMoveThatWaitsHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, dir := empty(), t.TempDir()
		r, disk := movingNode(t, h, dir)
		synctest.Wait()
		d, err := r.store.Get("pair")
		if err != nil {
			t.Fatal(err)
		}
		if turn := r.operations.TryBegin(operation.Proposal{App: "pair", Turns: r.operations.Status("pair").Turns, Generation: d.Generation, Actions: true}); !turn.Begin {
			t.Fatalf("%+v", turn)
		}
		ended := make(chan error)
		go func() {
			_, err := r.MoveVolume(t.Context(), "pair", "db", disk, "owner", func(string) {})
			ended <- err
		}()
		synctest.Wait()
		if !r.moving.TryLock() {
			t.Fatal("nothing else can be moved while it waits")
		}
		r.moving.Unlock()
		if err := r.changeFolders(func(folders map[string]manifest.Folder, _ state.Records) error {
			folders["all"] = manifest.Folder{Dir: disk}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		r.operations.Done("pair", d.Generation, false)
		if err := <-ended; !errors.Is(err, request.ErrRefused) || !strings.Contains(err.Error(), "your folder all") {
			t.Errorf("into a folder that others have got meanwhile: %v", err)
		}
	})
}

// TestNobodyHasTheVolumeWhileItMoves: neither those that have it of another application.
func TestNobodyHasTheVolumeWhileItMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, dir := empty(), t.TempDir()
		r, disk := movingNode(t, h, dir)
		borrower := &manifest.Manifest{ID: "borrower", Name: "Borrower", Version: "1",
			Requires:   []manifest.Requirement{{App: "pair", Uses: []string{"files"}}},
			Containers: []manifest.Container{{Name: "borrower", Imports: []manifest.Import{{App: "pair.files", Path: "/files"}}}}}
		rec := state.Desired{App: "borrower", Goal: state.Running, Manifest: borrower, Installed: true}
		if _, err := r.store.Accept([]state.Desired{rec}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.MoveVolume(t.Context(), "pair", "db", disk, "owner", func(string) {}); !errors.Is(err, request.ErrRefused) || !strings.Contains(err.Error(), "borrower has data of pair; stop it first") {
			t.Errorf("%v", err)
		}
		rec.Goal = state.Stopped
		if _, err := r.store.Accept([]state.Desired{rec}); err != nil {
			t.Fatal(err)
		}
		copied := h.copying
		h.copying = func(from, to string) error {
			for _, app := range []string{"pair", "borrower"} {
				if _, err := r.operations.Hold(t.Context(), app, "test"); !errors.Is(err, operation.ErrBusy) {
					t.Errorf("%s may begin something: %v", app, err)
				}
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			if c := h.obs.Containers["pair-db"]; c.State == "running" {
				t.Error("it runs while it is copied")
			}
			return copied(from, to)
		}
		if _, err := r.MoveVolume(t.Context(), "pair", "db", disk, "owner", func(string) {}); err != nil {
			t.Error(err)
		}
		for _, app := range []string{"pair", "borrower"} {
			synctest.Wait()
			if release, err := r.operations.Hold(t.Context(), app, "test"); err != nil {
				t.Errorf("%s is held still: %v", app, err)
			} else {
				release()
			}
		}
	})
}

// TestAStrangerOnAMovedVolumeIsFound: FM5, wherever the data is.
func TestAStrangerOnAMovedVolumeIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, dir := empty(), t.TempDir()
		r, disk := movingNode(t, h, dir)
		to, err := r.MoveVolume(t.Context(), "pair", "db", disk, "owner", func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		inForce(t, h, r, to)
		if err := ask(t, r, "stop"); err != nil {
			t.Fatal(err)
		}
		h.mu.Lock()
		h.obs.Containers["intruder"] = host.Container{ID: "i", Name: "intruder", State: "running", Mounts: []string{to}}
		h.mu.Unlock()
		if err := ask(t, r, "start"); err == nil || !strings.Contains(err.Error(), "intruder") {
			t.Errorf("%v", err)
		}
	})
}
