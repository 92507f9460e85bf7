package web

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator"
	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/secrets"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// node is the daemon's page over a reconciler that never hears from its engine.
type node struct {
	*httptest.Server
	sessions *access.Sessions
	dir      string // the daemon's state
	pages    *Server
}

// site starts a daemon's page, with the sessions in a directory of the daemon's.
func site(t *testing.T, dir, token string) *node { return siteFor(t, dir, "/d", token, nil) }

// siteOn is a site with an engine and a directory of data.
func siteOn(t *testing.T, dir, dataDir string, engine orchestrator.Engine) *node {
	return siteFor(t, dir, dataDir, "sesame", engine)
}

func siteFor(t *testing.T, dir, dataDir, token string, engine orchestrator.Engine) *node {
	t.Helper()
	store, err := state.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	sec, err := secrets.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cat := catalog.Catalog{"feeds": {Manifest: &manifest.Manifest{ID: "feeds", Name: `Feeds <b>&"`, Version: "1", Containers: []manifest.Container{{Name: "feeds"}}}}}
	log := slog.New(slog.DiscardHandler)
	n := &node{sessions: access.OpenSessions(dir, token, access.NewPasswords(dir), log), dir: dir}
	n.pages = &Server{Reconciler: orchestrator.New(engine, store, sec, cat, dataDir, log), Guard: access.NewGuard(n.sessions), Sessions: n.sessions, Log: log}
	n.Server = httptest.NewTLSServer(n.pages.Handler())
	t.Cleanup(n.Close)
	return n
}

// visitor is a browser without cookies.
func (n *node) visitor(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar, Transport: n.Client().Transport}
}

// from is a browser at another address of this machine's: wrong attempts count by address.
func (n *node) from(c *http.Client, address string) *http.Client {
	transport := c.Transport.(*http.Transport).Clone()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, n.Listener.Addr().String())
	}
	return &http.Client{Jar: c.Jar, Transport: transport}
}

// owner is a browser that has signed in, and its cookie.
func (n *node) owner(t *testing.T) (*http.Client, *http.Cookie) {
	t.Helper()
	c := n.visitor(t)
	if status := post(t, c, n.URL+"/login", url.Values{"token": {"sesame"}}); status != http.StatusOK {
		t.Fatalf("sign in: status %d", status)
	}
	at, err := url.Parse(n.URL)
	if err != nil {
		t.Fatal(err)
	}
	cookies := c.Jar.Cookies(at)
	if len(cookies) != 1 {
		t.Fatalf("cookies: %v", cookies)
	}
	return c, cookies[0]
}

func get(t *testing.T, c *http.Client, address string) (int, string) {
	t.Helper()
	r, err := c.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// post sends a form as the node's own page does, unless a header says otherwise; a header
// without a value is left out.
func post(t *testing.T, c *http.Client, address string, form url.Values, header ...string) int {
	t.Helper()
	form = maps.Clone(form)
	if form == nil {
		form = url.Values{}
	}
	if !form.Has("form") {
		form.Set("form", tokenOf(t, c, address))
	}
	r, err := http.NewRequest(http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", r.URL.Scheme+"://"+r.URL.Host)
	for i := 0; i+1 < len(header); i += 2 {
		if r.Header.Set(header[i], header[i+1]); header[i+1] == "" {
			r.Header.Del(header[i])
		}
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// TestEachRouteWantsASessionAndEachFormItsToken asks for all routes that web.go has: one that is
// added is asked for, too.
func TestEachRouteWantsASessionAndEachFormItsToken(t *testing.T) {
	s := site(t, t.TempDir(), "sesame")
	owner, _ := s.owner(t)
	stranger := s.visitor(t)
	stranger.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	doors := []string{"GET /claim", "POST /claim", "GET /join", "POST /join", "GET /login", "POST /login", "POST /login/passkey/begin", "POST /login/passkey", "POST /logout"}
	wrong := url.Values{"form": {"wrong"}}
	for _, route := range routesOf(t) {
		method, address := route[0], addressOf(s, route[1], "feeds")
		switch {
		case slices.Contains(doors, method+" "+route[1]):
		case method == "GET":
			if status, body := get(t, stranger, address); status != http.StatusUnauthorized && !(route[1] == "/{$}" && status == http.StatusSeeOther) || strings.Contains(body, "Feeds") {
				t.Errorf("%s: status %d", route[1], status)
			}
		default:
			if status := post(t, stranger, address, wrong); status != http.StatusUnauthorized {
				t.Errorf("%s without a session: status %d", route[1], status)
			}
			if status := post(t, owner, address, wrong); status != http.StatusForbidden {
				t.Errorf("%s without its token: status %d", route[1], status)
			}
		}
	}
}

// tokenOf is what the node's own form to an address carries in this browser.
func tokenOf(t *testing.T, c *http.Client, address string) string {
	t.Helper()
	at, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	for _, own := range c.Jar.Cookies(at) {
		mac := hmac.New(sha256.New, []byte(own.Value))
		mac.Write([]byte("form " + at.Path))
		return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16])
	}
	return ""
}

func TestNothingIsShownOrDoneWithoutSigningIn(t *testing.T) {
	s := site(t, t.TempDir(), "sesame")
	c := s.visitor(t)
	if _, body := get(t, c, s.URL+"/"); strings.Contains(body, "Feeds") || !strings.Contains(body, "access token") {
		t.Errorf("the page shows %q", body)
	}
	if status, _ := get(t, c, s.URL+"/events"); status != http.StatusUnauthorized {
		t.Errorf("events: status %d", status)
	}
	if status := post(t, c, s.URL+"/apps/feeds/install", nil); status != http.StatusUnauthorized {
		t.Errorf("install: status %d", status)
	}
	s.owner(t)
	if status := post(t, c, s.URL+"/sessions/"+s.sessions.List()[0].ID+"/end", nil); status != http.StatusUnauthorized || len(s.sessions.List()) != 1 {
		t.Errorf("ending the owner's session: status %d", status)
	}
	if status := post(t, c, s.URL+"/login", url.Values{"token": {"wrong"}}); status != http.StatusUnauthorized {
		t.Errorf("wrong token: status %d", status)
	}
	if status := post(t, s.visitor(t), s.URL+"/login", url.Values{"token": {"sesame"}, "more": {strings.Repeat("x", maxForm)}}); status != http.StatusUnauthorized {
		t.Errorf("a sign-in without end: status %d", status)
	}
	forged := &http.Cookie{Name: "__Host-archipelago-session", Value: "99999999999.x.00"}
	r, err := http.NewRequest(http.MethodGet, s.URL+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.AddCookie(forged)
	resp, err := c.Do(r)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("forged session: %v, %v", resp, err)
	}
}

func TestSignedInOwnerSeesAppsEvenBeforeTheEngineAnswers(t *testing.T) {
	s := site(t, t.TempDir(), "sesame")
	c, _ := s.owner(t)
	other, _ := s.owner(t)
	status, body := get(t, c, s.URL+"/")
	if status != http.StatusOK || !strings.Contains(body, "Feeds &lt;b&gt;&amp;") || !strings.Contains(body, "the engine has not answered yet") {
		t.Errorf("status %d: %s", status, body)
	}
	for what, token := range map[string]string{"none": "", "of another form": tokenOf(t, c, s.URL+"/apps/feeds/stop"), "of another session": tokenOf(t, other, s.URL+"/apps/feeds/install")} {
		if status := post(t, c, s.URL+"/apps/feeds/install", url.Values{"form": {token}}); status != http.StatusForbidden {
			t.Errorf("install with a token %s: status %d", what, status)
		}
	}
	if status := post(t, c, s.URL+"/apps/feeds/install", nil); status != http.StatusOK {
		t.Errorf("install: status %d", status)
	}
	if status := post(t, c, s.URL+"/apps/nope/install", nil); status != http.StatusNotFound {
		t.Errorf("unknown app: status %d", status)
	}
	if status := post(t, c, s.URL+"/apps/feeds/explode", nil); status != http.StatusConflict {
		t.Errorf("unknown operation: status %d", status)
	}
	if status := post(t, c, s.URL+"/apps/feeds/stop", url.Values{"consent": {strings.Repeat("x", maxAction)}}); status != http.StatusBadRequest {
		t.Errorf("a request without end: status %d", status)
	}
	if status := post(t, c, s.URL+"/apps/feeds/stop", nil, "Sec-Fetch-Site", "cross-site"); status != http.StatusForbidden {
		t.Errorf("request from another site: status %d", status)
	}
	post(t, c, s.URL+"/logout", nil)
	if status, _ := get(t, c, s.URL+"/events"); status != http.StatusUnauthorized {
		t.Errorf("after signing out: status %d", status)
	}
}
