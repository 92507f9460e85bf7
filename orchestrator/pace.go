package orchestrator

import "time"

const (
	passShare = 10              // a pass is followed by this many times its own cost without one
	mostGap   = 2 * time.Second // however long it took
	atOnce    = 3               // passes that may follow one after a quiet time without a gap
)

// pace spaces passes: in the long run they take a tenth of the time at most. The first few
// after a quiet time are not kept waiting, for they bring back what has ended.
// The zero value has made none.
type pace struct {
	gap time.Duration // after the last pass
	due time.Time     // when all gaps so far will have passed
}

// passed notes a pass that ended now and took cost.
func (p *pace) passed(now time.Time, cost time.Duration) {
	p.gap = min(passShare*cost, mostGap)
	if p.due.Before(now) {
		p.due = now
	}
	p.due = p.due.Add(p.gap)
}

// wait is the time until the next pass may begin.
func (p *pace) wait(now time.Time) time.Duration {
	return max(0, min(p.gap, p.due.Sub(now)-atOnce*p.gap))
}
