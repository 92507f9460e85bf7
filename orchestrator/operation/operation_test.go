package operation_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/archipelago-cloud/archipelago/orchestrator/operation"
)

// work is a proposal that has something to do, but no start.
func work(generation uint64) operation.Proposal {
	return operation.Proposal{App: "a", Generation: generation, Actions: true}
}

func start(generation uint64) operation.Proposal {
	p := work(generation)
	p.Starts = true
	return p
}

func begin(t *testing.T, tr *operation.Tracker, p operation.Proposal) {
	t.Helper()
	if turn := propose(tr, p); !turn.Begin {
		t.Fatalf("%+v does not begin: %+v", p, turn)
	}
}

// settled gives a tracker of an application whose first generation has been carried out.
func settled(t *testing.T) *operation.Tracker {
	t.Helper()
	tr := operation.New()
	tr.Accepted("a", 1)
	if turn := propose(tr, operation.Proposal{App: "a", Generation: 1}); turn != (operation.Turn{}) {
		t.Fatalf("there is nothing to do, but %+v", turn)
	}
	if s := tr.Status("a"); s.Observed != 1 {
		t.Fatalf("nothing is left to do, but it is not carried out: %+v", s)
	}
	return tr
}

// closed tells whether a channel has been closed.
func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestHoldWaitsAndKeepsOthersOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := settled(t)
		begin(t, tr, work(1))
		type held struct {
			release func()
			err     error
		}
		got := make(chan held, 1)
		go func() {
			release, err := tr.Hold(t.Context(), "a", "a backup is being made")
			got <- held{release, err}
		}()
		synctest.Wait()
		if len(got) > 0 {
			t.Fatal("held although an operation is under way")
		}
		tr.Say("a", "almost there") // a change that leaves it busy
		synctest.Wait()
		if len(got) > 0 {
			t.Fatal("held although the operation goes on")
		}
		tr.Done("a", 1, false)
		first := <-got
		if first.err != nil {
			t.Fatal(first.err)
		}
		if turn := propose(tr, work(1)); turn != (operation.Turn{Busy: true}) {
			t.Errorf("while it is held: %+v", turn)
		}
		if s := tr.Status("a"); s.Busy || s.Held != "a backup is being made" {
			t.Errorf("held, but nothing is under way: %+v", s)
		}
		_, err := tr.Hold(t.Context(), "a", "another")
		if !errors.Is(err, operation.ErrBusy) || !strings.Contains(err.Error(), "a backup is being made") {
			t.Errorf("held twice: %v", err)
		}
		if turn := propose(tr, operation.Proposal{App: "b", Generation: 1, Actions: true}); !turn.Begin {
			t.Errorf("another application is held too: %+v", turn)
		}
		_, told := tr.Watch("a")
		first.release()
		if s := tr.Status("a"); s.Held != "" || !closed(told) {
			t.Errorf("not held any more, and nobody is told: %+v", s)
		}
		_, told = tr.Watch("a")
		release, err := tr.Hold(t.Context(), "a", "another")
		if err != nil || !closed(told) {
			t.Errorf("held, and nobody is told: %v", err)
		}
		release()
		begin(t, tr, work(1))
	})
}

// TestWhatAnApplicationWaitsForIsSaidAgain after each request and each operation, however long it
// has been the same.
func TestWhatAnApplicationWaitsForIsSaidAgain(t *testing.T) {
	const why = "waiting for chain: it does not run yet"
	tr := operation.New()
	tr.Accepted("a", 1)
	waits := operation.Proposal{App: "a", Generation: 1, Waiting: why}
	first := waits
	first.Actions = true
	begin(t, tr, first)
	tr.Say("a", "writing units")
	tr.Done("a", 1, false)
	said := func(when string, p operation.Proposal) {
		t.Helper()
		_, told := tr.Watch("a")
		if propose(tr, p); tr.Status("a").Message != why || !closed(told) {
			t.Errorf("%s: %+v", when, tr.Status("a"))
		}
	}
	said("when its units are written", waits)
	tr.Accepted("a", 2)
	waits.Generation = 2
	said("after another request", waits)
	if _, told := tr.Watch("a"); propose(tr, waits) != (operation.Turn{}) || closed(told) {
		t.Error("told though nothing has changed")
	}
}

func TestHoldEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := settled(t)
		begin(t, tr, work(1))
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan error, 1)
		go func() {
			_, err := tr.Hold(ctx, "a", "a backup is being made")
			got <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-got; !errors.Is(err, operation.ErrBusy) || !strings.Contains(err.Error(), "a has work under way") {
			t.Error(err)
		}
		// Nobody holds it now.
		tr.Done("a", 1, false)
		begin(t, tr, work(1))
	})
}

func TestRequestCancelsTheStartOfAnEarlierGeneration(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(tr *operation.Tracker, cancelable func())
		want error
	}{
		{"it comes while the start is under way", func(tr *operation.Tracker, cancelable func()) {
			cancelable()
			tr.Accepted("a", 2)
		}, operation.ErrOvertaken},
		{"it comes before the start can be cancelled", func(tr *operation.Tracker, cancelable func()) {
			tr.Accepted("a", 2)
			cancelable()
		}, operation.ErrOvertaken},
		{"none comes", func(_ *operation.Tracker, cancelable func()) { cancelable() }, nil},
		{"its own acceptance is told late", func(tr *operation.Tracker, cancelable func()) {
			cancelable()
			tr.Accepted("a", 1)
		}, nil},
		{"its own acceptance is told late, before it can be cancelled", func(tr *operation.Tracker, cancelable func()) {
			tr.Accepted("a", 1)
			cancelable()
		}, nil},
		{"another application's", func(tr *operation.Tracker, cancelable func()) {
			cancelable()
			tr.Accepted("b", 9)
		}, nil},
		{"it comes once the operation has ended", func(tr *operation.Tracker, cancelable func()) {
			cancelable()
			tr.Done("a", 1, false)
			tr.Accepted("a", 2)
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := operation.New()
			tr.Accepted("a", 1)
			begin(t, tr, start(1))
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			c.do(tr, func() { tr.Cancelable("a", cancel) })
			if got := context.Cause(ctx); got != c.want {
				t.Errorf("cancelled with %v, expected %v", got, c.want)
			}
		})
	}
	// The start that the later request asks for is not cancelled by it.
	tr := operation.New()
	tr.Accepted("a", 1)
	begin(t, tr, start(1))
	tr.Accepted("a", 2)
	tr.Pending("a", "")
	begin(t, tr, start(2))
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	if tr.Cancelable("a", cancel); ctx.Err() != nil {
		t.Error("a request cancelled the start that it asks for")
	}
}

func TestWatchersHearOfEveryChange(t *testing.T) {
	busy := func(t *testing.T) *operation.Tracker {
		tr := settled(t)
		begin(t, tr, work(1))
		return tr
	}
	for _, c := range []struct {
		name   string
		from   func(*testing.T) *operation.Tracker
		change func(*operation.Tracker)
	}{
		{"a request", settled, func(tr *operation.Tracker) { tr.Accepted("a", 2) }},
		{"forgiven", settled, func(tr *operation.Tracker) { tr.Forgive("a") }},
		{"an operation begins", settled, func(tr *operation.Tracker) { propose(tr, work(1)) }},
		{"it waits", settled, func(tr *operation.Tracker) {
			propose(tr, operation.Proposal{App: "a", Generation: 1, Waiting: "for b"})
		}},
		{"it is blocked", settled, func(tr *operation.Tracker) {
			propose(tr, operation.Proposal{App: "a", Generation: 1, Blocked: "in the way"})
		}},
		{"a generation is found carried out", settled, func(tr *operation.Tracker) {
			propose(tr, operation.Proposal{App: "a", Generation: 2})
		}},
		{"progress", busy, func(tr *operation.Tracker) { tr.Say("a", "pulling") }},
		{"time spent", busy, func(tr *operation.Tracker) { tr.Spent("a", 1, 1) }},
		{"undone", busy, func(tr *operation.Tracker) { tr.Undo("a", 1, "why") }},
		{"done", busy, func(tr *operation.Tracker) { tr.Done("a", 1, false) }},
		{"pending", busy, func(tr *operation.Tracker) { tr.Pending("a", "the engine is down") }},
		{"failed", busy, func(tr *operation.Tracker) { tr.Fail("a", 1, "no", false) }},
		{"rested", busy, func(tr *operation.Tracker) { tr.Rest("a") }},
		{"something besides", settled, func(tr *operation.Tracker) { tr.Changed("a") }},
		{"something of all", settled, func(tr *operation.Tracker) { tr.Changed("") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := c.from(t)
			_, one := tr.Watch("a")
			_, two := tr.Watch("a")
			_, other := tr.Watch("b")
			if closed(one) {
				t.Fatal("closed before anything changed")
			}
			c.change(tr)
			if !closed(one) || !closed(two) {
				t.Error("who watches was not told")
			}
			if closed(other) != (c.name == "something of all") {
				t.Error("who watches another application was told, or all were not")
			}
			if _, next := tr.Watch("a"); closed(next) {
				t.Error("told of a change that has not come yet")
			}
		})
	}
}

func TestReleaseIsAChange(t *testing.T) {
	tr := settled(t)
	release, err := tr.Hold(t.Context(), "a", "a backup is being made")
	if err != nil {
		t.Fatal(err)
	}
	_, changed := tr.Watch("a")
	if release(); !closed(changed) {
		t.Error("who watches was not told")
	}
}

func TestLookingCreatesNothing(t *testing.T) {
	tr := operation.New()
	if s := tr.Status("a"); s != (operation.Status{}) {
		t.Errorf("%+v", s)
	}
	s, changed := tr.Watch("a")
	if s != (operation.Status{}) {
		t.Errorf("%+v", s)
	}
	if tr.Changed("a"); !closed(changed) {
		t.Error("who watches what is not known yet was not told")
	}
	tr.Changed("")
	tr.Changed("b")
	if all := tr.All(); len(all) > 0 {
		t.Errorf("looking left %+v", all)
	}
}

func TestStatusFollowsAnOperation(t *testing.T) {
	tr := operation.New()
	tr.Accepted("a", 1)
	begin(t, tr, start(1))
	tr.Say("a", "starting")
	tr.Spent("a", 3, 4)
	if s := tr.Status("a"); !s.Busy || s.Message != "starting" || s.Engine != 3 || s.App != 4 || s.Observed != 0 {
		t.Errorf("under way: %+v", s)
	}
	if turn := propose(tr, start(1)); turn != (operation.Turn{Busy: true}) {
		t.Errorf("twice at a time: %+v", turn)
	}
	tr.Done("a", 1, false)
	if s := tr.Status("a"); s.Busy || s.Observed != 0 {
		t.Errorf("the next pass finds whether it is carried out: %+v", s)
	}
	propose(tr, operation.Proposal{App: "a", Generation: 1, Waiting: "for b"})
	if s := tr.Status("a"); s.Observed != 0 || s.Waiting != "for b" || s.Message != "for b" {
		t.Errorf("what waits is not carried out: %+v", s)
	}
	propose(tr, operation.Proposal{App: "a", Generation: 1})
	if s := tr.Status("a"); s.Observed != 1 || s.Waiting != "" || s.Message != "" {
		t.Errorf("carried out: %+v", s)
	}
	begin(t, tr, work(2))
	if s := tr.Status("a"); s.Engine != 0 || s.App != 0 {
		t.Errorf("the time of the operation before is added: %+v", s)
	}
	tr.Done("a", 2, true)
	if s := tr.All()["a"]; s.Observed != 2 {
		t.Errorf("nothing of it is left to find: %+v", s)
	}
}

// propose proposes what rests on a look that is taken now.
func propose(tr *operation.Tracker, p operation.Proposal) operation.Turn {
	p.Turns = tr.Status(p.App).Turns
	return tr.TryBegin(p)
}

// TestProposalDoesNotOutliveItsLook: an operation begins and ends, or a request comes,
// between a look and what is proposed after it.
func TestProposalDoesNotOutliveItsLook(t *testing.T) {
	for name, meanwhile := range map[string]func(*operation.Tracker){
		"an operation ended": func(tr *operation.Tracker) { propose(tr, start(1)); tr.Done("a", 1, false) },
		"a hold ended": func(tr *operation.Tracker) {
			release, err := tr.Hold(t.Context(), "a", "a backup")
			if err != nil {
				t.Fatal(err)
			}
			release()
		},
		"a request was accepted": func(tr *operation.Tracker) { tr.Accepted("a", 2) },
	} {
		t.Run(name, func(t *testing.T) {
			tr := operation.New()
			p := start(1)
			p.Turns = tr.Status("a").Turns
			meanwhile(tr)
			if turn := tr.TryBegin(p); turn != (operation.Turn{Busy: true}) {
				t.Errorf("%+v", turn)
			}
		})
	}
}

// TestAStartAndAStopAreNotSideBySide has an application be stopped and what requires it be
// started at the same time: one of the two is put off, whichever comes second.
func TestAStartAndAStopAreNotSideBySide(t *testing.T) {
	for _, stopFirst := range []bool{true, false} {
		tr := operation.New()
		stop := func() string { return tr.Do("chain", "stop", []string{"lightning"}, "start") }
		start := func() string { return tr.Do("lightning", "start", []string{"other", "chain"}, "stop") }
		first, second, want := start, stop, "lightning"
		if stopFirst {
			first, second, want = stop, start, "chain"
		}
		if beside := first(); beside != "" {
			t.Errorf("the first is put off beside %s", beside)
		}
		if beside := second(); beside != want {
			t.Errorf("the second is put off beside %q, expected %q", beside, want)
		}
		tr.Pending("chain", "")
		tr.Pending("lightning", "")
		if beside := second(); beside != "" {
			t.Errorf("once that has ended it is put off beside %s", beside)
		}
	}
}
