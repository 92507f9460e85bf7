package matrix

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/reports"
)

// boot is the one that healthy snapshots were taken on.
const boot nodes.BootID = "boot/1"

// harness gives a session whose node answers on a boot, or with an error. There is
// nothing at the node's address: evidence cannot be had.
func harness(t *testing.T, on nodes.BootID, gone error) *Session {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	s := NewSession(&Shard{Dir: t.TempDir(), Cycle: 1, Node: nodes.Node{Name: "n", Address: "127.0.0.1", Port: port, User: "nobody"}, Requirers: map[string][]Requirer{"pair": {{App: "wallet"}}}})
	t.Cleanup(s.Close)
	s.probe = func(context.Context) (nodes.BootID, error) { return on, gone }
	return s
}

// held is a step that takes the snapshots and passes.
func held(snapshots ...*Snapshot) Work {
	return func(_ context.Context, _ *Environment, rec *Recorder) error {
		rec.held = append(rec.held, snapshots...)
		return nil
	}
}

// fails is a step that looks once and fails.
func fails(err error) Work {
	return func(ctx context.Context, env *Environment, rec *Recorder) error {
		rec.held = append(rec.held, healthy())
		return err
	}
}

// sees is a step that takes a snapshot and cannot go on.
func sees(s *Snapshot, err error) Work {
	return func(ctx context.Context, env *Environment, rec *Recorder) error {
		rec.held = append(rec.held, s)
		return err
	}
}

func liar() *Snapshot {
	s := healthy()
	s.lies = []string{"metrics: the daemon does not list pair"}
	return s
}

// blind is a step that fails before it looks.
func blind(err error) Work {
	return func(context.Context, *Environment, *Recorder) error { return err }
}

func privileged() *Snapshot {
	s := healthy()
	s.Containers[0].Privileged = true
	return s
}

func otherBoot() *Snapshot {
	s := healthy()
	s.Boot = "boot/2"
	return s
}

var errRed = errors.New("the data is gone")

// TestAStepIsJudged takes fake steps through the harness: what passes, what is red
// and what is not run, and what the reader is told.
func TestAStepIsJudged(t *testing.T) {
	unreachable := fmt.Errorf("node n: connecting: %w", nodes.ErrLost)
	for _, c := range []struct {
		name string
		step Step
		boot nodes.BootID
		gone error
		want string // in the error; empty: passed
		lost bool   // not run, rather than red
	}{
		{name: "passed", step: Step{Run: held(healthy(), healthy())}, boot: boot},
		{name: "failed", step: Step{Run: fails(errRed)}, boot: boot, want: "the data is gone"},
		{name: "precondition failed", step: Step{Before: fails(errRed), Run: held()}, boot: boot, want: "before the step: the data is gone"},
		{name: "precondition passed, step failed", step: Step{Before: held(healthy()), Run: fails(errRed)}, boot: boot, want: "the data is gone"},
		{name: "invariant violated in the first snapshot", step: Step{Run: held(privileged(), healthy())}, boot: boot, want: "invariant: container pair-db is privileged"},
		{name: "invariant violated in the last snapshot", step: Step{Run: held(healthy(), privileged())}, boot: boot, want: "invariant: container pair-db is privileged"},
		{name: "invariant violated before the step", step: Step{Before: held(privileged()), Run: held(healthy())}, boot: boot, want: "invariant: container pair-db is privileged"},
		{name: "invariant violated, and failed", step: Step{Before: held(privileged()), Run: blind(errRed)}, boot: boot, want: "the data is gone; invariant: container pair-db is privileged"},
		{name: "invariant violated, and node lost", step: Step{Before: held(privileged()), Run: blind(unreachable)}, gone: unreachable, want: "invariant: container pair-db is privileged; then node n: connecting"},
		{name: "invariant violated, and browser broken", step: Step{Run: sees(privileged(), ErrBrowser)}, boot: boot, want: "invariant: container pair-db is privileged; then browser"},
		{name: "invariant violated, and node gone", step: Step{Run: held(privileged())}, gone: unreachable, want: "invariant: container pair-db is privileged"},
		{name: "invariant violated, and a look incomplete", step: Step{Run: sees(privileged(), ErrIncomplete)}, boot: boot, want: "invariant: container pair-db is privileged; then"},
		{name: "the daemon lies, and node lost", step: Step{Run: sees(liar(), unreachable)}, boot: boot, want: "node n: connecting", lost: true},
		{name: "the daemon lies, and node gone", step: Step{Run: held(liar())}, gone: unreachable, want: "node n: connecting", lost: true},
		{name: "node gone", step: Step{Run: fails(errRed)}, gone: unreachable, want: "node n: connecting: " + nodes.ErrLost.Error() + " (the data is gone)", lost: true},
		{name: "node gone before anything was seen", step: Step{Before: blind(errRed), Run: held()}, gone: unreachable, want: "(before the step: the data is gone)", lost: true},
		{name: "failed before anything was seen", step: Step{Before: blind(errRed), Run: held()}, boot: boot, want: "before the step: the data is gone"},
		{name: "node gone while the step passed", step: Step{Run: held(healthy())}, gone: unreachable},
		{name: "node rebooted", step: Step{Run: fails(errRed)}, boot: "boot/2", want: "the node rebooted by itself during the step: boot identity boot/2, before boot/1 (the data is gone)"},
		{name: "node rebooted, and the step passed", step: Step{Run: held(healthy(), otherBoot())}, boot: "boot/2", want: "the node rebooted by itself during the step: boot identity boot/2, before boot/1"},
		{name: "node rebooted by the step that passed", step: Step{Run: held(healthy(), otherBoot()), Reboots: true}, boot: "boot/2"},
		{name: "node rebooted by the step", step: Step{Run: fails(errRed), Reboots: true}, boot: "boot/2", want: "the data is gone"},
		{name: "node lost under the step", step: Step{Run: fails(unreachable)}, boot: boot, want: "node n: connecting", lost: true},
		{name: "node lost before the step", step: Step{Before: fails(unreachable), Run: held()}, boot: boot, want: "before the step: node n", lost: true},
		{name: "browser broken", step: Step{Run: fails(ErrBrowser)}, boot: boot, want: "browser", lost: true},
		{name: "interrupted", step: Step{Run: fails(context.Canceled)}, boot: boot, want: "canceled", lost: true},
		{name: "deadline of an operation", step: Step{Run: fails(context.DeadlineExceeded)}, boot: boot, want: "deadline", lost: false},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.step.Name = "fake"
			s := harness(t, c.boot, c.gone)
			asked := 0
			node := s.probe
			s.probe = func(ctx context.Context) (nodes.BootID, error) { asked++; return node(ctx) }
			g := s.group(c.step, stack())
			g.perform(t.Context())
			o, err := g.conclude(t.Context(), 0)
			switch {
			case c.want == "" && err != nil:
				t.Fatalf("%v, expected it to pass", err)
			case c.want == "":
			case err == nil || !strings.Contains(err.Error(), c.want):
				t.Fatalf("error is %v, expected %q", err, c.want)
			case strings.Contains(err.Error(), "before the step") != strings.Contains(c.want, "before the step"):
				t.Errorf("%v: was it before the step or not?", err)
			case broken(err) != c.lost:
				t.Errorf("%v: not run is %v, expected %v", err, broken(err), c.lost)
			}
			if invariant := strings.Contains(c.want, "invariant: "); invariant != (o.Kind == reports.Invariant) || c.lost && o.Kind != "" {
				t.Errorf("%v is of kind %q", err, o.Kind)
			}
			// The node is asked only where it is not known who is to blame.
			if open := g.cells[0].err != nil && !broken(g.cells[0].err); open != (asked == 1) {
				t.Errorf("the node was asked for its boot %d times", asked)
			}
			// Evidence is kept of what is red, and of nothing else.
			if red := c.want != "" && !c.lost; red != (len(o.Evidence) == 5) {
				t.Errorf("evidence is %q", o.Evidence)
			}
			for _, file := range o.Evidence {
				b, err := os.ReadFile(filepath.Join(s.Shard.Dir, file))
				if err != nil || !strings.Contains(string(b), "could not be collected") {
					t.Errorf("%s holds %q (%v)", file, b, err)
				}
			}
		})
	}
}

func TestAFailedPreconditionKeepsTheStepFromRunning(t *testing.T) {
	ran := false
	g := harness(t, boot, nil).group(Step{Name: "fake", Before: fails(errRed), Run: func(context.Context, *Environment, *Recorder) error {
		ran = true
		return nil
	}}, stack())
	g.perform(t.Context())
	if ran {
		t.Error("the step ran")
	}
}

// TestTimingAddsUp wants the accounts of a cell to add up to its total, the gate's
// own being what is left, whether the step passes or not.
func TestTimingAddsUp(t *testing.T) {
	for _, failure := range []error{nil, nodes.ErrLost} {
		synctest.Test(t, func(t *testing.T) {
			s := &Session{Shard: &Shard{Dir: t.TempDir()}, probe: func(context.Context) (nodes.BootID, error) { return boot, nil }}
			spend := func(rec *Recorder, account *float64, d time.Duration) {
				defer rec.charge(account)()
				time.Sleep(d)
			}
			g := s.group(Step{Name: "fake",
				Before: func(_ context.Context, _ *Environment, rec *Recorder) error {
					spend(rec, &rec.timing.Witness, 2*time.Second)
					return nil
				},
				Run: func(_ context.Context, _ *Environment, rec *Recorder) error {
					spend(rec, &rec.timing.Engine, 3*time.Second)
					time.Sleep(time.Second)
					spend(rec, &rec.timing.App, 4*time.Second)
					spend(rec, &rec.timing.Browser, 5*time.Second)
					spend(rec, &rec.timing.Witness, 6*time.Second)
					return failure
				}}, stack())
			g.perform(t.Context())
			time.Sleep(time.Hour) // a cell that is reported later: its clock has stopped
			o, err := g.conclude(t.Context(), 0)
			if !errors.Is(err, failure) {
				t.Fatal(err)
			}
			p := o.Timing
			if p.Engine != 3 || p.App != 4 || p.Browser != 5 || p.Witness != 8 || p.Gate != 1 {
				t.Errorf("timing is %+v", p)
			}
			if sum := p.Engine + p.App + p.Witness + p.Browser + p.Gate; math.Abs(sum-o.Seconds) > 1e-9 || o.Seconds != 21 {
				t.Errorf("the accounts add up to %g, the total is %g, expected 21", sum, o.Seconds)
			}
		})
	}
}

// TestASurvivalStepIsDoneOnceAndToldApart takes three applications through a step of
// the node: what is done to the node is done once and on everyone's account, and one
// application's failure is its own.
func TestASurvivalStepIsDoneOnceAndToldApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Session{Shard: &Shard{Dir: t.TempDir()}}
		var reached atomic.Int32
		acted := 0
		g := s.group(Step{Name: "fake",
			Before: func(_ context.Context, env *Environment, _ *Recorder) error {
				if env.App.ID == "unready" {
					return nodes.ErrLost
				}
				return nil
			},
			RunAll: func(ctx context.Context, g *Group) {
				g.Once(ctx, func(context.Context) error { acted++; time.Sleep(10 * time.Second); return nil })
				g.Each(ctx, func(_ context.Context, env *Environment, rec *Recorder) error {
					reached.Add(1)
					if env.App.ID == "bad" {
						rec.held = append(rec.held, &Snapshot{Leaks: []string{"journal"}})
					}
					defer rec.charge(&rec.timing.App)()
					if env.App.ID == "slow" {
						time.Sleep(5 * time.Second)
					}
					return nil
				})
			}}, &manifest.Manifest{ID: "slow"}, &manifest.Manifest{ID: "unready"}, &manifest.Manifest{ID: "bad"})
		g.perform(t.Context())
		if acted != 1 || reached.Load() != 2 {
			t.Errorf("the node was acted on %d times, %d applications went on; expected 1 and 2", acted, reached.Load())
		}
		slow, unready, bad := g.cells[0], g.cells[1], g.cells[2]
		if slow.err != nil || !errors.Is(unready.err, nodes.ErrLost) || bad.err == nil || !strings.Contains(bad.err.Error(), "invariant: a secret's value stands in the journal") {
			t.Errorf("errors are %v, %v, %v", slow.err, unready.err, bad.err)
		}
		for c, want := range map[*cell][3]float64{slow: {15, 10, 5}, bad: {10, 10, 0}, unready: {10, 0, 0}} {
			if seconds, timing := c.rec.total(); seconds != want[0] || timing.Engine != want[1] || timing.App != want[2] {
				t.Errorf("%s took %g s, %+v, expected %v", c.env.App.ID, seconds, timing, want)
			}
		}
	})
}

func TestWhatFailsOnTheNodeFailsForEveryone(t *testing.T) {
	var done []string
	act := func(name string, err error) func(context.Context) error {
		return func(context.Context) error { done = append(done, name); return err }
	}
	g := (&Session{Shard: &Shard{}}).group(Step{Name: "fake", RunAll: func(ctx context.Context, g *Group) {
		g.Once(ctx, act("first", nil))
		g.Each(ctx, func(_ context.Context, env *Environment, _ *Recorder) error {
			if env.App.ID == "b" {
				return errRed
			}
			return nil
		})
		g.Once(ctx, act("second", errors.New("no daemon")))
		g.Each(ctx, func(context.Context, *Environment, *Recorder) error { t.Error("an application went on"); return nil })
		g.Once(ctx, act("third", nil))
	}}, &manifest.Manifest{ID: "a"}, &manifest.Manifest{ID: "b"})
	g.perform(t.Context())
	if !slices.Equal(done, []string{"first", "second"}) {
		t.Errorf("done to the node: %q", done)
	}
	if a, b := g.cells[0].err, g.cells[1].err; a == nil || a.Error() != "no daemon" || !errors.Is(b, errRed) {
		t.Errorf("errors are %v and %v", a, b)
	}
}

// TestTheTableIsComplete wants every step to be something that the harness can run.
func TestTheTableIsComplete(t *testing.T) {
	if n := len(Steps()); n != 9 {
		t.Errorf("%d steps", n)
	}
	for i, s := range Steps() {
		if together := s.Phase == Survival; (s.Run == nil) != together || (s.RunAll == nil) == together {
			t.Errorf("%s: what runs it does not suit its phase", s.Name)
		}
		if s.Timeout <= 0 || !slices.Contains([]string{"L1", "L2", "L3"}, s.Level) {
			t.Errorf("%s: timeout %s, level %q", s.Name, s.Timeout, s.Level)
		}
		if (s.Before == nil) != (s.Name == Install) || s.Reboots != (s.Name == RebootSurvive) {
			t.Errorf("%s: what it needs or does is declared wrongly", s.Name)
		}
		if found, ok := FindStep(s.Name); !ok || found.Name != s.Name || StepNames()[i] != s.Name {
			t.Errorf("%s is not found by its name", s.Name)
		}
	}
}
