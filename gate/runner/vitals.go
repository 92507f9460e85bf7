package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/gate/vitals"
	"github.com/archipelago-cloud/archipelago/nodes/fleet"
	"github.com/archipelago-cloud/archipelago/reports"
)

// looked gives the last look at a node, and of which cycle it was; -1 if there was none.
func (r *Runner) looked(node string) (cycle int, last reports.Vitals) {
	r.mu.Lock()
	defer r.mu.Unlock()
	cycle = -1
	for _, res := range r.Results {
		if res.OfNode() && res.Node == node && res.Vitals != nil {
			cycle, last = res.Cycle, *res.Vitals
		}
	}
	return cycle, last
}

// health looks at a node at the end of a cycle; cycle 0 is before the first one. What its
// journal says since the look before is red for the applications that it is about, in the
// cell that they began last, and otherwise for the node.
func (r *Runner) health(ctx context.Context, n *fleet.Node, k int) error {
	_, before := r.looked(n.Name)
	answer, err := r.machine(n).Vitals(ctx, before.Cursor)
	if err != nil {
		if ctx.Err() != nil {
			return nil // interrupted: the next session's look goes on from the one before
		}
		return fmt.Errorf("%s: how it is at the end of cycle %d: %w", n.Node, k, err)
	}
	look, err := vitals.Read(answer, r.owners(), before)
	if err != nil {
		return fmt.Errorf("%s: cycle %d: %w", n.Node, k, err)
	}
	if look.Used != nil {
		r.meter.node(n.Name, *look.Used, look.Boot != before.Boot)
		if cost := r.meter.take(n.Name); k > 0 {
			look.CPU = &cost
		}
	}
	own := reports.NodeResult(n.Name, k, look.Vitals, time.Now().UTC())
	var lines []string
	for _, f := range look.Findings {
		r.mu.Lock()
		c, begun := r.last[place{n.Name, f.App}]
		r.mu.Unlock()
		if f.App != "" && begun {
			if err := r.blame(c, f, k); err != nil {
				return err
			}
			continue
		}
		own.Status = reports.Failed
		own.Reason = strings.TrimPrefix(own.Reason+"; "+f.What, "; ")
		lines = append(append(lines, f.What+":"), f.Lines...)
	}
	if len(lines) > 0 {
		file, err := r.evidence(filepath.Join("evidence", "_nodes", fmt.Sprintf("cycle%d%s", k, n.Name), "journal.txt"), joined(lines))
		if err != nil {
			return err
		}
		own.Evidence = []string{file}
	}
	missing := r.digest(&own)
	r.mu.Lock()
	defer r.mu.Unlock()
	if missing != nil {
		r.failure = errors.Join(r.failure, fmt.Errorf("%s is red without its evidence, which is a fault of the gate: %w", own.Cell, missing))
	}
	return r.keep(own)
}

// blame makes a finding red in an application's cell.
func (r *Runner) blame(c reports.Cell, f reports.Finding, k int) error {
	r.mu.Lock()
	r.findings++
	name := fmt.Sprintf("journal-%d.txt", r.findings)
	r.mu.Unlock()
	file, err := r.evidence(filepath.Join("evidence", c.App, fmt.Sprintf("cycle%d%s-%s", c.Cycle, c.Node, c.Step), name), joined(f.Lines))
	if err != nil {
		return err
	}
	return r.take(reports.Result{
		Cell: c, Status: reports.Failed, Evidence: []string{file}, At: time.Now().UTC(),
		Reason: fmt.Sprintf("until the end of cycle %d: %s", k, f.What),
	})
}

// evidence writes a file of the run, or what there is room for.
func (r *Runner) evidence(file string, text []byte) (string, error) {
	if r.full() {
		text = fmt.Appendf(nil, "%d bytes are left out: the evidence of this run has reached %d MiB\n", len(text), reports.MaxRun>>20)
	}
	if err := reports.Write(r.Dir, file, reports.Excerpt(text, reports.MaxEvidence)); err != nil {
		return "", fmt.Errorf("%w: %w", errStore, err)
	}
	return file, nil
}

func joined(lines []string) []byte { return []byte(strings.Join(lines, "\n") + "\n") }

// full tells that the run has all the evidence that it may have.
func (r *Runner) full() bool { return r.spent.Load() >= reports.MaxRun }

// spend counts a file of evidence.
func (r *Runner) spend(file string) {
	if info, err := os.Stat(filepath.Join(r.Dir, file)); err == nil {
		r.spent.Add(info.Size())
	}
}

// owners says whose the units of the run's applications are.
func (r *Runner) owners() map[string]string {
	out := map[string]string{}
	for _, app := range r.Plan.Asked.Apps {
		for _, c := range r.Fleet.Published[app].Containers {
			out[c.Name+".service"] = app
		}
	}
	return out
}
