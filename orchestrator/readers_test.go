package orchestrator

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/operation"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

func TestStopCancelsTheStartUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := empty()
		starting := make(chan struct{}, 1)
		h.starting = func(ctx context.Context) error {
			starting <- struct{}{}
			<-ctx.Done()
			return errors.New("systemctl: killed")
		}
		r := node(t, h, t.TempDir())
		install, err := r.Request(request.Request{App: "pair", Verb: request.Install})
		if err != nil {
			t.Fatal(err)
		}
		<-starting
		begin := time.Now()
		if err := ask(t, r, request.Stop); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took > time.Second || stateOf(t, r) != view.Down {
			t.Errorf("after %s it is %s", took, stateOf(t, r))
		}
		// Who waits for the installation hears that it is over.
		if err := r.Watch(t.Context(), "pair", install, func(view.Progress) error { return nil }); err != nil {
			t.Error(err)
		}
		if v, _ := r.App("pair"); v.Error != "" {
			t.Errorf("what was overtaken is no failure: %s", v.Error)
		}
	})
}

// needy is a disk with an application that requires another.
func needy() catalog.Catalog {
	m := pair()
	m.Requires = []manifest.Requirement{{App: "dep"}}
	return catalog.Catalog{"pair": {Manifest: m}, "dep": {Manifest: &manifest.Manifest{ID: "dep", Name: "Dep", Version: "1", Containers: []manifest.Container{{Name: "dep"}}}}}
}

func TestRecordThatCannotBeWrittenLeavesNothingAccepted(t *testing.T) {
	for _, app := range []string{"dep", "pair"} {
		t.Run(app, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, dir := empty(), t.TempDir()
				r := nodeWith(t, h, dir, needy())
				// A directory that is not empty cannot be replaced by a record.
				inTheWay := filepath.Join(dir, "state", "desired", app+".json")
				if err := os.MkdirAll(filepath.Join(inTheWay, "x"), 0o700); err != nil {
					t.Fatal(err)
				}
				if gen, err := r.Request(request.Request{App: "pair", Verb: request.Install}); err == nil || gen != 0 {
					t.Fatalf("accepted: %d, %v", gen, err)
				}
				r.Wake()
				time.Sleep(time.Minute)
				synctest.Wait()
				for _, id := range []string{"dep", "pair"} {
					v, err := r.App(id)
					if _, none := r.store.Get(id); err != nil || v.State != view.NotInstalled || !errors.Is(none, state.ErrNotFound) || r.operations.Status(id) != (operation.Status{}) {
						t.Errorf("of %s there is %+v, %v, %v", id, v, err, none)
					}
				}
				if calls := strings.Join(h.calls, " "); strings.Contains(calls, "image") || strings.Contains(calls, "units") {
					t.Errorf("refused, and yet %s", calls)
				}
				if err := os.RemoveAll(inTheWay); err != nil {
					t.Fatal(err)
				}
				if gen, err := r.Request(request.Request{App: "pair", Verb: request.Install}); err != nil || gen != 1 {
					t.Errorf("once the disk takes it: %d, %v", gen, err)
				}
			})
		})
	}
}

// readers look at everything that pages, RPC and proxy show.
func readers(t *testing.T, r *Reconciler) {
	if views, _, _ := r.Apps(); len(views) != 1 {
		t.Errorf("%+v", views)
	}
	if _, err := r.App("pair"); err != nil {
		t.Error(err)
	}
	stop := errors.New("seen")
	if err := r.Watch(t.Context(), "pair", 1, func(view.Progress) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
	r.Webs()
	r.Waiting("pair")
	r.Scripts("pair")
	if _, err := r.Credentials("pair"); err != nil {
		t.Error(err)
	}
}

// TestReadersDoNotWaitForTheDisk: a request is being decided and written. The clock
// is the real one: a reader that waits, waits for a lock.
func TestReadersDoNotWaitForTheDisk(t *testing.T) {
	r := node(t, empty(), t.TempDir())
	if err := ask(t, r, request.Install); err != nil {
		t.Fatal(err)
	}
	writing, written, accepted := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		_, err := r.accept(func(records state.Records) ([]state.Desired, error) {
			close(writing)
			<-written
			return records.All, nil
		})
		accepted <- err
	}()
	<-writing
	done := make(chan struct{})
	go func() { defer close(done); readers(t, r) }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Error("they wait for the disk")
	}
	close(written)
	if err := <-accepted; err != nil {
		t.Error(err)
	}
	<-done
}

func TestReadersDoNotWaitForTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := empty()
		r := node(t, h, t.TempDir())
		if err := ask(t, r, request.Install); err != nil {
			t.Fatal(err)
		}
		hang := make(chan struct{})
		h.mu.Lock()
		h.hang = hang
		h.mu.Unlock()
		r.Wake()
		time.Sleep(10 * time.Second)
		begin := time.Now()
		readers(t, r)
		views, _, stale := r.Apps()
		if took := time.Since(begin); took > 0 {
			t.Errorf("they waited %s for the engine", took)
		}
		if !strings.HasPrefix(stale, "no answer for") || views[0].State != view.Up {
			t.Errorf("%q, and it is %s", stale, views[0].State)
		}
		// A request is accepted, and carried out once the engine answers.
		if _, err := r.Request(request.Request{App: "pair", Verb: request.Stop}); err != nil {
			t.Error(err)
		}
		close(hang)
		time.Sleep(time.Second)
		synctest.Wait()
		if _, _, stale := r.Apps(); stale != "" || stateOf(t, r) != view.Down {
			t.Errorf("%q, and it is %s", stale, stateOf(t, r))
		}
	})
}
