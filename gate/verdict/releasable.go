package verdict

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

// Excused tells whether a cell that did not pass is excused by a waiver: one for this very
// manifest, these results and this cell, that was signed for the reason that the cell has. None
// excuses the loss of data, or an invariant that did not hold.
func Excused(r *reports.Report, c reports.Result) bool {
	return slices.ContainsFunc(r.Waivers, func(w reports.Waived) bool {
		return w.App == c.App && w.Manifest == r.Subject.Manifests[c.App] && w.Run == r.Run && w.Results == r.Results && r.Results != "" &&
			(c.Status == reports.NotRun || slices.Contains(w.Steps, c.Step)) && slices.Contains(w.Cells, ExcuseOf(c))
	}) && Unexcusable(r, c) == ""
}

// ExcuseOf is what a waiver says of a cell that it excuses.
func ExcuseOf(c reports.Result) reports.Excuse {
	return reports.Excuse{Cell: c.Cell, Status: c.Status, Reason: c.Reason}
}

// Unexcusable says why no waiver can excuse a cell; empty if one can. Suites before kinds were
// recorded said of an invariant that it was one.
func Unexcusable(r *reports.Report, c reports.Result) string {
	switch {
	case c.Status == reports.NotRun:
		return unjudged(r, c)
	case c.Status != reports.Failed:
		return ""
	case c.Kind == reports.DataLoss:
		return "data, a canary or a secret is lost, which no waiver excuses"
	case c.Kind != "", strings.HasPrefix(c.Reason, "invariant:"):
		return "what must hold in every cell did not, which no waiver excuses"
	}
	return ""
}

// unjudged says why no waiver can excuse a cell that was not run: nobody has judged it. A failure,
// though, ends its cycle for the application, and for what requires that. Without what comes after
// it, no waiver could excuse any failure but one at the last step; so that goes with the failure,
// where another cycle on the node has judged the same step.
func unjudged(r *reports.Report, c reports.Result) string {
	steps := matrix.StepNames()
	before := func(f reports.Result) bool {
		return f.Status == reports.Failed && f.Node == c.Node && f.Cycle == c.Cycle &&
			(f.App != c.App || slices.Index(steps, f.Step) < slices.Index(steps, c.Step))
	}
	follows, judged := false, false
	for _, a := range r.Apps {
		if a.ID == c.App || slices.Contains(r.Requires[c.App], a.ID) {
			follows = follows || slices.ContainsFunc(a.Cells, before)
		}
		judged = judged || a.ID == c.App && slices.ContainsFunc(a.Cells, func(o reports.Result) bool {
			return o.Node == c.Node && o.Step == c.Step && o.Status == reports.Passed
		})
	}
	switch {
	case !follows || c.Cause != "":
		return "it was not run, so nobody has judged it, and a waiver excuses what was judged; 'gate resume' goes on with the run"
	case !judged:
		return "it was not run in any cycle on this node, so nobody has judged it, and a waiver excuses what was judged; repair what failed before it"
	}
	return ""
}

// Follows tells whether a cell was not run because of a failure of its application at one of
// these steps.
func Follows(r *reports.Report, c reports.Result, steps []string) bool {
	return c.Status == reports.NotRun && c.Cause == "" && slices.ContainsFunc(r.Apps, func(a reports.App) bool {
		return a.ID == c.App && slices.ContainsFunc(a.Cells, func(f reports.Result) bool {
			return f.Status == reports.Failed && f.Node == c.Node && f.Cycle == c.Cycle && slices.Contains(steps, f.Step)
		})
	})
}

// waiverSkew is by how much the clocks of whoever gives a waiver and of whoever reads it may differ.
const waiverSkew = time.Hour

// Releasable says why a run can release nothing, naming what stands in the way; nil if
// it can: green, or excused cell by cell, under its whole policy.
func Releasable(r *reports.Report, now time.Time) error {
	for _, w := range r.Waivers {
		err := cmp.Or(w.Ended(now), w.Check())
		if w.Given.After(now.Add(waiverSkew)) { // it would last longer than it may
			err = fmt.Errorf("the waiver for %s was given in the future, at %s; give it again once the clocks are right: 'gate waive'", strings.Join(w.Steps, ", "), w.Given.Format(time.RFC3339))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", w.App, err)
		}
	}
	for _, status := range []reports.Status{reports.Failed, ""} { // a failure says more than what came of it
		for _, a := range r.Apps {
			for _, c := range a.Cells {
				if c.Status != reports.Passed && (status == "" || c.Status == status) && !Excused(r, c) {
					return fmt.Errorf("the run is %s: %s is %s: %s%s", r.Verdict, c.Cell, c.Status, c.Reason, waiverFails(r, c))
				}
			}
		}
	}
	for _, h := range r.Health {
		for _, p := range h.Problems {
			return fmt.Errorf("the run is %s: node %s: %s", r.Verdict, h.Node, p.What)
		}
	}
	switch {
	case len(r.Apps) == 0:
		return fmt.Errorf("the run is about no application")
	case len(r.Unfit) > 0:
		return fmt.Errorf("the run is not fit for a release: %s", r.Unfit[0])
	case r.Smoke:
		return fmt.Errorf("the run is a SMOKE (%s) and can release nothing", r.SmokeWhy[0])
	}
	for _, name := range r.Asked.Nodes {
		if !slices.ContainsFunc(r.Nodes, func(n reports.Node) bool { return n.Name == name && n.HostKey != "" }) {
			return fmt.Errorf("node %s is not recorded with its SSH host key, so nothing shows that it is a machine of its own", name)
		}
	}
	return nil
}

// waiverFails says why a waiver for the step of a cell does not excuse it; empty where there is
// none.
func waiverFails(r *reports.Report, c reports.Result) string {
	for _, w := range r.Waivers {
		if w.App != c.App || !slices.Contains(w.Steps, c.Step) {
			continue
		}
		if why := Unexcusable(r, c); why != "" {
			return " (" + why + ")"
		}
		return " (the waiver for it was given for another run, other results or another failure; 'gate waive' gives one for this)"
	}
	return ""
}
