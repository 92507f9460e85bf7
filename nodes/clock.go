package nodes

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// MaxSkew is how far a node's clock may be from the gate's: beyond it, what the two note of
// one event can no longer be put in order.
const MaxSkew = 2 * time.Second

// clockAttempts is how often a clock is asked whose answer took too long to tell.
const clockAttempts = 3

// Clock is a node's clock beside that of whoever asked.
type Clock struct {
	Node, Here time.Time     // what the two showed at the same moment
	Uncertain  time.Duration // by which either may be wrong: half the way there and back
}

// Skew is how far the node's clock is ahead.
func (c Clock) Skew() time.Duration { return c.Node.Sub(c.Here) }

// Check refuses a clock that is certainly further off than MaxSkew.
func (c Clock) Check() error {
	if c.Skew().Abs()-c.Uncertain <= MaxSkew {
		return nil
	}
	const form = "2006-01-02 15:04:05.000"
	return fmt.Errorf("%w: its clock shows %s UTC where this machine's shows %s UTC, %s off and %s is allowed; have both synchronised: sudo timedatectl set-ntp true",
		ErrRefused, c.Node.UTC().Format(form), c.Here.UTC().Format(form), c.Skew().Round(time.Millisecond), MaxSkew)
}

// settled tells that another answer could not change the judgement.
func (c Clock) settled() bool {
	return c.Skew().Abs()+c.Uncertain <= MaxSkew || c.Skew().Abs()-c.Uncertain > MaxSkew
}

// Clock asks the node for its time. Of several answers, the quickest counts.
func (c *Client) Clock(ctx context.Context) (best Clock, err error) {
	if _, err := c.Connect(ctx); err != nil { // not on the clock's account
		return best, err
	}
	for range clockAttempts {
		before := time.Now()
		out, err := c.Run(ctx, "date +%s.%N")
		after := time.Now()
		if err != nil {
			return best, err
		}
		now, err := readClock(out, before, after)
		if err != nil {
			return best, fmt.Errorf("%s: %w", c.Node, err)
		}
		if best.Node.IsZero() || now.Uncertain < best.Uncertain {
			best = now
		}
		if best.settled() {
			break
		}
	}
	return best, nil
}

// readClock reads seconds since 1970 with their fraction, which a node gave between two
// moments here.
func readClock(out string, before, after time.Time) (Clock, error) {
	seconds, fraction, _ := strings.Cut(strings.TrimSpace(out), ".")
	s, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil || len(fraction) > 9 {
		return Clock{}, fmt.Errorf("its clock says %q", out)
	}
	ns, err := strconv.ParseUint((fraction + "000000000")[:9], 10, 64)
	if err != nil {
		return Clock{}, fmt.Errorf("its clock says %q", out)
	}
	half := after.Sub(before) / 2
	return Clock{Node: time.Unix(s, int64(ns)), Here: before.Add(half), Uncertain: half}, nil
}

// Ago is a moment as journalctl --since takes it, counted back from the node's own time: it
// holds however the two clocks are set. Two seconds more cover rounding and the way there.
func Ago(moment time.Time) string {
	return fmt.Sprintf("-%ds", int(math.Ceil(max(0, time.Since(moment).Seconds())))+2)
}

// Age is how long PID 1 of the node has run, by the node's monotonic clock: a duration,
// which no setting of a clock changes.
func (c *Client) Age(ctx context.Context) (time.Duration, error) {
	out, err := c.script(ctx, "age.sh", nil)
	if err != nil {
		return 0, err
	}
	age, err := readAge(out)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", c.Node, err)
	}
	return age, nil
}

// readAge reads the seconds since the kernel's start, those of PID 1 in ticks, and the ticks
// of a second.
func readAge(out string) (time.Duration, error) {
	var up, began, ticks float64
	if n, err := fmt.Sscan(out, &up, &began, &ticks); n != 3 || ticks <= 0 {
		return 0, fmt.Errorf("the age of its boot: %q: %w", out, err)
	}
	return time.Duration((up - began/ticks) * float64(time.Second)), nil
}
