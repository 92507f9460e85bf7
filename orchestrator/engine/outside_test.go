package engine

import (
	"math"
	"testing"
	"time"
)

func TestWorkIsGivenTimeWhileItGetsOn(t *testing.T) {
	begin := time.Now()
	p := progress{since: begin}
	at := func(minutes int) time.Time { return begin.Add(time.Duration(minutes) * time.Minute) }
	for minute := range 120 { // slowly, and for much longer than it may stand still
		if p.stalled(at(minute), uint64(minute/9), 10*time.Minute) {
			t.Fatalf("ended after %d min, though it gets on", minute)
		}
	}
	last := 119 / 9 * 9 // when it last got on
	if p.stalled(at(last+9), 119/9, 10*time.Minute) {
		t.Error("ended after 9 min")
	}
	if !p.stalled(at(last+10), 119/9, 10*time.Minute) {
		t.Error("it stands still for 10 min")
	}
	p = progress{since: begin}
	for minute := range 120 {
		if p.stalled(at(minute), math.MaxUint64, 10*time.Minute) {
			t.Fatal("ended, though nobody measures its time")
		}
	}
}
