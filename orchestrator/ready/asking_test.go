package ready

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// asked is an engine that counts what it is asked.
type asked struct {
	mu             sync.Mutex
	execs, sockets int
	holds          bool
}

func (a *asked) Exec(context.Context, string, []string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.execs++
	if !a.holds {
		return "syncing", errors.New("status 1")
	}
	return "", nil
}

func (a *asked) HasSocket(context.Context, string, string) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sockets++
	return a.holds, nil
}

func (a *asked) set(holds bool) { a.mu.Lock(); defer a.mu.Unlock(); a.holds = holds }

// TestACommandIsRunLessAndLessOften while it does not succeed, and often again after the
// next request. What costs no process is asked every second.
func TestACommandIsRunLessAndLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e asked
		var mu sync.Mutex
		d := state.Desired{App: "chain", Generation: 1, Goal: state.Running, Manifest: &manifest.Manifest{ID: "chain", Ready: []manifest.Condition{{Exec: &manifest.ExecCondition{Container: "chain", Command: []string{"synced"}}}}}}
		change := func(by func()) { mu.Lock(); defer mu.Unlock(); by() }
		w := Watcher{Engine: &e, Changed: func(string) {}, Records: func() []state.Desired { mu.Lock(); defer mu.Unlock(); return []state.Desired{d} }}
		go w.Run(t.Context())
		ran := func(after time.Duration) (execs, sockets int) {
			time.Sleep(after)
			synctest.Wait()
			e.mu.Lock()
			defer e.mu.Unlock()
			execs, sockets, e.execs, e.sockets = e.execs, e.sockets, 0, 0
			return execs, sockets
		}
		if n, _ := ran(5 * time.Second); n < 4 {
			t.Errorf("%d times in the first 5 s", n)
		}
		if n, _ := ran(55 * time.Second); n < 8 || n > 20 {
			t.Errorf("%d times in the minute", n)
		}
		ran(time.Minute)
		if n, _ := ran(time.Hour); n < 200 || n > 240 {
			t.Errorf("%d times in an hour", n)
		}
		e.set(true)
		ran(askReady)
		if !w.Answer("chain").OK {
			t.Error("it holds, and that is not known")
		}
		e.set(false)
		if n, _ := ran(askReady + 5*time.Second); n < 4 {
			t.Errorf("%d times once it does not hold any more", n)
		}
		ran(time.Hour)
		change(func() { d.Generation = 2 })
		if n, _ := ran(5 * time.Second); n < 4 {
			t.Errorf("%d times after a restart", n)
		}
		change(func() { d.Goal = state.Stopped })
		ran(time.Second)
		if n, _ := ran(time.Minute); n != 0 {
			t.Errorf("%d times though it is stopped", n)
		}
		change(func() { d.Goal = state.Running })
		if n, _ := ran(5 * time.Second); n < 4 {
			t.Errorf("%d times in the 5 s after a start", n)
		}
		change(func() {
			d.Generation, d.Manifest = 3, &manifest.Manifest{ID: "chain", Ready: []manifest.Condition{{Socket: &manifest.SocketCondition{Container: "chain", Path: "/s"}}, d.Manifest.Ready[0]}}
		})
		ran(time.Minute)
		if execs, sockets := ran(time.Minute); execs != 0 || sockets < 55 {
			t.Errorf("a socket was looked for %d times in a minute, and %d commands run", sockets, execs)
		}
	})
}
