// Package web serves My Apps: the page on which the owner of a node sees its
// applications and acts on them. It is rendered here and kept live by server-sent
// events; there is no build step.
package web

import (
	"bytes"
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
)

// Server serves the page for a reconciler.
type Server struct {
	Reconciler *orchestrator.Reconciler
	Guard      *access.Guard
	Log        *slog.Logger

	pages *template.Template
}

// Handler gives the page's routes. Requests from other origins that would change
// something are refused.
func (s *Server) Handler() http.Handler {
	s.pages = template.Must(template.New("").Parse(pagesHTML))
	mux := http.NewServeMux()
	mux.Handle("GET /static/", http.FileServerFS(static))
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, _ *http.Request) { s.render(w, http.StatusOK, "login", "") })
	mux.HandleFunc("POST /login", s.login)
	mux.HandleFunc("POST /logout", s.logout)
	mux.HandleFunc("GET /{$}", s.signedIn(s.page))
	mux.HandleFunc("GET /events", s.signedIn(s.events))
	mux.HandleFunc("POST /apps/{id}/{verb}", s.signedIn(s.act))
	return http.NewCrossOriginProtection().Handler(headers(mux))
}

func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		if r.TLS != nil {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
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
		if s.Guard.SignedIn(r) {
			next(w, r)
			return
		}
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
	s.Guard.SignOut(w, r)
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

// row is one application on the page.
type row struct {
	ID, Name, Version, Summary, Source string
	State, Class, Error, Note          string
	Open                               string
	Actions                            []action
	Consent                            []string // new privileges that agreeing to an update agrees to
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
		m := v.Manifest
		r := row{ID: m.ID, Name: m.Name, Version: m.Version, Summary: m.Summary, Source: v.Source, State: string(v.State), Error: v.Error, Note: v.Note,
			Class: strings.ReplaceAll(string(v.State), " ", "-")}
		switch v.Goal {
		case "", state.Absent:
			if v.Error == "" {
				r.Actions = []action{{"install", "Install", ""}}
			}
		case state.Running:
			if web, port, ok := m.Web(); ok && v.State == view.Up {
				r.Open = fmt.Sprintf("http://%s%s", net.JoinHostPort(host, strconv.Itoa(port.Host+manifest.ProxyOffset)), web.Path)
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
		l.Apps = append(l.Apps, r)
	}
	return l
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

func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	s.render(w, http.StatusOK, "page", s.listing(host(r)))
}

// events sends the list whenever it has changed.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	flush := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	var last []byte
	tick := time.NewTicker(liveEvery)
	defer tick.Stop()
	for {
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
