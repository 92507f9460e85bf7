package orchestrator

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/notify"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// holding waits until the notices that hold are these, and gives how long that took.
func holding(t *testing.T, r *Reconciler, want ...string) time.Duration {
	t.Helper()
	begin, end := time.Now(), time.After(2*time.Hour)
	for {
		_, changed := r.Changes()
		var ids []string
		for _, n := range r.Notices().Notices() {
			ids = append(ids, n.ID)
		}
		if slices.Equal(ids, want) {
			return time.Since(begin)
		}
		select {
		case <-changed:
		case <-end:
			t.Fatalf("%q hold, want %q", ids, want)
		}
	}
}

func attention(r *Reconciler) (all []string) {
	for _, c := range r.Attention(r.Installed()) {
		all = append(all, c.ID)
	}
	return all
}

func TestAFailedApplicationIsANoticeWithinAMinute(t *testing.T) {
	synctest.Test(t, aFailedApplicationIsANoticeWithinAMinute)
}

func aFailedApplicationIsANoticeWithinAMinute(t *testing.T) {
	h := empty()
	h.fail["image"] = errors.New("no such image")
	r := node(t, h, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); r.RunNotices(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	holding(t, r)
	if err := ask(t, r, "install"); err == nil {
		t.Fatal("it was installed")
	}
	if got := attention(r); !slices.Equal(got, []string{notify.Failed + " pair"}) {
		t.Errorf("wants attention at once: %q", got)
	}
	if took := holding(t, r, notify.Failed+" pair"); took > time.Minute {
		t.Errorf("it took %s", took)
	}
	if n := r.Notices().Notices()[0]; !strings.Contains(n.Text, "no such image") {
		t.Errorf("%+v", n)
	}
	h.mu.Lock()
	delete(h.fail, "image")
	h.mu.Unlock()
	if err := ask(t, r, "install"); err != nil {
		t.Fatal(err)
	}
	if took := holding(t, r); took > time.Minute || stateOf(t, r) != view.Up {
		t.Errorf("that it is over took %s", took)
	}

	// What is killed for want of memory is named, and for an hour.
	r.MemoryKilled("stranger.service")
	r.MemoryKilled("pair.service")
	r.MemoryKilled("pair.service")
	if took := holding(t, r, notify.Memory+" pair"); took > time.Minute {
		t.Errorf("it took %s", took)
	}
	for _, c := range r.Attention(r.Installed()) {
		if !strings.Contains(c.Text, "processes of pair were killed 2 times") {
			t.Errorf("%+v", c)
		}
	}
	if took := holding(t, r); took < killedFor || took > killedFor+10*time.Minute {
		t.Errorf("it was over after %s", took)
	}
}

func TestWhatIsNotKnownIsNoNotice(t *testing.T) { synctest.Test(t, whatIsNotKnownIsNoNotice) }

func whatIsNotKnownIsNoNotice(t *testing.T) {
	h := empty()
	r := node(t, h, t.TempDir())
	if got := attention(r); len(got) > 0 && !slices.Equal(got, []string{notify.Engine}) { // which has not answered yet
		t.Errorf("%q", got)
	}
	r.Follows(func() error { return errors.New("the subscription is damaged") })
	if err := ask(t, r, "install"); err != nil {
		t.Fatal(err)
	}
	if got := attention(r); !slices.Equal(got, []string{notify.Catalog}) {
		t.Errorf("%q", got)
	}
}
