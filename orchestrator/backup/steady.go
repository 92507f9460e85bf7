package backup

import (
	"errors"
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// Clock tells whether the node's clock was set since somebody began to look.
type Clock interface {
	Set() bool
	Close() error
}

// timer is a timer far ahead, which the kernel cancels when the clock is set, back or ahead,
// and when the machine was suspended. That the clock is run slower or faster, it does not.
type timer int

// watchClock looks at the node's clock from now on.
func watchClock() (Clock, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("looking at the clock: %w", err)
	}
	far := unix.ItimerSpec{Value: unix.Timespec{Sec: math.MaxInt32}}
	if err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &far, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("looking at the clock: %w", err), unix.Close(fd))
	}
	return timer(fd), nil
}

// Set is true, too, where it cannot be told.
func (t timer) Set() bool {
	var count [8]byte
	_, err := unix.Read(int(t), count[:])
	return !errors.Is(err, unix.EAGAIN)
}

func (t timer) Close() error { return unix.Close(int(t)) }
