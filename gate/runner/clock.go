package runner

import (
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/reports"
)

// Reading is what two clocks of this machine showed at the same moment.
type Reading struct {
	Wall   time.Time     // which may be set
	Steady time.Duration // since the machine was started, suspended or not, which no setting changes
	Within time.Duration // by which the two may be apart
}

const (
	together     = 100 * time.Millisecond // two clocks that were read within this were read at the same moment
	readAttempts = 10
)

// readClocks reads the kernel's CLOCK_REALTIME and CLOCK_BOOTTIME (clock_gettime(2)). A process
// that is stopped in between reads them again.
func readClocks() (best Reading, err error) {
	for i := range readAttempts {
		before, err := steady()
		if err != nil {
			return best, err
		}
		wall := time.Now().Round(0) // without Go's own monotonic clock
		after, err := steady()
		if err != nil {
			return best, err
		}
		if took := after - before; i == 0 || took < best.Within {
			best = Reading{Wall: wall, Steady: before + took/2, Within: took}
		}
		if best.Within <= together {
			break
		}
	}
	return best, nil
}

func steady() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0, fmt.Errorf("this machine's clock since its start: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

// set is by how much the wall clock was set between two readings; 0 for what they cannot tell
// from nothing, or from a leap second.
func (r Reading) set(since Reading) time.Duration {
	by := r.Wall.Sub(since.Wall) - (r.Steady - since.Steady)
	if by.Abs() <= nodes.MaxSkew+r.Within+since.Within {
		return 0
	}
	return by
}

// startClocks reads the clocks when a session begins. One that shows an earlier time than what
// the run has noted was set while the run was away; that it was set forwards, nothing tells.
func (r *Runner) startClocks() (err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Clocks == nil {
		r.Clocks = readClocks
	}
	if r.read, err = r.Clocks(); err != nil || len(r.Plan.Jumps) > 0 {
		return err
	}
	var noted []time.Time
	for _, res := range r.Results {
		noted = append(noted, res.At)
	}
	for _, b := range r.Plan.Boots {
		noted = append(noted, b.At)
	}
	for _, s := range r.Plan.Sessions {
		noted = append(noted, s.Started, s.Finished)
	}
	if len(noted) == 0 {
		return nil
	}
	back := r.read.Wall.Sub(slices.MaxFunc(noted, time.Time.Compare).Round(0))
	if back >= -nodes.MaxSkew {
		return nil
	}
	return r.noteJump(reports.Jump{At: r.read.Wall.UTC(), Seconds: back.Seconds(), Away: true})
}

// watchClock notes in the run's record that the clock of this machine was set since it was read
// last: what came before can no longer be put in order with what comes after.
func (r *Runner) watchClock() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, err := r.Clocks()
	if err != nil {
		return err
	}
	by := now.set(r.read)
	r.read = now
	if by == 0 {
		return nil
	}
	r.jumped += by
	return r.noteJump(reports.Jump{At: now.Wall.UTC(), Seconds: by.Seconds()})
}

// noteJump keeps a jump; the lock is held.
func (r *Runner) noteJump(j reports.Jump) error {
	r.Plan.Jumps = append(r.Plan.Jumps, j)
	return r.keepPlan()
}
