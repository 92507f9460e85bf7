package verdict

import (
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

// TestWhetherAnApplicationWasUpdatedIsSaid goes by what the cells say.
func TestWhetherAnApplicationWasUpdatedIsSaid(t *testing.T) {
	release := reports.Release{Version: "1", Manifest: "old"}
	given := func(r reports.Release) *reports.Previous {
		return &reports.Previous{Source: "beta 7", Releases: map[string]reports.Release{"a": r}}
	}
	for name, c := range map[string]struct {
		previous *reports.Previous
		cycles   int
		edit     func(*reports.Result)
		want     string
		unfit    string
	}{
		"nothing is given": {nil, 14, nil, "no earlier release: the update path was not taken", ""},
		"it is new":        {&reports.Previous{Source: "beta 7"}, 14, nil, "no earlier release in beta 7: the update path was not taken", ""},
		"it is the same":   {given(reports.Release{Version: "2", Manifest: "new"}), 14, nil, "no earlier release: that of beta 7 is the one under test: the update path was not taken", ""},
		"it needs another": {given(reports.Release{Version: "1", Manifest: "old", Why: "a 1 requires b"}), 14, nil, "the update path was not taken: a 1 requires b", ""},
		"too few cycles":   {given(release), 3, nil, "the update path was not taken from 1: 3 cycles are too few", ""},
		"it was updated":   {given(release), 14, nil, "updated from 1 in cycles 4, 14", ""},
		"it failed once":   {given(release), 14, func(r *reports.Result) { r.Status = reports.Failed }, "updated from 1 in cycles 14", ""},
		"it failed":        {given(release), 4, func(r *reports.Result) { r.Status = reports.Failed }, "the update path was not taken from 1: no install of cycles 4 passed", ""},
		"it says nothing":  {given(release), 4, func(r *reports.Result) { r.Updated = "" }, "the update path was not taken from 1: no install of cycles 4 passed", "a on x, cycle 4, install passed, and does not say that it went through the update from 1"},
	} {
		p := &plan.Plan{Asked: reports.Policy{Cycles: c.cycles, Nodes: []string{"x"}, Steps: []string{matrix.Install}, Apps: []string{"a"}},
			Subject: reports.Subject{Manifests: map[string]string{"a": "new"}}, Previous: c.previous}
		var results []reports.Result
		for _, cell := range p.Cells() {
			r := reports.Result{Cell: cell, Status: reports.Passed, Prev: "x", Evidence: []string{"e"}, Digests: map[string]string{"e": "d"}}
			if p.Updates("a", cell.Cycle) {
				r.Updated = "1"
			}
			if cell.Cycle == 4 && c.edit != nil {
				c.edit(&r)
			}
			results = append(results, r)
		}
		r := Judge(p, results)
		if r.Apps[0].Update != c.want || !strings.HasSuffix(r.Apps[0].Proves(), "; "+c.want) {
			t.Errorf("%s: %q, expected %q", name, r.Apps[0].Update, c.want)
		}
		if why := strings.Join(r.Unfit, "; "); !strings.Contains(why, c.unfit) || c.unfit == "" && why != "" {
			t.Errorf("%s: unfit %q, expected %q", name, why, c.unfit)
		}
	}
}
