package selftest

import (
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/orchestrator"
	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/rpc"
	"github.com/archipelago-cloud/archipelago/orchestrator/secrets"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/web"
)

// TestTheWitnessesUnderstandTheDaemon has the witnesses hear the daemon's own RPC, page and
// metrics, over a reconciler that carries nothing out: in each place they must find the state
// that it is in. It needs no lab.
func TestTheWitnessesUnderstandTheDaemon(t *testing.T) {
	const token = "sesame"
	store, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sec, err := secrets.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	page := &manifest.Manifest{ID: "page", Name: `Page <b>&"`, Version: `1 "beta"`, Containers: []manifest.Container{{Name: "page"}}}
	down := &manifest.Manifest{ID: "down", Name: "Down", Version: "2", Containers: []manifest.Container{{Name: "down"}}}
	// What it knew last: the engine does not answer.
	if err := store.Remember("observed.json", host.Observation{Containers: map[string]host.Container{"page": {Name: "page", App: "page", ID: "1", State: "running"}}}); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	dir := t.TempDir()
	passwords := access.NewPasswords(dir)
	sessions := access.OpenSessions(dir, token, passwords, log)
	guard := access.NewGuard(sessions)
	r := orchestrator.New(nil, store, sec, catalog.Catalog{"page": {Manifest: page}, "down": {Manifest: down}}, "/d", log)
	mux := http.NewServeMux()
	mux.Handle((&rpc.Server{Reconciler: r, Sessions: sessions}).Handler(guard))
	mux.Handle("GET /metrics", guard.Token(access.Takes(access.Read), promhttp.HandlerFor(r.Metrics(), promhttp.HandlerOpts{})))
	mux.Handle("/", (&web.Server{Reconciler: r, Guard: guard, Sessions: sessions, Log: log}).Handler())
	daemon := httptest.NewTLSServer(mux)
	defer daemon.Close()
	var trusted nodes.Authority
	if err := trusted.UnmarshalText(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: daemon.Certificate().Raw})); err != nil {
		t.Fatal(err)
	}
	c := client.New(daemon.URL, token, trusted.Fingerprint())
	l := matrix.NewListener(c, daemon.URL, token, trusted, "")

	agrees := func(m *manifest.Manifest, s *matrix.Snapshot) {
		t.Helper()
		if wrong, _ := l.Check(t.Context(), m, s, false); len(wrong) > 0 {
			t.Errorf("it tells the truth, and the witnesses say %q", wrong)
		}
	}
	nothing := &matrix.Snapshot{}
	runs := &matrix.Snapshot{Containers: []matrix.Seen{{ID: "1", Name: "page", State: "running"}}}
	agrees(down, nothing)
	for _, id := range []string{"page", "down"} {
		if _, err := c.Install(t.Context(), connect.NewRequest(&api.InstallRequest{Id: id})); err != nil {
			t.Fatal(err)
		}
	}
	agrees(page, runs)
	wrong, _ := l.Check(t.Context(), down, nothing, false)
	for i, where := range []string{"ListApps", "GetApp", "My Apps", "metrics"} {
		if want := where + `: the daemon says "starting" of down, and there is nothing of it`; len(wrong) != 4 || wrong[i] != want {
			t.Errorf("%q, expected %q", wrong, want)
		}
	}
	if _, err := c.Stop(t.Context(), connect.NewRequest(&api.StopRequest{Id: "down"})); err != nil {
		t.Fatal(err)
	}
	agrees(down, &matrix.Snapshot{Files: []string{"down.container"}})
	if wrong, _ := l.Check(t.Context(), &manifest.Manifest{ID: "other"}, nothing, false); len(wrong) != 4 || strings.Count(strings.Join(wrong, "; "), "does not list other") != 4 {
		t.Errorf("of what it does not know: %q", wrong)
	}
	if n := len(sessions.List()); n != 1 {
		t.Errorf("%d sessions", n)
	}
	if l.Close(); len(sessions.List()) > 0 {
		t.Error("a session is left")
	}
}
