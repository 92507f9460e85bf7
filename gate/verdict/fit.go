package verdict

import (
	"fmt"
	"slices"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/reports"
)

const (
	// rerunShare is the share of a run's cells that may have been run again.
	rerunShare = 0.01
	// rerunsOfOne is how many of one application and step may.
	rerunsOfOne = 1
)

// reruns gives the cells that began, did not end, and were run again, in the order in which
// they were. One that began and was not run again stays not run, and is no rerun.
func reruns(p *plan.Plan, results []reports.Result) (out []reports.Rerun) {
	open := map[reports.Cell]reports.Result{}
	for _, r := range results {
		if before, began := open[r.Cell]; began && (r.Status != reports.NotRun || r.Cause != "") {
			out = append(out, reports.Rerun{Cell: r.Cell, Cause: before.Cause, Reason: before.Reason})
			delete(open, r.Cell)
		}
		if r.Status == reports.NotRun && r.Cause != "" {
			open[r.Cell] = r
		}
	}
	return out
}

// fitness says what keeps a run from releasing anything, whatever its verdict: too much of
// it was run again, some cell more often than once, a node rebooted while nobody looked, the
// clock of the gate's machine was set, or the gate has not done its own work.
func fitness(p *plan.Plan, r *reports.Report, results []reports.Result) (why []string) {
	if most := int(rerunShare * float64(len(p.Cells()))); len(r.Reruns) > most {
		why = append(why, fmt.Sprintf("%d of %d cells were run again, the first %s (%s); at most 1 %% may be, here %d", len(r.Reruns), len(p.Cells()), r.Reruns[0].Cell, r.Reruns[0].Cause, most))
	}
	type kind struct{ app, step string }
	ofOne, twice := map[kind]int{}, map[reports.Cell]int{}
	for _, again := range r.Reruns {
		k := kind{again.App, again.Step}
		if ofOne[k]++; ofOne[k] == rerunsOfOne+1 {
			why = append(why, fmt.Sprintf("%s of %s was run again more than once", again.Step, again.App))
		}
		if twice[again.Cell]++; twice[again.Cell] == 2 {
			why = append(why, fmt.Sprintf("%s was run three times", again.Cell))
		}
	}
	if again := p.TooRed(p.Required()); again != "" {
		why = append(why, again)
	}
	for _, away := range p.Away {
		why = append(why, fmt.Sprintf("%s; what it was then, nobody saw", away))
	}
	for _, jump := range p.Jumps {
		why = append(why, fmt.Sprintf("%s: how old its results are cannot be told; have the clock synchronised (timedatectl set-ntp true) and start a new run", jump))
	}
	why = append(why, unshown(p, r)...)
	if len(results) > 0 && results[0].Prev == "" {
		why = append(why, "its results are not chained: a line could have been taken out")
	}
	if p.Looks && len(results) > 0 {
		for _, part := range p.Parts() {
			why = append(why, unseen(part, results)...)
		}
	}
	for _, res := range results {
		if res.OfNode() && res.Status == reports.Failed && (len(res.Evidence) == 0 || len(res.Digests) < len(res.Evidence)) {
			why = append(why, fmt.Sprintf("%s is red without its evidence, which is a fault of the gate", res.Cell))
		}
	}
	for _, a := range r.Apps {
		for _, c := range a.Cells {
			if c.Status == reports.Failed && slices.ContainsFunc(results, func(x reports.Result) bool {
				return x.Cell == c.Cell && x.Status == reports.Failed && (len(x.Evidence) == 0 || len(x.Digests) < len(x.Evidence))
			}) {
				why = append(why, fmt.Sprintf("%s is red without its evidence, which is a fault of the gate", c.Cell))
			}
		}
	}
	return why
}

// unseen names the nodes that were not looked at after their last cycle, or after too few: each
// session but the last may have been cut short between a cycle and the look after it, which the
// next look makes up for. Of fewer looks, nothing could be said of what grows.
func unseen(p *plan.Plan, results []reports.Result) (why []string) {
	for _, node := range p.Asked.Nodes {
		after := map[int]bool{}
		for _, x := range results {
			if x.OfNode() && x.Vitals != nil && x.Node == node && x.Cycle > 0 {
				after[x.Cycle] = true
			}
		}
		switch cut := max(0, len(p.Sessions)-1); {
		case !after[p.Asked.Cycles]:
			why = append(why, fmt.Sprintf("node %s was not looked at after its last cycle: what its journal says is not known", node))
		case len(after) < p.Asked.Cycles-cut:
			why = append(why, fmt.Sprintf("node %s was looked at after %d of %d cycles only: what grows there is not known", node, len(after), p.Asked.Cycles))
		}
	}
	return why
}
