package orchestrator

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/secrets"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// updatable is a node on which version 1 of the pair runs and version 2 is offered.
func updatable(t *testing.T, h *fakeHost) *Reconciler {
	t.Helper()
	r := nodeWith(t, h, t.TempDir(), nil)
	r.SetCatalog(signedCatalog(t, 1, "1", nil))
	if err := ask(t, r, "install"); err != nil {
		t.Fatal(err)
	}
	r.SetCatalog(signedCatalog(t, 2, "2", nil))
	return r
}

// settled gives the pair's record once nothing happens for a while.
func settled(t *testing.T, r *Reconciler) state.Desired {
	t.Helper()
	time.Sleep(30 * time.Second)
	synctest.Wait()
	d, err := r.store.Get("pair")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func begin(t *testing.T, r *Reconciler, verb string) {
	t.Helper()
	if _, err := r.Request(request.Request{App: "pair", Verb: verb}); err != nil {
		t.Fatal(err)
	}
}

func TestAnUpdateWaitsForTheEngineAndIsNotUndone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := empty()
		r := updatable(t, h)
		h.mu.Lock()
		h.begun = func() { h.set(errors.New("no socket")) }
		h.mu.Unlock()
		begin(t, r, "update")
		if d := settled(t, r); d.Update == nil || d.Update.Phase != state.Switched {
			t.Errorf("while the engine is away: %+v", d.Update)
		}
		h.set(nil)
		if d := settled(t, r); d.Update != nil || d.Manifest.Version != "2" {
			t.Errorf("once it answers: version %s, %+v", d.Manifest.Version, d.Update)
		}
	})
}

func TestAnUpdateIsNotUndoneByTheDaemonsEndNorByTheNextRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, dir := empty(), t.TempDir()
		store, err := state.Open(dir + "/state")
		if err != nil {
			t.Fatal(err)
		}
		sec, err := secrets.Open(dir + "/secrets")
		if err != nil {
			t.Fatal(err)
		}
		r := New(h, store, sec, nil, dir+"/data", slog.New(slog.DiscardHandler))
		ctx, end := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx) }()
		r.SetCatalog(signedCatalog(t, 1, "1", nil))
		if err := ask(t, r, "install"); err != nil {
			t.Fatal(err)
		}
		r.SetCatalog(signedCatalog(t, 2, "2", nil))
		var start context.Context
		h.mu.Lock()
		h.starting = func(ctx context.Context) error { start = ctx; <-ctx.Done(); return context.Cause(ctx) }
		h.mu.Unlock()
		begin(t, r, "update")
		time.Sleep(time.Second)
		synctest.Wait()
		begin(t, r, "stop")
		synctest.Wait()
		if start == nil || start.Err() != nil {
			t.Errorf("a request cancelled the start that an update is made of: %v", start)
		}
		end()
		<-done
		if d, err := store.Get("pair"); err != nil || d.Update == nil || d.Update.Phase != state.Switched {
			t.Errorf("the daemon's end undid it: %+v, %v", d.Update, err)
		}
	})
}

func TestAnUpdateThatIsBlockedEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := empty()
		r := updatable(t, h)
		h.mu.Lock()
		h.obs.Containers["theirs"] = host.Container{ID: "0", Name: "theirs", State: "running", Mounts: []string{filepath.Join(r.dataDir, "pair", "db")}}
		h.mu.Unlock()
		begin(t, r, "update")
		if d := settled(t, r); d.Update != nil || d.Manifest.Version != "1" || !strings.Contains(d.Note, `"theirs"`) {
			t.Errorf("version %s, %+v, %q", d.Manifest.Version, d.Update, d.Note)
		}
	})
}

func TestNothingIsStartedOverMissingData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, dir := empty(), t.TempDir()
		r := node(t, h, dir)
		for _, verb := range []string{"install", "stop"} {
			if err := ask(t, r, verb); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Remove(filepath.Join(dir, "data", "pair", "db")); err != nil {
			t.Fatal(err)
		}
		h.mu.Lock()
		h.calls = nil
		h.mu.Unlock()
		if err := ask(t, r, "start"); err == nil || !strings.Contains(err.Error(), "its data is gone") || stateOf(t, r) != view.Failed {
			t.Errorf("%v, it is %s", err, stateOf(t, r))
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if did := strings.NewReplacer("observe", "", "prober", "").Replace(strings.Join(h.calls, " ")); strings.TrimSpace(did) != "" {
			t.Errorf("and yet: %s", did)
		}
	})
}
