package orchestrator

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/perform"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/secrets"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// TestWhatACutLeavesIsDeletedOrNamed: at the daemon's start, copies of what had been under
// way go; those that an update under way needs stay, and so do those that may be the last.
func TestWhatACutLeavesIsDeletedOrNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		store, err := state.Open(dir + "/state")
		if err != nil {
			t.Fatal(err)
		}
		up, next := pair(), pair()
		next.Version = "2"
		for app, u := range map[string]*state.Update{"idle": nil, "moving": {To: next, Phase: state.Switched}, "back": {To: next, Phase: state.RollingBack}} {
			m := *up
			m.ID = app
			if _, err := store.Accept([]state.Desired{{App: app, Goal: state.Stopped, Manifest: &m, Update: u}}); err != nil {
				t.Fatal(err)
			}
		}
		for app, u := range map[string]*state.Update{"kept": nil, "returning": {To: next, Phase: state.Returning, Back: true}} {
			m := *up
			m.ID = app
			if _, err := store.Accept([]state.Desired{{App: app, Goal: state.Stopped, Manifest: &m, Update: u, Previous: &state.Previous{Manifest: next, Copy: ".other"}}}); err != nil {
				t.Fatal(err)
			}
		}
		gone := []string{"kept", "kept.old", "kept.other.old", "kept.other.swap", "kept.other.new", "returning.new", "returning.swap.new", "moving.other", "moving.other.swap", "idle", "idle.old", "idle.swap", "idle.other", "idle.new", "idle.backup", "idle.backup.new", "idle.backup.pipe", "idle.trial", "moving.new", "stranger.restore", "stranger.restore.tar", ".new-x", doomed + "0"}
		stay := []string{"kept.other", "returning", "returning.old", "returning.swap", "returning.other", "returning.other.old", "returning.other.swap", "moving", "moving.swap", "moving.old", "back", "back.old", "stranger", "stranger.old", "stranger.restore.old", "cut.restore", "cut.restore.old", "cut.restore.tar", "cut.restore.json", "anything.else"}
		for _, name := range slices.Concat(gone, stay) {
			if err := os.MkdirAll(filepath.Join(perform.Snapshots(dir+"/data"), name, "db"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		sec, err := secrets.Open(dir + "/secrets")
		if err != nil {
			t.Fatal(err)
		}
		h := empty()
		r := New(h, store, sec, nil, dir+"/data", slog.New(slog.NewTextHandler(io.Discard, nil)))
		left, err := r.snapshots()
		if err != nil || slices.ContainsFunc(gone[:len(gone)-1], func(name string) bool { return slices.Contains(left, name) }) {
			t.Errorf("before anything begins, the old names are free: %v, %v", left, err)
		}
		if f := r.leftovers(); strings.Contains(f.Detail, doomed) {
			t.Errorf("before they are swept: %+v", f)
		}
		h.deleting = os.RemoveAll
		r.sweep(t.Context())
		if left, err = r.snapshots(); err != nil || !slices.Equal(left, slices.Sorted(slices.Values(stay))) {
			t.Errorf("left %v, %v; expected %v", left, err, stay)
		}
		f := r.leftovers()
		if want := "anything.else, stranger, stranger.old, stranger.restore.old"; f.OK || !strings.HasSuffix(f.Detail, ": "+want) || f.Remedy == "" {
			t.Errorf("%+v, expected %s", f, want)
		}
		if f := r.restorations(); f.OK || !strings.HasSuffix(f.Detail, ": cut") || f.Remedy == "" {
			t.Errorf("%+v", f)
		}
	})
}

// TestARestorationThatWasCutOffIsSettledAtTheStart; until then, and where that fails, only a
// purge is accepted for its application.
func TestARestorationThatWasCutOffIsSettledAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		record := perform.Snapshots(dir+"/data") + "/pair.restore.json"
		if err := errors.Join(os.MkdirAll(dir+"/data/pair/db", 0o700), os.MkdirAll(filepath.Dir(record), 0o700), os.WriteFile(record, []byte("-"), 0o600)); err != nil {
			t.Fatal(err)
		}
		h := empty()
		h.deleting = os.RemoveAll
		r := node(t, h, dir)
		synctest.Wait()
		if there(record) || there(dir+"/data/pair") || !r.restorations().OK {
			t.Errorf("it is not undone: %+v", r.restorations())
		}
		if all, err := r.store.Asked("pair", 10); err != nil || len(all) != 1 || all[0].Who != perform.Who || all[0].What != "undo a restoration that was cut off" {
			t.Errorf("%+v, %v", all, err)
		}
		if err := os.WriteFile(record, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Request(request.Request{App: "pair", Verb: request.Install, Who: "owner"}); !errors.Is(err, request.ErrRefused) || !strings.Contains(err.Error(), "restore it again") {
			t.Errorf("%v", err)
		}
		if _, err := r.Request(request.Request{App: "pair", Verb: request.Uninstall, Purge: true, Who: "owner"}); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if f := r.restorations(); there(record) || !f.OK {
			t.Errorf("a purge leaves %+v", f)
		}
	})
}

// TestAHalfOfAVolumeIsNamed: what a cut left beside volumes may be all of somebody's data, or
// half of it; it is its owner's to look at, unless the adoption goes on with it.
func TestAHalfOfAVolumeIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		for _, name := range []string{"pair/db", "pair/db.new", "adopting/db.new", "stranger/files.new", "_daemon/snapshots", "_daemon/x.new"} {
			if err := os.MkdirAll(filepath.Join(dir, "data", name), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		r := nodeWith(t, empty(), dir, nil)
		if err := r.store.PutData(state.Data{App: "pair", Version: "1", Volumes: []string{"db"}}); err != nil {
			t.Fatal(err)
		}
		m := *pair()
		m.ID = "adopting"
		if _, err := r.store.Accept([]state.Desired{{App: "adopting", Goal: state.Stopped, Manifest: &m, Adopted: map[string]string{"adopting": "old"}}}); err != nil {
			t.Fatal(err)
		}
		f := r.leftovers()
		if f.OK || !strings.Contains(f.Detail, dir+"/data/pair/db.new") || !strings.Contains(f.Detail, dir+"/data/stranger/files.new") || strings.Contains(f.Detail, "adopting") || strings.Contains(f.Detail, "_daemon/x") || strings.Contains(f.Detail, "pair/db,") {
			t.Errorf("%+v", f)
		}
	})
}

// TestDataOfNoApplicationIsNamed: a restore that a cut ended, or a record that is lost, leaves
// data that an installation would take for its own.
func TestDataOfNoApplicationIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		for _, name := range []string{"kept/db", "installed/db", "nobodys/db", "nobodys/files", "nothing", "lost+found/x", ".cache/x", "_daemon/state"} {
			if err := os.MkdirAll(filepath.Join(dir, "data", name), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		r := nodeWith(t, empty(), dir, nil)
		m := *pair()
		m.ID = "installed"
		if _, err := r.store.Accept([]state.Desired{{App: "installed", Goal: state.Stopped, Manifest: &m}}); err != nil {
			t.Fatal(err)
		}
		if err := r.store.PutData(state.Data{App: "kept", Version: "1", Volumes: []string{"db"}}); err != nil {
			t.Fatal(err)
		}
		if f, want := r.leftovers(), ": "+dir+"/data/nobodys/db, "+dir+"/data/nobodys/files"; f.OK || !strings.HasSuffix(f.Detail, want) || !strings.Contains(f.Remedy, "uninstall --purge") {
			t.Errorf("%+v, expected %s", f, want)
		}
	})
}

// TestDataOfNoApplicationIsPurged: of what the catalog no longer has, of what no record knows, and
// of nothing else.
func TestDataOfNoApplicationIsPurged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		data := filepath.Join(dir, "data")
		for _, name := range []string{"kept/db", "nobodys/db", "else/db"} {
			if err := os.MkdirAll(filepath.Join(data, name), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink("else", filepath.Join(data, "link")); err != nil {
			t.Fatal(err)
		}
		h := empty()
		h.deleting = os.RemoveAll
		r := nodeWith(t, h, dir, nil)
		if err := r.store.PutData(state.Data{App: "kept", Version: "1", Volumes: []string{"db"}}); err != nil {
			t.Fatal(err)
		}
		// Of a restoration that can be neither finished nor undone, all may still be beside the volumes.
		copies := perform.Snapshots(data)
		if err := os.MkdirAll(filepath.Join(copies, "cut.restore", "db"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(copies, "cut.restore.json"), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := r.secrets.Keep("cut", "password", "value"); err != nil {
			t.Fatal(err)
		}
		for _, app := range []string{"kept", "nobodys", "cut"} {
			if _, err := r.Request(request.Request{App: app, Verb: request.Uninstall}); !errors.Is(err, request.ErrUnknownApp) {
				t.Errorf("%s, without a purge: %v", app, err)
			}
			gen, err := r.Request(request.Request{App: app, Verb: request.Uninstall, Purge: true})
			if err != nil {
				t.Fatal(err)
			}
			var last view.Progress
			for range 2 { // under way, and when nothing is left that could be asked
				if err := r.Watch(t.Context(), app, gen, func(p view.Progress) error { last = p; return nil }); err != nil || last.Err != "" || !last.Done {
					t.Errorf("%s: %+v, %v", app, last, err)
				}
			}
			gone(t, filepath.Join(data, app), filepath.Join(copies, app+".restore"), filepath.Join(copies, app+".restore.json"), filepath.Join(dir, "secrets", app))
			if r.store.Data(app).App != "" {
				t.Errorf("%s is on record", app)
			}
			if err := r.Watch(t.Context(), app, gen+1, func(view.Progress) error { return nil }); !errors.Is(err, request.ErrUnknownApp) {
				t.Errorf("%s, another operation: %v", app, err)
			}
		}
		for _, gen := range []uint64{0, 1} { // none of them ever was
			if err := r.Watch(t.Context(), "nothing", gen, func(view.Progress) error { return nil }); !errors.Is(err, request.ErrUnknownApp) {
				t.Errorf("operation %d of what nobody knows: %v", gen, err)
			}
		}
		for _, app := range []string{"link", "nothing", "..", "_daemon", "else/db", ""} {
			if _, err := r.Request(request.Request{App: app, Verb: request.Uninstall, Purge: true}); !errors.Is(err, request.ErrUnknownApp) {
				t.Errorf("%q: %v", app, err)
			}
		}
		if !there(filepath.Join(data, "else/db")) {
			t.Error("somebody else's data is deleted")
		}
	})
}

func TestContainersOfNoApplicationAreNamed(t *testing.T) {
	obs := host.Observation{Containers: map[string]host.Container{"a": {App: "a"}, "b": {App: "b"}, "c": {App: "c"}, "broken": {App: "broken"}, "theirs": {}, "d-db": {App: "d"}}}
	before := state.Records{All: []state.Desired{{App: "a"}, {App: "b"}}, Broken: map[string]error{"broken": io.EOF}}
	after := state.Records{All: []state.Desired{{App: "a"}, {App: "c"}}, Broken: before.Broken}
	if got := stray(obs, before, after); !slices.Equal(got, []string{"d-db (d)"}) {
		t.Errorf("%v; b was uninstalled meanwhile, and c installed", got)
	}
	r := nodeWith(t, empty(), t.TempDir(), nil)
	for _, f := range r.Findings(t.Context(), nil) {
		if !f.OK {
			t.Errorf("a healthy node: %+v", f)
		}
	}
}

// TestWhatIsRequiredDoesNotComeAlongOverHalfARestoration: that would be taken for accepted.
func TestWhatIsRequiredDoesNotComeAlongOverHalfARestoration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, offered := t.TempDir(), needy()
		r := nodeWith(t, empty(), dir, offered)
		synctest.Wait()
		admit := func() (err error) {
			d := state.Desired{App: "pair", Goal: state.Running, Manifest: offered["pair"].Manifest}
			err = backupNode{r}.Admit(d, nil)
			if unagreed, is := errors.AsType[*request.Unagreed](err); is {
				err = backupNode{r}.Admit(d, unagreed.Asked)
			}
			return err
		}
		if err := admit(); err != nil {
			t.Fatal(err)
		}
		record := perform.Snapshots(dir+"/data") + "/dep.restore.json"
		if err := errors.Join(os.MkdirAll(filepath.Dir(record), 0o700), os.WriteFile(record, []byte("{"), 0o600)); err != nil {
			t.Fatal(err)
		}
		if err := admit(); !errors.Is(err, request.ErrRefused) || !strings.Contains(err.Error(), "dep: a restoration of it was cut off") {
			t.Errorf("%v", err)
		}
	})
}
