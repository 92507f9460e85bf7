package rollout_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/rollout"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// node shows its views, and has an application be updating once that is asked for.
type node struct {
	mu     sync.Mutex
	views  []view.View
	stale  string
	fail   map[string]error // by application
	asked  []string
	looked int
}

func (n *node) Apps() ([]view.View, time.Time, string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.looked++
	return slices.Clone(n.views), time.Now(), n.stale
}

func (n *node) Request(r request.Request) (uint64, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, fmt.Sprintf("%s %s by %s", r.Verb, r.App, r.Who))
	if err := n.fail[r.App]; err != nil {
		return 0, err
	}
	n.views[slices.IndexFunc(n.views, func(v view.View) bool { return v.Manifest.ID == r.App })].State = view.Updating
	return 1, nil
}

// set changes the view of an application.
func (n *node) set(app string, change func(*view.View)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(&n.views[slices.IndexFunc(n.views, func(v view.View) bool { return v.Manifest.ID == app })])
}

// updated ends an update.
func (n *node) updated(app string) {
	n.set(app, func(v *view.View) { v.State, v.Available = view.Up, nil })
}

// took gives what has been asked for since.
func (n *node) took() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	asked := n.asked
	n.asked = nil
	return strings.ReplaceAll(strings.Join(asked, ", "), " by automatic update", "")
}

// due is an application that runs and for which there is another version.
func due(id string, changes ...func(*view.View)) view.View {
	v := view.View{Manifest: &manifest.Manifest{ID: id, Version: "1"}, Available: &manifest.Manifest{ID: id, Version: "2"}, Goal: state.Running, State: view.Up}
	for _, change := range changes {
		change(&v)
	}
	return v
}

func always(time.Time) bool { return true }

// run lets a rollout work in a bubble until the test ends.
func run(t *testing.T, n *node, allowed func(time.Time) bool) *rollout.Rollout {
	r := rollout.New(n, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx, allowed) }()
	t.Cleanup(func() { cancel(); <-done })
	synctest.Wait()
	return r
}

func TestUpdatesBeginWithinTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &node{views: []view.View{due("a")}}
		begin := time.Now()
		opens, closes := begin.Add(2*time.Hour), begin.Add(3*time.Hour)
		r := run(t, n, func(at time.Time) bool { return !at.Before(opens) && at.Before(closes) })
		r.Due() // a new offer
		time.Sleep(2*time.Hour - time.Second)
		synctest.Wait()
		if got := n.took(); got != "" {
			t.Errorf("before the window: %s", got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := n.took(); got != "update a" {
			t.Errorf("within the window: %q", got)
		}
		n.updated("a")
		time.Sleep(2 * time.Hour)
		n.set("a", func(v *view.View) { v.Available = &manifest.Manifest{ID: "a", Version: "3"} })
		r.Due()
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := n.took(); got != "" {
			t.Errorf("after the window: %s", got)
		}
	})
}

func TestOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &node{views: []view.View{due("a"), due("b")}}
		r := run(t, n, always)
		if got := n.took(); got != "update a" {
			t.Errorf("at first: %q", got)
		}
		for range 3 {
			r.Due()
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		if got := n.took(); got != "" {
			t.Errorf("while one is under way: %s", got)
		}
		// The end of one brings the next, without a wait.
		n.updated("a")
		begin := time.Now()
		r.Due()
		synctest.Wait()
		if got := n.took(); got != "update b" || time.Since(begin) > 0 {
			t.Errorf("once it has ended: %q after %s", got, time.Since(begin))
		}
		n.updated("b")
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := n.took(); got != "" {
			t.Errorf("nothing is due: %s", got)
		}
	})
}

func TestVersionThatDidNotComeUpIsNotTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &node{views: []view.View{due("a"), due("b", func(v *view.View) { v.Available = nil })}}
		r := run(t, n, always)
		if got := n.took(); got != "update a" {
			t.Fatalf("%q", got)
		}
		n.set("a", func(v *view.View) { v.State, v.Declined = view.Up, true })
		r.Due()
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := n.took(); got != "" {
			t.Errorf("tried again: %s", got)
		}
		// The next version is another matter.
		n.set("a", func(v *view.View) { v.Available, v.Declined = &manifest.Manifest{ID: "a", Version: "3"}, false })
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := n.took(); got != "update a" {
			t.Errorf("the next version: %q", got)
		}
	})
}

func TestWhatIsNotDue(t *testing.T) {
	stopped := due("a", func(v *view.View) { v.Goal, v.State = state.Stopped, view.Down })
	for _, c := range []struct {
		name  string
		views []view.View
		stale string
		want  string
	}{
		{"what is stopped", []view.View{stopped, due("b")}, "", "update b"},
		{"what is not installed", []view.View{due("a", func(v *view.View) { v.Goal, v.State = "", view.NotInstalled })}, "", ""},
		{"what is up to date", []view.View{due("a", func(v *view.View) { v.Available = nil })}, "", ""},
		{"what its owner has gone back from, and what is after it", []view.View{due("a", func(v *view.View) { v.Held = true }), due("b")}, "", "update b"},
		{"what did not come up, and what is after it", []view.View{due("a", func(v *view.View) { v.Declined = true }), due("b")}, "", "update b"},
		{"what would go back, and what is after it", []view.View{due("a", func(v *view.View) { v.Backward = true }), due("b")}, "", "update b"},
		{"what needs consent, and what is after it", []view.View{due("a", func(v *view.View) { v.NewPrivileges = []string{"publishes port 80/tcp of the node"} }), due("b")}, "", "update b"},
		{"anything while the owner updates something", []view.View{due("a"), due("b", func(v *view.View) { v.State = view.Updating })}, "", ""},
		{"anything while the engine does not answer", []view.View{due("a")}, "no socket", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &node{views: c.views, stale: c.stale}
				run(t, n, always)
				if got := n.took(); got != c.want {
					t.Errorf("%q, expected %q", got, c.want)
				}
			})
		})
	}
}

func TestWaitForConsentIsLoggedOncePerVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &node{views: []view.View{due("a", func(v *view.View) { v.NewPrivileges = []string{"publishes port 80/tcp of the node"} })}}
		var log bytes.Buffer
		r := rollout.New(n, slog.New(slog.NewTextHandler(&log, nil)))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx, always) }()
		time.Sleep(10 * time.Minute)
		n.set("a", func(v *view.View) { v.Available = &manifest.Manifest{ID: "a", Version: "3"} })
		time.Sleep(10 * time.Minute)
		cancel()
		<-done
		if got := strings.Count(log.String(), "without the owner's consent"); got != 2 || !strings.Contains(log.String(), "publishes port 80/tcp") {
			t.Errorf("logged %d times for two versions:\n%s", got, &log)
		}
	})
}

func TestOneThatIsRefusedDoesNotHoldUpOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &node{views: []view.View{due("a"), due("b"), due("c")}, fail: map[string]error{"a": request.ErrRefused, "b": errors.New("the disk is full")}}
		run(t, n, always)
		if got := n.took(); got != "update a, update b, update c" {
			t.Errorf("%q", got)
		}
	})
}

func TestItLooksOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &node{}
		run(t, n, always)
		time.Sleep(10*time.Minute + time.Second)
		synctest.Wait()
		if n.looked != 11 {
			t.Errorf("looked %d times within ten minutes", n.looked)
		}
	})
}
