package runner

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/fleet"
	"github.com/archipelago-cloud/archipelago/reports"
)

const (
	// nodeReturn is how long a node that does not answer is waited for: longer than most
	// machines take for a reboot that nobody asked for. A resumption goes on with one that is
	// away for longer.
	nodeReturn = 2 * time.Minute
	nodePoll   = time.Second
)

// awaitNode waits until a node answers, and remembers the boot that it is on.
func (r *Runner) awaitNode(ctx context.Context, n *fleet.Node) error {
	boot, err := r.boot(ctx, n)
	if err != nil {
		return err
	}
	return r.saw(n, boot, false)
}

// saw remembers the boot that a node is on, in the run's record too: the next session tells
// by it that a node rebooted while none was there.
func (r *Runner) saw(n *fleet.Node, boot nodes.BootID, resumed bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.boots[n.Name] = boot
	r.Plan.Sees(n.Name, string(boot), time.Now().UTC(), resumed)
	return r.keepPlan()
}

// rebooting records that the gate is about to reboot a node.
func (r *Runner) rebooting(n *fleet.Node) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Plan.Reboots(n.Name)
	return r.keepPlan()
}

// keepPlan puts the run's record on disk; the lock is held.
func (r *Runner) keepPlan() error {
	if err := reports.WriteJSON(filepath.Join(r.Dir, reports.PlanFile), r.Plan); err != nil {
		return fmt.Errorf("%w: %w", errStore, err)
	}
	return nil
}

// boot asks a node for the boot that it is on, and waits for its answer.
func (r *Runner) boot(ctx context.Context, n *fleet.Node) (nodes.BootID, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, nodeReturn, fmt.Errorf("%s: %w: it did not answer within %s", n.Node, nodes.ErrLost, nodeReturn))
	defer cancel()
	tick := time.NewTicker(nodePoll)
	defer tick.Stop()
	for {
		boot, err := r.machine(n).Boot(ctx)
		if err == nil || errors.Is(err, nodes.ErrRefused) {
			return boot, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return "", fmt.Errorf("%w (%w)", context.Cause(ctx), err)
		}
	}
}

// calm wants a node to be on the boot that it was on when it was last looked at. One that
// rebooted by itself is red for every application that was on it: nobody asked for it, and
// none was served meanwhile.
func (r *Runner) calm(ctx context.Context, n *fleet.Node) error {
	if err := r.watchClock(); err != nil {
		return err
	}
	boot, err := r.boot(ctx, n)
	if err != nil {
		if ctx.Err() != nil {
			return nil // interrupted
		}
		return err
	}
	r.mu.Lock()
	before := r.boots[n.Name]
	r.mu.Unlock()
	if boot != before {
		// Red first: a gate that is killed in between must not find the new boot known.
		if err := r.spontaneous(ctx, n, before, boot); err != nil {
			return err
		}
	}
	return r.saw(n, boot, false)
}

// spontaneous makes a reboot that nobody asked for red.
func (r *Runner) spontaneous(ctx context.Context, n *fleet.Node, before, boot nodes.BootID) error {
	reason := fmt.Sprintf("the node rebooted by itself during or after this step: boot identity %s, before %s", boot, before)
	return r.condemn(n, "reboot.txt", reason, func() string {
		words, err := r.machine(n).LastWords(ctx)
		if err != nil {
			words += "\ncould not be had: " + err.Error()
		}
		return words
	})
}

// around gives, of a shard's applications, what they require and is not
// among them, in the order in which it starts; and what an earlier failure may have left
// that requires them, in the order in which it ends. A job of the whole node leaves that be.
func (r *Runner) around(j *plan.Job, apps []string) (fixtures, absent []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range apps {
		for _, f := range r.Plan.Needs(a) {
			if !slices.Contains(apps, f) && !slices.Contains(fixtures, f) {
				fixtures = append(fixtures, f)
			}
		}
		for _, d := range r.Plan.RequiredBy(a) {
			if !j.WholeNode && r.left[place{j.Node, d}] && !slices.Contains(apps, d) && !slices.Contains(absent, d) {
				absent = append(absent, d)
			}
		}
	}
	return fixtures, absent
}
