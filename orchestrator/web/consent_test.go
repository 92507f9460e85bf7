package web

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator"
	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/secrets"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/usage"
)

// bare is an engine with nothing in it, which can do nothing but say so.
type bare struct{ orchestrator.Engine }

func (bare) Observe(context.Context) (host.Observation, error) { return host.Observation{}, nil }

// ofOneNode makes daemons of one node, each of which offers another catalog.
func ofOneNode(t testing.TB) func(catalog.Catalog) *Server {
	t.Helper()
	_, of := recorded(t)
	return of
}

// recorded is ofOneNode, with the node's records.
func recorded(t testing.TB) (*state.Store, func(catalog.Catalog) *Server) {
	t.Helper()
	store, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sec, err := secrets.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	var points []usage.Point // of a day, with a gap
	for now, i := time.Now().Unix()/int64(usage.Span.Seconds()), int64(0); i < int64(usage.Spans); i++ {
		if i/12 != 4 {
			points = append(points, usage.Point{Span: now - int64(usage.Spans) + 1 + i, Milli: 20 + i*i%97 + i%31*4, Memory: 180<<20 + i*i%53<<20, Received: i * i % 61 << 14, Sent: i % 7 << 12, Disk: 3<<30 + i<<20})
		}
	}
	if err := store.Remember("usage.json", map[string]any{"apps": map[string][]usage.Point{"wiki": points}}); err != nil {
		t.Fatal(err)
	}
	dir, data := t.TempDir(), t.TempDir()
	sessions := access.OpenSessions(dir, "sesame", access.NewPasswords(dir), log)
	return store, func(offered catalog.Catalog) *Server {
		s := &Server{Reconciler: orchestrator.New(bare{}, store, sec, offered, data, log), Guard: access.NewGuard(sessions), Sessions: sessions, Log: log}
		s.Handler()
		return s
	}
}

// appPageOf is an application's page, for somebody who need not sign in.
func appPageOf(t *testing.T, s *Server, app string) string {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/apps/"+app, nil)
	r.SetPathValue("id", app)
	w := httptest.NewRecorder()
	s.app(w, r)
	return w.Body.String()
}

func TestUpdateShowsNewPrivilegesAndCarriesTheConsent(t *testing.T) {
	daemon := ofOneNode(t)
	over := func(version string, ports ...manifest.Port) *Server {
		m := &manifest.Manifest{APIVersion: manifest.APIVersion, ID: "feeds", Name: "Feeds", Version: version, Containers: []manifest.Container{{Name: "feeds", Ports: ports}}}
		return daemon(catalog.Catalog{"feeds": {Manifest: m}})
	}
	if _, err := over("1").Reconciler.Request(request.Request{App: "feeds", Verb: request.Install}); err != nil {
		t.Fatal(err)
	}
	s := over("2", manifest.Port{Name: "p2p", Container: 8333, Host: 8333})
	page := appPageOf(t, s, "feeds")
	const privilege = "publishes port 8333/tcp of the node"
	for _, part := range []string{`<input type="checkbox" name="consent" value="` + privilege + `" required>`, "Update to 2", "needs your agreement", "waits for your consent"} {
		if !strings.Contains(page, part) {
			t.Errorf("the page lacks %q:\n%s", part, page)
		}
	}
	if n := strings.Count(page, `name="consent"`); n != 1 {
		t.Errorf("%d ask for consent", n)
	}
	update := func(query, form url.Values) int {
		r := httptest.NewRequest(http.MethodPost, "/apps/feeds/update?"+query.Encode(), strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetPathValue("id", "feeds")
		r.SetPathValue("verb", "update")
		w := httptest.NewRecorder()
		if err := r.ParseForm(); err != nil {
			t.Fatal(err)
		}
		s.act(w, r)
		return w.Code
	}
	if status := update(nil, nil); status != http.StatusConflict {
		t.Errorf("without consent: status %d", status)
	}
	if status := update(url.Values{"consent": {privilege}}, nil); status != http.StatusConflict {
		t.Errorf("with consent in a link: status %d", status)
	}
	if status := update(nil, url.Values{"consent": {privilege}}); status != http.StatusSeeOther {
		t.Errorf("with consent: status %d", status)
	}
}
