package access

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestAFormsTokenIsOfItsSessionAndItsPath(t *testing.T) {
	dir := t.TempDir()
	sessions := OpenSessions(dir, "sesame", NewPasswords(dir), slog.New(slog.DiscardHandler))
	g := NewGuard(sessions)
	signedIn := func(path string) *http.Request {
		r := httptest.NewRequest(http.MethodPost, path, nil)
		r.TLS = &tls.ConnectionState{}
		return r
	}
	with := func(path, secret string) *http.Request {
		r := signedIn(path)
		r.AddCookie(&http.Cookie{Name: cookie, Value: "an application set it"})
		r.AddCookie(&http.Cookie{Name: cookie, Value: secret})
		return r
	}
	credentials, err := sessions.credentials()
	if err != nil {
		t.Fatal(err)
	}
	one, two := sessions.begin(signedIn("/"), credentials), sessions.begin(signedIn("/"), credentials)
	token := g.FormToken(with("/", one), "/apps/a/stop")
	if len(token) != 22 || !g.FromForm(with("/apps/a/stop", one), token) || token != g.FormToken(with("/x", one), "/apps/a/stop") {
		t.Errorf("the own form's %q does not hold", token)
	}
	for what, r := range map[string]*http.Request{"another form": with("/apps/a/start", one), "another session": with("/apps/a/stop", two), "no session": with("/apps/a/stop", "guess")} {
		if g.FromForm(r, token) {
			t.Errorf("it holds for %s", what)
		}
	}
	if g.FromForm(with("/apps/a/stop", "guess"), "") || g.FromForm(with("/apps/a/stop", one), "") {
		t.Error("none holds")
	}
	changed := sessions.Changed()
	if _, err := sessions.EndAll(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Error("that sessions ended is not told of")
	}
	if g.FromForm(with("/apps/a/stop", one), token) {
		t.Error("it holds after the session")
	}
	changed = sessions.Changed()
	if err := sessions.passwords.Set("a long password"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Error("that a password ended sessions is not told of")
	}
}
