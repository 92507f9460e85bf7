package verdict

import (
	"math"
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

func cat() catalog.Catalog {
	return catalog.Catalog{"a": {Manifest: &manifest.Manifest{ID: "a", Version: "1"}}, "b": {Manifest: &manifest.Manifest{ID: "b", Version: "2"}}}
}

var known = []reports.Node{{Name: ".228", HostKey: "k1"}, {Name: ".198", HostKey: "k2"}}

func release(t *testing.T) *plan.Plan {
	t.Helper()
	p, err := plan.New("run", "v", plan.Request{}, cat(), known)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// passed gives a passed result for every cell of a plan.
func passed(p *plan.Plan) []reports.Result {
	var out []reports.Result
	for i, c := range p.Cells() {
		out = append(out, reports.Result{Cell: c, Status: reports.Passed, Seconds: 1, At: time.Unix(int64(i), 0)})
	}
	return out
}

func TestVerdict(t *testing.T) {
	p := release(t)
	at := func(results []reports.Result, c reports.Cell) *reports.Result {
		i := slices.IndexFunc(results, func(r reports.Result) bool { return r.Cell == c })
		return &results[i]
	}
	cell := reports.Cell{App: "a", Node: ".198", Cycle: 7, Step: matrix.Stop}
	cases := []struct {
		name    string
		edit    func([]reports.Result) []reports.Result
		verdict reports.Verdict
		level   string
		flaky   int
		unmet   []string
	}{
		{"all passed", func(r []reports.Result) []reports.Result { return r }, reports.Green, "L3", 0, nil},
		{"one failed", func(r []reports.Result) []reports.Result {
			at(r, cell).Status = reports.Failed
			return r
		}, reports.Red, "L0", 1, []string{"lifecycle", "second-node", "invariants"}},
		{"one not run", func(r []reports.Result) []reports.Result {
			at(r, cell).Status = reports.NotRun
			return r
		}, reports.Incomplete, "L0", 0, []string{"lifecycle", "second-node", "invariants"}},
		{"one missing", func(r []reports.Result) []reports.Result {
			return slices.DeleteFunc(r, func(x reports.Result) bool { return x.Cell == cell })
		}, reports.Incomplete, "L0", 0, []string{"lifecycle", "second-node", "invariants"}},
		{"failed, then passed: red for good", func(r []reports.Result) []reports.Result {
			return append([]reports.Result{{Cell: cell, Status: reports.Failed, At: time.Unix(1, 0)}}, r...)
		}, reports.Red, "L0", 1, []string{"lifecycle", "second-node", "invariants"}},
		{"passed, then failed: red", func(r []reports.Result) []reports.Result {
			return append(r, reports.Result{Cell: cell, Status: reports.Failed, At: time.Unix(1, 0)})
		}, reports.Red, "L0", 1, []string{"lifecycle", "second-node", "invariants"}},
		{"not run, then passed: a resumption", func(r []reports.Result) []reports.Result {
			return append([]reports.Result{{Cell: cell, Status: reports.NotRun}}, r...)
		}, reports.Green, "L3", 0, nil},
		{"the reboot failed", func(r []reports.Result) []reports.Result {
			at(r, reports.Cell{App: "a", Node: ".228", Cycle: 1, Step: matrix.RebootSurvive}).Status = reports.Failed
			return r
		}, reports.Red, "L2", 1, []string{"reboot", "first-node", "invariants"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := Judge(p, c.edit(passed(p)))
			if r.Verdict != c.verdict {
				t.Errorf("verdict %s, expected %s", r.Verdict, c.verdict)
			}
			if r.Apps[0].Level != c.level || len(r.Apps[0].Flaky) != c.flaky {
				t.Errorf("level %s, flaky %v", r.Apps[0].Level, r.Apps[0].Flaky)
			}
			if r.Apps[1].Verdict != reports.Green {
				t.Errorf("the other application is %s", r.Apps[1].Verdict)
			}
			var unmet []string
			for _, k := range r.Checklist {
				if !k.Met {
					unmet = append(unmet, k.ID)
				}
			}
			if !slices.Equal(unmet, c.unmet) {
				t.Errorf("boxes empty: %v, expected %v", unmet, c.unmet)
			}
			if c.verdict == reports.Red && (r.First == nil || r.First.Status != reports.Failed) {
				t.Errorf("first failure %+v", r.First)
			}
		})
	}
}

func TestChecklistHasTheEightCriteria(t *testing.T) {
	if n := len(Judge(release(t), nil).Checklist); n != 8 {
		t.Errorf("%d criteria", n)
	}
}

func TestChecklistNamesTheMachineInEachRole(t *testing.T) {
	policy := plan.Default()
	policy.Cycles, policy.Nodes, policy.Roles = 1, []string{"old", "fast", "third"}, []string{"old", "new", "spare"}
	p, err := plan.New("run", "v", plan.Request{Policy: policy}, cat(), []reports.Node{{Name: "fast"}, {Name: "x"}})
	if err != nil {
		t.Fatal(err)
	}
	results := slices.DeleteFunc(passed(p), func(r reports.Result) bool { return r.Node == "x" && r.Step == matrix.Stop })
	got := map[string]reports.Criterion{}
	for _, c := range Judge(p, results).Checklist {
		got[c.ID] = c
	}
	for id, want := range map[string]reports.Criterion{
		"old-node":   {ID: "old-node", Text: "1 cycles on x", Why: "a on x, cycle 1, stop: not-run: the run ended before it"},
		"new-node":   {ID: "new-node", Text: "1 cycles on fast", Met: true},
		"spare-node": {ID: "spare-node", Text: "1 cycles on third", Why: "no machine in this role"},
	} {
		if got[id] != want {
			t.Errorf("%+v, expected %+v", got[id], want)
		}
	}
}

func TestNothingRunIsNotGreen(t *testing.T) {
	r := Judge(release(t), nil)
	if r.Verdict != reports.Incomplete {
		t.Errorf("verdict %s", r.Verdict)
	}
	for _, c := range r.Checklist[1:] {
		if c.Met {
			t.Errorf("box %s is filled in", c.ID)
		}
	}
}

func TestWhatWasNotAskedForTicksNoBox(t *testing.T) {
	p, err := plan.New("run", "v", plan.Request{Steps: []string{matrix.Install}}, cat(), known)
	if err != nil {
		t.Fatal(err)
	}
	r := Judge(p, passed(p))
	for _, id := range []string{"ui", "reboot", "daemon-restart"} {
		i := slices.IndexFunc(r.Checklist, func(c reports.Criterion) bool { return c.ID == id })
		if c := r.Checklist[i]; c.Met || c.Why != "not asked for in this run" {
			t.Errorf("%+v", c)
		}
	}
}

// TestWhatHasNoCellIsNotGreen has plans that no gate makes: of no cycle, and of no application.
func TestWhatHasNoCellIsNotGreen(t *testing.T) {
	none := release(t)
	none.Asked.Cycles = 0
	if r := Judge(none, nil); r.Verdict != reports.Incomplete || r.Apps[0].Verdict != reports.Incomplete {
		t.Errorf("of no cycle, it is %s, and its applications %s", r.Verdict, r.Apps[0].Verdict)
	}
	empty := release(t)
	empty.Asked.Apps = nil
	if r := Judge(empty, nil); r.Verdict != reports.Incomplete {
		t.Errorf("of no application, it is %s", r.Verdict)
	}
}

// TestStartTimesAreNoLookAtANode has all that passed be timed, and nobody have looked at the nodes.
func TestStartTimesAreNoLookAtANode(t *testing.T) {
	p := release(t)
	p.Looks = true
	results := passed(p)
	for i := range results {
		results[i].Timing = reports.Timing{App: 1}
	}
	r := Judge(p, results)
	i := slices.IndexFunc(r.Checklist, func(c reports.Criterion) bool { return c.ID == "nodes" })
	if c := r.Checklist[i]; len(r.Health) == 0 || c.Met || !strings.Contains(c.Why, "was not looked at") {
		t.Errorf("%+v of %+v", c, r.Health)
	}
}

func TestPercentilesAreOfTheNearestRank(t *testing.T) {
	s := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	if p50, p95 := percentile(s, .5), percentile(s, .95); p50 != 5 || p95 != 10 {
		t.Errorf("p50 %v, p95 %v", p50, p95)
	}
	if percentile(nil, .5) != 0 {
		t.Error("of nothing")
	}
}

func TestWhatCyclesProve(t *testing.T) {
	// Computed apart from this code, with whole binomial coefficients.
	for _, c := range []struct {
		n, k int
		want float64
	}{{0, 0, 1}, {1, 0, 0.95}, {20, 0, 0.1391083}, {40, 0, 0.0721575}, {100, 0, 0.0295130}, {20, 1, 0.2161067}, {40, 2, 0.1491520}, {5, 5, 1}} {
		if got := Bound(c.n, c.k); math.Abs(got-c.want) > 1e-6 {
			t.Errorf("%d of %d failed: %.7f, expected %.7f", c.k, c.n, got, c.want)
		}
	}
	p := release(t)
	results := passed(p)
	for i := range results { // one cycle of each is not green
		switch results[i].Cell {
		case reports.Cell{App: "a", Node: ".228", Cycle: 2, Step: matrix.Stop}:
			results[i].Status = reports.Failed
		case reports.Cell{App: "b", Node: ".198", Cycle: 5, Step: matrix.Stop}:
			results[i].Status = reports.NotRun
		}
	}
	p.Earlier = []reports.Earlier{{Cycles: map[string]reports.Tally{"a": {Green: 19, Red: 1}}}}
	r := Judge(p, results)
	if a, b := r.Apps[0].Proof, r.Apps[1].Proof; a.Tally != (reports.Tally{Green: 58, Red: 2}) || a.Runs != 2 || b.Tally != (reports.Tally{Green: 39}) || b.Runs != 1 || b.Bound != Bound(39, 0) {
		t.Errorf("%+v, %+v", a, b)
	}
}

func TestARerunDiagnosesAndNeverPasses(t *testing.T) {
	cell := reports.Cell{App: "a", Node: ".228", Cycle: 1, Step: matrix.Stop}
	lost := reports.Result{Cell: cell, Status: reports.NotRun, Cause: reports.Lost, Reason: "planted"}
	skipped := reports.Result{Cell: cell, Status: reports.NotRun, Reason: "an earlier step did not pass"}
	done := func(s reports.Status) reports.Result { return reports.Result{Cell: cell, Status: s} }
	for _, c := range []struct {
		name    string
		results []reports.Result
		want    int
		status  reports.Status
	}{
		{"lost, then passed", []reports.Result{lost, done(reports.Passed)}, 1, reports.Passed},
		{"lost, then failed", []reports.Result{lost, done(reports.Failed)}, 1, reports.Failed},
		{"failed, and then whatever", []reports.Result{done(reports.Failed), lost, done(reports.Passed)}, 1, reports.Failed},
		{"lost and left", []reports.Result{lost}, 0, reports.NotRun},
		{"lost, skipped, passed", []reports.Result{lost, skipped, done(reports.Passed)}, 1, reports.Passed},
		{"lost twice", []reports.Result{lost, lost}, 1, reports.NotRun},
		{"lost twice, and passed all the same", []reports.Result{lost, lost, done(reports.Passed)}, 2, reports.Passed},
		{"never begun, then passed", []reports.Result{skipped, done(reports.Passed)}, 0, reports.Passed},
	} {
		r := Judge(release(t), c.results)
		i := slices.IndexFunc(r.Apps[0].Cells, func(x reports.Result) bool { return x.Cell == cell })
		if len(r.Reruns) != c.want || r.Apps[0].Cells[i].Status != c.status {
			t.Errorf("%s: %+v, and the cell is %s", c.name, r.Reruns, r.Apps[0].Cells[i].Status)
		}
	}
}

func TestARedCellWithoutEvidenceIsAFaultOfTheGate(t *testing.T) {
	p := release(t)
	results := passed(p)
	results[3].Status, results[3].Prev = reports.Failed, "p"
	for _, c := range []struct {
		evidence []string
		digests  map[string]string
		fit      bool
	}{{nil, nil, false}, {[]string{"f"}, nil, false}, {[]string{"f", "g"}, map[string]string{"f": "0"}, false}, {[]string{"f"}, map[string]string{"f": "0"}, true}} {
		results[3].Evidence, results[3].Digests = c.evidence, c.digests
		results[0].Prev = "p"
		if r := Judge(p, results); (len(r.Unfit) == 0) != c.fit {
			t.Errorf("%v, %v: %q", c.evidence, c.digests, r.Unfit)
		}
	}
}

func TestWhatACellCostsIsSaidWhereAllOfItIsKnown(t *testing.T) {
	p := release(t)
	cost := func(without int) *reports.CPU {
		results := passed(p)
		for k := 1; k <= p.Asked.Cycles; k++ {
			for _, n := range p.Asked.Nodes {
				look := reports.NodeResult(n, k, reports.Vitals{}, time.Unix(1, 0))
				if k != without {
					look.Vitals.CPU = &reports.CPU{Services: 6, Sessions: 1, Suite: 2.5, Gate: 0.5}
				}
				results = append(results, look)
			}
		}
		return Judge(p, results).CPU
	}
	cycles := float64(p.Asked.Cycles * len(p.Asked.Nodes))
	cells := len(passed(p))
	if c := cost(0); c == nil || *c != (reports.CPU{Services: 6 * cycles, Sessions: cycles, Suite: 2.5 * cycles, Gate: 0.5 * cycles, Cells: cells}) {
		t.Fatalf("%+v", c)
	} else if said := c.Says(); !strings.Contains(said, "60 % the daemon, Podman and applications, 10 % the gate's connections to the nodes, 25 % the suite and its browsers, 5 % the gate") {
		t.Error(said)
	}
	if c := cost(3); c != nil {
		t.Errorf("a cycle is unknown, and the run cost %+v", c)
	}
	if c := Judge(p, passed(p)).CPU; c != nil {
		t.Errorf("no cycle is known, and the run cost %+v", c)
	}
}
