// Package web serves My Apps: the page on which the owner of a node sees its
// applications and acts on them. It is rendered here and kept live by server-sent
// events; there is no build step.
package web

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator"
	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

//go:embed static
var static embed.FS

//go:embed pages.html
var pagesHTML string

const (
	liveEvery = time.Second
	maxForm   = 4 << 10
	maxAction = 256 << 10 // with every new privilege of the longest manifest
	formTime  = 10 * time.Second
)

// Server serves the page for a reconciler.
type Server struct {
	Reconciler *orchestrator.Reconciler
	Guard      *access.Guard
	Sessions   *access.Sessions
	Pictures   Pictures // those that are not on the disk; nil for none
	Log        *slog.Logger

	pages *template.Template
}

// Handler gives the page's routes. What would change something is refused unless the
// page itself asks for it.
func (s *Server) Handler() http.Handler {
	s.pages = template.Must(template.New("").Parse(pagesHTML))
	mux := http.NewServeMux()
	mux.Handle("GET /static/", http.FileServerFS(static))
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, _ *http.Request) { s.render(w, http.StatusOK, "login", "") })
	mux.HandleFunc("POST /login", s.login)
	mux.HandleFunc("POST /logout", s.logout)
	mux.HandleFunc("GET /{$}", s.signedIn(s.page))
	mux.HandleFunc("GET /events", s.signedIn(s.events))
	mux.HandleFunc("GET /apps/{id}", s.signedIn(s.about))
	mux.HandleFunc("GET /apps/{id}/pictures/{digest}", s.signedIn(s.picture))
	mux.HandleFunc("POST /apps/{id}/{verb}", s.signedIn(s.act))
	mux.HandleFunc("POST /sessions/{id}/end", s.signedIn(s.endSession))
	return headers(access.SameOrigin(inTime(mux, formTime)))
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
		h.Set("Content-Security-Policy", "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin") // with no-referrer, browsers state no Origin for a form
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		next.ServeHTTP(w, r)
	})
}

func (s *Server) render(w http.ResponseWriter, status int, name string, data any) {
	var b bytes.Buffer
	if err := s.pages.ExecuteTemplate(&b, name, data); err != nil {
		s.Log.Error("rendering", "page", name, "error", err)
		http.Error(w, "The page could not be rendered.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(b.Bytes())
}

func (s *Server) signedIn(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if _, ok := s.Guard.SignedIn(r); ok {
			next(w, r)
			return
		}
		w.Header().Set("HX-Redirect", "/login") // for the page that is still open
		if r.Method == http.MethodGet && r.URL.Path == "/" {
			http.Redirect(w, r, "/login", http.StatusSeeOther)
			return
		}
		http.Error(w, "Sign in first.", http.StatusUnauthorized)
	}
}

func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	ok, answered, err := s.Guard.SignIn(w, r, r.PostFormValue("token"))
	switch {
	case answered:
	case err != nil:
		s.Log.Error("signing in", "error", err)
		s.render(w, http.StatusInternalServerError, "login", "The password could not be checked; the daemon's log says why.")
	case !ok:
		s.Reconciler.Audit(access.Who(r), "sign in", errors.New("neither the password nor the access token"))
		s.render(w, http.StatusUnauthorized, "login", "That is neither this node's password nor its access token.")
	default:
		s.Reconciler.Audit(access.Who(r), "sign in", nil)
		http.Redirect(w, r, "/", http.StatusSeeOther)
	}
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	_, signedIn := s.Guard.SignedIn(r)
	err := s.Guard.SignOut(w, r)
	if signedIn {
		s.Reconciler.Audit(access.Who(r), "sign out", err)
	}
	s.ended(w, r, err)
}

// endSession signs a browser out: another, or this one.
func (s *Server) endSession(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	err := s.Sessions.End(id)
	s.Reconciler.Audit(access.Who(r), "end session "+id, err)
	if errors.Is(err, access.ErrNoSession) {
		err = nil // it has ended by itself, or by another page
	}
	s.ended(w, r, err)
}

// ended answers what has ended a session: by the page, which may be that of signing in.
func (s *Server) ended(w http.ResponseWriter, r *http.Request, err error) {
	if err != nil {
		s.Log.Error("signing out", "error", err)
		http.Error(w, "It was not possible to sign out for good; the daemon's log says why.", http.StatusInternalServerError)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// row is one application on the page.
type row struct {
	ID, Name, Version, Tagline, Source string
	Icon                               string // its path; empty for none
	State, Class, Error, Note          string
	Open                               string
	Actions                            []action
	Consent                            []string // new privileges that agreeing to an update, or an installation, agrees to
}

type action struct{ Verb, Label, Confirm string }

type listing struct {
	Apps  []row
	At    string // of what is shown
	Age   string
	Stale string
	// Frozen says that the signed catalog has expired.
	Frozen string
}

func (s *Server) listing(host string) listing {
	views, at, stale := s.Reconciler.Apps()
	l := listing{Stale: stale, Frozen: s.Reconciler.Offer().Frozen(time.Now())}
	if !at.IsZero() {
		l.At = at.Local().Format("2006-01-02 15:04:05")
		if age := time.Since(at).Round(time.Second); age > 0 {
			l.Age = age.String()
		}
	}
	for _, v := range views {
		l.Apps = append(l.Apps, rowOf(v, host))
	}
	return l
}

func rowOf(v view.View, host string) row {
	m := v.Manifest
	r := row{ID: m.ID, Name: m.Name, Version: m.Version, Tagline: cmp.Or(m.Tagline, m.Summary), Icon: picturePath(m.ID, m.Icon), Source: v.Source, State: string(v.State), Error: v.Error, Note: v.Note,
		Class: strings.ReplaceAll(string(v.State), " ", "-")}
	switch v.Goal {
	case "", state.Absent:
		if v.Error == "" {
			r.Consent = v.NewPrivileges
			r.Actions = []action{{"install", "Install", installs(m, r.Consent)}}
		}
	case state.Running:
		if web, port, ok := m.Web(); ok && v.State == view.Up {
			r.Open = fmt.Sprintf("https://%s%s", net.JoinHostPort(host, strconv.Itoa(port.Host+manifest.ProxyOffset)), web.Path)
		}
		if v.State == view.Failed {
			r.Actions = append(r.Actions, action{"start", "Try again", ""})
		}
		r.Actions = append(r.Actions, action{"restart", "Restart", ""}, action{"stop", "Stop", ""}, uninstall(m))
	case state.Stopped:
		r.Actions = []action{{"start", "Start", ""}, uninstall(m)}
	}
	if a := v.Available; a != nil && v.Goal != state.Absent && v.State != view.Updating {
		r.Consent = v.NewPrivileges
		r.Actions = append([]action{{"update", "Update to " + a.Version, "Update " + m.Name + " to " + a.Version + "? " + asks(r.Consent) + sentence(v.Notes) + "Its data is copied first, and goes back if the update fails."}}, r.Actions...)
	}
	return r
}

// installs asks for the consent that an installation needs; empty where it needs none.
func installs(m *manifest.Manifest, privileges []string) string {
	if len(privileges) == 0 {
		return ""
	}
	return strings.TrimSpace("Install " + m.Name + "? " + asks(privileges))
}

// asks says what an update asks for beyond what is installed.
func asks(privileges []string) string {
	if len(privileges) == 0 {
		return ""
	}
	return "You agree that from then on it " + strings.Join(privileges, "; it ") + ". "
}

// sentence ends a release's notes so that something can follow.
func sentence(notes string) string {
	if notes == "" {
		return ""
	}
	return strings.TrimSuffix(notes, ".") + ". "
}

func uninstall(m *manifest.Manifest) action {
	return action{"uninstall", "Uninstall", "Uninstall " + m.Name + "? Its data is kept."}
}

func host(r *http.Request) string {
	if h, _, err := net.SplitHostPort(r.Host); err == nil {
		return h
	}
	return r.Host
}

// browser is a session on the page.
type browser struct {
	access.Session
	This bool // the one that looks at the page
}

func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	own, _ := s.Guard.SignedIn(r)
	data := struct {
		listing
		Browsers []browser
	}{listing: s.listing(host(r))}
	for _, b := range s.Sessions.List() {
		data.Browsers = append(data.Browsers, browser{b, b.ID == own.ID})
	}
	s.render(w, http.StatusOK, "page", data)
}

// events sends the list whenever it has changed, until the session ends.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	flush := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	var last []byte
	tick := time.NewTicker(liveEvery)
	defer tick.Stop()
	for {
		if _, ok := s.Guard.SignedIn(r); !ok {
			return
		}
		l := s.listing(host(r))
		if l.Stale == "" {
			l.At, l.Age = "", "" // they matter only where it is not now
		}
		var b bytes.Buffer
		if err := s.pages.ExecuteTemplate(&b, "apps", l); err != nil {
			s.Log.Error("rendering", "page", "apps", "error", err)
			return
		}
		if !bytes.Equal(b.Bytes(), last) {
			last = b.Bytes()
			fmt.Fprint(w, "event: apps\n")
			for line := range strings.SplitSeq(b.String(), "\n") {
				fmt.Fprintf(w, "data: %s\n", line)
			}
			fmt.Fprint(w, "\n")
			if flush.Flush() != nil {
				return
			}
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

func (s *Server) act(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxAction)
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, err := s.Reconciler.Request(request.Request{App: r.PathValue("id"), Verb: r.PathValue("verb"), Consent: r.PostForm["consent"], Who: access.Who(r)})
	switch {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.Is(err, request.ErrUnknownApp):
		http.Error(w, err.Error(), http.StatusNotFound)
	case errors.Is(err, context.Canceled):
	default:
		http.Error(w, err.Error(), http.StatusConflict)
	}
}
