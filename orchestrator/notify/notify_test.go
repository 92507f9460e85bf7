package notify

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// daemon is what knows how things are.
type daemon struct {
	mu      sync.Mutex
	known   Known
	n       uint64
	asked   int // how often
	changed chan struct{}
}

func (d *daemon) Known(time.Time) Known {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	return d.known
}

func (d *daemon) Changes() (uint64, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.changed == nil {
		d.changed = make(chan struct{})
	}
	return d.n, d.changed
}

func (d *daemon) Changed() { d.be(nil) }

// be has something be otherwise.
func (d *daemon) be(k *Known) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if k != nil {
		d.known = *k
	}
	d.n++
	if d.changed != nil {
		close(d.changed)
		d.changed = nil
	}
}

// until waits for changes until something is so.
func (d *daemon) until(t *testing.T, what string, so func() bool) {
	t.Helper()
	end := time.After(time.Minute)
	for {
		_, changed := d.Changes()
		if so() {
			return
		}
		select {
		case <-changed:
		case <-end:
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// run has a notifier run, until the test ends or stop is called.
func run(t *testing.T, n *Notifier) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); n.Run(ctx) }()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return stop
}

func TestAFailureGoesOutWithinAMinuteAndOnce(t *testing.T) {
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	host, got := listens(t, http.StatusOK)
	hold := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	}))
	defer silent.Close()
	defer close(hold)
	dir := filepath.Join(t.TempDir(), "notify")
	d := &daemon{}
	n := Open(dir, "box", d, log)
	for _, one := range []target{{"aaa-silent", "ntfy://" + strings.TrimPrefix(silent.URL, "http://") + "/hunter2?scheme=http"}, {"phone", "ntfy://" + host + "/hunter2?scheme=http"}} {
		if _, err := n.Add(one.Name, one.Address); err != nil {
			t.Fatal(err)
		}
	}
	stop := run(t, n)
	begin := time.Now()
	failed, up := with(feeds(view.Failed, "no such image")), with(feeds(view.Up, ""))
	d.be(&failed)
	select {
	case r := <-got:
		if !strings.Contains(r.body, "no such image") || time.Since(begin) > time.Minute {
			t.Errorf("after %s: %+v", time.Since(begin), r)
		}
	case <-time.After(time.Minute):
		t.Fatal("nothing went out within a minute; is it held up by the one who never answers?")
	}
	d.until(t, "it is noted that it went out", func() bool {
		all, err := n.Targets()
		return err == nil && len(all) == 2 && !all[1].Sent.IsZero() && all[1].Waiting == 0
	})
	if all := n.Notices(); len(all) != 1 || all[0].ID != "failed feeds" || all[0].Since.Before(begin) {
		t.Errorf("%+v", all)
	}
	stop()
	if all, _ := n.Targets(); all[0].Waiting != 1 {
		t.Errorf("what was on its way when the daemon ended is gone: %+v", all[0])
	}

	// The next daemon says nothing again, but that it is over.
	d.known = failed
	n = Open(dir, "box", d, log)
	if err := n.Remove("aaa-silent"); err != nil {
		t.Fatal(err)
	}
	run(t, n)
	d.until(t, "it has looked", func() bool { return len(n.Notices()) == 1 })
	d.be(&up)
	select {
	case r := <-got:
		if !strings.Contains(r.body, "Feeds is well again") {
			t.Errorf("it says %s", r.body)
		}
	case <-time.After(time.Minute):
		t.Fatal("that it is over is not said")
	}
	d.until(t, "nothing holds", func() bool { return len(n.Notices()) == 0 })
	select {
	case r := <-got:
		t.Errorf("and %+v", r)
	default:
	}
	stop()
	filepath.Walk(dir, func(path string, i os.FileInfo, err error) error {
		if want := os.FileMode(0o600); err != nil || !i.IsDir() && i.Mode() != want {
			t.Errorf("%s: %s, %v", path, i.Mode(), err)
		}
		return nil
	})
	if strings.Contains(said.String(), "hunter2") {
		t.Errorf("the log has a secret:\n%s", said.String())
	}
}

func TestNothingHappensWhileNothingChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &daemon{}
		n := Open(t.TempDir(), "box", d, slog.New(slog.DiscardHandler))
		run(t, n)
		looks := func(after time.Duration) int {
			<-time.After(after)
			synctest.Wait()
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.asked
		}
		looks(0)
		for range 100 {
			d.Changed()
		}
		if got := looks(gap - time.Millisecond); got != 1 {
			t.Errorf("it looked %d times at once", got)
		}
		if got := looks(gap); got != 2 {
			t.Errorf("it looked %d times at a hundred changes", got)
		}
		if got := looks(lookAgain - gap); got != 2 {
			t.Errorf("it looked %d times while nothing changed", got)
		}
	})
}

func TestTargetsAreAddedTriedAndRemoved(t *testing.T) {
	host, got := listens(t, http.StatusOK)
	wrong, _ := listens(t, http.StatusForbidden)
	d := &daemon{}
	dir := t.TempDir()
	n := Open(dir, "box", d, slog.New(slog.DiscardHandler))
	if added, err := n.Add("phone", " ntfy://ann:hunter2@"+host+"/secret-topic?scheme=http\n"); err != nil || added.Address != "ntfy://"+host+"/…" {
		t.Fatal(added, err)
	}
	if _, err := n.Add("wrong", "ntfy://:hunter2@"+wrong+"/secret-topic?scheme=http"); err != nil {
		t.Fatal(err)
	}
	for name, address := range map[string]string{"phone": "ntfy://example.org/t", "Two Words": "ntfy://example.org/t", "other": "gopher://example.org"} {
		if _, err := n.Add(name, address); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := n.Test(t.Context(), "phone"); err != nil || !strings.Contains((<-got).body, "a test") {
		t.Error(err)
	}
	if err := n.Test(t.Context(), "wrong"); err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "403") {
		t.Error(err)
	}
	all, err := n.Targets()
	if err != nil || len(all) != 2 || all[0].Problem != "" || all[0].Sent.IsZero() || !strings.Contains(all[1].Problem, "403") || !all[1].Sent.IsZero() {
		t.Errorf("%+v, %v", all, err)
	}
	for _, one := range all {
		if strings.Contains(one.Address, "secret") || strings.Contains(one.Address, "hunter2") {
			t.Errorf("its address is shown: %s", one.Address)
		}
	}
	if err := n.Remove("wrong"); err != nil {
		t.Error(err)
	}
	for _, err := range []error{n.Remove("wrong"), n.Test(t.Context(), "wrong")} {
		if !errors.Is(err, ErrUnknown) {
			t.Error(err)
		}
	}
	for i := 1; i < mostTargets; i++ {
		if _, err := n.Add("n"+strings.Repeat("x", i), "ntfy://example.org/t"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.Add("one-more", "ntfy://example.org/t"); !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
	os.WriteFile(filepath.Join(dir, "targets.json"), []byte(`{"format":1,"targets":[{"name":"hunter2`), 0o600)
	for _, err := range []error{n.Test(t.Context(), "phone"), n.Remove("phone"), func() error { _, err := n.Targets(); return err }(), func() error { _, err := n.Add("x", "ntfy://example.org/t"); return err }()} {
		if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "remove the file") {
			t.Errorf("damaged: %v", err)
		}
	}
}

// TestNothingIsLostWhileItCannotBeReadWhereNoticesGo: what begins meanwhile is said afterwards.
func TestNothingIsLostWhileItCannotBeReadWhereNoticesGo(t *testing.T) {
	dir := t.TempDir()
	d := &daemon{}
	n := Open(dir, "box", d, slog.New(slog.DiscardHandler))
	if _, err := n.Add("phone", "ntfy://example.org/t"); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "targets.json")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	d.known = with(feeds(view.Failed, "no such image"))
	n = Open(dir, "box", d, slog.New(slog.DiscardHandler)) // it starts all the same
	n.look(noon)
	if all := n.Notices(); len(all) != 1 || len(n.post.Queue) > 0 {
		t.Errorf("%d notices hold, %d go out", len(all), len(n.post.Queue))
	}
	if err := os.WriteFile(file, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	n.look(noon.Add(lookAgain))
	if len(n.post.Queue) != 1 || n.post.Queue[0].Target != "phone" {
		t.Errorf("what has begun meanwhile is not said: %+v", n.post.Queue)
	}
}
