// Ui shows what lnd says of itself, and the address by which wallets elsewhere connect to
// it. It asks lnd anew for every page and keeps nothing.
package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	_ "embed"
	"encoding/json"
	"errors"
	"html/template"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

//go:embed page.html
var text string

var page = template.Must(template.New("page").Parse(text))

func main() {
	log.SetFlags(0)
	if err := run(); err != nil {
		log.Fatal("ui: ", err)
	}
}

func run() error {
	password, err := os.ReadFile("/run/secrets/password")
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	l := &lnd{rest: "https://lnd:8080", dir: "/credentials", limited: "/limited", grpcPort: os.Getenv("GRPC_PORT"), restPort: os.Getenv("REST_PORT")}
	s := &http.Server{Addr: ":3000", Handler: handler(l, strings.TrimSpace(string(password))), ReadHeaderTimeout: 10 * time.Second, WriteTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	go func() {
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s.Shutdown(end)
	}()
	if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// handler serves the pages to the owner alone, and to everybody how far lnd is.
func handler(l *lnd, password string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
		defer cancel()
		var i info
		err := l.get(ctx, "/v1/getinfo", &i)
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{"synced": err == nil && i.Synced, "height": i.Height})
	})
	want := sha256.Sum256([]byte(password))
	owner := func(show func(ctx context.Context, host string) *view) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			user, given, _ := r.BasicAuth()
			if sum := sha256.Sum256([]byte(given)); user != "owner" || subtle.ConstantTimeCompare(sum[:], want[:]) != 1 {
				w.Header().Set("WWW-Authenticate", `Basic realm="Lightning node", charset="UTF-8"`)
				http.Error(w, "My Apps shows the password.", http.StatusUnauthorized)
				return
			}
			ctx, cancel := context.WithTimeout(r.Context(), 20*time.Second)
			defer cancel()
			host := r.Host
			if name, _, err := net.SplitHostPort(host); err == nil {
				host = name
			}
			v := show(ctx, strings.Trim(host, "[]"))
			h := w.Header()
			h.Set("Content-Type", "text/html; charset=utf-8")
			h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:")
			h.Set("Cache-Control", "no-store")
			h.Set("Referrer-Policy", "no-referrer")
			if err := page.Execute(w, v); err != nil {
				log.Print("ui: ", err)
			}
		}
	}
	mux.HandleFunc("GET /{$}", owner(func(ctx context.Context, _ string) *view { return l.look(ctx) }))
	mux.HandleFunc("GET /connect", owner(func(_ context.Context, host string) *view { return l.connect(host) }))
	return mux
}
