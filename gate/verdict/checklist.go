package verdict

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

// checklist fills in the criteria of a release: one for each node that the policy
// demands, and seven more.
func checklist(p *plan.Plan, r *reports.Report) []reports.Criterion {
	cells := func(pick func(reports.Result) bool) (met bool, why string) {
		n := 0
		for _, a := range r.Apps {
			for _, c := range a.Cells {
				if !pick(c) {
					continue
				}
				n++
				if c.Status != reports.Passed {
					why := fmt.Sprintf("%s: %s", c.Cell, c.Status)
					if c.Reason != "" {
						why += ": " + c.Reason
					}
					return false, why
				}
			}
		}
		if n == 0 {
			return false, "not asked for in this run"
		}
		return true, ""
	}
	level := func(l string, names ...string) (bool, string) {
		return cells(func(c reports.Result) bool {
			s, _ := matrix.FindStep(c.Step)
			return s.Level == l && (len(names) == 0 || slices.Contains(names, c.Step))
		})
	}
	cycles := func(nodes []string) (bool, string) {
		switch {
		case slices.Contains(nodes, ""):
			return false, "no machine in this role"
		case r.Asked.Cycles < r.Policy.Cycles:
			return false, fmt.Sprintf("%d of %d cycles were asked for", r.Asked.Cycles, r.Policy.Cycles)
		}
		return cells(func(c reports.Result) bool { return slices.Contains(nodes, c.Node) })
	}
	var out []reports.Criterion
	add := func(id, text string, met bool, why string) {
		out = append(out, reports.Criterion{ID: id, Text: text, Met: met, Why: why})
	}
	add("manifests", "Every manifest is valid and renders (L0)", len(r.Apps) > 0, "")
	met, why := level("L1")
	add("lifecycle", "The lifecycle is green by RPC (L1)", met, why)
	met, why = level("L2")
	add("ui", "The UI is green (L2)", met, why)
	met, why = level("L3", matrix.RebootSurvive)
	add("reboot", "A reboot is survived (L3)", met, why)
	met, why = level("L3", matrix.RestartSurvive)
	add("daemon-restart", "A restart of the daemon is survived (L3)", met, why)
	for i, name := range r.Policy.Nodes {
		var nodes []string // one of each machine
		for _, part := range p.Parts() {
			nodes = append(nodes, part.Filled(r.Policy)[i])
		}
		met, why = cycles(nodes)
		there := strings.Join(slices.DeleteFunc(nodes, func(n string) bool { return n == "" }), ", ")
		add(plan.RoleID(r.Policy, i)+"-node", fmt.Sprintf("%d cycles on %s", r.Policy.Cycles, cmp.Or(there, name)), met, why)
	}
	// Every cell checks them; one that did not pass leaves them unproven.
	met, why = cells(func(reports.Result) bool { return true })
	add("invariants", "The invariants held throughout (data, secrets, duplicates, rootless)", met, why)
	if p.Looks {
		met, why = sound(p, r)
		add("nodes", "The nodes stayed sound (kernel, journal, leaks, times of starts)", met, why)
	}
	return out
}

// sound wants every node to have been looked at, and nothing found.
func sound(p *plan.Plan, r *reports.Report) (met bool, why string) {
	for _, node := range p.Asked.Nodes {
		i := slices.IndexFunc(r.Health, func(h reports.NodeHealth) bool { return h.Node == node })
		switch {
		case i < 0 || r.Health[i].Cycles == 0:
			return false, node + " was not looked at"
		case len(r.Health[i].Problems) > 0:
			return false, node + ": " + r.Health[i].Problems[0].What
		}
	}
	return true, ""
}
