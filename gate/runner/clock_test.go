package runner

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/reports"
)

// clocks are those of a machine whose wall clock is ahead of this one's by what set says of each
// reading. Both are from one clock, however long a reading takes to come.
type clocks struct {
	mu    sync.Mutex
	start time.Time
	read  int
	set   func(read int) time.Duration
}

func (c *clocks) now() (Reading, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.read++; c.read == 1 {
		c.start = time.Now()
	}
	steady := time.Since(c.start)
	return Reading{Wall: c.start.Round(0).Add(steady + c.set(c.read)), Steady: steady}, nil
}

// jumps are those in the run's record on disk.
func jumps(t *testing.T, dir string) []reports.Jump {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, reports.PlanFile))
	if err != nil {
		t.Fatal(err)
	}
	var p plan.Plan
	if err := json.Unmarshal(b, &p); err != nil {
		t.Fatal(err)
	}
	return p.Jumps
}

// The clock of the gate's machine is set in cycle 1, and the nodes' are not, or are the same one:
// nothing is red for it, the work goes on, and the run's record says it.
func TestAClockOfTheGatesThatJumpsIsSaidAndTurnsNothingRed(t *testing.T) {
	for name, by := range map[string]time.Duration{"a day forwards": 24 * time.Hour, "an hour back": -time.Hour} {
		for _, shared := range []bool{false, true} {
			f := &fake{}
			if !shared {
				f.clock = func(asked int) time.Duration { return -by * time.Duration(min(asked-1, 1)) }
			}
			r, dir := on(t, f)
			c := &clocks{set: func(int) time.Duration { return by * time.Duration(min(f.clocks, 1)) }}
			r.Clocks = c.now
			if err := r.Run(t.Context()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if got := red(t, dir); len(got) > 0 {
				t.Errorf("%s: red: %q", name, got)
			}
			for _, cell := range r.Plan.Cells() {
				if got := statuses(t, dir)[cell]; got.Status != reports.Passed {
					t.Errorf("%s: %s is %+v", name, cell, got)
				}
			}
			got := jumps(t, dir)
			if len(got) != 1 || got[0].Away || (time.Duration(got[0].Seconds*float64(time.Second))-by).Abs() > time.Second {
				t.Errorf("%s: %v", name, got)
			}
		}
	}
}

// What is off by the gate's clock as it was before, too, is the node's own fault.
func TestANodesOwnClockIsRedWhateverTheGatesDoes(t *testing.T) {
	f := &fake{clock: func(asked int) time.Duration { return time.Duration(asked-1) * 7 * time.Minute }}
	r, dir := on(t, f)
	c := &clocks{set: func(int) time.Duration { return time.Hour * time.Duration(min(f.clocks, 1)) }}
	r.Clocks = c.now
	if err := r.Run(t.Context()); !errors.Is(err, nodes.ErrRefused) || len(red(t, dir)) != 2 {
		t.Errorf("%v, red: %q", err, red(t, dir))
	}
}

func TestAClockThatIsNotSetJumpsNowhere(t *testing.T) {
	for name, set := range map[string]func(read int) time.Duration{
		"it runs":                  func(int) time.Duration { return 0 },
		"a leap second":            func(read int) time.Duration { return -time.Second * time.Duration(min(read/5, 1)) },
		"corrected in small steps": func(read int) time.Duration { return 500 * time.Millisecond * time.Duration(read) },
	} {
		r, dir := on(t, &fake{})
		c := &clocks{set: set}
		r.Clocks = c.now
		if err := r.Run(t.Context()); err != nil || len(jumps(t, dir)) > 0 {
			t.Errorf("%s: %v, %v", name, err, jumps(t, dir))
		}
	}
	one, err := readClocks()
	if err != nil {
		t.Fatal(err)
	}
	two, err := readClocks()
	if err != nil || two.set(one) != 0 || two.Steady < one.Steady {
		t.Errorf("%+v, then %+v: %v", one, two, err)
	}
	if slow := (Reading{Wall: one.Wall.Add(time.Hour), Steady: one.Steady, Within: 2 * time.Hour}); slow.set(one) != 0 {
		t.Error("two clocks that were not read together say that one was set")
	}
}

// A session that begins before what the run has noted had its clock set while the run was away.
func TestAClockThatWasSetBackWhileTheRunWasAwayIsSaidOnce(t *testing.T) {
	f := &fake{}
	r, dir := on(t, f)
	r.Plan.Asked.Cycles = 1
	if err := r.Run(t.Context()); err != nil || len(jumps(t, dir)) > 0 {
		t.Fatalf("%v, %v", err, jumps(t, dir))
	}
	for session := range 3 {
		results, err := reports.ReadResults(dir)
		if err != nil {
			t.Fatal(err)
		}
		again := &Runner{Plan: r.Plan, Fleet: r.Fleet, Dir: dir, Suite: r.Suite, Store: r.Store, Results: results, Observer: r.Observer, Machine: r.Machine}
		again.Plan.Asked.Cycles++
		c := &clocks{set: func(int) time.Duration { return -time.Hour }}
		if session == 0 { // the same clock as before
			c.set = func(int) time.Duration { return 0 }
		}
		again.Clocks = c.now
		if err := again.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := jumps(t, dir)
		if len(got) != min(session, 1) {
			t.Fatalf("session %d: %v", session, got)
		}
		if session > 0 && (!got[0].Away || !strings.Contains(got[0].String(), "the clock of the gate's machine jumped by at least -59m") && !strings.Contains(got[0].String(), "-1h0m")) {
			t.Errorf("%s", got[0])
		}
	}
}

func TestAJumpIsSaidInWords(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	got := []string{reports.Jump{At: at, Seconds: 86400.2}.String(), reports.Jump{At: at, Seconds: -3600, Away: true}.String()}
	want := []string{"the clock of the gate's machine jumped by +24h0m0s, noticed at 2026-01-02 03:04:05 UTC", "the clock of the gate's machine jumped by at least -1h0m0s, noticed at 2026-01-02 03:04:05 UTC"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
