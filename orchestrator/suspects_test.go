package orchestrator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/notify"
)

func TestAKnownPasswordIsANotice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := node(t, empty(), t.TempDir())
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); r.RunNotices(ctx) }()
		t.Cleanup(func() { cancel(); <-ended })
		holding(t, r)
		r.PasswordKnown("192.0.2.7")
		if took := holding(t, r, notify.Password); took < notify.OwnSlip || took > notify.OwnSlip+time.Minute {
			t.Errorf("it took %s", took)
		}
		said := r.Notices().Notices()[0].Condition
		if !strings.Contains(said.Text, " from 192.0.2.7") || !strings.Contains(said.Text, time.Now().Local().Format("2006-01-02 15:")) || !strings.Contains(said.Remedy, "change it") {
			t.Errorf("%+v", said)
		}
		r.PasswordProven("192.0.2.7") // too late to have been the same person's slip
		if got := attention(r); !slices.Contains(got, notify.Password) {
			t.Errorf("after somebody got in from there: %q", got)
		}
		r.PasswordChanged()
		holding(t, r)

		r.PasswordKnown("192.0.2.7")
		r.PasswordKnown("192.0.2.8")
		r.PasswordProven("192.0.2.8")
		r.PasswordProven("192.0.2.9")
		if got := attention(r); !slices.Contains(got, notify.Password) {
			t.Errorf("after another one got in: %q", got)
		}
		r.PasswordProven("192.0.2.7")
		if got := attention(r); slices.Contains(got, notify.Password) {
			t.Errorf("after the owner got in: %q", got)
		}
	})
}

// TestAGuesserIsNotHiddenByAnOwnerBesideIt has both come from one address, as behind a router.
func TestAGuesserIsNotHiddenByAnOwnerBesideIt(t *testing.T) {
	var s suspects
	now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	for range 3 {
		s.note("192.0.2.7", now)
		now = now.Add(notify.OwnSlip - time.Second)
	}
	if s.owned("192.0.2.7", notify.OwnSlip, now) {
		t.Error("codes that were tried for longer than an owner's slip takes are said to have been one")
	}
	if what, _ := s.lately(now); !strings.HasSuffix(what, "from 192.0.2.7, and 2 times before") {
		t.Errorf("%q", what)
	}
}

func TestWhoKnowsThePasswordCannotBeHidden(t *testing.T) {
	var s suspects
	now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	if what, known := s.lately(now); what != "" || known {
		t.Errorf("at the start: %q, %t", what, known)
	}
	for i := range 10 * maxSuspects {
		now = now.Add(time.Minute)
		s.note(fmt.Sprint("2001:db8::", i), now)
	}
	last := fmt.Sprint("2001:db8::", 10*maxSuspects-1)
	what, known := s.lately(now)
	if !strings.Contains(what, "from "+last) || !strings.HasSuffix(what, fmt.Sprintf(", and %d times before", maxSuspects-1)) || known {
		t.Errorf("%q, %t", what, known)
	}
	s.note(last, now)
	if what, _ := s.lately(now); !strings.HasSuffix(what, fmt.Sprintf(", and %d times before", maxSuspects)) {
		t.Errorf("once more from there: %q", what)
	}
	if what, known := s.lately(now.Add(suspectFor)); what != "" || !known {
		t.Errorf("hours later: %q, %t", what, known)
	}
}
