package operation

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	firstBackoff = 2 * time.Second
	maxBackoff   = 5 * time.Minute

	// An application that was brought back more often than this within the window, or
	// whose start failed this often in a row, goes into crash-loop back-off: it is
	// stopped until its owner starts it.
	crashLimit  = 6
	crashWindow = 10 * time.Minute
)

// backoff paces what fails: longer and longer between attempts of what was asked
// for, and none at all where an application ends again and again.
type backoff struct {
	failures  int         // in a row
	starts    int         // of the failures, those of a start
	notBefore time.Time   // of the next attempt
	repairs   []time.Time // starts within the window that nobody asked for
}

// fail counts a failure and sets the time of the next attempt.
func (b *backoff) fail(now time.Time) {
	wait := min(firstBackoff<<min(b.failures, 16), maxBackoff)
	// Spread by a fifth either way: what failed together is not tried together.
	b.notBefore = now.Add(time.Duration(float64(wait) * (0.8 + 0.4*rand.Float64())))
	b.failures++
}

// repair counts a start that nobody asked for, and says why there are to be no more
// of them; empty where there may be.
func (b *backoff) repair(now time.Time) string {
	b.repairs = slices.DeleteFunc(b.repairs, func(t time.Time) bool { return now.Sub(t) > crashWindow })
	b.repairs = append(b.repairs, now)
	if len(b.repairs) <= crashLimit {
		return ""
	}
	return fmt.Sprintf("crash-loop back-off: it ended %d times within %s; see its log, and start it to try again", len(b.repairs), crashWindow)
}

// failStart counts a start that failed with this error, and says why it is the last
// one; empty where there are more to come.
func (b *backoff) failStart(err string) string {
	b.starts++
	if b.starts < crashLimit {
		return ""
	}
	return fmt.Sprintf("%s; crash-loop back-off after %d attempts: start it to try again", err, b.starts)
}

// succeed ends a row of failures.
func (b *backoff) succeed() { b.failures, b.starts = 0, 0 }
