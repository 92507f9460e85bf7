// Package runner carries out a plan on the nodes of a fleet: cycle by cycle and phase by
// phase, each shard in a process of the suite. It also owns the lock that keeps two runs
// off one node. It records results; it judges nothing.
package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes/fleet"
	"github.com/archipelago-cloud/archipelago/reports"
)

// sideBySide is how many applications of a node go through their steps at the same time.
const sideBySide = 4

// ErrIncomplete is wrapped when the gate itself or a node failed. The run can be resumed.
var ErrIncomplete = errors.New("incomplete")

// Observer is told of a run's progress, from several goroutines.
type Observer interface {
	Started(reports.Cell)
	Done(reports.Result)
}

// Runner carries out a plan on a fleet.
type Runner struct {
	Plan     *plan.Plan
	Fleet    *fleet.Fleet
	Dir      string // of the run
	Suite    string // path of the compiled suite
	Store    *reports.Store
	Results  []reports.Result // of earlier sessions of the run
	Observer Observer

	mu      sync.Mutex
	done    map[reports.Cell]reports.Status
	resumed map[reports.Cell]bool // without step: begun in an earlier session, not yet gone on with
	browser *matrix.Browser
	failure error // of the gate itself
}

// Run works on every cell that has no result yet: nodes side by side, on each node cycle
// after cycle, in each cycle the phases in order. A cell that cannot be run is recorded
// as not run. The error is the gate's own (ErrIncomplete), never that of what is tested.
func (r *Runner) Run(ctx context.Context) error {
	r.done = map[reports.Cell]reports.Status{}
	r.resumed = map[reports.Cell]bool{}
	for _, res := range r.Results {
		r.resumed[reports.Cell{App: res.App, Node: res.Node, Cycle: res.Cycle}] = true
		if res.Status != reports.NotRun && r.done[res.Cell] != reports.Failed {
			r.done[res.Cell] = res.Status
		}
	}
	defer func() {
		if r.browser != nil {
			r.browser.Close()
		}
	}()
	if err := os.MkdirAll(filepath.Join(r.Dir, "suite"), 0o755); err != nil {
		return fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, n := range r.Fleet.Nodes {
		if !slices.Contains(r.Plan.Asked.Nodes, n.Name) {
			continue
		}
		wg.Go(func() {
			for k := 1; k <= r.Plan.Asked.Cycles && ctx.Err() == nil; k++ {
				if err := r.cycle(ctx, n, k); err != nil {
					r.mu.Lock()
					r.failure = errors.Join(r.failure, err)
					r.mu.Unlock()
					if errors.Is(err, errStore) {
						cancel(err) // no result can be kept any more, on any node
					}
					return
				}
			}
		})
	}
	wg.Wait()
	if r.failure != nil {
		return fmt.Errorf("%w: %w", ErrIncomplete, r.failure)
	}
	return context.Cause(ctx)
}

// errStore marks results that could not be written.
var errStore = errors.New("results cannot be written")

// cycle runs the phases of one cycle on one node.
func (r *Runner) cycle(ctx context.Context, n *fleet.Node, k int) error {
	for _, phase := range []matrix.Phase{matrix.Life, matrix.Survival, matrix.End} {
		byApp := r.todo(n.Name, k, phase)
		if len(byApp) == 0 {
			continue
		}
		if phase == matrix.Survival {
			if err := r.survival(ctx, n, k, byApp); err != nil {
				return err
			}
			continue
		}
		errs := make(chan error, len(byApp))
		room := make(chan struct{}, sideBySide)
		for app, steps := range byApp {
			go func() {
				room <- struct{}{}
				defer func() { <-room }()
				errs <- r.shard(ctx, n, k, []string{app}, steps)
			}()
		}
		var all error
		for range byApp {
			all = errors.Join(all, <-errs)
		}
		if all != nil {
			return all
		}
	}
	return nil
}

// survival runs the steps that all applications of the node go through together, one
// step after the other.
func (r *Runner) survival(ctx context.Context, n *fleet.Node, k int, byApp map[string][]string) error {
	for _, step := range matrix.Steps() {
		var apps []string
		for app, steps := range r.todo(n.Name, k, matrix.Survival) {
			if slices.Contains(steps, step.Name) && byApp[app] != nil {
				apps = append(apps, app)
			}
		}
		if len(apps) == 0 {
			continue
		}
		slices.Sort(apps)
		if err := r.shard(ctx, n, k, apps, []string{step.Name}); err != nil {
			return err
		}
	}
	return nil
}

// todo gives, by application, the steps of a phase that have no result yet. Steps
// after a failure in the same cycle are recorded as not run.
func (r *Runner) todo(node string, k int, phase matrix.Phase) map[string][]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string][]string{}
	for _, app := range r.Plan.Asked.Apps {
		failed := ""
		for _, s := range matrix.Steps() {
			cell := reports.Cell{App: app, Node: node, Cycle: k, Step: s.Name}
			status, known := r.done[cell]
			switch {
			case status == reports.Failed:
				failed = s.Name
			case known || s.Phase != phase || !slices.Contains(r.Plan.Asked.Steps, s.Name):
			case failed != "":
				r.record(reports.Result{Cell: cell, Status: reports.NotRun, Reason: failed + " failed earlier in the cycle", At: time.Now().UTC()})
				r.done[cell] = reports.NotRun
			default:
				out[app] = append(out[app], s.Name)
			}
		}
	}
	return out
}

// record keeps a result; the lock is held.
func (r *Runner) record(res reports.Result) error {
	if err := r.Store.Append(res); err != nil {
		return fmt.Errorf("%w: %w", errStore, err)
	}
	r.Results = append(r.Results, res)
	r.Observer.Done(res)
	return nil
}

// take records a result and remembers it for later phases.
func (r *Runner) take(res reports.Result) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.record(res); err != nil {
		return err
	}
	r.done[res.Cell] = res.Status
	return nil
}

// failedEarlier tells whether another step of the same application and cycle failed.
func (r *Runner) failedEarlier(c reports.Cell) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range matrix.Steps() {
		if r.done[reports.Cell{App: c.App, Node: c.Node, Cycle: c.Cycle, Step: s.Name}] == reports.Failed {
			return true
		}
	}
	return false
}
