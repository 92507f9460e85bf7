package reports

import (
	"slices"
	"strings"
	"testing"
)

func TestEachNoteIsShownOnceAndCounted(t *testing.T) {
	cell := func(cycle int, note string) Result {
		return Result{Cell: Cell{App: "feeds", Node: "x", Cycle: cycle, Step: "ui-reachable"}, Status: Passed, Note: note}
	}
	r := &Report{Apps: []App{{ID: "feeds", Cells: []Result{cell(1, "tolerated once: <b>"), cell(2, ""), cell(3, "tolerated once: <b>")}}}, Asked: Policy{Apps: []string{"feeds"}, Steps: []string{"ui-reachable"}}}
	if got := r.Notes(); !slices.Equal(got, []Noted{{"feeds", "ui-reachable", "tolerated once: <b>", 2}}) {
		t.Errorf("%+v", got)
	}
	page, err := HTML(t.TempDir(), r)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "tolerated once: &lt;b&gt;") || !strings.Contains(Summary(r), "noted on 2: tolerated once") {
		t.Error("the report does not show it")
	}
}
