package operation_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/operation"
)

// about tells whether a wait is the nominal one, spread by a fifth either way.
func about(got, nominal time.Duration) bool {
	return got >= nominal*8/10 && got <= nominal*12/10
}

func TestRetryBackoffGrowsAndIsForgiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := operation.New()
		tr.Accepted("a", 1)
		for i, nominal := range []time.Duration{2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300} {
			begin(t, tr, work(1))
			tr.Fail("a", 1, "no such image", false)
			wait := propose(tr, work(1)).Again
			if !about(wait, nominal*time.Second) {
				t.Fatalf("after %d failures it waits %s, expected about %d s", i+1, wait, nominal)
			}
			time.Sleep(wait - time.Nanosecond)
			if turn := propose(tr, work(1)); turn != (operation.Turn{Again: time.Nanosecond}) {
				t.Fatalf("before its time: %+v", turn)
			}
			time.Sleep(time.Nanosecond)
		}
		begin(t, tr, work(1))
		tr.Fail("a", 1, "no such image", false)

		tr.Accepted("a", 2)
		begin(t, tr, work(2))
		tr.Fail("a", 2, "no such image", false)
		if wait := propose(tr, work(2)).Again; !about(wait, 2*time.Second) {
			t.Errorf("a request has not forgiven what failed before it: it waits %s", wait)
		}
		tr.Forgive("a")
		begin(t, tr, work(2))
		tr.Fail("a", 2, "no such image", false)
		if wait := propose(tr, work(2)).Again; !about(wait, 4*time.Second) {
			t.Errorf("to begin at once is not to forget the failures: it waits %s", wait)
		}
		time.Sleep(time.Minute)
		begin(t, tr, work(2))
		tr.Done("a", 2, false)
		begin(t, tr, work(2))
		tr.Fail("a", 2, "no such image", false)
		if wait := propose(tr, work(2)).Again; !about(wait, 2*time.Second) {
			t.Errorf("failures are not in a row where something succeeded in between: it waits %s", wait)
		}
	})
}

func TestWhatFailsTogetherIsNotTriedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := operation.New()
		least, most := time.Hour, time.Duration(0)
		for i := range 300 {
			p := operation.Proposal{App: fmt.Sprint(i), Generation: 1, Actions: true}
			begin(t, tr, p)
			tr.Fail(p.App, 1, "no network", false)
			wait := propose(tr, p).Again
			least, most = min(least, wait), max(most, wait)
		}
		if least < 1600*time.Millisecond || least > 1700*time.Millisecond || most < 2300*time.Millisecond || most > 2400*time.Millisecond {
			t.Errorf("spread from %s to %s, expected 1.6 s to 2.4 s", least, most)
		}
	})
}

// repair is a start that nobody asked for, and that succeeds.
func repair(t *testing.T, tr *operation.Tracker) operation.Turn {
	t.Helper()
	turn := propose(tr, start(1))
	if !turn.Repair {
		t.Fatalf("no repair: %+v", turn)
	}
	if turn.Begin {
		tr.Done("a", 1, false)
		propose(tr, operation.Proposal{App: "a", Generation: 1})
	}
	return turn
}

func TestCrashLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := settled(t)
		for i := range 6 {
			if turn := repair(t, tr); turn != (operation.Turn{Begin: true, Repair: true}) {
				t.Fatalf("repair %d: %+v", i+1, turn)
			}
			time.Sleep(100 * time.Second)
		}
		turn := repair(t, tr)
		if turn.Begin || !strings.Contains(turn.GiveUp, "crash-loop back-off: it ended 7 times within 10m0s") {
			t.Fatalf("the seventh within the window: %+v", turn)
		}
		if s := tr.Status("a"); !s.Busy || !s.InBackoff || s.Failed != 1 || s.Error != turn.GiveUp {
			t.Errorf("until it is stopped: %+v", s)
		}
		if turn := propose(tr, start(1)); turn != (operation.Turn{Busy: true}) {
			t.Errorf("while it is being stopped: %+v", turn)
		}
		tr.Rest("a")
		inBackoff(t, tr, 1)

		tr.Accepted("a", 2)
		if s := tr.Status("a"); s.InBackoff {
			t.Errorf("a request has not forgiven it: %+v", s)
		}
		if turn := propose(tr, start(2)); turn != (operation.Turn{Begin: true}) {
			t.Errorf("what the owner asks for is no repair, and begins: %+v", turn)
		}
		tr.Done("a", 2, false)
		propose(tr, operation.Proposal{App: "a", Generation: 2})
		for i := range 6 {
			if turn := propose(tr, start(2)); !turn.Begin {
				t.Fatalf("repair %d since: %+v; the earlier ones are forgiven", i+1, turn)
			}
			tr.Done("a", 2, false)
		}
	})
}

// inBackoff wants nothing to begin or change, whatever is proposed and however long
// it takes.
func inBackoff(t *testing.T, tr *operation.Tracker, generation uint64) {
	t.Helper()
	before := tr.Status("a")
	if before.Busy || !before.InBackoff || before.Error == "" {
		t.Errorf("in back-off: %+v", before)
	}
	for range 3 {
		time.Sleep(time.Hour)
		for _, p := range []operation.Proposal{start(generation), work(generation), {App: "a", Generation: generation, Blocked: "in the way"}} {
			if turn := propose(tr, p); turn != (operation.Turn{}) {
				t.Errorf("in back-off, %+v: %+v", p, turn)
			}
		}
	}
	if after := tr.Status("a"); after != before {
		t.Errorf("in back-off it went from %+v to %+v", before, after)
	}
}

func TestRepairsThatAreSpreadAreNoCrashLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := settled(t)
		for i := range 30 {
			if turn := repair(t, tr); !turn.Begin {
				t.Fatalf("repair %d, two minutes after the one before: %+v", i+1, turn)
			}
			time.Sleep(2 * time.Minute)
		}
	})
}

// TestWhatAHolderHasStoppedIsNoCrash: an application that goes into ten repositories is
// stopped, and started again, ten times in a row.
func TestWhatAHolderHasStoppedIsNoCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := settled(t)
		for range 10 {
			release, err := tr.Hold(t.Context(), "a", "a backup is being made")
			if err != nil {
				t.Fatal(err)
			}
			release()
			if turn := propose(tr, start(1)); turn != (operation.Turn{Begin: true}) {
				t.Fatalf("the start after a backup is %+v", turn)
			}
			tr.Done("a", 1, false)
			propose(tr, operation.Proposal{App: "a", Generation: 1})
		}
		// What ends by itself afterwards counts, as ever: also where nobody had stopped it.
		release, err := tr.Hold(t.Context(), "a", "a backup is about to be tried")
		if err != nil {
			t.Fatal(err)
		}
		release()
		propose(tr, operation.Proposal{App: "a", Generation: 1})
		if turn := repair(t, tr); !turn.Begin {
			t.Errorf("it ended by itself: %+v", turn)
		}
	})
}

func TestWorkThatStartsNothingIsNoRepair(t *testing.T) {
	tr := settled(t)
	for range 20 {
		if turn := propose(tr, work(1)); turn != (operation.Turn{Begin: true}) {
			t.Fatalf("%+v", turn)
		}
		tr.Done("a", 1, false)
	}
}

// failStart has a start fail once its time has come.
func failStart(t *testing.T, tr *operation.Tracker) (giveUp string) {
	t.Helper()
	turn := propose(tr, start(1))
	if turn.Again > 0 {
		time.Sleep(turn.Again)
		turn = propose(tr, start(1))
	}
	if !turn.Begin {
		t.Fatalf("%+v", turn)
	}
	return tr.Fail("a", 1, "starting: not healthy", true)
}

func TestStartThatFailsSixTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := operation.New()
		tr.Accepted("a", 1)
		for i := range 5 {
			if why := failStart(t, tr); why != "" {
				t.Fatalf("given up after %d: %s", i+1, why)
			}
		}
		why := failStart(t, tr)
		if !strings.Contains(why, "starting: not healthy; crash-loop back-off after 6 attempts") {
			t.Fatalf("after six: %q", why)
		}
		if s := tr.Status("a"); !s.Busy || !s.InBackoff || s.Error != why {
			t.Errorf("until it is stopped: %+v", s)
		}
		tr.Rest("a")
		inBackoff(t, tr, 1)
		tr.Accepted("a", 2)
		begin(t, tr, start(2))
		if why := tr.Fail("a", 2, "starting: not healthy", true); why != "" {
			t.Errorf("a request has not forgiven what failed before it: %s", why)
		}
	})
}

func TestOnlyStartsThatFailAreACrashLoop(t *testing.T) {
	for name, before := range map[string]func(*testing.T, *operation.Tracker){
		"an image that cannot be had": func(t *testing.T, tr *operation.Tracker) {
			begin(t, tr, start(1))
			tr.Fail("a", 1, "no such image", false)
			time.Sleep(propose(tr, start(1)).Again)
		},
		"something in the way": func(_ *testing.T, tr *operation.Tracker) {
			time.Sleep(propose(tr, operation.Proposal{App: "a", Generation: 1, Blocked: "in the way"}).Again)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr := operation.New()
				tr.Accepted("a", 1)
				for range 10 {
					before(t, tr)
				}
				for i := range 5 {
					if why := failStart(t, tr); why != "" {
						t.Fatalf("given up after %d failed starts: %s", i+1, why)
					}
				}
				if why := failStart(t, tr); !strings.Contains(why, "after 6 attempts") {
					t.Errorf("after six failed starts: %q", why)
				}
			})
		})
	}
}

func TestBlockedIsLookedAtAgainFreely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blocked := operation.Proposal{App: "a", Generation: 1, Blocked: "port 80 is taken"}
		tr := operation.New()
		tr.Accepted("a", 1)
		turn := propose(tr, blocked)
		if turn.Begin || !turn.Blocked || !about(turn.Again, 2*time.Second) {
			t.Fatalf("at first: %+v", turn)
		}
		if s := tr.Status("a"); s.Busy || s.Failed != 1 || s.Error != "port 80 is taken" || s.InBackoff {
			t.Errorf("%+v", s)
		}
		_, changed := tr.Watch("a")
		time.Sleep(turn.Again / 2)
		if again := propose(tr, blocked); again.Blocked || again.Begin || again.Again != turn.Again-turn.Again/2 {
			t.Errorf("looked at again before its time: %+v", again)
		}
		if closed(changed) {
			t.Error("nothing has changed, and who watches was told")
		}
		time.Sleep(turn.Again)
		if again := propose(tr, blocked); again.Blocked || !about(again.Again, 4*time.Second) {
			t.Errorf("it is looked at less and less often without an event: %+v", again)
		}
		blocked.Blocked = "port 81 is taken"
		if again := propose(tr, blocked); !again.Blocked {
			t.Errorf("for another reason: %+v", again)
		}
		if s := tr.Status("a"); s.Error != "port 81 is taken" {
			t.Errorf("%+v", s)
		}
		// What stood in the way is gone: nothing waits for a retry.
		begin(t, tr, start(1))
		tr.Done("a", 1, false)
		propose(tr, operation.Proposal{App: "a", Generation: 1})
		if s := tr.Status("a"); s.Error != "" || s.Observed != 1 {
			t.Errorf("%+v", s)
		}
		// So it is where there is nothing left to do.
		propose(tr, blocked)
		propose(tr, operation.Proposal{App: "a", Generation: 1})
		if s := tr.Status("a"); s.Error != "" {
			t.Errorf("%+v", s)
		}
		// A request is blocked anew, though for the same reason.
		propose(tr, blocked)
		tr.Accepted("a", 2)
		blocked.Generation = 2
		if turn := propose(tr, blocked); !turn.Blocked || !about(turn.Again, 2*time.Second) {
			t.Errorf("the next request: %+v", turn)
		}
		if s := tr.Status("a"); s.Failed != 2 {
			t.Errorf("%+v", s)
		}
	})
}
