package access

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func request(cookie *http.Cookie) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if cookie != nil {
		r.AddCookie(cookie)
	}
	return r
}

func TestNewTokenOrPasswordEndsSessions(t *testing.T) {
	p := NewPasswords(t.TempDir())
	old, fresh := NewGuard("a", p), NewGuard("b", p)
	r := request(&http.Cookie{Name: cookie, Value: old.session(1<<40, "n")})
	if !old.SignedIn(r) || fresh.SignedIn(r) {
		t.Errorf("old %v, new %v", old.SignedIn(r), fresh.SignedIn(r))
	}
	if old.SignedIn(request(&http.Cookie{Name: cookie, Value: old.session(1, "n")})) {
		t.Error("an expired session is valid")
	}
	if err := p.Set("correct horse battery"); err != nil {
		t.Fatal(err)
	}
	if old.SignedIn(r) {
		t.Error("a session outlived a new password")
	}
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
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte("plain"), 0o600); err != nil {
		t.Fatal(err)
	}
	if ok, err := p.Check(t.Context(), "plain"); ok || err == nil {
		t.Errorf("a damaged file: %v, %v", ok, err)
	}
}

func TestWrongAttemptsHaveToWait(t *testing.T) {
	g := NewGuard("sesame", NewPasswords(t.TempDir()))
	try := func(token, from string) int {
		w := httptest.NewRecorder()
		r := request(nil)
		r.RemoteAddr = from
		r.Header.Set("Authorization", "Bearer "+token)
		g.Token(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {})).ServeHTTP(w, r)
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
	g := NewGuard("sesame", NewPasswords(t.TempDir()))
	for _, secure := range []bool{false, true} {
		w, r := httptest.NewRecorder(), request(nil)
		if secure {
			r.TLS = &tls.ConnectionState{}
		}
		if ok, _, err := g.SignIn(w, r, " sesame\n"); !ok || err != nil {
			t.Fatal(ok, err)
		}
		c := w.Result().Cookies()[0]
		if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Secure != secure || strings.HasPrefix(c.Name, "__Host-") != secure {
			t.Errorf("TLS %v: %+v", secure, c)
		}
		back := request(c)
		back.TLS = r.TLS
		if !g.SignedIn(back) {
			t.Error("the session is not valid")
		}
	}
}
