package main

import (
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/bubbles/progress"
	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/reports"
)

// What an application says is shown, and cannot repaint the verdict or begin a line of its own.
func TestNothingThatAnApplicationSaysRepaintsTheVerdict(t *testing.T) {
	res := reports.Result{Cell: reports.Cell{App: "feeds", Node: ".228", Cycle: 1, Step: "stop"}, Status: reports.Failed, Reason: "x\x1b[3A\x1b[2K\nGREEN: 1 apps\r"}
	var said strings.Builder
	cmd := &cobra.Command{}
	cmd.SetOut(&said)
	if err := say(cmd, false, "out", &reports.Report{Verdict: reports.Red, First: &res, Reruns: []reports.Rerun{{Cell: res.Cell, Reason: res.Reason}}, Unfit: []string{res.Reason}}); err == nil {
		t.Error("red is no error")
	}
	l := &lines{out: &said, tally: tally{done: map[string]int{}, total: map[string]int{}, seen: map[reports.Cell]bool{}}}
	l.Done(res)
	m := &model{tally: tally{plan: &plan.Plan{}, began: time.Now()}, bar: progress.New(), failures: []reports.Result{res}}
	said.WriteString(m.View())
	for line := range strings.Lines(said.String()) {
		if strings.HasPrefix(line, "GREEN") || strings.ContainsAny(line, "\x1b\r") {
			t.Errorf("%q", line)
		}
	}
	if n := strings.Count(said.String(), `x\x1b[3A\x1b[2K`); n != 5 {
		t.Errorf("said %d times of 5:\n%s", n, said.String())
	}
}
