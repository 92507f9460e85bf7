package verdict

import (
	"fmt"
	"slices"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

// updates says whether an application went through an update from an earlier release: by its
// cells, not by what was planned.
func updates(p *plan.Plan, a *reports.App) string {
	const not = "the update path was not taken"
	if p.Previous == nil {
		return "no earlier release: " + not
	}
	r, there := p.Previous.Releases[a.ID]
	var cycles []int
	for _, c := range a.Cells {
		if c.Status == reports.Passed && c.Updated != "" && !slices.Contains(cycles, c.Cycle) {
			cycles = append(cycles, c.Cycle)
		}
	}
	switch {
	case !there:
		return "no earlier release in " + p.Previous.Source + ": " + not
	case len(cycles) > 0:
		return fmt.Sprintf("updated from %s in cycles %s", r.Version, plan.Cycles(cycles))
	case r.Why != "":
		return not + ": " + r.Why
	case r.Manifest != "" && r.Manifest == p.Subject.Manifests[a.ID]:
		return "no earlier release: that of " + p.Previous.Source + " is the one under test: " + not
	case len(p.UpdateCycles()) == 0:
		return fmt.Sprintf("%s from %s: %d cycles are too few", not, r.Version, p.Asked.Cycles)
	}
	return fmt.Sprintf("%s from %s: no install of cycles %s passed", not, r.Version, plan.Cycles(p.UpdateCycles()))
}

// unshown names the installs that were to go through an update, passed, and did not say that
// they had: a fault of the gate.
func unshown(p *plan.Plan, r *reports.Report) (why []string) {
	for _, a := range r.Apps {
		for _, c := range a.Cells {
			if c.Step == matrix.Install && c.Status == reports.Passed && p.Updates(c.App, c.Cycle) && c.Updated != p.Previous.Releases[c.App].Version {
				why = append(why, fmt.Sprintf("%s passed, and does not say that it went through the update from %s, which is a fault of the gate", c.Cell, p.Previous.Releases[c.App].Version))
			}
		}
	}
	return why
}
