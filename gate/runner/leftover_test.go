package runner

import (
	"slices"
	"testing"

	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

// TestOnlyWhatACycleDidNotEndMayBeClearedByTheNext wants the suite to be told, at a cycle's
// install, whether the application may be there: otherwise what is left is red.
func TestOnlyWhatACycleDidNotEndMayBeClearedByTheNext(t *testing.T) {
	install := reports.Cell{App: "a", Node: "x", Cycle: 2, Step: matrix.Install}
	t.Run("an earlier cell failed", func(t *testing.T) {
		t.Setenv(planted, "once failed a "+matrix.Stop)
		dir := t.TempDir()
		r, _ := newRunner(t, dir)
		onOneNode(r, 2)
		if err := r.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		other := install
		other.App = "b"
		if got := statuses(t, dir); got[install].Note != "resumed" || got[other].Note != "" {
			t.Errorf("%+v and %+v", got[install], got[other])
		}
	})
	t.Run("the run was interrupted between two cycles", func(t *testing.T) {
		dir := t.TempDir()
		r, _ := newRunner(t, dir)
		onOneNode(r, 2)
		for _, c := range r.Plan.Cells() {
			if c.Node == "x" && c.Cycle == 1 {
				r.Results = append(r.Results, reports.Result{Cell: c, Status: reports.Passed})
			}
		}
		// In the order of a cycle: the uninstall is the last.
		slices.SortStableFunc(r.Results, func(a, b reports.Result) int {
			return slices.Index(steps, a.Step) - slices.Index(steps, b.Step)
		})
		if err := r.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := statuses(t, dir)[install]; got.Status != reports.Passed || got.Note != "" {
			t.Errorf("%+v", got)
		}
	})
}
