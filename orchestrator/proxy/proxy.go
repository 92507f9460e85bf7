// Package proxy serves the web interface of each application on a stable port of
// the node, so that My Apps has an address to link to. It passes streams and
// WebSockets through, serves the scripts that a manifest provides beside the
// application, and a page of its own until the application is ready.
package proxy

import (
	"context"
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
	"github.com/archipelago-cloud/archipelago/orchestrator/waiting"
)

const (
	headerTimeout = 10 * time.Second

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
	// Webs are the published ports of web interfaces, by application; the channel is
	// closed when they have changed.
	Webs() (map[string]int, <-chan struct{})
}

// Serve listens for every installed application that has a web interface, until the
// context ends. A port that is taken costs that application its proxy until the port is
// free, which is logged, and no other.
func Serve(ctx context.Context, source Source, log *slog.Logger) {
	type web struct {
		app  string
		port int
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	served := map[web]func(){} // that ends it
	for {
		webs, changed := source.Webs()
		for w, end := range served {
			if webs[w.app] != w.port {
				end()
				delete(served, w)
			}
		}
		for app, port := range webs {
			w := web{app, port}
			if served[w] != nil {
				continue
			}
			own, cancel := context.WithCancel(ctx)
			done := make(chan struct{})
			served[w] = func() { cancel(); <-done }
			wg.Go(func() {
				defer close(done)
				defer cancel()
				if err := serve(own, app, port, source, log.With("app", app)); err != nil {
					log.Error("proxy", "app", app, "error", err)
				}
			})
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// Handler serves one application, published on a port of the node.
func Handler(app string, published int, source Source) http.Handler {
	target := &url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", published)}
	proxy := &httputil.ReverseProxy{
		FlushInterval: -1, // streams are passed on as they come
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.SetXForwarded()
			r.Out.Host = r.In.Host
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			w.Header().Set("Retry-After", "2")
			http.Error(w, "The application does not answer at the moment.", http.StatusBadGateway)
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, s := range source.Scripts(app) {
			if s.Path == r.URL.Path && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
				w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
				w.Header().Set("X-Content-Type-Options", "nosniff")
				w.Header().Set("Cache-Control", "no-cache")
				http.ServeContent(w, r, s.Path, time.Time{}, strings.NewReader(s.Source))
				return
			}
		}
		if name, reason := source.Waiting(app); reason != "" {
			waiting.Write(w, r, name, reason)
			return
		}
		proxy.ServeHTTP(w, r)
	})
}

func serve(ctx context.Context, app string, published int, source Source, log *slog.Logger) error {
	listener, err := listen(ctx, fmt.Sprintf(":%d", published+manifest.ProxyOffset), firstRetry, log)
	if err != nil {
		return nil // the context has ended, or the application has gone
	}
	server := &http.Server{
		ReadHeaderTimeout: headerTimeout,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		Handler:           Handler(app, published, source),
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
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
			log.Error("proxy: the port is not free; the application is not served there until it is", "address", address, "error", err)
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
