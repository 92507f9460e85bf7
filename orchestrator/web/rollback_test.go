package web

import (
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
	"github.com/archipelago-cloud/archipelago/orchestrator/secrets"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// TestTheWayBackIsAForm, which works without scripts: it names version and time, and going back
// takes two ticks: what the older version may do, and what becomes of the data.
func TestTheWayBackIsAForm(t *testing.T) {
	of := func(version string, ports ...manifest.Port) *manifest.Manifest {
		return &manifest.Manifest{APIVersion: manifest.APIVersion, ID: "feeds", Name: "Feeds", Version: version, Containers: []manifest.Container{{Name: "feeds", Ports: ports}}}
	}
	one, two := of("1", manifest.Port{Name: "p2p", Container: 8333, Host: 8333}), of("2")
	store, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sec, err := secrets.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	taken := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	if _, err := store.Accept([]state.Desired{{App: "feeds", Goal: state.Running, Manifest: two, Source: "disk", Held: of("3").Digest(),
		Previous: &state.Previous{Manifest: one, Taken: taken, Since: taken}}}); err != nil {
		t.Fatal(err)
	}
	log, dir := slog.New(slog.DiscardHandler), t.TempDir()
	sessions := access.OpenSessions(dir, "sesame", access.NewPasswords(dir), log)
	s := &Server{Reconciler: orchestrator.New(nil, store, sec, catalog.Catalog{"feeds": {Manifest: of("3")}}, t.TempDir(), log), Guard: access.NewGuard(sessions), Sessions: sessions, Log: log}
	s.Handler()
	page := appPageOf(t, s, "feeds")
	const privilege = "publishes port 8333/tcp of the node"
	for _, part := range []string{"Go back to 1", `<form method="post" action="/apps/feeds/rollback"`, `name="version" value="1"`, `name="agreed" value="yes" required`,
		`name="consent" value="` + privilege + `" required`, "is not in its data", "You have gone back from this version"} {
		if !strings.Contains(page, part) {
			t.Errorf("the page lacks %q:\n%s", part, page)
		}
	}
	back := func(form url.Values) (int, string) {
		r := httptest.NewRequest(http.MethodPost, "/apps/feeds/rollback", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetPathValue("id", "feeds")
		r.SetPathValue("verb", "rollback")
		w := httptest.NewRecorder()
		if err := r.ParseForm(); err != nil {
			t.Fatal(err)
		}
		s.act(w, r)
		return w.Code, w.Body.String()
	}
	for _, c := range []struct {
		name string
		form url.Values
		why  string
	}{
		{"nothing is ticked", url.Values{"version": {"1"}, "consent": {privilege}}, "tick that you know"},
		{"no consent", url.Values{"version": {"1"}, "agreed": {"yes"}}, privilege},
		{"of another version", url.Values{"version": {"0.9"}, "agreed": {"yes"}, "consent": {privilege}}, "is 1, not 0.9"},
	} {
		if status, said := back(c.form); status != http.StatusConflict || !strings.Contains(said, c.why) {
			t.Errorf("%s: status %d, %s", c.name, status, said)
		}
		if d, err := store.Get("feeds"); err != nil || d.Update != nil {
			t.Fatalf("%s: %+v, %v", c.name, d.Update, err)
		}
	}
	status, said := back(url.Values{"version": {"1"}, "agreed": {"yes"}, "consent": {privilege}})
	if d, err := store.Get("feeds"); status != http.StatusSeeOther || err != nil || d.Update == nil || !d.Update.Back {
		t.Errorf("status %d, %s: %+v, %v", status, said, d.Update, err)
	}
}
