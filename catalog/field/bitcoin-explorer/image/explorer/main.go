// Explorer shows what has been paid to addresses and by them, by the index of addresses of
// a Bitcoin node, and what the addresses hold that the owner watches. It keeps which those
// are, and nothing of the chain.
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
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

//go:embed page.html
var text string

var page = template.Must(template.New("page").Funcs(template.FuncMap{"time": func(unix int64) string {
	return time.Unix(unix, 0).UTC().Format("2006-01-02 15:04:05 UTC")
}}).Parse(text))

func main() {
	log.SetFlags(0)
	if err := run(); err != nil {
		log.Fatal("explorer: ", err)
	}
}

func run() error {
	password, err := secret("/run/secrets/password")
	if err != nil {
		return err
	}
	node, err := newClient(os.Getenv("RPC_URL"), os.Getenv("RPC_USER"), "/run/secrets/rpc-password", "/run/secrets/rpc-cert")
	if err != nil {
		return err
	}
	w, err := openWatched("/data/addresses.jsonl")
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	s := &http.Server{Addr: ":8080", Handler: handler(node, w, password), ReadHeaderTimeout: 10 * time.Second, WriteTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
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

func secret(file string) (string, error) {
	b, err := os.ReadFile(file)
	return strings.TrimSpace(string(b)), err
}

// handler serves the pages to the owner alone, and to everybody whether they have anything to
// show.
func handler(node *client, addresses *watched, password string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
		defer cancel()
		height, err := node.height(ctx)
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{"indexed": err == nil && node.indexed(ctx) == nil, "height": height})
	})
	want := sha256.Sum256([]byte(password))
	owner := func(do func(ctx context.Context, w http.ResponseWriter, r *http.Request)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			user, given, _ := r.BasicAuth()
			if sum := sha256.Sum256([]byte(given)); user != "owner" || subtle.ConstantTimeCompare(sum[:], want[:]) != 1 {
				w.Header().Set("WWW-Authenticate", `Basic realm="Bitcoin explorer", charset="UTF-8"`)
				http.Error(w, "My Apps shows the password.", http.StatusUnauthorized)
				return
			}
			ctx, cancel := context.WithTimeout(r.Context(), 30*time.Second)
			defer cancel()
			w.Header().Set("Cache-Control", "no-store")
			do(ctx, w, r)
		}
	}
	show := func(w http.ResponseWriter, v *view) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'")
		if err := page.Execute(w, v); err != nil {
			log.Print("explorer: ", err)
		}
	}
	mux.HandleFunc("GET /{$}", owner(func(ctx context.Context, w http.ResponseWriter, r *http.Request) {
		q := strings.TrimSpace(r.URL.Query().Get("q"))
		v := node.look(ctx, q, addresses.all())
		if v.Found != nil {
			v.Found.Label = addresses.label(q)
		}
		show(w, v)
	}))
	mux.HandleFunc("GET /addresses.jsonl", owner(func(_ context.Context, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/jsonl")
		w.Write(addresses.lines())
	}))
	mux.HandleFunc("POST /addresses", owner(func(ctx context.Context, w http.ResponseWriter, r *http.Request) {
		// A browser says where a form came from, and sends the password with those of others, too.
		if from := r.Header.Get("Sec-Fetch-Site"); from != "" && from != "same-origin" && from != "none" {
			http.Error(w, "This form is of another page.", http.StatusForbidden)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
		of := r.PostFormValue("address")
		err := node.valid(ctx, of)
		if err == nil {
			err = addresses.set(of, r.PostFormValue("label"))
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Location", "./?q="+of)
		w.WriteHeader(http.StatusSeeOther)
	}))
	return mux
}
