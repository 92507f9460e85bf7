package verdict

import (
	"slices"
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

func TestPercentilesAreOfTheNearestRank(t *testing.T) {
	s := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	if p50, p95 := percentile(s, .5), percentile(s, .95); p50 != 5 || p95 != 10 {
		t.Errorf("p50 %v, p95 %v", p50, p95)
	}
	if percentile(nil, .5) != 0 {
		t.Error("of nothing")
	}
}
