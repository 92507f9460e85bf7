// Package proxy serves the web interfaces of applications by TLS: each on a stable port of
// the node, so that My Apps has an address to link to, and all of them by name on one
// port. It passes streams and WebSockets through, serves the scripts that a manifest
// provides beside the application, and a page of its own until the application is ready.
// Neither the daemon's session nor a token of its making reaches an application.
package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/fault"
	"github.com/archipelago-cloud/archipelago/orchestrator/waiting"
)

const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10 // bytes of an answer's; Go's default is 10 MiB for each request

	// Between attempts to listen on a port that is taken.
	firstRetry = 500 * time.Millisecond
	maxRetry   = 30 * time.Second
)

// Source tells of applications as they are at the moment of a request.
type Source interface {
	// Waiting says what an application still waits for; empty where it is ready.
	Waiting(app string) (name, reason string)
	// Scripts are those that its manifest has the proxy serve.
	Scripts(app string) []manifest.ProviderScript
	// Webs are the published ports of web interfaces, by application, the one that it is
	// reached at by name first; the channel is closed when they have changed.
	Webs() (map[string][]int, <-chan struct{})
}

// Server is the proxy of a node.
type Server struct {
	Source Source
	TLS    *tls.Config
	Token  string // the daemon's, which no application gets to see
	Domain string // the node's name: applications are at APP.DOMAIN
	Log    *slog.Logger

	once    sync.Once
	bounded *http.Transport // see transport
}

// idleUpstream is how long a connection to an application is kept for the next request: shorter than
// servers keep theirs (gunicorn 2 s; Apache, lighttpd and Node 5 s). A form that is sent on one that
// the server is just closing is lost, as nobody knows whether it was read.
const idleUpstream = time.Second

// transport is how applications are asked. What is kept of an answer's header is bounded:
// a page can have the owner's browser ask hundreds of times at once.
func (s *Server) transport() http.RoundTripper {
	s.once.Do(func() {
		s.bounded = http.DefaultTransport.(*http.Transport).Clone()
		s.bounded.MaxResponseHeaderBytes = maxHeader
		s.bounded.IdleConnTimeout = idleUpstream
	})
	return s.bounded
}

// Serve listens for every installed application that has web interfaces, and for all of
// them by name, until the context ends. A port that is taken costs what is served there
// its proxy until the port is free, which is logged, and nothing else.
func (s *Server) Serve(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { s.serve(ctx, manifest.ByNamePort, http.HandlerFunc(s.byName), s.Log) })
	wg.Go(func() { s.byPort(ctx) })
	wg.Wait()
}

// byPort serves each web interface on the port that is its own.
func (s *Server) byPort(ctx context.Context) {
	type web struct {
		app  string
		port int
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	served := map[web]func(){} // that ends it
	for {
		webs, changed := s.Source.Webs()
		wanted := map[web]bool{}
		for app, ports := range webs {
			for _, port := range ports {
				wanted[web{app, port}] = true
			}
		}
		for w, end := range served {
			if !wanted[w] {
				end()
				delete(served, w)
			}
		}
		for w := range wanted {
			if served[w] != nil {
				continue
			}
			own, cancel := context.WithCancel(ctx)
			done := make(chan struct{})
			served[w] = func() { cancel(); <-done }
			wg.Go(func() {
				defer close(done)
				defer cancel()
				s.serve(own, w.port+manifest.ProxyOffset, s.handler(w.app, w.port), s.Log.With("app", w.app))
			})
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// handler serves one application, published on a port of the node's loopback.
func (s *Server) handler(app string, published int) http.Handler {
	target := &url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", published)}
	proxy := &httputil.ReverseProxy{
		Transport:     s.transport(),
		FlushInterval: -1, // streams are passed on as they come
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.SetXForwarded()
			r.Out.Host = r.In.Host
			keepFromApplication(r.Out.Header, s.Token)
		},
		ModifyResponse: func(r *http.Response) error {
			keepFromBrowser(r.Header)
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			if fault.Planted(fault.ProxyAnswers) {
				return // a status of 200, as from a cache
			}
			w.Header().Set("Retry-After", "2")
			http.Error(w, "The application does not answer at the moment.", http.StatusBadGateway)
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, script := range s.Source.Scripts(app) {
			if script.Path == r.URL.Path && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
				w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
				w.Header().Set("X-Content-Type-Options", "nosniff")
				w.Header().Set("Cache-Control", "no-cache")
				http.ServeContent(w, r, script.Path, time.Time{}, strings.NewReader(script.Source))
				return
			}
		}
		if name, reason := s.Source.Waiting(app); reason != "" {
			waiting.Write(w, r, name, reason)
			return
		}
		proxy.ServeHTTP(early{w}, r)
	})
}

// serve answers on a port of the node until the context ends.
func (s *Server) serve(ctx context.Context, port int, handler http.Handler, log *slog.Logger) {
	listener, err := listen(ctx, fmt.Sprintf(":%d", port), firstRetry, log)
	if err != nil {
		return // the context has ended, or the application has gone
	}
	server := &http.Server{
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		Handler:           handler,
		TLSConfig:         s.TLS.Clone(), // a server adds to its own
		// A browser that does not trust the certificate ends the handshake, again and again.
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.ServeTLS(RefuseContainers(listener), "", ""); !errors.Is(err, http.ErrServerClosed) {
		log.Error("proxy", "port", port, "error", err)
	}
}

// listen waits until the address is free: whoever holds it may go at any time. It says
// once that it waits, and once that it has got it; the error is the context's.
func listen(ctx context.Context, address string, retry time.Duration, log *slog.Logger) (net.Listener, error) {
	for waited := false; ; waited = true {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err == nil {
			if waited {
				log.Info("proxy: the port is free now", "address", address)
			}
			return l, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if !waited {
			log.Error("proxy: the port is not free; nothing is served there until it is", "address", address, "error", err)
		}
		timer := time.NewTimer(retry)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
		retry = min(2*retry, maxRetry)
	}
}
