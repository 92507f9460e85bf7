package engine

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/host"
)

// serving is an engine whose Podman answers so.
func serving(t *testing.T, answer http.HandlerFunc) *Engine {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: answer}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return &Engine{
		Podman: &Podman{socket: "unix://" + socket},
		helper: func(context.Context, limit, string, ...string) (string, error) { return "", nil },
	}
}

// TestVersionIsTheAnswerToAPing: /version costs Podman ten processes.
func TestVersionIsTheAnswerToAPing(t *testing.T) {
	answer := "5.4.2"
	e := serving(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/_ping") {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.Header().Set("Libpod-API-Version", answer)
	})
	for range 2 {
		if got, err := e.Version(t.Context()); got != answer || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
	answer = "5.4.3" // Podman was upgraded, and its socket is the same
	if got, err := e.Version(t.Context()); got != answer || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	answer = ""
	if got, err := e.Version(t.Context()); err == nil {
		t.Errorf("what is not Podman has version %q", got)
	}
}

// TestWhoeverWaitedForTheConnectionDoesNotTryOnceItsTimeIsOver: at a shutdown the prober asks
// about forty containers, and nobody answers. It ends when it is told to, and does not try for
// each, one after the other.
func TestWhoeverWaitedForTheConnectionDoesNotTryOnceItsTimeIsOver(t *testing.T) {
	const callers = 40
	asked := make(chan struct{}, 1)
	e := serving(t, func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, callers)
	for range callers {
		go func() {
			_, err := e.Version(ctx)
			ended <- err
		}()
	}
	<-asked
	cancel()
	late := time.After(10 * time.Second) // all after one another take 24 s
	for i := range callers {
		select {
		case err := <-ended:
			if !errors.Is(err, host.ErrUnavailable) {
				t.Error(err)
			}
		case <-late:
			t.Fatalf("%d of %d still try to connect", callers-i, callers)
		}
	}
}
