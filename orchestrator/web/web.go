// Package web serves My Apps: the pages on which the owner of a node sees its
// applications and acts on them. They are rendered here and kept live by server-sent
// events; there is no build step. Each page has a file and a template of its own, and works
// without scripts.
package web

import (
	"bytes"
	"context"
	"embed"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator"
	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/subscription"
)

//go:embed static
var static embed.FS

//go:embed templates
var templates embed.FS

const (
	maxForm   = 4 << 10
	maxAction = 256 << 10 // with every new privilege of the longest manifest
	formTime  = 10 * time.Second
	askTime   = 20 * time.Second // for what a page asks of the node beyond what is known
)

// Engine is what is asked of the node itself.
type Engine interface {
	Doctor(ctx context.Context, dataDir string) []host.Finding
	Logs(ctx context.Context, container string, follow bool, tail int, emit func(host.LogLine) error) error
	Version(ctx context.Context) (string, error)
}

// About is what the daemon says of itself.
type About struct {
	Version, Digest string // the SHA-256 of the running program, in hex
	Name            string // by which browsers on its network find the node, such as "box.local"
	DataDir         string
	Fingerprint     string          // of the node's CA, in hex
	Addresses       func() []string // at which browsers find My Apps; nil: they are not known
	StartedAt       time.Time
}

// Server serves the pages for a reconciler.
type Server struct {
	Reconciler   *orchestrator.Reconciler
	Guard        *access.Guard
	Sessions     *access.Sessions
	Claim        *access.Claim              // nil: the node has an owner
	Named        func(host string) bool     // whether the node goes by a name or address; nil: it goes by any
	Pictures     Pictures                   // those that are not on the disk; nil for none
	Engine       Engine                     // nil: what it would be asked is not shown
	Subscription *subscription.Subscription // nil: no catalog is followed
	Memory       Memory                     // nil: what it would keep ends with the daemon
	About        About
	Log          *slog.Logger

	pages     []*template.Template // by tongue
	live      live
	notes     notes
	refusals  refusals
	steps     steps
	followers followers
	clock     func() time.Time // time.Now, where it is nil
	sample    sample
	reports   reports
	jobs      *jobs
}

// Handler gives the pages' routes. What would change something is refused unless the
// page itself asks for it.
func (s *Server) Handler() http.Handler {
	s.pages, s.jobs = parsed(), newJobs(s.notes.note)
	s.Guard.Said = func(r *http.Request, answer string) string { return in(r).word(answer) }
	mux := http.NewServeMux()
	mux.Handle("GET /static/", assets(static))
	mux.HandleFunc("GET /claim", s.claimForm)
	mux.HandleFunc("POST /claim", s.claim)
	mux.HandleFunc("GET /join", s.joinForm)
	mux.HandleFunc("POST /join", s.join)
	mux.HandleFunc("GET /sheet", s.signedIn(s.sheet))
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) { s.signInPage(w, r, http.StatusOK, "") })
	mux.HandleFunc("POST /login", s.login)
	mux.HandleFunc("POST /login/passkey/begin", s.askPasskey)
	mux.HandleFunc("POST /login/passkey", s.loginByPasskey)
	mux.HandleFunc("POST /logout", s.logout)
	mux.HandleFunc("GET /{$}", s.signedInAs(s.guestHome, s.home))
	mux.HandleFunc("POST /steps/away", s.signedIn(s.form(s.putStepsAway)))
	mux.HandleFunc("GET /events", s.signedInAs(s.guestEvents, s.homeEvents))
	mux.HandleFunc("GET /store", s.signedIn(s.store))
	mux.HandleFunc("GET /apps/{id}", s.signedIn(s.app))
	mux.HandleFunc("GET /apps/{id}/events", s.signedIn(s.appEvents))
	mux.HandleFunc("GET /apps/{id}/credentials", s.signedInAs(s.sharedCredentials, s.credentials))
	mux.HandleFunc("GET /apps/{id}/logs", s.signedIn(s.logs))
	mux.HandleFunc("GET /apps/{id}/logs/events", s.signedIn(s.logEvents))
	mux.HandleFunc("GET /apps/{id}/logs.txt", s.signedIn(s.downloadLogs))
	mux.HandleFunc("GET /apps/{id}/history", s.signedIn(s.history))
	mux.HandleFunc("GET /apps/{id}/pictures/{digest}", s.signedInAs(s.picture, s.picture))
	mux.HandleFunc("POST /apps/{id}/{verb}", s.signedIn(s.form(s.act)))
	mux.HandleFunc("POST /apps/{id}/backup", s.signedIn(s.form(s.backUp)))
	mux.HandleFunc("POST /apps/{id}/prove", s.signedIn(s.form(s.prove)))
	mux.HandleFunc("GET /backups", s.signedIn(s.backupsHome))
	mux.HandleFunc("GET /events/backups", s.signedIn(s.backupsEvents))
	mux.HandleFunc("POST /backups/add", s.signedIn(s.form(s.addRepository)))
	mux.HandleFunc("GET /backups/{name}", s.signedIn(s.repository))
	mux.HandleFunc("POST /backups/{name}/set", s.signedIn(s.form(s.setRepository)))
	mux.HandleFunc("POST /backups/{name}/key", s.signedIn(s.form(s.showKey)))
	mux.HandleFunc("POST /backups/{name}/remove", s.signedIn(s.form(s.removeRepository)))
	mux.HandleFunc("POST /backups/{name}/restore", s.signedIn(s.form(s.restore)))
	mux.HandleFunc("GET /system", s.signedIn(s.system))
	mux.HandleFunc("GET /system/checks", s.signedIn(s.checks))
	mux.HandleFunc("GET /system/support", s.signedIn(s.support))
	mux.HandleFunc("GET /system/support.txt", s.signedIn(s.downloadReport))
	mux.HandleFunc("GET /system/history", s.signedIn(s.nodeHistory))
	mux.HandleFunc("GET /system/factor", s.signedIn(s.first(s.factor)))
	mux.HandleFunc("POST /system/factor/begin", s.signedIn(s.first(s.form(s.beginFactor))))
	mux.HandleFunc("POST /system/factor/confirm", s.signedIn(s.first(s.form(s.confirmFactor))))
	mux.HandleFunc("POST /system/factor/codes", s.signedIn(s.first(s.form(s.renewCodes))))
	mux.HandleFunc("POST /system/factor/off", s.signedIn(s.first(s.form(s.endFactor))))
	mux.HandleFunc("GET /system/passkeys", s.signedIn(s.first(s.passkeys)))
	mux.HandleFunc("POST /system/passkeys/begin", s.signedIn(s.first(s.form(s.beginPasskey))))
	mux.HandleFunc("POST /system/passkeys/add", s.signedIn(s.first(s.form(s.addPasskey))))
	mux.HandleFunc("POST /system/passkeys/{id}/remove", s.signedIn(s.first(s.form(s.removePasskey))))
	mux.HandleFunc("GET /system/tokens", s.signedIn(s.first(s.tokens)))
	mux.HandleFunc("POST /system/tokens/add", s.signedIn(s.first(s.form(s.addToken))))
	mux.HandleFunc("POST /system/tokens/{name}/remove", s.signedIn(s.first(s.form(s.removeToken))))
	mux.HandleFunc("GET /account", s.signedInAs(s.account, http.RedirectHandler("/system", http.StatusSeeOther).ServeHTTP))
	mux.HandleFunc("POST /system/language", s.signedInAs(s.form(s.chooseLanguage), s.form(s.chooseLanguage)))
	mux.HandleFunc("POST /system/password", s.signedInAs(s.form(s.changePassword), s.form(s.changePassword)))
	mux.HandleFunc("POST /system/users/add", s.signedIn(s.form(s.addUser)))
	mux.HandleFunc("POST /system/users/{name}/set", s.signedIn(s.form(s.setUser)))
	mux.HandleFunc("POST /system/users/{name}/reset", s.signedIn(s.form(s.resetUser)))
	mux.HandleFunc("POST /system/users/{name}/remove", s.signedIn(s.form(s.removeUser)))
	mux.HandleFunc("POST /system/refresh", s.signedIn(s.form(s.refresh)))
	mux.HandleFunc("POST /system/folders/add", s.signedIn(s.form(s.addFolder)))
	mux.HandleFunc("POST /system/folders/{name}/remove", s.signedIn(s.form(s.removeFolder)))
	mux.HandleFunc("GET /events/notify", s.signedIn(s.notifyEvents))
	mux.HandleFunc("POST /system/notify/add", s.signedIn(s.form(s.addTarget)))
	mux.HandleFunc("POST /system/notify/{name}/test", s.signedIn(s.form(s.testTarget)))
	mux.HandleFunc("POST /system/notify/{name}/remove", s.signedIn(s.form(s.removeTarget)))
	mux.HandleFunc("POST /sessions/{id}/end", s.signedIn(s.form(s.endSession)))
	return headers(s.Guard.SameOrigin(inTime(mux, formTime)))
}

// Run waits until the context ends, and then for the long work that pages have begun, which
// it cancels.
func (s *Server) Run(ctx context.Context) {
	<-ctx.Done()
	s.jobs.end()
}

// inTime gives up on a form that has not come within a time: whoever sends none, and
// needs no session for it, would keep a connection for ever.
func inTime(next http.Handler, within time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			// Fails only where the connection has none, as in tests.
			http.NewResponseController(w).SetReadDeadline(time.Now().Add(within))
		}
		next.ServeHTTP(w, r)
	})
}

func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'self'; img-src 'self' data:; object-src 'none'; frame-src 'none'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin") // with no-referrer, browsers state no Origin for a form
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		next.ServeHTTP(w, r)
	})
}

// execute renders a template in a language.
func (s *Server) execute(l tongue, name string, data any) ([]byte, error) {
	var b bytes.Buffer
	err := s.pages[l].ExecuteTemplate(&b, name, data)
	return b.Bytes(), err
}

// render answers a request by a page in its language.
func (s *Server) render(w http.ResponseWriter, r *http.Request, status int, name string, data any) {
	varies(w)
	b, err := s.execute(in(r), name, data)
	if err != nil {
		s.Log.Error("rendering", "page", name, "error", err)
		http.Error(w, in(r).t("The page could not be rendered; the daemon's log says why."), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(b)
}

// swaps tells whether a request comes from htmx, which puts the answer into the page.
func swaps(r *http.Request) bool { return r.Header.Get("HX-Request") == "true" }

// hostOf is the name or address by which a browser reaches the node.
func hostOf(r *http.Request) string {
	if h, _, err := net.SplitHostPort(r.Host); err == nil {
		return h
	}
	return r.Host
}
