package main

import (
	"testing"

	"github.com/archipelago-cloud/archipelago/reports"
)

func TestACellThatIsRunAgainIsCountedOnce(t *testing.T) {
	tally := tally{done: map[string]int{}, seen: map[reports.Cell]bool{}}
	c := reports.Cell{App: "a", Node: "x", Cycle: 1, Step: "stop"}
	tally.add(reports.Result{Cell: c, Status: reports.NotRun, Cause: reports.Lost})
	tally.add(reports.Result{Cell: c, Status: reports.Failed})
	if tally.done["x"] != 1 || tally.failed != 1 {
		t.Errorf("%d done, %d failed", tally.done["x"], tally.failed)
	}
}
