package orchestrator

import (
	"errors"
	"fmt"
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
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// updated is a node on which the pair was updated from 1 to 2, and has written since.
func updated(t *testing.T) *lived {
	t.Helper()
	l := &lived{t: t, dir: inMemory(t), h: empty(), bad: map[string]bool{}}
	l.h.spoils = l.spoiled
	l.begin()
	t.Cleanup(func() { l.end() })
	l.Offer("1", false)
	l.must(l.Install())
	l.must(l.Write("old"))
	l.Offer("2", false)
	l.must(l.Update())
	l.must(l.Write("new"))
	return l
}

// must wants a request accepted, or a write done, and waits until all is quiet.
func (l *lived) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
	time.Sleep(5 * time.Minute)
	synctest.Wait()
}

// is wants a version to run on this data, with one copy beside it.
func (l *lived) is(version, content string, copies ...string) {
	l.t.Helper()
	f := l.Look()
	b, err := os.ReadFile(l.inForce() + "/file")
	if !f.Up || f.Version != version || string(b) != content || err != nil || len(f.Wrong) > 0 {
		l.t.Errorf("%s of %s, up: %v, with %q, %v; wrong: %q; expected %s with %q", f.Said, f.Version, f.Up, b, err, f.Wrong, version, content)
	}
	if have, err := l.r.snapshots(); err != nil || !slices.Equal(have, copies) {
		l.t.Errorf("copies: %q, %v; expected %q", have, err, copies)
	}
}

func (l *lived) record() state.Desired {
	l.t.Helper()
	d, err := l.r.store.Get("pair")
	if err != nil {
		l.t.Fatal(err)
	}
	return d
}

// TestBackWithItsDataAndForwardAgain: each is one request, and nothing of either is lost.
func TestBackWithItsDataAndForwardAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := updated(t)
		l.is("2", "new", "pair")
		if d := l.record(); d.Previous == nil || d.Previous.Manifest.Version != "1" {
			t.Fatalf("%+v", d.Previous)
		}
		l.must(l.Rollback())
		l.is("1", "old", "pair.other")
		if v, err := l.r.App("pair"); err != nil || !v.Held || v.Available == nil || v.Previous == nil || v.Previous.Version != "2" {
			t.Errorf("%+v, %v", v, err)
		}
		if _, err := l.r.Request(request.Request{App: "pair", Verb: request.Update, Automatic: true}); !errors.Is(err, request.ErrRefused) {
			t.Errorf("it comes again by itself: %v", err)
		}
		l.must(l.Write("old, and more"))
		l.must(l.Rollback())
		l.is("2", "new", "pair")
		l.must(l.Rollback())
		l.is("1", "old, and more", "pair.other")
		asked, err := l.r.History("pair", 100)
		if n := len(slices.DeleteFunc(asked, func(a state.Asked) bool { return a.What != "rollback" || a.Refused != "" })); err != nil || n != 3 {
			t.Errorf("%d rollbacks in the history, %v", n, err)
		}
	})
}

func TestTheNextUpdateIsTheOnlyStepBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := updated(t)
		l.Offer("3", false)
		l.must(l.Update())
		l.is("3", "new", "pair.other")
		l.must(l.Write("newest"))
		l.Offer("4", true)
		l.must(l.Update())
		l.is("3", "newest", "pair.other") // one that fails leaves it as it is
		l.must(l.Rollback())
		l.is("2", "new", "pair")
	})
}

func TestUninstallingEndsTheWayBack(t *testing.T) {
	for _, purge := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			l := updated(t)
			l.must(l.Uninstall(purge))
			if have, err := l.r.snapshots(); err != nil || len(have) > 0 {
				t.Errorf("purge %v: %q, %v", purge, have, err)
			}
			l.must(l.Install())
			if err := l.Rollback(); !errors.Is(err, request.ErrRefused) {
				t.Errorf("purge %v: %v", purge, err)
			}
		})
	}
}

// TestARollbackIsCutAtEachStep: power is cut at each call to the node in turn. In the end the
// older version runs on its data, or, where it does not come up any more, the newer one on
// what that has written; and from there the other one is had again.
func TestARollbackIsCutAtEachStep(t *testing.T) {
	for _, bad := range []bool{false, true} {
		phases := map[state.Phase]bool{}
		for moment, done := 1, false; !done && moment < 100 && !t.Failed(); moment++ {
			synctest.Test(t, func(t *testing.T) {
				l := updated(t)
				l.bad["1"] = bad
				l.CutAt(moment)
				if err := l.Rollback(); err != nil {
					t.Fatal(err)
				}
				ended := func() bool { return l.record().Update == nil }
				for begin := time.Now(); !l.isDown() && !ended() && time.Since(begin) < 20*time.Minute; {
					time.Sleep(100 * time.Millisecond)
					synctest.Wait()
				}
				if done = !l.isDown(); done {
					l.CutAt(0)
				} else {
					if u := l.record().Update; u != nil {
						phases[u.Phase] = true
					}
					l.Cut()
				}
				l.must(nil)
				time.Sleep(20 * time.Minute)
				synctest.Wait()
				if bad {
					l.is("2", "new", "pair")
					l.bad["1"] = false
				} else {
					l.is("1", "old", "pair.other")
					l.must(l.Rollback())
					l.is("2", "new", "pair")
				}
				if t.Failed() {
					t.Logf("cut at moment %d, bad: %v", moment, bad)
				}
			})
		}
		want := []state.Phase{state.Staged, state.Returning, state.Switched}
		if bad {
			want = append(want, state.RollingBack)
		}
		for _, p := range want {
			if !phases[p] {
				t.Errorf("bad: %v: no cut met the phase %s", bad, p)
			}
		}
	}
}

func TestTheWayBackEndsAfterAWeek(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := updated(t)
		until := l.record().Previous.Until()
		l.r.endPrevious(t.Context(), until.Add(-time.Second))
		l.is("2", "new", "pair")
		l.r.endPrevious(t.Context(), until)
		l.is("2", "new")
		if d := l.record(); d.Previous != nil || d.Note != "" {
			t.Errorf("%+v, note %q", d.Previous, d.Note)
		}
		if err := l.Rollback(); !errors.Is(err, request.ErrRefused) {
			t.Error(err)
		}
		asked, err := l.r.History("pair", 10)
		if err != nil || !slices.ContainsFunc(asked, func(a state.Asked) bool {
			return a.Who == perform.Who && strings.Contains(a.What, "the way back to 1 has ended")
		}) {
			t.Errorf("the history is silent: %+v, %v", asked, err)
		}
	})
}

// TestTheWayBackIsCountedByTheClockThatIsRight: an update was done while it was years ahead.
func TestTheWayBackIsCountedByTheClockThatIsRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := updated(t)
		right := l.record().Previous.Since.AddDate(-3, 0, 0)
		l.r.endPrevious(t.Context(), right)
		l.is("2", "new", "pair")
		if until := l.record().Previous.Until(); !until.Equal(right.Add(state.KeepPrevious)) {
			t.Errorf("it is kept until %s", until)
		}
		l.r.endPrevious(t.Context(), right.Add(state.KeepPrevious))
		l.is("2", "new")
	})
}

// TestTheWayBackGoesFirstWhereTheDiskFills: the oldest, until there is room; none of what an
// update needs that is under way.
func TestTheWayBackGoesFirstWhereTheDiskFills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, dir := empty(), t.TempDir()
		r := nodeWith(t, h, dir, nil)
		snapshots := perform.Snapshots(r.dataDir)
		for i, app := range []string{"under-way", "older", "newer"} {
			m := imaged(app, "r/"+app)
			d := state.Desired{App: app, Goal: state.Stopped, Manifest: m, Previous: &state.Previous{Manifest: m, Since: time.Now().Add(time.Duration(i-10) * time.Hour)}}
			if i == 0 {
				d.Update = &state.Update{To: m, Phase: state.RollingBack, Copy: ".other"}
			}
			if err := os.MkdirAll(filepath.Join(snapshots, app), 0o700); err != nil {
				t.Fatal(err)
			}
			if _, err := r.store.Accept([]state.Desired{d}); err != nil {
				t.Fatal(err)
			}
		}
		h.mu.Lock()
		h.used = 89
		h.deleting = func(dir string) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.used = 50
			return os.RemoveAll(dir)
		}
		h.fail = map[string]error{"put-back": errors.New("planted: the update stays under way")}
		h.mu.Unlock()
		have := func(want ...string) {
			t.Helper()
			time.Sleep(2 * previousEvery)
			synctest.Wait()
			if got, err := r.snapshots(); err != nil || !slices.Equal(got, want) {
				t.Errorf("%q, %v; expected %q", got, err, want)
			}
		}
		have("newer", "older", "under-way")
		h.mu.Lock()
		h.used = 95
		h.mu.Unlock()
		have("newer", "under-way")
		if d, err := r.store.Get("older"); err != nil || d.Previous != nil || !strings.Contains(d.Note, "has ended: the disk was filling") {
			t.Errorf("%+v, %v", d, err)
		}
	})
}

// TestARollbackWithoutRoomGoesOnOnceThereIsSome: until then it says what is lacking, is tried
// seldom, or when its owner asks, and keeps the copy.
func TestARollbackWithoutRoomGoesOnOnceThereIsSome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := updated(t)
		before, err := l.r.snapshots()
		if err != nil {
			t.Fatal(err)
		}
		room := func(is error) {
			l.h.mu.Lock()
			defer l.h.mu.Unlock()
			l.h.fail["put-back"] = is
		}
		tries := func() (n int) {
			l.h.mu.Lock()
			defer l.h.mu.Unlock()
			for _, call := range l.h.calls {
				if call == "put-back" {
					n++
				}
			}
			return n
		}
		room(fmt.Errorf("%w: 3 MiB more", host.ErrNoRoom))
		l.Offer("3", true)
		l.must(l.Update())
		if v, err := l.r.App("pair"); err != nil || v.State != view.Failed || !strings.Contains(v.Error, "3 MiB more") || !strings.Contains(v.Error, "kept whole") {
			t.Errorf("%s: %q, %v", v.State, v.Error, err)
		}
		had := tries()
		time.Sleep(time.Hour)
		if more := tries() - had; more < 10 || more > 20 {
			t.Errorf("tried %d times within an hour", more)
		}
		had = tries()
		if err := l.request(request.Request{Verb: request.Start}); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if tries() == had {
			t.Error("its owner asks for nothing")
		}
		room(nil)
		l.must(nil)
		l.is("2", "new", before...)
	})
}
