package access

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// request is one over TLS.
func request(cookie *http.Cookie) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.TLS = &tls.ConnectionState{}
	if cookie != nil {
		r.AddCookie(cookie)
	}
	return r
}

// quiet is a log that nobody reads.
var quiet = slog.New(slog.DiscardHandler)

// guard is one over a directory, as the daemon makes it when it starts.
func guard(dir, token string) *Guard {
	return NewGuard(OpenSessions(dir, token, NewPasswords(dir), quiet))
}

func TestPassword(t *testing.T) {
	dir := t.TempDir()
	p := NewPasswords(dir)
	if ok, err := p.Check(t.Context(), ""); ok || err != nil {
		t.Errorf("none is set: %v, %v", ok, err)
	}
	if err := p.Set("short"); err == nil {
		t.Error("a short one was taken")
	}
	if err := p.Set("correct horse battery"); err != nil {
		t.Fatal(err)
	}
	for typed, want := range map[string]bool{"correct horse battery": true, "correct horse batter": false, "": false, strings.Repeat("x", 1<<20): false} {
		if ok, err := p.Check(t.Context(), typed); ok != want || err != nil {
			t.Errorf("%.30q: %v, %v", typed, ok, err)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "password"))
	if err != nil || !strings.HasPrefix(string(b), "$argon2id$v=19$m=65536,t=3,p=4$") {
		t.Errorf("%q, %v", b, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "password")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others can read it: %v, %v", info, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte("plain"), 0o600); err != nil {
		t.Fatal(err)
	}
	if ok, err := p.Check(t.Context(), "plain"); ok || err == nil {
		t.Errorf("a damaged file: %v, %v", ok, err)
	}
}

func TestWrongAttemptsHaveToWait(t *testing.T) {
	g := guard(t.TempDir(), "sesame")
	try := func(token, from string) int {
		w := httptest.NewRecorder()
		r := request(nil)
		r.RemoteAddr = from
		r.Header.Set("Authorization", "Bearer "+token)
		g.Token(reading, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {})).ServeHTTP(w, r)
		return w.Code
	}
	for range wrongBurst {
		if got := try("guess", "192.0.2.1:1"); got != http.StatusUnauthorized {
			t.Fatalf("status %d", got)
		}
	}
	if got := try("guess", "192.0.2.1:2"); got != http.StatusTooManyRequests {
		t.Errorf("one guess too many: status %d", got)
	}
	if got := try("guess", "192.0.2.2:1"); got != http.StatusUnauthorized {
		t.Errorf("another address: status %d", got)
	}
	if got := try("sesame", "192.0.2.1:3"); got != http.StatusOK {
		t.Errorf("the right token from the same address: status %d", got)
	}
}

func TestCookieIsStrict(t *testing.T) {
	g := guard(t.TempDir(), "sesame")
	w := httptest.NewRecorder()
	if ok, _, err := g.SignIn(w, request(nil), " sesame\n", ""); !ok || err != nil {
		t.Fatal(ok, err)
	}
	c := w.Result().Cookies()[0]
	if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" {
		t.Errorf("%+v", c)
	}
	if _, ok := g.SignedIn(request(c)); !ok {
		t.Error("the session is not valid")
	}
}

func TestNobodySignsInOverAConnectionThatIsNotEncrypted(t *testing.T) {
	g := guard(t.TempDir(), "sesame")
	for host, address := range map[string]string{"node.local:7070": "https://node.local:7443", "[2001:db8::1]:7070": "https://[2001:db8::1]:7443", "192.0.2.7": "https://192.0.2.7:7443"} {
		w, r := httptest.NewRecorder(), request(nil)
		r.TLS, r.Host = nil, host
		ok, answered, err := g.SignIn(w, r, "sesame", "")
		if ok || !answered || err != nil || w.Code != http.StatusForbidden || len(w.Result().Cookies()) > 0 || !strings.Contains(w.Body.String(), address+".") {
			t.Errorf("%s: %v, %v, %v; status %d, %v: %s", host, ok, answered, err, w.Code, w.Result().Cookies(), w.Body)
		}
	}
	w := httptest.NewRecorder()
	if ok, _, err := g.SignIn(w, request(nil), "sesame", ""); !ok || err != nil {
		t.Fatal(ok, err)
	}
	r := request(w.Result().Cookies()[0])
	r.TLS = nil
	if _, ok := g.SignedIn(r); ok {
		t.Error("a session is valid where whoever listens has it too")
	}
}
