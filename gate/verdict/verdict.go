// Package verdict owns what follows from a run's plan and results: the verdict on every
// application and on the run, the checklist, and whether the run can release anything.
// It is pure, so anybody can recompute a verdict from the files of a run.
package verdict

import (
	"math"
	"slices"
	"time"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

// Judge makes the report of a run from its plan and results. The same plan and results
// always give the same verdict. A cell can have several results, from resumptions; one
// failure among them makes it red for good.
func Judge(p *plan.Plan, results []reports.Result) *reports.Report {
	r := &reports.Report{
		Run: p.Run, Gate: p.Gate, Policy: p.Required(), Asked: p.Asked, Nodes: p.Nodes, Subject: p.Subject,
		SmokeWhy: p.SmokeWhy(), AnotherPolicy: p.AnotherPolicy(), Warnings: p.Warnings,
		Judge: p.Judge, Bare: p.Bare, Earlier: p.Earlier, Before: p.Before, Away: p.Away, Previous: p.Previous, Reruns: reruns(p, results),
	}
	r.Smoke = len(r.SmokeWhy) > 0
	byCell := map[reports.Cell]reports.Result{}
	for _, res := range results {
		old, seen := byCell[res.Cell]
		switch {
		case !seen, old.Status == reports.NotRun:
			byCell[res.Cell] = res
		case res.Status != reports.Failed:
		case old.Status == reports.Passed, old.Kind.Worse(res.Kind) != old.Kind: // the worst stands
			byCell[res.Cell] = res
		}
	}
	apps := map[string]*reports.App{}
	for _, a := range p.Asked.Apps {
		if needs := p.Needs(a); len(needs) > 0 {
			if r.Requires == nil {
				r.Requires = map[string][]string{}
			}
			r.Requires[a] = needs
		}
		apps[a] = &reports.App{ID: a, Version: p.Versions[a]}
	}
	for _, c := range p.Cells() {
		res, ok := byCell[c]
		if !ok {
			res = reports.Result{Cell: c, Status: reports.NotRun, Reason: "the run ended before it"}
		}
		apps[c.App].Cells = append(apps[c.App].Cells, res)
		if res.Status == reports.Failed && (r.First == nil || res.At.Before(r.First.At)) {
			r.First = &res
		}
	}
	verdicts := map[reports.Verdict]int{}
	for _, a := range p.Asked.Apps {
		judgeApp(apps[a], p.Asked.Steps, results)
		apps[a].Update = updates(p, apps[a])
		verdicts[apps[a].Verdict]++
		r.Apps = append(r.Apps, *apps[a])
	}
	for _, part := range p.Parts() {
		r.Health = append(r.Health, health(part, r, results)...)
	}
	for _, s := range p.Shards {
		r.Shards = append(r.Shards, s.Shard)
	}
	switch {
	case verdicts[reports.Red] > 0 || slices.ContainsFunc(r.Health, func(h reports.NodeHealth) bool { return len(h.Problems) > 0 }):
		r.Verdict = reports.Red
	case verdicts[reports.Incomplete] > 0, len(r.Apps) == 0:
		r.Verdict = reports.Incomplete
	default:
		r.Verdict = reports.Green
	}
	for _, part := range p.Parts() {
		started, finished, seconds := worked(part, results)
		if r.Started.IsZero() || !started.IsZero() && started.Before(r.Started) {
			r.Started = started
		}
		if finished.After(r.Finished) {
			r.Finished = finished
		}
		r.Seconds += seconds
	}
	for _, j := range p.Jumps {
		if !j.Away {
			r.Seconds -= j.Seconds
		}
	}
	r.Oldest = oldest(r, results)
	r.Checklist = checklist(p, r)
	r.Timing = timing(r)
	r.CPU = cpu(r, results)
	prove(p, r)
	r.Unfit = fitness(p, r, results)
	return r
}

// oldest is when the oldest of the results that count came about: what a cell was judged by,
// and what nodes said. What was run again, or never began, counts for nothing.
func oldest(r *reports.Report, results []reports.Result) (at time.Time) {
	none := true
	older := func(res reports.Result) {
		if res.Status != reports.NotRun && (none || res.At.Before(at)) {
			at, none = res.At, false
		}
	}
	for _, a := range r.Apps {
		for _, c := range a.Cells {
			older(c)
		}
	}
	for _, res := range results {
		if res.OfNode() {
			older(res)
		}
	}
	return at
}

// worked is when the work of one machine began and ended, and how long it took without pauses.
func worked(p *plan.Plan, results []reports.Result) (started, finished time.Time, seconds float64) {
	for i, s := range p.Sessions {
		if i == 0 {
			started = s.Started
		}
		if s.Finished.IsZero() && i == len(p.Sessions)-1 {
			s.Finished = latest(s.Started, p.Asked.Nodes, results) // the gate was killed, or is at work
		}
		if !s.Finished.IsZero() {
			finished = s.Finished
			seconds += s.Finished.Round(0).Sub(s.Started.Round(0)).Seconds() // as they are on disk
		}
	}
	return started, finished, seconds
}

// latest is when the last result of these nodes after a time came about; zero if there was none.
func latest(after time.Time, nodes []string, results []reports.Result) (at time.Time) {
	for _, res := range results {
		if slices.Contains(nodes, res.Node) && res.At.After(after) && res.At.After(at) {
			at = res.At
		}
	}
	return at
}

// judgeApp judges an application by its cells. results are those of the whole run, so
// that a cell that passed in one session and failed in another shows as flaky too.
func judgeApp(a *reports.App, steps []string, results []reports.Result) {
	passed, failed := map[string]bool{}, map[string]bool{}
	for _, r := range results {
		if r.App == a.ID {
			passed[r.Step] = passed[r.Step] || r.Status == reports.Passed
			failed[r.Step] = failed[r.Step] || r.Status == reports.Failed
		}
	}
	red, open := false, len(a.Cells) == 0 // nothing was asked for: then nothing is known
	for _, c := range a.Cells {
		red = red || c.Status == reports.Failed
		open = open || c.Status != reports.Failed && c.Status != reports.Passed
	}
	for _, s := range steps {
		if passed[s] && failed[s] {
			a.Flaky = append(a.Flaky, s)
		}
	}
	switch {
	case red:
		a.Verdict = reports.Red
	case open:
		a.Verdict = reports.Incomplete
	default:
		a.Verdict = reports.Green
	}
	// A plan has only applications whose manifests are valid, so L0 is reached.
	a.Level = "L0"
	for _, level := range []string{"L1", "L2", "L3"} {
		for _, s := range matrix.Steps() {
			if s.Level != level {
				continue
			}
			if !passed[s.Name] || failed[s.Name] || notAll(a.Cells, s.Name) {
				return
			}
		}
		a.Level = level
	}
}

func notAll(cells []reports.Result, step string) bool {
	return slices.ContainsFunc(cells, func(c reports.Result) bool { return c.Step == step && c.Status != reports.Passed })
}

// timing gives how long each step took, over the cells that passed.
func timing(r *reports.Report) []reports.StepTime {
	var out []reports.StepTime
	for _, step := range r.Asked.Steps {
		var seconds []float64
		t := reports.StepTime{Step: step}
		for _, a := range r.Apps {
			for _, c := range a.Cells {
				if c.Step == step && c.Status == reports.Passed {
					seconds = append(seconds, c.Seconds)
					t.Total += c.Seconds
					t.Timing = t.Timing.Add(c.Timing)
				}
			}
		}
		slices.Sort(seconds)
		t.Cells, t.P50, t.P95 = len(seconds), percentile(seconds, 0.50), percentile(seconds, 0.95)
		out = append(out, t)
	}
	return out
}

// cpu is what the run's cycles cost, and how many cells had begun in them; nil where that is
// not known of all cycles.
func cpu(r *reports.Report, results []reports.Result) *reports.CPU {
	var all reports.CPU
	looked := map[reports.Cell]bool{}
	of := func(c reports.Cell) reports.Cell { return reports.Cell{Node: c.Node, Cycle: c.Cycle} }
	for _, res := range results {
		if !res.OfNode() || res.Cycle == 0 || res.Vitals == nil {
			continue
		}
		if res.Vitals.CPU == nil {
			return nil
		}
		all = all.Add(*res.Vitals.CPU)
		looked[of(res.Cell)] = true
	}
	for _, a := range r.Apps {
		for _, c := range a.Cells {
			if c.Status == reports.NotRun {
				continue
			}
			if !looked[of(c.Cell)] {
				return nil
			}
			all.Cells++
		}
	}
	if all.Cells == 0 {
		return nil
	}
	return &all
}

// percentile by the nearest rank; sorted must be ascending.
func percentile(sorted []float64, p float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(p*float64(len(sorted)))) - 1
	return sorted[max(rank, 0)]
}
