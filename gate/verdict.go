package gate

import (
	"fmt"
	"math"
	"slices"

	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

// Judge makes the report of a run from its plan and results. It is pure: the same
// plan and results always give the same verdict. A cell may have several results,
// from resumptions; one failure among them makes it red for good.
func Judge(p *Plan, results []reports.Result) *reports.Report {
	r := &reports.Report{
		Run: p.Run, Gate: p.Gate, Policy: ReleasePolicy(), Asked: p.Asked, Nodes: p.Nodes, Subject: p.Subject,
		SmokeWhy: p.SmokeWhy(), Warnings: p.Warnings,
	}
	r.Policy.Apps = p.Release
	r.Smoke = len(r.SmokeWhy) > 0
	byCell := map[reports.Cell]reports.Result{}
	for _, res := range results {
		old, seen := byCell[res.Cell]
		switch {
		case !seen, old.Status == reports.NotRun:
			byCell[res.Cell] = res
		case old.Status == reports.Passed && res.Status == reports.Failed:
			byCell[res.Cell] = res
		}
	}
	apps := map[string]*reports.App{}
	for _, a := range p.Asked.Apps {
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
		verdicts[apps[a].Verdict]++
		r.Apps = append(r.Apps, *apps[a])
	}
	switch {
	case verdicts[reports.Red] > 0:
		r.Verdict = reports.Red
	case verdicts[reports.Incomplete] > 0:
		r.Verdict = reports.Incomplete
	default:
		r.Verdict = reports.Green
	}
	for i, s := range p.Sessions {
		if i == 0 {
			r.Started = s.Started
		}
		if !s.Finished.IsZero() {
			r.Finished = s.Finished
			r.Seconds += s.Finished.Sub(s.Started).Seconds()
		}
	}
	r.Checklist = checklist(r)
	r.Timing = timing(r)
	return r
}

// judgeApp judges an application by its cells; results are all of the run, so that a
// pass and a failure of one cell, in two sessions, show as flaky too.
func judgeApp(a *reports.App, steps []string, results []reports.Result) {
	passed, failed := map[string]bool{}, map[string]bool{}
	for _, r := range results {
		if r.App == a.ID {
			passed[r.Step] = passed[r.Step] || r.Status == reports.Passed
			failed[r.Step] = failed[r.Step] || r.Status == reports.Failed
		}
	}
	red, open := false, false
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
	// An application whose manifest did not parse is in no plan: L0 is reached.
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

// checklist fills in the eight criteria of a release.
func checklist(r *reports.Report) []reports.Criterion {
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
	cycles := func(i int) (bool, string) {
		node := r.Policy.Nodes[i]
		if r.Asked.Cycles < r.Policy.Cycles {
			return false, fmt.Sprintf("%d of %d cycles were asked for", r.Asked.Cycles, r.Policy.Cycles)
		}
		return cells(func(c reports.Result) bool { return c.Node == node })
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
	met, why = cycles(0)
	add("first-node", fmt.Sprintf("%d cycles on %s", r.Policy.Cycles, r.Policy.Nodes[0]), met, why)
	met, why = cycles(1)
	add("second-node", fmt.Sprintf("%d cycles on %s", r.Policy.Cycles, r.Policy.Nodes[1]), met, why)
	// Each cell checks them; one that is not passed leaves them unproven.
	met, why = cells(func(reports.Result) bool { return true })
	add("invariants", "The invariants held throughout (data, secrets, duplicates, rootless)", met, why)
	return out
}

// timing says how long steps took, over the cells that passed.
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
					t.Split = t.Split.Add(c.Split)
				}
			}
		}
		slices.Sort(seconds)
		t.Cells, t.P50, t.P95 = len(seconds), percentile(seconds, 0.50), percentile(seconds, 0.95)
		out = append(out, t)
	}
	return out
}

// percentile by the nearest rank; sorted must be ascending.
func percentile(sorted []float64, p float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(p*float64(len(sorted)))) - 1
	return sorted[max(rank, 0)]
}

// Exit statuses of the gate's command.
const (
	ExitGreen      = 0
	ExitRed        = 1
	ExitUsage      = 2
	ExitIncomplete = 3
)

// ExitStatus is what a verdict means to a script.
func ExitStatus(v reports.Verdict) int {
	switch v {
	case reports.Green:
		return ExitGreen
	case reports.Red:
		return ExitRed
	}
	return ExitIncomplete
}
