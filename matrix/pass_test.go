package matrix

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhatAPassUndoesIsRed(t *testing.T) {
	for _, c := range []struct {
		name         string
		first, later error
		pass         error
		want         string
	}{
		{name: "it lasts"},
		{name: "it never was", first: errRed, later: errRed, want: "the data is gone"},
		{name: "it is undone", later: errRed, want: "it came back: the data is gone"},
		{name: "no pass", pass: errors.New("no pass"), want: "no pass"},
	} {
		now := c.first
		err := lasting("it came back", func() error { return now }, func() error { now = c.later; return c.pass })
		if (err == nil) != (c.want == "") || err != nil && err.Error() != c.want {
			t.Errorf("%s: %v, expected %q", c.name, err, c.want)
		}
	}
}

// TestAPassThatWasUnderWayIsNotAwaited has a daemon that is slow, or never looks again.
func TestAPassThatWasUnderWayIsNotAwaited(t *testing.T) {
	const took = 3 * time.Second // a pass
	for _, c := range []struct {
		name     string
		underWay bool
		want     string
	}{{"at rest", false, ""}, {"under way", true, ""}, {"dead", false, "a reconcile pass"}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			var mu sync.Mutex
			var ended, began time.Time // of the last pass
			answers := 0
			wake := make(chan struct{}, 1)
			pass := func() {
				begin := time.Now()
				time.Sleep(took)
				mu.Lock()
				defer mu.Unlock()
				began, ended = begin, time.Now()
			}
			var loop sync.WaitGroup
			defer loop.Wait()
			defer cancel()
			loop.Go(func() {
				if c.underWay {
					pass()
				}
				for {
					select {
					case <-wake:
						if c.name != "dead" {
							pass()
						}
					case <-ctx.Done():
						return
					}
				}
			})
			time.Sleep(took / 2)
			asked := time.Now()
			err := passes(ctx, func(context.Context) (time.Time, error) {
				if answers++; answers == 1 {
					return time.Time{}, errors.New("not up yet")
				}
				mu.Lock()
				defer mu.Unlock()
				return ended, nil
			}, func(context.Context) error {
				if answers < 2 {
					t.Error("a daemon that has not answered was sent a signal")
				}
				select {
				case wake <- struct{}{}:
				default:
				}
				return nil
			})
			mu.Lock()
			defer mu.Unlock()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", c.name, err)
			}
			if c.want == "" && began.Before(asked) {
				t.Errorf("%s: the pass that was awaited began %s before", c.name, asked.Sub(began))
			}
		})
	}
}
