package prober

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
)

// here is the network that the test is in.
type here string

func (h here) Dial(ctx context.Context, _ int) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", string(h))
}
func (here) Close() error { return nil }

func TestProbeTellsWhatServes(t *testing.T) {
	var elsewhere atomic.Bool
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.RequestURI() {
		case "/ok?a=b%25":
		case "/teapot":
			w.WriteHeader(http.StatusTeapot)
		case "/moved":
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		case "/elsewhere":
			elsewhere.Store(true)
		case "/endless":
			for b := []byte(strings.Repeat("x", 4096)); ; {
				if _, err := w.Write(b); err != nil {
					return
				}
			}
		case "/header":
			w.Header().Set("X-Long", strings.Repeat("x", 2*maxAnswer))
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer s.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	page, nobody, mute := here(s.Listener.Addr().String()), here(closed.Addr().String()), here(silent.Addr().String())
	for _, c := range []struct {
		name   string
		in     here
		path   string
		status int
		want   string
	}{
		{"a page", page, "/ok?a=b%25", 200, ""},
		{"another page", page, "/sick", 200, "status 503, not 200"},
		{"a status that is meant", page, "/teapot", 418, ""},
		{"a redirect is not followed", page, "/moved", 200, "status 302"},
		{"an endless page", page, "/endless", 200, ""},
		{"an endless header", page, "/header", 200, "EOF"},
		{"a connection", page, "", 0, ""},
		{"nobody", nobody, "/ok", 200, "refused"},
		{"no connection", nobody, "", 0, "refused"},
		{"no answer", mute, "/ok", 200, "timeout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := ask(t.Context(), c.in, quadlet.Probe{Port: 80, Path: c.path, Status: c.status, Timeout: time.Second})
			if got := fmt.Sprint(err); c.want == "" && err != nil || c.want != "" && !strings.Contains(got, c.want) {
				t.Errorf("%s, expected %q", got, c.want)
			}
		})
	}
	if elsewhere.Load() {
		t.Error("the prober went where the application sent it")
	}
}
