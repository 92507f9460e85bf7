package matrix

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// What a manifest says of when an application is ready, and how long it may wait for that.

// conditions names what an application waits for until it is ready.
func conditions(m *manifest.Manifest) string {
	var out []string
	for _, c := range m.Ready {
		switch {
		case c.HTTP != nil:
			out = append(out, "http "+c.HTTP.Path+" on port "+c.HTTP.Port)
		case c.Exec != nil:
			out = append(out, "exec "+strings.Join(c.Exec.Command, " ")+" in "+c.Exec.Container)
		case c.Socket != nil:
			out = append(out, "socket "+c.Socket.Path+" in "+c.Socket.Container)
		default:
			out = append(out, "tcp port "+c.TCP)
		}
	}
	for _, r := range m.Requires {
		out = append(out, "application "+r.App)
	}
	return strings.Join(out, "; ")
}

// waiting says where the daemon has an application wait, and for what in its words.
func waiting(words []saying) (where []string) {
	for _, w := range words {
		if w.state == wordWaiting {
			where = append(where, fmt.Sprintf("%s: the daemon says %q: %s", w.where, w.state, cmp.Or(w.note, "no reason is given there")))
		}
	}
	return where
}

// readyBudget is how long an application of which a snapshot was just taken may go on waiting. What
// it waits for is part of its start, and has the time that a start has, from that of the member
// which started last. A daemon that was restarted since asks anew, and one asks at its interval.
func readyBudget(m *manifest.Manifest, s *Snapshot, now time.Time) time.Duration {
	var started time.Time
	for _, c := range m.Containers {
		for _, seen := range s.member(c.Name) {
			if seen.StartedAt.After(started) {
				started = seen.StartedAt
			}
		}
	}
	budget := ownBudget(m, Start) + machineShare
	return max(passTimeout, min(budget, started.Add(budget).Sub(now)))
}

// awaitReady wants an application that runs to wait no longer than it may take to start. One that
// runs no more waits for something else, by a look that is taken last.
func awaitReady(ctx context.Context, m *manifest.Manifest, s *Snapshot, look func() (*Snapshot, error), hear func() []saying) error {
	what := fmt.Sprintf("%s to be ready (%s), which its start budget of %s and %s for the machine are for", m.ID, conditions(m), ownBudget(m, Start), machineShare)
	said, asked := []saying(nil), time.Time{}
	err := await(ctx, readyBudget(m, s, time.Now()), what, func() error {
		if time.Since(asked) >= glanceEvery { // as seldom as there is a glance
			said, asked = hear(), time.Now()
		}
		return Verdict(waiting(said))
	})
	if err == nil || ctx.Err() != nil {
		return err
	}
	now, unseen := look()
	switch {
	case unseen != nil:
		return fmt.Errorf("%w, after it had %w", unseen, err)
	case !waits(m, now, said):
		return nil
	}
	return err
}

// waits tells whether an application that runs, as a snapshot shows, is somewhere said to wait.
func waits(m *manifest.Manifest, s *Snapshot, words []saying) bool {
	_, runs := s.bears(m, wordRunning)
	return runs && slices.ContainsFunc(words, func(w saying) bool { return w.state == wordWaiting })
}
