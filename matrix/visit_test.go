package matrix

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

const (
	theUser, thePassword = "owner", "Sesame0123456789"
	// As a page does that is made by scripts: the form comes late.
	thePage = `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Page</title><link rel="icon" href="data:,"></head><body><h1 id="page" style="opacity: 0">Page</h1>
<div id="here"></div><p id="owner" hidden>Nothing</p>%s<script>%s; setTimeout(() => { page.style.opacity = 1; here.innerHTML = '<form method="post" action="/sign-in"><input id="user" value="x"><input id="password" type="password" name="p"><button>Go</button></form>'; user.name = "u" }, 200)</script></body></html>`
	theOwners = `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Mine</title><link rel="icon" href="data:,"></head><body><p id="owner">Signed in as %s</p>%s</body></html>`
)

// application is one with a sign-in. What is planted in it is HTML, beside a script.
type application struct {
	body, script string // of the first page
	mine         string // of the owner's
	user         string // that it takes; without it, theUser
	password     string // that it takes
	status       int    // of the owner's page
}

func (a application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	switch r.URL.Path {
	case "/":
		fmt.Fprintf(w, thePage, a.body, a.script)
	case "/sign-in":
		if r.PostFormValue("u") == cmp.Or(a.user, theUser) && r.PostFormValue("p") == a.password {
			http.SetCookie(w, &http.Cookie{Name: "session", Value: "1", Path: "/", HttpOnly: true, Secure: true})
			http.Redirect(w, r, "/mine", http.StatusSeeOther)
			return
		}
		http.Redirect(w, r, "/", http.StatusSeeOther)
	case "/mine":
		if _, err := r.Cookie("session"); err != nil {
			http.Redirect(w, r, "/", http.StatusSeeOther)
			return
		}
		if a.status != 0 {
			w.WriteHeader(a.status)
		}
		fmt.Fprintf(w, theOwners, theUser, a.mine)
	case "/basic":
		if user, password, ok := r.BasicAuth(); !ok || user != theUser || password != a.password {
			w.Header().Set("WWW-Authenticate", `Basic realm="page"`)
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, a.body)
			return
		}
		fmt.Fprintf(w, `<!doctype html><html lang="en"><head><title>Page</title><link rel="icon" href="data:,"><link rel="stylesheet" href="/basic.css"></head><body><h1 id="page">Page</h1><p id="owner">Signed in as owner</p></body></html>`)
	case "/basic.css":
		if _, _, ok := r.BasicAuth(); !ok {
			w.Header().Set("WWW-Authenticate", `Basic realm="page"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
		w.Header().Set("Content-Type", "text/css")
	case "/basic-for-none":
		w.Header().Set("WWW-Authenticate", `Basic realm="page"`)
		w.WriteHeader(http.StatusUnauthorized) // without a body, which Chromium shows as an error
	case "/worker.js":
		w.Header().Set("Content-Type", "text/javascript")
		fmt.Fprintf(w, "fetch('%s').catch(() => {})", r.URL.Query().Get("at"))
	case "/late":
		time.Sleep(time.Second)
		http.NotFound(w, r)
	default:
		http.NotFound(w, r)
	}
}

func theForm() manifest.Interface {
	return manifest.Interface{
		Login:  &manifest.Login{User: theUser, Secret: "key", Form: &manifest.LoginForm{User: "#user", Password: "#password", Submit: "form button"}},
		Expect: manifest.Expect{Status: 200, Title: "Page", Selector: "#page", SignedIn: &manifest.SignedIn{Selector: "#owner", Text: "Signed in as owner"}},
	}
}

// browse is a Chromium that reaches these addresses and trusts these authorities.
func browse(t *testing.T, reach []string, trusted ...nodes.Authority) *Browser {
	t.Helper()
	b, err := StartBrowser(t.Context(), reach, trusted...)
	if err != nil {
		t.Fatal(err) // 'make setup' installs a Chromium
	}
	t.Cleanup(b.Close)
	b.patience = 10 * time.Second
	return b
}

// addressOf gives a test server's address.
func addressOf(s *httptest.Server) string { return s.Listener.Addr().String() }

// TestTheBrowserSignsInAsTheOwner has a real Chromium use applications that are as they
// should be, or not.
func TestTheBrowserSignsInAsTheOwner(t *testing.T) {
	var app application
	s, own := served(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { app.ServeHTTP(w, r) }))
	_, port, _ := net.SplitHostPort(addressOf(s))
	b := browse(t, []string{addressOf(s), "localhost:" + port}, own)
	other := strings.Replace(s.URL, "127.0.0.1", "localhost", 1)
	otherWS := "wss" + strings.TrimPrefix(other, "https")
	basic := func(in *manifest.Interface) { in.Path, in.Login.Form, in.Login.Basic = "/basic", nil, true }
	tolerating := func(texts ...string) func(*manifest.Interface) {
		return func(in *manifest.Interface) {
			for _, text := range texts {
				in.Expect.Tolerate = append(in.Expect.Tolerate, manifest.Toleration{Text: text, Reason: "upstream's own"})
			}
		}
	}
	for _, c := range []struct {
		name   string
		app    application
		change func(*manifest.Interface)
		want   []string // each in what is wrong; none: nothing is
		note   string
	}{
		{name: "a form"},
		{name: "a form whose user is given", app: application{user: "x"}, change: func(in *manifest.Interface) { in.Login.Form.User = "" }},
		{name: "a form that refuses the password", app: application{password: "another"}, want: []string{`proxy: sign-in: nothing visible matches "#owner" with "Signed in as owner"`}},
		{name: "what only the owner sees, for all", app: application{body: `<p id="owner">Signed in as owner</p>`}, want: []string{`proxy: sign-in: "#owner" with "Signed in as owner" is visible before it, and proves nothing`}},
		{name: "no such field", change: func(in *manifest.Interface) { in.Login.Form.Password = "#pin" }, want: []string{`proxy: sign-in: login.form.password: nothing visible matches "#pin" within 10s`}},
		{name: "the owner's page is an error", app: application{status: 500}, want: []string{"proxy: the page: /mine: status 500"}},
		{name: "the owner's page is an error that is declared", app: application{status: 500}, change: tolerating("/mine: status 500"), want: []string{"proxy: the page: /mine: status 500"}, note: unneeded},
		{name: "a subresource is missing", app: application{body: `<img alt="" src="/missing.png">`}, want: []string{"proxy: failed request: /missing.png: status 404"}},
		{name: "a subresource is missing, declared", app: application{body: `<img alt="" src="/missing.png">`}, change: tolerating("/missing.png: status 404"), note: `tolerated once: "/missing.png: status 404" (upstream's own)`},
		{name: "a subresource of the owner's page is missing, late", app: application{mine: `<script>setTimeout(() => fetch("/late"), 100)</script>`}, want: []string{"proxy: failed request: /late: status 404"}},
		{name: "a console error", app: application{script: `console.error("it went wrong")`}, want: []string{"proxy: console error: it went wrong"}},
		{name: "a console error, declared", app: application{script: `console.error("it went wrong")`}, change: tolerating("it went wrong"), note: "tolerated once"},
		{name: "a script error, declared", app: application{mine: `<script>planted()</script>`}, change: tolerating("planted is not defined"), want: []string{"proxy: script error: ReferenceError: planted is not defined"}, note: unneeded},
		{name: "the password in an address", app: application{mine: `<img alt="" src="/x?p=` + thePassword + `">`}, want: []string{"proxy: failed request: /x?p=[the password]: status 404"}},
		{name: "another host's image", app: application{mine: `<img alt="" src="` + other + `/basic.css">`}, want: []string{"proxy: the page asks localhost, which is not the node and not in expect.hosts: " + other + "/basic.css"}},
		{name: "another host, declared", app: application{mine: `<script>fetch("` + other + `/", {mode: "no-cors"})</script>`}, change: func(in *manifest.Interface) { in.Expect.Hosts = []string{"localhost"} }},
		{name: "another host, in a frame", app: application{mine: `<iframe title="x" src="` + other + `/mine"></iframe>`}, want: []string{"proxy: the page asks localhost"}},
		{name: "another host, in a WebSocket", app: application{mine: `<script>new WebSocket("` + otherWS + `/")</script>`}, change: tolerating("WebSocket connection"), want: []string{"proxy: the page asks localhost, which is not the node and not in expect.hosts: wss://localhost"}},
		{name: "another host, from a worker", app: application{mine: `<script>new Worker("/worker.js?at=` + other + `/")</script>`}, want: []string{"proxy: the page asks localhost"}},
		{name: "a worker and a service worker", app: application{mine: `<script>navigator.serviceWorker.register("/worker.js?at=/basic.css"); new Worker("/worker.js?at=/")</script>`}},
		{name: "what is no request", app: application{mine: `<img alt="" src="data:image/gif;base64,R0lGODlhAQABAAAAACw="><script>fetch(URL.createObjectURL(new Blob(["x"])))</script>`}},
		{name: "basic authentication", change: basic},
		{name: "basic authentication that refuses the password", app: application{password: "another"}, change: basic, want: []string{"proxy: status 401, expected 200"}},
		{name: "basic authentication that asks nobody", change: func(in *manifest.Interface) { basic(in); in.Path = "/" }, want: []string{"proxy: without credentials, status 200, expected 401"}},
		{name: "basic authentication that shows it to all", app: application{body: `<p id="owner">Signed in as owner</p>`}, change: basic, want: []string{`proxy: sign-in: "#owner" with "Signed in as owner" is visible before it`}},
		{name: "basic authentication without a body", change: func(in *manifest.Interface) { basic(in); in.Path = "/basic-for-none" }, want: []string{"proxy: status 401, expected 200"}},
		{name: "no sign-in", change: func(in *manifest.Interface) { in.Login, in.Expect.SignedIn = nil, nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			app = c.app
			if app.password == "" {
				app.password = thePassword
			}
			in := theForm()
			if c.change != nil {
				c.change(&in)
			}
			begin := time.Now()
			page, err := b.Visit(t.Context(), s.URL+path(in), in, thePassword)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%.1f s", time.Since(begin).Seconds())
			wrong, notes := checkPage("proxy", "127.0.0.1", page, in)
			said := strings.Join(append(wrong, notes...), "; ")
			if len(c.want) == 0 && len(wrong) > 0 {
				t.Errorf("red without a fault: %q", wrong)
			}
			for _, want := range append(c.want, c.note) {
				if !strings.Contains(said, want) {
					t.Errorf("%q, expected %q", said, want)
				}
			}
			if strings.Contains(said, thePassword) {
				t.Errorf("it says the password: %q", said)
			}
			if len(page.PNG) == 0 && page.Status != http.StatusUnauthorized {
				t.Error("no screenshot")
			}
		})
	}
}
