package orchestrator

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/dist"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
)

// TestProberIsKeptRunning: by every new daemon, whose release has the unit, and whenever
// the prober has ended.
func TestProberIsKeptRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := empty()
		h.obs.Units[dist.ProberUnit] = host.Unit{Active: "active"}
		h.fail["prober"] = errors.New("no such file")
		node(t, h, t.TempDir())
		ensured := func(after time.Duration) (n int) {
			time.Sleep(after)
			synctest.Wait()
			h.mu.Lock()
			defer h.mu.Unlock()
			n = len(slices.DeleteFunc(slices.Clone(h.calls), func(c string) bool { return c != "prober" }))
			h.calls = nil
			return n
		}
		change := func(active string, err error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.obs.Units[dist.ProberUnit] = host.Unit{Active: active}
			h.fail["prober"] = err
		}
		if n := ensured(time.Second); n != 1 {
			t.Errorf("a new daemon brings its unit: %d times", n)
		}
		change("active", nil)
		if n := ensured(2 * passInterval); n != 1 {
			t.Errorf("it could not before: %d times", n)
		}
		if n := ensured(5 * passInterval); n != 0 {
			t.Errorf("while it runs: %d times", n)
		}
		change("activating", nil)
		if n := ensured(2 * passInterval); n != 0 {
			t.Errorf("while systemd restarts it: %d times", n)
		}
		change("failed", nil)
		if n := ensured(2 * passInterval); n != 1 {
			t.Errorf("once it has failed: %d times", n)
		}
	})
}
