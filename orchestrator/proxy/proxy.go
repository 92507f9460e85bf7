// Package proxy serves the web interface of each application on a stable port of
// the node, so that My Apps has an address to link to. It passes streams and
// WebSockets through.
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
	"sync"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

const headerTimeout = 10 * time.Second

// Serve listens for every application of the catalog that has a web interface,
// until the context ends. A port that is taken costs that application its proxy,
// which is logged, and no other.
func Serve(ctx context.Context, cat catalog.Catalog, log *slog.Logger) {
	var wg sync.WaitGroup
	for _, id := range cat.IDs() {
		_, port, ok := cat[id].Web()
		if !ok {
			continue
		}
		wg.Go(func() {
			if err := serve(ctx, port.Host); err != nil {
				log.Error("proxy", "app", id, "error", err)
			}
		})
	}
	wg.Wait()
}

func serve(ctx context.Context, published int) error {
	target := &url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", published)}
	server := &http.Server{
		Addr:              fmt.Sprintf(":%d", published+manifest.ProxyOffset),
		ReadHeaderTimeout: headerTimeout,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		Handler: &httputil.ReverseProxy{
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
		},
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
