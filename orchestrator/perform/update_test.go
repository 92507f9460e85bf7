package perform_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/plan"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// next is the version after, with another volume and a newer format of its data.
func next() *manifest.Manifest {
	m := pair("2")
	m.Migration = 3
	m.Containers[1].Volumes = append(m.Containers[1].Volumes, manifest.Volume{Name: "index", Path: "/index"})
	return m
}

func updating(phase state.Phase) func(*state.Desired) {
	return func(d *state.Desired) {
		d.Note = "before"
		d.Update = &state.Update{To: next(), Source: "catalog beta 7", Phase: phase}
		if phase == state.RollingBack {
			d.Update.Error = "the update to 2 failed: it does not start"
		}
	}
}

func TestCopyAndSwitch(t *testing.T) {
	w := newWorld(t)
	d := w.record(t, updating(state.Staged))
	w.putData(t, "db")
	if out := w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.Copy}); out.Err != nil || w.took() != "copy [db] to pair" {
		t.Error(out.Err)
	}
	if out := w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.Switch}); out.Err != nil || w.now(t).Update.Phase != state.Switched {
		t.Errorf("%v, %+v", out.Err, w.now(t).Update)
	}
	if d.Update.Phase != state.Staged {
		t.Error("the record that others look at was changed in place")
	}
}

func TestAnUpdateThatHasEndedIsNeitherSwitchedNorRolledBack(t *testing.T) {
	for verb, phase := range map[plan.Verb]state.Phase{plan.Switch: state.Staged, plan.RolledBack: state.RollingBack} {
		w := newWorld(t)
		planned := w.record(t, updating(phase))
		w.record(t)
		if out := w.Do(t.Context(), planned, plan.Action{App: "pair", Verb: verb}); out.Err == nil || !strings.Contains(out.Err.Error(), "has ended already") || w.now(t).Update != nil {
			t.Errorf("%s: %v, %+v", verb, out.Err, w.now(t).Update)
		}
	}
}

func TestCommit(t *testing.T) {
	specs := map[string]string{"pair": "new", "pair-db": "new"}
	runs := func(spec, status string) host.Observation {
		return host.Observation{Containers: map[string]host.Container{"pair": {State: "running", Spec: "new"}, "pair-db": {State: status, Spec: spec}}}
	}
	for _, c := range []struct {
		name     string
		observed host.Observation
		fail     error
		why      string
	}{
		{"both run as the new version", runs("new", "running"), nil, ""},
		{"one runs as the old version", runs("old", "running"), nil, "pair-db does not run as version 2"},
		{"one does not run", runs("new", "exited"), nil, "pair-db does not run as version 2"},
		{"one is not there", host.Observation{Containers: map[string]host.Container{"pair": {State: "running", Spec: "new"}}}, nil, "pair-db does not run as version 2"},
		{"the engine does not answer", runs("new", "running"), errPlanted, host.ErrUnavailable.Error()},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			d := w.record(t, updating(state.Switched), func(d *state.Desired) { d.Declined = "one that failed before" })
			w.putData(t, "db", "index")
			w.observed, w.fail["observe"] = c.observed, c.fail
			out := w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.Commit, Manifest: next(), Specs: specs})
			now, data := w.now(t), w.store.Data("pair")
			if c.why != "" {
				if out.Err == nil || !strings.Contains(out.Err.Error(), c.why) || now.Update == nil || now.Manifest.Version != "1" || data.Version != "1" || w.took() != "" {
					t.Errorf("%v, %+v, %+v", out.Err, now, data)
				}
				if c.fail != nil && !errors.Is(out.Err, host.ErrUnavailable) {
					t.Errorf("%v", out.Err)
				}
				return
			}
			if out.Err != nil || now.Update != nil || now.Manifest.Version != "2" || now.Source != "catalog beta 7" || now.Note != "" || now.Declined != "" || data.Version != "2" || data.Migration != 3 {
				t.Errorf("%v, %+v, %+v", out.Err, now, data)
			}
			if p := now.Previous; p == nil || p.Manifest.Version != "1" || p.Copy != "" || p.Since.IsZero() || p.Taken.IsZero() {
				t.Errorf("there is no way back: %+v", p)
			}
			if got := w.took(); got != "" {
				t.Errorf("%s", got)
			}
		})
	}
}

// A good update is none that failed because the copy kept of the one before could not be deleted.
func TestCommitWhoseCopyCannotBeDeletedIsDone(t *testing.T) {
	w := newWorld(t)
	d := w.record(t, updating(state.Switched), func(d *state.Desired) {
		d.Previous, d.Update.Copy = &state.Previous{Manifest: pair("0")}, ".other"
	})
	w.putData(t, "db", "index")
	w.observed = host.Observation{Containers: map[string]host.Container{}}
	w.fail["delete snapshots/pair"] = errPlanted
	out := w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.Commit, Manifest: next()})
	if now := w.now(t); out.Err != nil || now.Update != nil || now.Manifest.Version != "2" || !strings.Contains(now.Note, "updated to 2; the copy of its data from the update before") || !strings.Contains(now.Note, errPlanted.Error()) {
		t.Errorf("%v, %+v", out.Err, now)
	}
}

func TestPutBackForgetsVolumesOfTheNewVersion(t *testing.T) {
	w := newWorld(t)
	d := w.record(t, updating(state.RollingBack))
	w.putData(t, "db", "index")
	out := w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.PutBack})
	if got, want := w.took(), "put-back pair to pair, delete pair/index"; out.Err != nil || got != want {
		t.Errorf("%v: %s, expected %s", out.Err, got, want)
	}
	if data := w.store.Data("pair"); !slices.Equal(data.Volumes, []string{"db"}) {
		t.Errorf("%+v", data)
	}
	w.putData(t, "db", "index")
	w.fail["put-back"] = errPlanted
	if out = w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.PutBack}); !errors.Is(out.Err, errPlanted) || strings.Contains(w.took(), "delete") || len(w.store.Data("pair").Volumes) != 2 {
		t.Errorf("%v, %+v", out.Err, w.store.Data("pair"))
	}
}

// TestARollbackWithoutRoomSaysHowItGoesOn: nobody is to delete the only copy for it.
func TestARollbackWithoutRoomSaysHowItGoesOn(t *testing.T) {
	for method, change := range map[string]func(*state.Desired){
		"put-back": updating(state.RollingBack),
		"exchange": goingBack(state.RollingBack),
	} {
		w := newWorld(t)
		d := w.record(t, change)
		w.putData(t, "db", "index")
		w.fail[method] = fmt.Errorf("%w: 3 MiB more", host.ErrNoRoom)
		out := w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.PutBack})
		if !errors.Is(out.Err, host.ErrNoRoom) || !strings.Contains(out.Err.Error(), "3 MiB more") || !strings.Contains(out.Err.Error(), "kept whole") || !strings.Contains(out.Err.Error(), "'archy start pair'") {
			t.Errorf("%s: %v", method, out.Err)
		}
		if len(w.store.Data("pair").Volumes) != 2 {
			t.Errorf("%s: %+v", method, w.store.Data("pair"))
		}
	}
}

// TestARollbackDeletesNoDataFromBeforeTheUpdate: a version may take up again a volume that the
// one before it had given up, whose data is kept.
func TestARollbackDeletesNoDataFromBeforeTheUpdate(t *testing.T) {
	w := newWorld(t)
	d := w.record(t, updating(state.RollingBack), func(d *state.Desired) { d.Update.Had = []string{"db", "index"} })
	w.putData(t, "db", "index")
	out := w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.PutBack})
	if got, want := w.took(), "put-back pair to pair"; out.Err != nil || got != want {
		t.Errorf("%v: %s, expected %s", out.Err, got, want)
	}
	if data := w.store.Data("pair"); !slices.Equal(data.Volumes, []string{"db", "index"}) {
		t.Errorf("%+v", data)
	}
}

// A commit may be cut between its two records, and the update fail after that.
func TestDataThatIsPutBackHasItsOldFormat(t *testing.T) {
	w := newWorld(t)
	d := w.record(t, updating(state.RollingBack))
	if err := w.store.PutData(state.Data{App: "pair", Version: "2", Migration: 3, Volumes: []string{"db", "index"}}); err != nil {
		t.Fatal(err)
	}
	out := w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.PutBack})
	if data := w.store.Data("pair"); out.Err != nil || data.Version != "1" || data.Migration != 2 {
		t.Errorf("%v: %+v; the old version would be refused its own data", out.Err, data)
	}
}

func TestRolledBack(t *testing.T) {
	w := newWorld(t)
	d := w.record(t, updating(state.RollingBack))
	out := w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.RolledBack})
	if out.Err != nil || out.RolledBack != "the update to 2 failed: it does not start; rolled back to 1" {
		t.Errorf("%+v", out)
	}
	now := w.now(t)
	if now.Update != nil || now.Declined != next().Digest() || now.Manifest.Version != "1" || !strings.Contains(now.Note, "it does not start; rolled back to 1 on ") {
		t.Errorf("%+v", now)
	}
}

// TestAVolumeThatWasMovedIsPutBackWhereItIs: before what is in the application's own directory,
// and never made anew.
func TestAVolumeThatWasMovedIsPutBackWhereItIs(t *testing.T) {
	w := newWorld(t)
	d := w.record(t, updating(state.RollingBack))
	away := filepath.Join(t.TempDir(), "disk", "pair", "db")
	if err := w.store.PutData(state.Data{App: "pair", Version: "1", Migration: 2, Volumes: []string{"db"}, Places: map[string]state.Place{"db": {Dir: away}}}); err != nil {
		t.Fatal(err)
	}
	if out := w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.Copy}); out.Err != nil || w.took() != "copy [db] to pair" {
		t.Error(out.Err)
	}
	out := w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.PutBack})
	if got, want := w.took(), "refill db disk, put-back pair to pair"; out.Err != nil || got != want {
		t.Errorf("%v: %s, expected %s", out.Err, got, want)
	}
	w.fail["refill"] = errPlanted
	if out = w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.PutBack}); !errors.Is(out.Err, errPlanted) || strings.Contains(w.took(), "put-back") {
		t.Errorf("%v", out.Err)
	}
	if _, err := w.secrets.Ensure(pair("1"), false); err != nil {
		t.Fatal(err)
	}
	prepare := plan.Action{App: "pair", Verb: plan.Prepare, Manifest: pair("1")}
	if out = w.Do(t.Context(), d, prepare); out.Err == nil || !strings.Contains(out.Err.Error(), away+", which is not there; connect and mount its disk") || strings.Contains(w.took(), "volumes") {
		t.Errorf("its disk is not there: %v", out.Err)
	}
	if err := os.MkdirAll(away, 0o700); err != nil {
		t.Fatal(err)
	}
	if out = w.Do(t.Context(), d, prepare); out.Err != nil || !strings.HasSuffix(w.took(), ", volumes []") {
		t.Errorf("%v", out.Err)
	}
}
