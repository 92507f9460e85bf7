// Till asks for payments by Lightning and shows which have come. It may do nothing else with
// the node: the invoices are the node's, and it keeps nothing itself.
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
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"
)

//go:embed page.html
var text string

var page = template.Must(template.New("page").Funcs(template.FuncMap{"time": func(unix int64) string {
	return time.Unix(unix, 0).UTC().Format("2006-01-02 15:04:05 UTC")
}}).Parse(text))

func main() {
	log.SetFlags(0)
	if err := run(); err != nil {
		log.Fatal("till: ", err)
	}
}

func run() error {
	password, err := os.ReadFile("/run/secrets/password")
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	s := &http.Server{Addr: ":8080", Handler: handler(&lnd{rest: os.Getenv("REST_URL"), dir: "/limited"}, strings.TrimSpace(string(password))), ReadHeaderTimeout: 10 * time.Second, WriteTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
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

// What an invoice may ask for.
const (
	maxSat  = 100_000_000 // a bitcoin; a channel rarely carries more
	maxMemo = 200         // bytes
)

// handler serves the pages to the owner alone, and to everybody whether invoices can be made.
func handler(l *lnd, password string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
		defer cancel()
		i, err := l.info(ctx)
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{"synced": err == nil && i.Synced, "height": i.Height})
	})
	want := sha256.Sum256([]byte(password))
	owner := func(do func(ctx context.Context, w http.ResponseWriter, r *http.Request)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			user, given, _ := r.BasicAuth()
			if sum := sha256.Sum256([]byte(given)); user != "owner" || subtle.ConstantTimeCompare(sum[:], want[:]) != 1 {
				w.Header().Set("WWW-Authenticate", `Basic realm="Lightning till", charset="UTF-8"`)
				http.Error(w, "My Apps shows the password.", http.StatusUnauthorized)
				return
			}
			ctx, cancel := context.WithTimeout(r.Context(), 20*time.Second)
			defer cancel()
			w.Header().Set("Cache-Control", "no-store")
			do(ctx, w, r)
		}
	}
	show := func(w http.ResponseWriter, v *view) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'")
		h.Set("Referrer-Policy", "same-origin")
		if err := page.Execute(w, v); err != nil {
			log.Print("till: ", err)
		}
	}
	mux.HandleFunc("GET /{$}", owner(func(ctx context.Context, w http.ResponseWriter, _ *http.Request) { show(w, l.look(ctx)) }))
	mux.HandleFunc("GET /invoice/{hash}", owner(func(ctx context.Context, w http.ResponseWriter, r *http.Request) {
		show(w, l.one(ctx, r.PathValue("hash")))
	}))
	mux.HandleFunc("POST /invoices", owner(func(ctx context.Context, w http.ResponseWriter, r *http.Request) {
		// A browser says where a form came from, and sends the password with those of others, too.
		if from := r.Header.Get("Sec-Fetch-Site"); from != "" && from != "same-origin" && from != "none" {
			http.Error(w, "This form is of another page.", http.StatusForbidden)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
		sat, err := strconv.ParseInt(r.PostFormValue("sat"), 10, 64)
		memo := strings.TrimSpace(r.PostFormValue("memo"))
		if err != nil || sat < 1 || sat > maxSat || len(memo) > maxMemo || !utf8.ValidString(memo) {
			http.Error(w, "expected 1 to "+strconv.Itoa(maxSat)+" sat, and a text of at most "+strconv.Itoa(maxMemo)+" bytes", http.StatusBadRequest)
			return
		}
		hash, err := l.ask(ctx, sat, memo)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.Header().Set("Location", "invoice/"+hash)
		w.WriteHeader(http.StatusSeeOther)
	}))
	return mux
}
