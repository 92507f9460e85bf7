// Package runner carries out a plan on the nodes of a fleet: cycle by cycle, each a graph
// of jobs, each job in a process of the suite. It also owns the lock that keeps two runs
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
	"sync/atomic"
	"time"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/fleet"
	"github.com/archipelago-cloud/archipelago/reports"
)

// ErrIncomplete is wrapped when the gate itself or a node failed. The run can be resumed.
var ErrIncomplete = errors.New("incomplete")

// Observer is told of a run's progress, from several goroutines.
type Observer interface {
	Started(reports.Cell)
	Done(reports.Result)
}

// Machine is what the runner asks of a node itself, beside having the suite work on it;
// a *fleet.Node is one.
type Machine interface {
	// Boot identifies the boot that the node is on.
	Boot(context.Context) (nodes.BootID, error)
	// LastWords are what the node's journal says of its boots and of the end of the last one.
	LastWords(context.Context) (string, error)
	// Pull has images on the node, and refuses where they would not fit. It gives those that
	// registries other than the gate's own do not, by reference, with why.
	Pull(context.Context, []fleet.Image) (without map[string]string, err error)
	// Clock compares the node's clock with this machine's.
	Clock(context.Context) (nodes.Clock, error)
	// Check compares the node with what nodes need; nodes.ErrRefused where it lacks something.
	Check(context.Context) (warnings []string, err error)
	// Bare takes every image off the node that no container uses, and gives those left.
	Bare(context.Context) (left []string, err error)
	// Vitals are what the node says of itself and of what happened since a cursor of its
	// journal, for package vitals; none: since no time.
	Vitals(ctx context.Context, since string) (string, error)
	// CPU is what the node has used of CPUs since the boot, for package vitals.
	CPU(context.Context) (string, error)
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
	Red      func(app string) error    // told at once, in every session, that an application is red, or a node, which is ""; nil: nobody
	Machine  func(*fleet.Node) Machine // nil: the node itself
	Silence  time.Duration             // after which a suite that says nothing is ended; 0: longer than any step takes
	Clocks   func() (Reading, error)   // of this machine; nil: the kernel's

	mu      sync.Mutex
	done    map[reports.Cell]reports.Status // passed, failed, or not run for the rest of the session
	broken  map[reports.Cell]int            // how often a cell began and did not end
	last    map[place]reports.Cell          // that was begun last
	left    map[place]bool                  // on the node, as far as is known
	resumed map[place]bool                  // begun before, and not yet gone on with
	stopped map[place]string                // why an application is let be on a node
	without map[place]string                // why an application has no image on a node
	boots   map[string]nodes.BootID         // by node
	asked   map[string]int                  // by node, the cycle in which archy was last asked
	browsed bool                            // a browser could be started
	red     map[string]bool                 // by application: it was said that it is red
	failure error                           // of the gate itself
	read    Reading                         // of this machine's clocks, the last one
	jumped  time.Duration                   // by which this machine's clock was set in this session

	findings int          // in journals, whose evidence has a file each
	spent    atomic.Int64 // bytes of the run's evidence
	meter    meter
}

// place is an application on a node.
type place struct{ node, app string }

// Run works on every cell that has no result yet: nodes side by side, on each node cycle
// after cycle, in each cycle the jobs of its graph. A cell that cannot be run is recorded
// as not run. The error is the gate's own (ErrIncomplete), never that of what is tested.
func (r *Runner) Run(ctx context.Context) error {
	if err := r.recall(); err != nil {
		return fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	if err := os.MkdirAll(filepath.Join(r.Dir, "suite"), 0o755); err != nil {
		return fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	if err := r.startClocks(); err != nil {
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
			if err := r.node(ctx, n); err != nil {
				r.note(err)
				if errors.Is(err, errStore) {
					cancel(err) // no result can be kept any more, on any node
				}
			}
		})
	}
	wg.Wait()
	if err := r.watchClock(); err != nil {
		r.note(err)
	}
	if r.failure != nil {
		return fmt.Errorf("%w: %w", ErrIncomplete, r.failure)
	}
	return context.Cause(ctx)
}

// errStore marks results that could not be written.
var errStore = errors.New("results cannot be written")

// note keeps a failure of the gate itself for the end of the run.
func (r *Runner) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failure = errors.Join(r.failure, err)
}

// node works on one node.
func (r *Runner) node(ctx context.Context, n *fleet.Node) error {
	open := r.open(n.Name, 1, r.Plan.Asked.Cycles)
	// A session that was cut short may have done all cells, and not looked at the node since.
	seen, _ := r.looked(n.Name)
	if ctx.Err() != nil || !open && seen == r.Plan.Asked.Cycles {
		return nil
	}
	boot, err := r.machine(n).Boot(ctx)
	if err != nil {
		return err
	}
	if err := r.saw(n, boot, true); err != nil {
		return err
	}
	// A resumption in the middle of the cycle without images leaves the pulling to the daemon.
	if bare := r.Plan.Bare; !r.begun(n.Name, bare) || !r.open(n.Name, bare, bare) {
		without, err := r.machine(n).Pull(ctx, r.Fleet.Images)
		if err != nil {
			return fmt.Errorf("%s: pulling images: %w", n.Node, err)
		}
		r.unavailable(n, without)
	}
	if seen < 0 {
		if err := r.health(ctx, n, 0); err != nil {
			return err
		}
	}
	for k := 1; k <= r.Plan.Asked.Cycles && ctx.Err() == nil; k++ {
		if r.open(n.Name, k, k) {
			if err := r.cycle(ctx, n, k); err != nil {
				return err
			}
		} else if k <= seen || k < r.Plan.Asked.Cycles {
			continue
		}
		if ctx.Err() == nil {
			if err := r.health(ctx, n, k); err != nil {
				return err
			}
		}
	}
	return r.after(ctx, n)
}

func (r *Runner) machine(n *fleet.Node) Machine {
	if r.Machine != nil {
		return r.Machine(n)
	}
	return n
}

// open tells whether a cell of these cycles has no result yet.
func (r *Runner) open(node string, first, last int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.Plan.Cells(), func(c reports.Cell) bool {
		_, known := r.done[c]
		return c.Node == node && c.Cycle >= first && c.Cycle <= last && !known && r.stopped[place{node, c.App}] == ""
	})
}

// begun tells whether a cell of a cycle has been begun.
func (r *Runner) begun(node string, cycle int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.Results, func(res reports.Result) bool {
		return res.Node == node && res.Cycle == cycle && (res.Status != reports.NotRun || res.Cause != "")
	})
}

// cycle carries out the graph of one cycle on one node.
func (r *Runner) cycle(ctx context.Context, n *fleet.Node, k int) error {
	if err := r.calm(ctx, n); err != nil {
		return err
	}
	if err := r.punctual(ctx, n); err != nil {
		return err
	}
	if k == r.Plan.Bare && !r.begun(n.Name, k) {
		if err := r.bare(ctx, n); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(r.Plan.Asked.Apps, func(a string) bool { return r.Plan.Updates(a, k) }) {
		without, err := r.machine(n).Pull(ctx, r.Fleet.PreviousImages)
		for ref, why := range without {
			err = errors.Join(err, fmt.Errorf("%s: %s", ref, why))
		}
		if err != nil {
			return fmt.Errorf("%s: pulling images of earlier releases: %w", n.Node, err)
		}
	}
	jobs := r.Plan.Graph(n.Name, k)
	schedule := plan.NewSchedule(jobs, plan.Capacity{CPUs: n.Identity.CPUs, Memory: n.Identity.Free})
	type outcome struct {
		job int
		err error
	}
	ended := make(chan outcome)
	under := 0
	var failure error
	for {
		if failure == nil && ctx.Err() == nil {
			for _, i := range schedule.Next() {
				under++
				go func() { ended <- outcome{i, r.job(ctx, n, &jobs[i])} }()
			}
		}
		if under == 0 {
			break
		}
		o := <-ended
		under--
		schedule.Ended(o.job)
		failure = errors.Join(failure, o.err)
	}
	if failure == nil && ctx.Err() == nil {
		failure = r.calm(ctx, n)
	}
	return failure
}

// bare takes the images off a node before its cycle without any.
func (r *Runner) bare(ctx context.Context, n *fleet.Node) error {
	left, err := r.machine(n).Bare(ctx)
	if err != nil {
		return fmt.Errorf("%s: removing its images: %w", n.Node, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for at, is := range r.left {
		if is && at.node == n.Name {
			return nil // what failed before keeps its images, and is red or not run anyway
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("%s: cycle %d starts from no images, and some cannot be removed: %v", n.Node, r.Plan.Bare, left)
	}
	return nil
}

// job works on the cells of one job. Those that were lost with their node, or with their
// process, are run again, once.
func (r *Runner) job(ctx context.Context, n *fleet.Node, j *plan.Job) error {
	if j.WholeNode && ctx.Err() == nil {
		if err := r.calm(ctx, n); err != nil {
			return err
		}
	}
	for {
		apps, steps, err := r.todo(j)
		if err != nil || len(apps) == 0 || ctx.Err() != nil {
			return err
		}
		reboots := slices.Contains(steps, matrix.RebootSurvive)
		if reboots {
			if err := r.rebooting(n); err != nil {
				return err
			}
			if err := r.counted(ctx, n); err != nil {
				return err
			}
		}
		if err := r.shard(ctx, n, j, apps, steps); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		again := r.settle(j)
		if reboots {
			// The node is on a boot that the gate asked for.
			if err := r.awaitNode(ctx, n); err != nil {
				return err
			}
		}
		if !again {
			return nil
		}
		if err := r.calm(ctx, n); err != nil {
			return err
		}
	}
}
