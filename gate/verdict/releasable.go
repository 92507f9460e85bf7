package verdict

import (
	"fmt"
	"slices"
	"time"

	"github.com/archipelago-cloud/archipelago/reports"
)

// Excused tells whether a cell that did not pass is excused by a waiver.
func Excused(r *reports.Report, c reports.Cell) bool {
	return slices.ContainsFunc(r.Waivers, func(w reports.Waived) bool {
		return w.App == c.App && w.Manifest == r.Subject.Manifests[c.App] && slices.Contains(w.Steps, c.Step)
	})
}

// Releasable says why a run can release nothing, naming what stands in the way; nil if
// it can: green, or excused cell by cell, under its whole policy.
func Releasable(r *reports.Report, now time.Time) error {
	for _, w := range r.Waivers {
		if err := w.Ended(now); err != nil {
			return fmt.Errorf("%s: %w", w.App, err)
		}
	}
	for _, status := range []reports.Status{reports.Failed, ""} { // a failure says more than what came of it
		for _, a := range r.Apps {
			for _, c := range a.Cells {
				if c.Status != reports.Passed && (status == "" || c.Status == status) && !Excused(r, c.Cell) {
					return fmt.Errorf("the run is %s: %s is %s: %s", r.Verdict, c.Cell, c.Status, c.Reason)
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
