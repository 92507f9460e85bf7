package rpc

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/archipelago-cloud/archipelago/orchestrator/access"
)

const procedure = "/archipelago.v1.Orchestrator/"

// signIn is what happens on My Apps; it gives the cookie.
func signIn(t *testing.T, g *access.Guard, browser string) *http.Cookie {
	t.Helper()
	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/login", nil)
	r.TLS = &tls.ConnectionState{}
	r.Header.Set("User-Agent", browser)
	if ok, _, err := g.SignIn(w, r, "sesame", ""); !ok || err != nil {
		t.Fatal(ok, err)
	}
	return w.Result().Cookies()[0]
}

func signedIn(g *access.Guard, c *http.Cookie) bool {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.TLS = &tls.ConnectionState{}
	r.AddCookie(c)
	_, ok := g.SignedIn(r)
	return ok
}

func TestSessionsAreListedAndEnded(t *testing.T) {
	dir := t.TempDir()
	h, g, _ := serve(t, dir)
	first, second := signIn(t, g, "Firefox"), signIn(t, g, "Chrom\x1b[2Jium")
	w := call(h, "ListSessions", "application/json", "sesame", []byte("{}"))
	var list struct {
		Sessions []struct{ ID, Begun, Ends, Address, Browser string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || len(list.Sessions) != 2 {
		t.Fatal(err, w.Body)
	}
	if s := list.Sessions[0]; s.Browser != "Chrom[2Jium" || s.Address != "192.0.2.1" || s.Begun == "" || s.Ends <= s.Begun {
		t.Errorf("%+v", s)
	}
	end := func(id, want string) {
		t.Helper()
		if w := call(h, "EndSessions", "application/json", "sesame", []byte(`{"id": "`+id+`"}`)); !strings.Contains(w.Body.String(), want) {
			t.Errorf("ending %q: %s", id, w.Body)
		}
	}
	end(list.Sessions[0].ID, `"ended":1`)
	if signedIn(g, second) || !signedIn(g, first) {
		t.Error("another one was ended")
	}
	signIn(t, g, "Firefox")
	end("", `"ended":2`)
	if signedIn(g, first) {
		t.Error("not all were ended")
	}
	audit, err := os.ReadFile(filepath.Join(dir, "audit.jsonl"))
	if err != nil || !strings.Contains(string(audit), "end session "+list.Sessions[0].ID) || !strings.Contains(string(audit), "end all sessions") {
		t.Errorf("the audit log: %s, %v", audit, err)
	}
	for _, secret := range []string{first.Value, second.Value} {
		if strings.Contains(w.Body.String()+string(audit), secret) {
			t.Error("what signs in is in the list or in the audit log")
		}
	}
}

func TestANewPasswordEndsAllSessions(t *testing.T) {
	h, g, _ := serve(t, t.TempDir())
	c := signIn(t, g, "Firefox")
	if w := call(h, "SetPassword", "application/json", "sesame", []byte(`{"password": "correct horse battery"}`)); w.Code != http.StatusOK {
		t.Fatal(w.Code, w.Body)
	}
	if signedIn(g, c) {
		t.Error("a session outlived a new password")
	}
	if w := call(h, "ListSessions", "application/json", "sesame", []byte("{}")); strings.TrimSpace(w.Body.String()) != "{}" {
		t.Errorf("listed: %s", w.Body)
	}
}

func TestASessionMakesNoCall(t *testing.T) {
	h, g, _ := serve(t, t.TempDir())
	c := signIn(t, g, "Firefox")
	for _, method := range []string{http.MethodPost, http.MethodGet} {
		for _, authorization := range []string{"", "Bearer " + c.Value, c.Value} {
			r := httptest.NewRequest(method, procedure+"ListSessions?encoding=json&connect=v1&message=%7B%7D", strings.NewReader("{}"))
			r.TLS = &tls.ConnectionState{}
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Origin", "https://"+r.Host)
			if authorization != "" {
				r.Header.Set("Authorization", authorization)
			}
			r.AddCookie(c)
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, r); w.Code != http.StatusUnauthorized {
				t.Errorf("%s with a session: status %d: %s", method, w.Code, w.Body)
			}
		}
	}
}

func TestNoPreflightIsAnswered(t *testing.T) {
	h, g, _ := serve(t, t.TempDir())
	c := signIn(t, g, "Firefox")
	for _, authorization := range []string{"", "Bearer sesame"} {
		r := httptest.NewRequest(http.MethodOptions, procedure+"Install", nil)
		r.Header.Set("Origin", "https://node.local:18080")
		r.Header.Set("Access-Control-Request-Method", "POST")
		r.Header.Set("Access-Control-Request-Headers", "authorization, content-type")
		r.AddCookie(c)
		if authorization != "" { // browsers send none with a preflight
			r.Header.Set("Authorization", authorization)
		}
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code < 400 {
			t.Errorf("status %d", w.Code)
		}
		for name := range w.Header() {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s: %s", name, w.Header().Get(name))
			}
		}
	}
}

// TestTheSecondFactorEndsByTheToken is for whoever has lost the authenticator.
func TestTheSecondFactorEndsByTheToken(t *testing.T) {
	s, _ := server(t, t.TempDir())
	_, h := s.Handler(access.NewGuard(s.Sessions))
	if w := call(h, "GetSecondFactor", "application/json", "sesame", []byte("{}")); w.Code != http.StatusOK || strings.Contains(w.Body.String(), "true") {
		t.Errorf("where there is none: %d, %s", w.Code, w.Body)
	}
	if w := call(h, "EndSecondFactor", "application/json", "sesame", []byte("{}")); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "there is no second factor") {
		t.Errorf("ending none: %d, %s", w.Code, w.Body)
	}
	secret, err := s.Sessions.Factor.Begin("session")
	if err != nil {
		t.Fatal(err)
	}
	code, err := totp.GenerateCode(secret, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sessions.Factor.Confirm("session", secret, code); err != nil {
		t.Fatal(err)
	}
	w := call(h, "GetSecondFactor", "application/json", "sesame", []byte("{}"))
	if said := w.Body.String(); w.Code != http.StatusOK || !strings.Contains(said, `"on":true`) || !strings.Contains(said, `"recoveryCodes":10`) || strings.Contains(said, secret) {
		t.Errorf("%d, %s", w.Code, said)
	}
	if w := call(h, "EndSecondFactor", "application/json", "sesame", []byte("{}")); w.Code != http.StatusOK {
		t.Errorf("ending it: %d, %s", w.Code, w.Body)
	}
	if f, err := s.Sessions.Factor.Status(); err != nil || f.On {
		t.Errorf("%+v, %v", f, err)
	}
}
