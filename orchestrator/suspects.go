package orchestrator

import (
	"fmt"
	"sync"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/notify"
)

const (
	suspectFor  = 6 * time.Hour // how long it is worth a notice that somebody knows the password
	maxSuspects = 32            // addresses; one more, and the oldest is forgotten
)

// suspects are the addresses from which the right password came without the code that goes with
// it: whoever is there may have learned it.
type suspects struct {
	mu    sync.Mutex
	since time.Time // since when all of them are known; zero before the first look
	last  map[string]suspect
}

type suspect struct {
	first, at time.Time // at: the last one
	n         int
}

// note adds one.
func (s *suspects) note(address string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(now)
	if s.last == nil {
		s.last = map[string]suspect{}
	}
	if _, ok := s.last[address]; !ok && len(s.last) == maxSuspects {
		delete(s.last, s.end(func(a, b time.Time) bool { return a.Before(b) }))
	}
	one := s.last[address]
	if one.n == 0 {
		one.first = now
	}
	s.last[address] = suspect{one.first, now, one.n + 1}
}

// owned takes one back: its code was right so soon after the first wrong one that it was the owner,
// who mistyped.
func (s *suspects) owned(address string, slip time.Duration, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.last[address]
	if ok = ok && now.Sub(one.first) < slip; ok {
		delete(s.last, address)
	}
	return ok
}

// clear is for another password, which none of them knows.
func (s *suspects) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.since = nil, time.Unix(0, 0)
}

// lately says when and from where it was the last time within suspectFor; empty for never. known
// tells whether all of that time is known of.
func (s *suspects) lately(now time.Time) (what string, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() {
		s.since = now
	}
	s.forget(now)
	known = now.Sub(s.since) >= suspectFor
	if len(s.last) == 0 {
		return "", known
	}
	newest, times := s.end(func(a, b time.Time) bool { return a.After(b) }), 0
	for _, one := range s.last {
		times += one.n
	}
	what = fmt.Sprintf("it was typed without the right code at %s from %s", s.last[newest].at.Local().Format("2006-01-02 15:04 MST"), newest)
	if times > 1 {
		what += fmt.Sprintf(", and %d times before", times-1)
	}
	return what, known
}

// forget drops what was too long ago. The caller holds mu.
func (s *suspects) forget(now time.Time) {
	for address, one := range s.last {
		if now.Sub(one.at) >= suspectFor {
			delete(s.last, address)
		}
	}
}

// end is the address whose time comes before all others. The caller holds mu.
func (s *suspects) end(before func(a, b time.Time) bool) (first string) {
	for address, one := range s.last {
		if first == "" || before(one.at, s.last[first].at) {
			first = address
		}
	}
	return first
}

// PasswordKnown tells that the right password came from an address without the code that goes
// with it.
func (r *Reconciler) PasswordKnown(address string) {
	r.suspects.note(address, time.Now())
	r.operations.Changed("")
}

// PasswordProven tells that both came from there, or a passkey, which counts for both.
func (r *Reconciler) PasswordProven(address string) {
	if r.suspects.owned(address, notify.OwnSlip, time.Now()) {
		r.operations.Changed("")
	}
}

// PasswordChanged tells that there is another one.
func (r *Reconciler) PasswordChanged() {
	r.suspects.clear()
	r.operations.Changed("")
}
