package orchestrator

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
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

// TestWhereNoticesGoIsNotForgotten: a daemon starts that cannot read it, says so, and keeps it.
func TestWhereNoticesGoIsNotForgotten(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "data", manifest.OwnDir, "notify", "targets.json")
	const damaged = `{"format":1,"targets":[{"name":"phone"`
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(damaged), 0o600)); err != nil {
		t.Fatal(err)
	}
	r := node(t, empty(), dir)
	finding := func() host.Finding {
		all := r.Findings(t.Context(), nil)
		return all[slices.IndexFunc(all, func(f host.Finding) bool { return f.Name == "notices" })]
	}
	if f := finding(); f.OK || !strings.Contains(f.Detail, file) || !strings.Contains(f.Detail, "remove the file, and add the targets again") {
		t.Errorf("%+v", f)
	}
	if _, err := r.AddTarget("phone", "ntfy://example.org/t", "test"); err == nil {
		t.Error("what could not be read was replaced")
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != damaged {
		t.Errorf("%s, %v", b, err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if f := finding(); !f.OK || !strings.Contains(f.Detail, "archy notify add") {
		t.Errorf("%+v", f)
	}
}
