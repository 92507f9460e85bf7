package runner

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/fleet"
	"github.com/archipelago-cloud/archipelago/reports"
)

// condemn makes a node's trouble red for every application that was on it, at the cell that
// it began last. The reason, and what more there is to know, is kept in a file of evidence.
func (r *Runner) condemn(n *fleet.Node, file, reason string, more func() string) error {
	r.mu.Lock()
	var hit []reports.Cell
	for _, app := range r.Plan.Asked.Apps {
		if c, begun := r.last[place{n.Name, app}]; begun {
			hit = append(hit, c)
		}
	}
	r.mu.Unlock()
	if len(hit) == 0 {
		return nil
	}
	text := fmt.Appendf(nil, "%s\n\n%s\n", reason, more())
	for _, c := range hit {
		name, err := r.evidence(filepath.Join("evidence", c.App, fmt.Sprintf("cycle%d%s-%s", c.Cycle, c.Node, c.Step), file), text)
		if err != nil {
			return err
		}
		if err := r.take(reports.Result{Cell: c, Status: reports.Failed, Reason: reason, Evidence: []string{name}, At: time.Now().UTC()}); err != nil {
			return err
		}
	}
	return nil
}

// punctual wants a node's clock to be near the gate's. One that has come to be off is red for
// what was on the node, and ends the work there: times can no longer be compared.
func (r *Runner) punctual(ctx context.Context, n *fleet.Node) error {
	clock, err := r.machine(n).Clock(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil // interrupted
		}
		return err
	}
	if err := r.watchClock(); err != nil {
		return err
	}
	r.mu.Lock()
	unset := clock // as it would be by this machine's clock, had nobody set that
	unset.Here = clock.Here.Add(-r.jumped)
	r.mu.Unlock()
	off := clock.Check()
	if off == nil || unset.Check() == nil {
		return nil // a clock of the gate's that was set is no fault of what is tested
	}
	off = fmt.Errorf("%s: %w", n.Node, off)
	return errors.Join(off, r.condemn(n, "clock.txt", off.Error(), func() string { return fmt.Sprintf("asked with an uncertainty of %s", clock.Uncertain) }))
}

// after looks at a node again when its cycles are over: one that nodes would be refused for
// now is red for what was on it. What is less than that, and new, is a warning.
func (r *Runner) after(ctx context.Context, n *fleet.Node) error {
	if ctx.Err() != nil {
		return nil
	}
	warnings, err := r.machine(n).Check(ctx)
	switch {
	case ctx.Err() != nil:
		return nil // interrupted
	case errors.Is(err, nodes.ErrRefused):
		return r.condemn(n, "preflight.txt", fmt.Sprintf("at the end of the run, the node could not be one any more: %v", err), func() string { return "when the run began, it could" })
	case err != nil:
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range warnings {
		if !slices.Contains(r.Plan.Warnings, w) {
			r.Plan.Warnings = append(r.Plan.Warnings, w+" (since this run)")
		}
	}
	return nil
}
