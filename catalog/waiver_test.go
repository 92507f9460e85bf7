package catalog

import (
	"testing"
	"time"
)

func TestAWaiverHoldsUntilTheInstantItEnds(t *testing.T) {
	until := time.Date(2026, 1, 4, 0, 0, 0, 0, time.UTC)
	w := &Waiver{Steps: []string{"stop", "start"}, Tracker: "https://tracker.example/1", Until: until}
	if err := w.Ended(until.Add(-time.Nanosecond)); err != nil {
		t.Errorf("before its end: %v", err)
	}
	if err := w.Ended(until); err == nil || err.Error() != "the waiver for stop, start ended on 2026-01-04 (https://tracker.example/1)" {
		t.Errorf("at its end: %v", err)
	}
	if err := (*Waiver)(nil).Ended(until); err != nil {
		t.Errorf("no waiver: %v", err)
	}
}
