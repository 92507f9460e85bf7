package matrix

import (
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/reports"
)

// TestWhatDoesNotStayStoppedIsRed has an application run again between the step that stopped it
// and the one that starts it.
func TestWhatDoesNotStayStoppedIsRed(t *testing.T) {
	steps := StepNames()
	if stop, err := beginsStopped(stack(), stopped(), steps); stop || err != nil {
		t.Errorf("it is stopped: %v, %v", stop, err)
	}
	if stop, err := beginsStopped(stack(), healthy(), steps); stop || err == nil || !strings.Contains(err.Error(), "it did not stay stopped: container pair-db is still running") {
		t.Errorf("it runs again: %v, %v", stop, err)
	}
	// A step that is run by itself, or in a resumed cycle, stops it first.
	for _, steps := range [][]string{{Start}, steps[slices.Index(steps, Start):]} {
		if stop, err := beginsStopped(stack(), healthy(), steps); !stop || err != nil {
			t.Errorf("%s: %v, %v", steps, stop, err)
		}
	}
}

// TestAnInvariantIsOneInAnUpdateToo wants no waiver for what an update does to containers.
func TestAnInvariantIsOneInAnUpdateToo(t *testing.T) {
	m := stack()
	meant, err := ExpectationOf(m, Facts{DataDir: "/var/lib/archipelago", Requirers: []Requirer{{App: "wallet"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := judgeRelease(m, meant, healthy()); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		plant func(*Snapshot)
		kind  reports.Failure
	}{
		"privileged":             {func(s *Snapshot) { s.Containers[0].Privileged = true }, reports.Invariant},
		"privileged, and closed": {func(s *Snapshot) { s.Containers[0].Privileged, s.Open[8081] = true, false }, reports.Invariant},
		"the daemon lies":        {func(s *Snapshot) { s.lies = liar().lies }, reports.Invariant},
		"the data is gone":       {func(s *Snapshot) { s.Volumes = nil }, reports.DataLoss},
		"a port is closed":       {func(s *Snapshot) { s.Open[8081] = false }, ""},
	} {
		s := healthy()
		c.plant(s)
		if err := judgeRelease(m, meant, s); err == nil || KindOf(err) != c.kind {
			t.Errorf("%s: %v is of kind %q, expected %q", name, err, KindOf(err), c.kind)
		}
	}
}
