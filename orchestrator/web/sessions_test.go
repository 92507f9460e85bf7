package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// with sends a request with cookies as they are, and follows nothing.
func (n *node) with(t *testing.T, path string, cookies ...*http.Cookie) *http.Response {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, n.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cookies {
		r.AddCookie(c)
	}
	resp, err := n.Client().Transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp
}

func TestARequestThatTheOwnPageDidNotMakeIsRefused(t *testing.T) {
	s := site(t, t.TempDir(), "sesame")
	c, own := s.owner(t)
	sites := [][]string{
		{"Origin", ""}, // a cookie that somebody kept, replayed
		{"Origin", "https://127.0.0.1:18080"},
		{"Origin", "null"},
		{"Origin", strings.Replace(s.URL, "https", "http", 1)},
		{"Sec-Fetch-Site", "same-site"},
	}
	for _, path := range []string{"/login", "/logout", "/apps/feeds/install", "/sessions/" + s.sessions.List()[0].ID + "/end"} {
		for _, header := range sites {
			if status := post(t, c, s.URL+path, url.Values{"token": {"sesame"}}, header...); status != http.StatusForbidden {
				t.Errorf("%s with %q: status %d", path, header, status)
			}
		}
	}
	if list := s.sessions.List(); len(list) != 1 || s.with(t, "/", own).StatusCode != http.StatusOK {
		t.Errorf("sessions: %+v", list)
	}
}

func TestSignOutEndsTheSessionForWhoeverKeptTheCookie(t *testing.T) {
	s := site(t, t.TempDir(), "sesame")
	c, own := s.owner(t)
	post(t, c, s.URL+"/logout", nil)
	if resp := s.with(t, "/", own); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("the page: status %d", resp.StatusCode)
	}
	if resp := s.with(t, "/events", own); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("events: status %d", resp.StatusCode)
	}
	audit, err := os.ReadFile(filepath.Join(s.dir, "audit.jsonl"))
	if err != nil || !strings.Contains(string(audit), `"sign out"`) || strings.Contains(string(audit), own.Value) {
		t.Errorf("the audit log, without the secret: %s, %v", audit, err)
	}
}

func TestTheAuditLogTellsWhoSignedInAndWhoEndedSessions(t *testing.T) {
	s := site(t, t.TempDir(), "sesame")
	post(t, s.visitor(t), s.URL+"/login", url.Values{"token": {"a guess"}})
	c, _ := s.owner(t)
	id := s.sessions.List()[0].ID
	post(t, c, s.URL+"/sessions/"+id+"/end", nil)
	b, err := os.ReadFile(filepath.Join(s.dir, "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines: %s", len(lines), b)
	}
	for i, part := range []string{`"what":"sign in","refused":`, `"what":"sign in"}`, `"what":"end session ` + id + `"}`} {
		if !strings.Contains(lines[i], part) || !strings.Contains(lines[i], `"who":"My Apps from 127.0.0.1"`) {
			t.Errorf("line %d: %s, expected %s", i+1, lines[i], part)
		}
	}
	if strings.Contains(string(b), "sesame") || strings.Contains(string(b), "a guess") {
		t.Errorf("it holds what was typed: %s", b)
	}
}

func TestThePageListsTheSignedInBrowsersAndSignsThemOut(t *testing.T) {
	s := site(t, t.TempDir(), "sesame")
	other, kept := s.owner(t)
	c, own := s.owner(t)
	_, body := get(t, c, s.URL+"/system")
	if n := strings.Count(body, `id="session-`); n != 2 || strings.Count(body, "(this one)") != 1 || !strings.Contains(body, "127.0.0.1") {
		t.Errorf("%d browsers are shown: %s", n, body)
	}
	if strings.Contains(body, own.Value) || strings.Contains(body, kept.Value) {
		t.Error("the page shows what signs in")
	}
	list := s.sessions.List()
	if this := strings.Index(body, "(this one)"); strings.Index(body, list[0].ID) > this || strings.Index(body, list[1].ID) < this {
		t.Errorf("another one is marked as this one: %s", body)
	}
	if status := post(t, c, s.URL+"/sessions/"+list[1].ID+"/end", nil); status != http.StatusOK {
		t.Errorf("signing the other out: status %d", status)
	}
	if _, body := get(t, other, s.URL+"/"); strings.Contains(body, "Feeds") {
		t.Error("the other browser is still signed in")
	}
	if _, body := get(t, c, s.URL+"/system"); strings.Count(body, `id="session-`) != 1 {
		t.Errorf("then: %s", body)
	}
	post(t, c, s.URL+"/sessions/"+list[0].ID+"/end", nil)
	if _, body := get(t, c, s.URL+"/"); strings.Contains(body, "Feeds") {
		t.Error("this browser is still signed in")
	}
}

func TestTheLivePageStopsWhenItsSessionEnds(t *testing.T) {
	s := site(t, t.TempDir(), "sesame")
	c, _ := s.owner(t)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Second, errors.New("waited 30 s for the live page to end"))
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(r)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	defer resp.Body.Close()
	if _, err := s.sessions.EndAll(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Error(err, context.Cause(ctx))
	}
}

func TestAPageWhoseSessionEndedGoesToSignIn(t *testing.T) {
	s := site(t, t.TempDir(), "sesame")
	r := httptest.NewRequest(http.MethodPost, s.URL+"/apps/feeds/stop", nil)
	r.Header.Set("Origin", s.URL)
	r.Header.Set("HX-Request", "true")
	w := httptest.NewRecorder()
	s.Config.Handler.ServeHTTP(w, r)
	if w.Code != http.StatusUnauthorized || w.Header().Get("HX-Redirect") != "/login" {
		t.Errorf("status %d, %v", w.Code, w.Header())
	}
}

// An update used to leave owners in a loop: the cookie of the version before was sent on,
// and each sign-in led to the next.
func TestAfterAnUpdateWithAStaleCookieOneSignInIsEnough(t *testing.T) {
	dir := t.TempDir()
	before := site(t, dir, "sesame")
	_, ended := before.owner(t)
	if _, err := before.sessions.EndAll(); err != nil {
		t.Fatal(err)
	}
	before.Close()
	for what, stale := range map[string]*http.Cookie{
		"of a session that was ended":            {Name: ended.Name, Value: ended.Value},
		"of the version before":                  {Name: ended.Name, Value: "1893456000.QK3V7M2AQK3V7M2AQK3V7M2AQK.6f1ed002ab5595859014ebf0951522d9"},
		"of the version before, without TLS":     {Name: "archipelago-session", Value: "1893456000.QK3V7M2AQK3V7M2AQK3V7M2AQK.6f1ed002ab5595859014ebf0951522d9"},
		"that is empty":                          {Name: ended.Name},
		"that an application made as it pleased": {Name: ended.Name, Value: strings.Repeat("A", 4000)},
	} {
		after := site(t, dir, "sesame")
		c := after.visitor(t)
		at, err := url.Parse(after.URL)
		if err != nil {
			t.Fatal(err)
		}
		stale.Path = "/"
		c.Jar.SetCookies(at, []*http.Cookie{stale})
		if status, body := get(t, c, after.URL+"/"); status != http.StatusOK || !strings.Contains(body, "access token") {
			t.Errorf("%s: before signing in: status %d: %s", what, status, body)
		}
		if status := post(t, c, after.URL+"/login", url.Values{"token": {"sesame"}}); status != http.StatusOK {
			t.Errorf("%s: sign in: status %d", what, status)
		}
		if status, body := get(t, c, after.URL+"/"); status != http.StatusOK || !strings.Contains(body, "Feeds") {
			t.Errorf("%s: one sign-in is not enough: status %d: %s", what, status, body)
		}
		again := site(t, dir, "sesame") // another update
		if resp := again.with(t, "/", c.Jar.Cookies(at)...); resp.StatusCode != http.StatusOK {
			t.Errorf("%s: after another update: status %d", what, resp.StatusCode)
		}
	}
}

func TestHeadersOfThePage(t *testing.T) {
	s := site(t, t.TempDir(), "sesame")
	h := s.with(t, "/login").Header
	// With no-referrer, browsers state "Origin: null" when they send a form.
	if got := h.Get("Referrer-Policy"); got != "same-origin" {
		t.Errorf("Referrer-Policy %q", got)
	}
	// It would hold for all ports of the host, also those on which applications speak HTTP.
	if got := h.Get("Strict-Transport-Security"); got != "" {
		t.Errorf("Strict-Transport-Security %q", got)
	}
	// What a browser keeps, it shows again after its owner has signed out.
	if got := h.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q", got)
	}
	if got := h.Get("Content-Security-Policy"); !strings.Contains(got, "default-src 'self'") || !strings.Contains(got, "frame-ancestors 'none'") {
		t.Errorf("Content-Security-Policy %q", got)
	}
	for name := range h {
		if strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("%s: %s", name, h.Get(name))
		}
	}
}
