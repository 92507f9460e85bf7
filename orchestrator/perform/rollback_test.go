package perform_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/perform"
	"github.com/archipelago-cloud/archipelago/orchestrator/plan"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

var taken = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// goingBack is from version 2, which has another volume and a newer format, to version 1.
func goingBack(phase state.Phase) func(*state.Desired) {
	return func(d *state.Desired) {
		d.Manifest, d.Declined = next(), "one that failed before"
		d.Previous = &state.Previous{Manifest: pair("1"), Source: "catalog beta 6", Volumes: []string{"db"}, Taken: taken, Since: taken}
		d.Update = &state.Update{To: pair("1"), Source: "catalog beta 6", Phase: phase, Back: true, Copy: ".other", Had: []string{"db", "index"}}
		if phase == state.RollingBack {
			d.Update.Error = "going back to 1 failed: it does not start"
		}
	}
}

// kept makes the copy that is kept of an update.
func (w *world) kept(t *testing.T, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(perform.Snapshots(w.data), name), 0o700); err != nil {
		t.Fatal(err)
	}
}

func TestTheWayBackGoesThroughItsPhases(t *testing.T) {
	w := newWorld(t)
	d := w.record(t, goingBack(state.Staged))
	w.putData(t, "db", "index")
	do := func(verb plan.Verb) error { return w.Do(t.Context(), d, plan.Action{App: "pair", Verb: verb}).Err }
	if err := do(plan.Copy); err == nil || !strings.Contains(err.Error(), "snapshots/pair, is gone") || w.took() != "" {
		t.Errorf("without the copy that is kept: %v", err)
	}
	w.kept(t, "pair")
	if err := do(plan.Copy); err != nil || w.took() != "begin-exchange [db index] to pair.other" {
		t.Error(err)
	}
	if err := do(plan.Switch); err != nil || w.now(t).Update.Phase != state.Returning || w.now(t).Update.Taken.IsZero() {
		t.Errorf("%v, %+v", err, w.now(t).Update)
	}
	at := w.now(t).Update.Taken
	w.fail["exchange"] = errPlanted
	if err := do(plan.PutBack); !errors.Is(err, errPlanted) || w.store.Data("pair").Migration != 2 || len(w.store.Data("pair").Volumes) != 2 {
		t.Errorf("%v, %+v", err, w.store.Data("pair"))
	}
	delete(w.fail, "exchange")
	w.took()
	if err := w.store.PutData(state.Data{App: "pair", Version: "2", Migration: 3, Volumes: []string{"db", "index"}}); err != nil {
		t.Fatal(err)
	}
	if err := do(plan.PutBack); err != nil || w.took() != "exchange [db index] from pair to pair.other" {
		t.Error(err)
	}
	if data := w.store.Data("pair"); data.Version != "1" || data.Migration != 2 || !slices.Equal(data.Volumes, []string{"db"}) {
		t.Errorf("%+v: the older version would be refused its own data", data)
	}
	if err := do(plan.Switch); err != nil || w.now(t).Update.Phase != state.Switched || w.now(t).Update.Taken != at {
		t.Errorf("%v, %+v", err, w.now(t).Update)
	}
}

// TestWhatIsLeftIsTheWayForward, and the version that is left does not come again by itself.
func TestWhatIsLeftIsTheWayForward(t *testing.T) {
	w := newWorld(t)
	d := w.record(t, goingBack(state.Switched), func(d *state.Desired) { d.Source, d.Update.Taken = "catalog beta 7", taken.Add(time.Hour) })
	w.putData(t, "db")
	w.observed = host.Observation{Containers: map[string]host.Container{}}
	out := w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.Commit, Manifest: pair("1")})
	now := w.now(t)
	if out.Err != nil || now.Update != nil || now.Manifest.Version != "1" || now.Source != "catalog beta 6" || now.Held != next().Digest() {
		t.Fatalf("%v, %+v", out.Err, now)
	}
	if p := now.Previous; p == nil || p.Manifest.Version != "2" || p.Source != "catalog beta 7" || p.Copy != ".other" || !slices.Equal(p.Volumes, []string{"db", "index"}) || !p.Taken.Equal(taken.Add(time.Hour)) || time.Since(p.Since) > time.Hour {
		t.Errorf("%+v", p)
	}
	if got := w.took(); got != "" {
		t.Errorf("%s", got)
	}
}

func TestAWayBackThatFailsLeavesEverythingAsItWas(t *testing.T) {
	w := newWorld(t)
	d := w.record(t, goingBack(state.RollingBack))
	w.putData(t, "db")
	out := w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.PutBack})
	if got, want := w.took(), "exchange [db index] from pair.other to pair"; out.Err != nil || got != want {
		t.Errorf("%v: %s, expected %s", out.Err, got, want)
	}
	if data := w.store.Data("pair"); data.Version != "2" || data.Migration != 3 || !slices.Equal(data.Volumes, []string{"db", "index"}) {
		t.Errorf("%+v", data)
	}
	out = w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.RolledBack})
	now := w.now(t)
	if out.Err != nil || now.Update != nil || now.Manifest.Version != "2" || now.Previous == nil || now.Previous.Manifest.Version != "1" || now.Previous.Copy != "" || now.Declined != "one that failed before" || now.Held != "" || !strings.Contains(now.Note, "going back to 1 failed: it does not start; rolled back to 2 on ") {
		t.Errorf("%v, %+v", out.Err, now)
	}
}

func TestTheNextUpdateTakesThePlaceOfTheWayBack(t *testing.T) {
	w := newWorld(t)
	three := next()
	three.Version = "3"
	d := w.record(t, goingBack(state.Switched), func(d *state.Desired) {
		d.Update = &state.Update{To: three, Source: "catalog beta 8", Phase: state.Switched, Copy: ".other", Had: []string{"db", "index"}}
		d.Held = "one that its owner has gone back from"
	})
	w.putData(t, "db", "index")
	w.observed = host.Observation{Containers: map[string]host.Container{}}
	out := w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.Commit, Manifest: three})
	now := w.now(t)
	if out.Err != nil || now.Previous == nil || now.Previous.Manifest.Version != "2" || now.Previous.Copy != ".other" || now.Held != "" || w.took() != "delete snapshots/pair" {
		t.Errorf("%v, %+v", out.Err, now.Previous)
	}
	if now.Previous.Taken.IsZero() {
		t.Error("an update that a daemon before this one has begun is of no time")
	}
}

// TestTheWayBackMakesRoomForTheNextUpdate: where two copies do not fit; and for nothing else.
func TestTheWayBackMakesRoomForTheNextUpdate(t *testing.T) {
	for _, c := range []struct {
		fail       error
		want       string
		stays, err bool
	}{
		{nil, "copy [db] to pair.other", true, false},
		{errPlanted, "copy [db] to pair.other", true, true},
		{fmt.Errorf("copying: %w", host.ErrNoRoom), "copy [db] to pair.other, delete snapshots/pair, copy [db] to pair.other", false, true},
	} {
		w := newWorld(t)
		d := w.record(t, goingBack(state.Staged), func(d *state.Desired) { d.Update.Back = false })
		w.putData(t, "db")
		w.fail["copy"] = c.fail
		out := w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.Copy})
		if got := w.took(); got != c.want || (out.Err != nil) != c.err || (w.now(t).Previous != nil) != c.stays {
			t.Errorf("%v: %s, %v, %+v", c.fail, got, out.Err, w.now(t).Previous)
		}
		asked, err := w.store.Asked("pair", 10)
		if told := len(asked) == 1 && strings.Contains(asked[0].What, "the way back to 1 has ended: there was no room"); err != nil || told == c.stays {
			t.Errorf("%v: history %+v, %v", c.fail, asked, err)
		}
	}
	// Without one, an update that does not fit fails as it is.
	w := newWorld(t)
	d := w.record(t, updating(state.Staged))
	w.putData(t, "db")
	w.fail["copy"] = host.ErrNoRoom
	if out := w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.Copy}); !errors.Is(out.Err, host.ErrNoRoom) || w.took() != "copy [db] to pair" {
		t.Error(out.Err)
	}
}

func TestAnUninstallationEndsTheWayBack(t *testing.T) {
	w := newWorld(t)
	d := w.record(t, goingBack(state.Staged), func(d *state.Desired) { d.Update, d.Goal = nil, state.Absent })
	w.putData(t, "db", "index")
	if out := w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.RemoveAll}); out.Err != nil || !strings.Contains(w.took(), "delete snapshots/pair") {
		t.Error(out.Err)
	}
	w.fail["delete snapshots/pair"] = errPlanted
	if out := w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.RemoveAll}); !errors.Is(out.Err, errPlanted) {
		t.Errorf("the record that names the copy would be forgotten: %v", out.Err)
	}
}
