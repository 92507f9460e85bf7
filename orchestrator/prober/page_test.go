package prober

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/host"
)

// TestAPageIsReadFromInside: redirects lead nowhere else, and it is asked as the proxy does.
func TestAPageIsReadFromInside(t *testing.T) {
	var elsewhere atomic.Bool
	stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Store(true) }))
	defer stranger.Close()
	page := func(w http.ResponseWriter, body string) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, body)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.RequestURI() {
		case "/page?a=b%25":
			page(w, "<!doctype html><title>\n My  Shop &amp; more </title><svg><title>no</title></svg>")
		case "/scripted":
			page(w, `<html><head><script src="/app.js"></script></head><body></body></html>`)
		case "/plain":
			w.Header().Set("Content-Type", "text/plain")
			io.WriteString(w, "<title>no</title>")
		case "/forbidden":
			w.WriteHeader(http.StatusForbidden)
		case "/login":
			http.SetCookie(w, &http.Cookie{Name: "seen", Value: "1", Path: "/"})
			http.Redirect(w, r, "/welcome", http.StatusFound)
		case "/welcome":
			if _, err := r.Cookie("seen"); err != nil {
				w.WriteHeader(http.StatusBadRequest)
			}
			page(w, "<title>Welcome</title>")
		case "/away":
			http.Redirect(w, r, stranger.URL+"/welcome-away", http.StatusFound)
		case "/welcome-away":
			page(w, "<title>Still here</title>")
		case "/tls":
			if r.Header.Get("X-Forwarded-Proto") != "https" {
				http.Redirect(w, r, "https://"+r.Host+"/tls", http.StatusMovedPermanently)
				return
			}
			page(w, "<title>"+r.Host+" "+r.Header.Get("X-Forwarded-Host")+"</title>")
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/long":
			page(w, "<title>"+strings.Repeat("x", 4*maxTitle)+"</title>"+strings.Repeat("<p>", maxPage))
		case "/terminal":
			page(w, "<title>\x1b[2J</title>")
		}
	}))
	defer s.Close()
	in := here(s.Listener.Addr().String())
	for path, c := range map[string]struct {
		as   string
		want host.Page
	}{
		"/page?a=b%25": {"", host.Page{Status: 200, Title: "My Shop & more"}},
		"/scripted":    {"", host.Page{Status: 200, Scripted: true}},
		"/plain":       {"", host.Page{Status: 200}},
		"/forbidden":   {"", host.Page{Status: 403}},
		"/login":       {"", host.Page{Status: 200, Title: "Welcome"}},
		"/away":        {"", host.Page{Status: 200, Title: "Still here"}},
		"/tls":         {"box.local:18090", host.Page{Status: 200, Title: "box.local:18090 box.local:18090"}},
		"/loop":        {"", host.Page{Status: 302}},
		"/terminal":    {"", host.Page{Status: 200, Title: `\x1b[2J`}},
	} {
		if got, err := Page(t.Context(), in, 8080, path, c.as); err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; expected %+v", path, got, err, c.want)
		}
	}
	if got, err := Page(t.Context(), in, 8080, "/long", ""); err != nil || len(got.Title) > maxTitle+50 {
		t.Errorf("%d bytes of a title, %v", len(got.Title), err)
	}
	if elsewhere.Load() {
		t.Error("a redirect led out of the container")
	}
	s.Close()
	if got, err := Page(t.Context(), in, 8080, "/", ""); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("%+v, %v", got, err)
	}
	ended, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	if got, err := Page(ended, in, 8080, "/", ""); err == nil {
		t.Errorf("%+v, %v", got, err)
	}
}
