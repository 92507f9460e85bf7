package web

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/archipelago-cloud/archipelago/orchestrator/access"
)

const good = "correct horse battery"

// claimable is a site that has no owner yet.
func claimable(t *testing.T) *node {
	t.Helper()
	dir := t.TempDir()
	n := site(t, dir, "sesame")
	ownerless(t, n)
	return n
}

// ownerless takes the owner away from a site that has no password.
func ownerless(t *testing.T, n *node) {
	t.Helper()
	passwords := access.NewPasswords(n.dir)
	n.sessions = access.OpenSessions(n.dir, "sesame", passwords, n.pages.Log)
	claim, err := access.OpenClaim(n.dir, 7443, passwords)
	if err != nil {
		t.Fatal(err)
	}
	n.pages.Sessions, n.pages.Guard, n.pages.Claim = n.sessions, access.NewGuard(n.sessions), claim
	n.pages.About = About{Name: "box.local", Fingerprint: strings.Repeat("0123456789abcdef", 4), Addresses: func() []string { return []string{"https://box.local:7443", "https://192.0.2.7:7443"} }}
	n.pages.Named = func(host string) bool { return host == "127.0.0.1" || host == "box.local" }
}

func (n *node) claiming(code, password string) url.Values {
	return url.Values{"code": {code}, "password": {password}, "again": {password}}
}

func TestANodeWithoutAnOwnerShowsNothingButTheClaim(t *testing.T) {
	n := claimable(t)
	c := n.visitor(t)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, path := range []string{"/", "/store", "/apps/feeds", "/backups", "/system", "/sheet"} {
		r, err := http.NewRequest(http.MethodGet, n.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/claim" {
			t.Errorf("%s: status %d to %q", path, resp.StatusCode, resp.Header.Get("Location"))
		}
	}
	for _, path := range []string{"/events", "/events/backups", "/apps/feeds/events", "/system/checks", "/apps/feeds/credentials"} {
		if status, body := get(t, c, n.URL+path); status != http.StatusUnauthorized || strings.Contains(body, "Feeds") {
			t.Errorf("%s: status %d: %s", path, status, body)
		}
	}
	for _, path := range []string{"/apps/feeds/install", "/backups/add", "/system/refresh", "/system/folders/add"} {
		if status := post(t, c, n.URL+path, nil); status != http.StatusUnauthorized {
			t.Errorf("%s: status %d", path, status)
		}
	}
	if status := post(t, c, n.URL+"/login", url.Values{"token": {""}}); status != http.StatusUnauthorized {
		t.Errorf("signing in with an empty password: status %d", status)
	}
	for _, path := range []string{"/static/style.css", "/claim", "/login"} {
		if status, _ := get(t, c, n.URL+path); status != http.StatusOK {
			t.Errorf("%s: status %d", path, status)
		}
	}
	if _, page := get(t, c, n.URL+"/claim?code=k7qfm2xp"); !strings.Contains(page, `value="K7QF-M2XP"`) {
		t.Error("the code of the address is not in the form")
	}
	if _, page := get(t, c, n.URL+"/claim?code=%22%3E%3Cscript%3E"); strings.Contains(page, "script") || strings.Contains(page, n.pages.Claim.Code()) {
		t.Error("the page holds what it must not")
	}
	// The token is root's, and signs in before and after.
	if status := post(t, c, n.URL+"/login", url.Values{"token": {"sesame"}}); status != http.StatusSeeOther {
		t.Errorf("the token: status %d", status)
	}
}

func TestClaimingANode(t *testing.T) {
	n := claimable(t)
	code := n.pages.Claim.Code()
	n.pages.Reconciler.PasswordKnown("192.0.2.7") // that of an owner before
	for what, refused := range map[string]struct {
		form   url.Values
		header []string
		status int
	}{
		"a wrong code":              {n.claiming("00000000", good), nil, http.StatusUnauthorized},
		"a weak password":           {n.claiming(code, "password1234"), nil, http.StatusUnprocessableEntity},
		"the node's name":           {n.claiming(code, "box.local.box"), nil, http.StatusUnprocessableEntity},
		"a short password":          {n.claiming(code, "x8-Qq"), nil, http.StatusUnprocessableEntity},
		"two passwords":             {url.Values{"code": {code}, "password": {good}, "again": {good + "!"}}, nil, http.StatusUnprocessableEntity},
		"a form of another site's":  {n.claiming(code, good), []string{"Origin", "https://evil.example"}, http.StatusForbidden},
		"a form of an application":  {n.claiming(code, good), []string{"Origin", "https://127.0.0.1:8443"}, http.StatusForbidden},
		"a form without an origin":  {n.claiming(code, good), []string{"Origin", ""}, http.StatusForbidden},
		"a form of a sandbox":       {n.claiming(code, good), []string{"Origin", "null"}, http.StatusForbidden},
		"a request without its end": {url.Values{"code": {code}, "password": {strings.Repeat("x", maxForm)}}, nil, http.StatusUnauthorized},
	} {
		c := n.visitor(t)
		if status := post(t, c, n.URL+"/claim", refused.form, refused.header...); status != refused.status {
			t.Errorf("%s: status %d", what, status)
		}
		if !n.pages.Claim.Open() {
			t.Fatalf("%s: the node has an owner", what)
		}
	}
	// A name of somebody else's that is made to lead to the node (DNS rebinding).
	r, err := http.NewRequest(http.MethodPost, n.URL+"/claim", strings.NewReader(n.claiming(code, good).Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "evil.example:7443"
	r.Header.Set("Origin", "https://evil.example:7443")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := n.visitor(t).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden || !n.pages.Claim.Open() {
		t.Errorf("by another name: status %d", resp.StatusCode)
	}

	c := n.visitor(t)
	if status := post(t, c, n.URL+"/claim", n.claiming(strings.ToLower(code), good)); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	if n.suspects() {
		t.Error("the next owner is told of the password of the one before")
	}
	_, sheet := get(t, c, n.URL+"/sheet")
	for _, want := range []string{"box.local", "https://192.0.2.7:7443", "0123 4567 89ab cdef", "Install your first application"} {
		if !strings.Contains(sheet, want) {
			t.Errorf("the sheet does not say %q", want)
		}
	}
	for _, secret := range []string{code, good, "sesame"} {
		if strings.Contains(sheet, secret) {
			t.Errorf("the sheet shows %s", secret)
		}
	}
	if _, home := get(t, c, n.URL+"/"); !strings.Contains(home, "Install your first application") {
		t.Error("Home does not begin with the first application")
	}
	asked, err := n.pages.Reconciler.History("", historyMost)
	if err != nil || len(asked) == 0 {
		t.Fatalf("%v, %v", asked, err)
	}
	for _, a := range asked {
		for _, secret := range []string{code, good, "common password"} {
			if strings.Contains(a.What+a.Refused, secret) {
				t.Errorf("the log holds %s: %+v", secret, a)
			}
		}
	}

	other := n.visitor(t)
	if status := post(t, other, n.URL+"/claim", n.claiming(code, "another good password")); status != http.StatusConflict {
		t.Errorf("claiming it again: status %d", status)
	}
	if _, page := get(t, other, n.URL+"/claim"); !strings.Contains(page, `name="token"`) {
		t.Error("the claim's page does not lead to the sign-in")
	}
	if status := post(t, other, n.URL+"/login", url.Values{"token": {good}}); status != http.StatusOK {
		t.Errorf("signing in with the password: status %d", status)
	}
}

// Whoever has no session must not push what the owner did out of the audit log, which is bounded.
func TestClaimsByAnotherNameFillNoLog(t *testing.T) {
	n := claimable(t)
	for range 3 {
		r, err := http.NewRequest(http.MethodPost, n.URL+"/claim", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "evil.example:7443"
		r.Header.Set("Origin", "https://evil.example:7443")
		resp, err := n.visitor(t).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("status %d", resp.StatusCode)
		}
	}
	if asked, err := n.pages.Reconciler.History("", historyMost); err != nil || len(asked) > 0 {
		t.Errorf("%+v, %v", asked, err)
	}
}

// TestClaimingANodeInABrowser goes the whole way of a new owner, by keyboard, on a phone, and
// has axe look at each page of it.
func TestClaimingANodeInABrowser(t *testing.T) {
	n, _ := settled(t)
	n.dir = t.TempDir()
	ownerless(t, n)
	code := n.pages.Claim.Code()
	w := strange(t, n)
	fits := func(where string) {
		t.Helper()
		if over := is[float64](w, beyond); over > 0 {
			t.Errorf("%s: %v px beyond the window", where, over)
		}
		w.look(where)
	}
	w.do("the first page", chromedp.EmulateViewport(360, 800), chromedp.Navigate(n.URL+"/"), visible("#code"))
	w.until(`location.pathname + document.activeElement?.id == "/claimcode"`)
	fits("the claim")
	for theme, width := range map[string]int64{"light": 768, "dark": 1440} {
		w.theme(theme)
		w.do("the printed address", chromedp.EmulateViewport(width, 800), chromedp.Navigate(n.URL+"/claim?code="+code), visible("#code"))
		w.until(`document.activeElement?.id == "password"`)
		w.do("a weak password", chromedp.KeyEvent("password1234\tpassword1234\r"), visible("#problem"))
		w.until(`document.activeElement?.id == "password"`)
		if got := is[string](w, `document.querySelector("#problem").textContent + document.activeElement.id + document.querySelector("#code").value.replace("-", "")`); !strings.Contains(got, "a common password") || !strings.HasSuffix(got, "password"+code) {
			t.Errorf("the page says %q", got)
		}
		fits("a refusal, " + theme)
	}
	w.mu.Lock()
	w.problems = nil // the browser complains of each refusal
	w.mu.Unlock()
	w.until(`document.activeElement?.id == "password"`)
	w.do("claiming it", chromedp.KeyEvent(good+"\t"+good+"\r"), visible(".sheet"))
	fits("the sheet")
	is[bool](w, `document.querySelector(".sheet a.primary").focus() ?? true`)
	w.do("the first application", chromedp.KeyEvent("\r"), visible("#app-base"))
	w.complaints()
}
