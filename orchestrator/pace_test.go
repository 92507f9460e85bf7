package orchestrator

import (
	"testing"
	"time"
)

// TestPassesTakeATenthOfTheTime: as many as are asked for, for a minute.
func TestPassesTakeATenthOfTheTime(t *testing.T) {
	for _, cost := range []time.Duration{time.Millisecond, 20 * time.Millisecond, 150 * time.Millisecond, time.Second} {
		var p pace
		begin := time.Unix(1, 0)
		now, worked, most := begin, time.Duration(0), time.Duration(0)
		for now.Sub(begin) < time.Minute {
			wait := p.wait(now)
			most = max(most, wait)
			now = now.Add(wait + cost)
			worked += cost
			p.passed(now, cost)
		}
		share := time.Minute / 10
		if 10*cost > mostGap {
			share = time.Minute / 2 // of passes that long there are some, however long they take
		}
		if worked > share+(atOnce+1)*cost {
			t.Errorf("passes of %s took %s of a minute", cost, worked)
		}
		if most > mostGap {
			t.Errorf("passes of %s: one waited for %s", cost, most)
		}
	}
}

// TestThePassesAfterAQuietTimeDoNotWait: of an application that ends, they see that it has,
// that its unit is down, and that it has been started.
func TestThePassesAfterAQuietTimeDoNotWait(t *testing.T) {
	var p pace
	now := time.Unix(1, 0)
	burst := func() (n int) {
		for ; n < 100 && p.wait(now) == 0; n++ {
			now = now.Add(50 * time.Millisecond)
			p.passed(now, 50*time.Millisecond)
		}
		return n
	}
	if n := burst(); n < 1+atOnce || n > 2+atOnce {
		t.Errorf("%d passes at once", n)
	}
	now = now.Add(passInterval)
	if n := burst(); n < 1+atOnce || n > 2+atOnce {
		t.Errorf("%d passes at once after a quiet time", n)
	}
}

// TestACheapPassDoesNotWaitForDearOnes: a machine that was busy for a moment is not slow for long.
func TestACheapPassDoesNotWaitForDearOnes(t *testing.T) {
	var p pace
	now := time.Unix(1, 0)
	for range 10 {
		now = now.Add(time.Second)
		p.passed(now, time.Second)
	}
	p.passed(now, time.Millisecond)
	if wait := p.wait(now); wait > 10*time.Millisecond {
		t.Errorf("it waits for %s", wait)
	}
}
