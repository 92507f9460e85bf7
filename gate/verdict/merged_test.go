package verdict

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

// sharded gives green runs of two shards, whose nodes were looked at after every cycle.
func sharded(t *testing.T) (parts []plan.Part) {
	t.Helper()
	all := catalog.Catalog{}
	for _, id := range append(plan.Default().Catalog, "a") {
		all[id] = &catalog.Entry{Manifest: &manifest.Manifest{ID: id, Version: "1"}}
	}
	for i := range 2 {
		p, err := plan.New(fmt.Sprintf("r%d", i+1), "v", plan.Request{Slice: plan.Slice{Number: i + 1, Of: 2}}, all, known)
		if err != nil {
			t.Fatal(err)
		}
		p.Looks = true
		p.Sessions = []plan.Session{{Started: time.Unix(int64(100*i), 0), Finished: time.Unix(int64(500-100*i), 0)}}
		part := plan.Part{Plan: p, Results: append(passed(p), looksAt(p, "containers", func(int) float64 { return 0 })...)}
		for j := range part.Results {
			part.Results[j].Prev = "chained"
		}
		parts = append(parts, part)
	}
	return parts
}

func merged(t *testing.T, parts []plan.Part) (*plan.Plan, []reports.Result) {
	t.Helper()
	m, results, err := plan.Merge("m", parts)
	if err != nil {
		t.Fatal(err)
	}
	for i := range results {
		results[i].Prev = "chained"
	}
	return m, results
}

func TestAMergedRunIsJudgedAsAWhole(t *testing.T) {
	r := Judge(merged(t, sharded(t)))
	if err := Releasable(r, time.Unix(0, 0)); err != nil || r.Verdict != reports.Green || len(r.Apps) != 4 || len(r.Shards) != 2 || r.Shards[1].Run != "r2" {
		t.Fatalf("%v: %s of %d applications, %+v", err, r.Verdict, len(r.Apps), r.Shards)
	}
	// The first machine worked for 500 seconds, the second from then for 300 of the same.
	if r.Started != time.Unix(0, 0) || r.Finished != time.Unix(500, 0) || r.Seconds != 800 {
		t.Errorf("from %v to %v, %v seconds", r.Started, r.Finished, r.Seconds)
	}
	for _, a := range r.Apps {
		if a.Level != "L3" || a.Proof.Green != 40 || a.Proof.Runs != 1 {
			t.Errorf("%s: %s, %+v", a.ID, a.Level, a.Proof)
		}
	}
	for _, c := range r.Checklist {
		if !c.Met {
			t.Errorf("%+v", c)
		}
	}
	if i := slices.IndexFunc(r.Checklist, func(c reports.Criterion) bool { return c.ID == "second-node" }); r.Checklist[i].Text != "20 cycles on shard-1/.198, shard-2/.198" {
		t.Errorf("%+v", r.Checklist[i])
	}
	if by := Judge(sharded(t)[0].Plan, sharded(t)[0].Results); Releasable(by, time.Unix(0, 0)) == nil {
		t.Error("a shard by itself can release")
	}
}

// TestNoMachineHidesBehindAnother plants something wrong on one machine of two.
func TestNoMachineHidesBehindAnother(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*plan.Part)
		verdict reports.Verdict
		why     string // it is not released
	}{
		"a red cell": {func(p *plan.Part) {
			p.Results[5].Status, p.Results[5].Reason = reports.Failed, "planted"
		}, reports.Red, "planted"},
		"a cell that was not run": {func(p *plan.Part) { p.Results = p.Results[1:] }, reports.Incomplete, "on shard-2/.228, cycle 1, install is not-run"},
		"a node less": {func(p *plan.Part) {
			p.Plan.Asked.Nodes = p.Plan.Asked.Nodes[:1]
			p.Results = slices.DeleteFunc(p.Results, func(r reports.Result) bool { return r.Node == ".198" })
		}, reports.Green, "SMOKE (no second node (.198) on shard-2)"},
		"a node that was not looked at": {func(p *plan.Part) {
			p.Results = slices.DeleteFunc(p.Results, func(r reports.Result) bool { return r.OfNode() && r.Node == ".198" && r.Cycle == 7 })
		}, reports.Green, "node shard-2/.198 was looked at after 19 of 20 cycles only"},
		"a leak": {func(p *plan.Part) {
			for i, r := range p.Results {
				if r.OfNode() && r.Node == ".198" {
					p.Results[i].Vitals = &reports.Vitals{Measures: map[string]float64{"containers": float64(r.Cycle)}}
				}
			}
		}, reports.Red, "node shard-2/.198: containers went from"},
		"starts that take longer and longer": {func(p *plan.Part) {
			for i, r := range p.Results {
				if r.Step == matrix.Start && r.Node == ".198" && r.App == p.Plan.Asked.Apps[0] {
					p.Results[i].Timing = reports.Timing{App: float64(r.Cycle)}
				}
			}
		}, reports.Red, "time of start of"},
		"a reboot that nobody saw": {func(p *plan.Part) { p.Plan.Away = []reports.Away{{Node: ".198"}} }, reports.Green, "node shard-2/.198 rebooted while the run was away"},
		"a clock that was set":     {func(p *plan.Part) { p.Plan.Jumps = []reports.Jump{{Seconds: 3}} }, reports.Green, "the clock of the gate's machine jumped"},
	} {
		parts := sharded(t)
		c.change(&parts[1])
		r := Judge(merged(t, parts))
		if err := Releasable(r, time.Unix(0, 0)); r.Verdict != c.verdict || err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %s, %v", name, r.Verdict, err)
		}
	}
}

// TestAMachineIsJudgedAsByItself has a trend that is worth a word among the few of one machine, and
// would not be among those of ten.
func TestAMachineIsJudgedAsByItself(t *testing.T) {
	parts := sharded(t)
	for i, r := range parts[1].Results {
		if r.OfNode() {
			parts[1].Results[i].Vitals = &reports.Vitals{Measures: map[string]float64{"containers": float64(r.Cycle % 3)}}
		}
	}
	for p := range parts { // starts are a series each, on all machines
		for i, r := range parts[p].Results {
			if r.Step == matrix.Start || r.Step == matrix.Restart {
				parts[p].Results[i].Timing = reports.Timing{App: float64(1 + p*r.Cycle)}
			}
		}
	}
	trends := func(h []reports.NodeHealth, node string) []reports.Trend {
		return h[slices.IndexFunc(h, func(h reports.NodeHealth) bool { return h.Node == node })].Trends
	}
	alone := trends(Judge(parts[1].Plan, parts[1].Results).Health, ".198")
	if together := trends(Judge(merged(t, parts)).Health, "shard-2/.198"); !slices.Equal(together, alone) || len(alone) != 5 {
		t.Errorf("%+v, and by itself %+v", together, alone)
	}
}

// TestAMachineThatWasKilledWorkedUntilItsLastResult has the other one go on for longer.
func TestAMachineThatWasKilledWorkedUntilItsLastResult(t *testing.T) {
	parts := sharded(t)
	parts[0].Plan.Sessions[0].Finished = time.Unix(9000, 0)
	parts[1].Plan.Sessions[0].Finished = time.Time{}
	last := time.Time{}
	for i := range parts[0].Results {
		parts[0].Results[i].At = time.Unix(9000, 0)
	}
	for _, r := range parts[1].Results {
		if r.At.After(last) {
			last = r.At
		}
	}
	if r := Judge(merged(t, parts)); r.Seconds != 9000+last.Sub(time.Unix(100, 0)).Seconds() || r.Finished != time.Unix(9000, 0) {
		t.Errorf("%v seconds, until %v", r.Seconds, r.Finished)
	}
}
