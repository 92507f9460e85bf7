package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

type source struct {
	reason  string
	webs    map[string][]int
	changed chan struct{}
}

func (s *source) Webs() (map[string][]int, <-chan struct{}) { return s.webs, s.changed }

func (s *source) Waiting(string) (name, reason string) { return "Feeds", s.reason }
func (s *source) Scripts(string) []manifest.ProviderScript {
	return []manifest.ProviderScript{{Path: "/provider.js", Source: "window.x = 1;"}}
}

const token = "sesame"

// behind is a proxy, by TLS, before an application.
func behind(t *testing.T, s *source, app http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(app)
	t.Cleanup(server.Close)
	p := httptest.NewTLSServer((&Server{Source: s, Token: token}).handler("feeds", portOf(t, server)))
	t.Cleanup(p.Close)
	return p
}

func portOf(t *testing.T, s *httptest.Server) int {
	t.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// feeds answers pages, and has whatever is said to it by WebSocket come back.
var feeds = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "websocket" {
		fmt.Fprintf(w, "host %s, for %s, by %s", r.Host, r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Forwarded-Proto"))
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSet-Cookie: archipelago-session=x\r\n\r\n")
	rw.Flush()
	io.Copy(conn, rw)
})

func get(t *testing.T, c *http.Client, address, accept string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

func TestPagesScriptsAndWaiting(t *testing.T) {
	s := &source{}
	p := behind(t, s, feeds)
	if status, body, _ := get(t, p.Client(), p.URL+"/", "*/*"); status != http.StatusOK || body != "host "+strings.TrimPrefix(p.URL, "https://")+", for 127.0.0.1, by https" {
		t.Errorf("%d %q", status, body)
	}
	if status, body, h := get(t, p.Client(), p.URL+"/provider.js", "*/*"); status != http.StatusOK || body != "window.x = 1;" || !strings.HasPrefix(h.Get("Content-Type"), "text/javascript") {
		t.Errorf("script: %d %q %v", status, body, h)
	}
	s.reason = "waiting for <chain>"
	status, body, h := get(t, p.Client(), p.URL+"/", "text/html")
	if status != http.StatusServiceUnavailable || !strings.Contains(body, "waiting for &lt;chain&gt;") || h.Get("Retry-After") == "" {
		t.Errorf("waiting: %d %q", status, body)
	}
	if status, body, _ := get(t, p.Client(), p.URL+"/", "application/json"); status != http.StatusServiceUnavailable || strings.Contains(body, "<html") {
		t.Errorf("waiting, for a program: %d %q", status, body)
	}
}

func TestWebSocketPassesThrough(t *testing.T) {
	p := behind(t, &source{}, feeds)
	trust := p.Client().Transport.(*http.Transport).TLSClientConfig
	conn, err := tls.Dial("tcp", strings.TrimPrefix(p.URL, "https://"), &tls.Config{RootCAs: trust.RootCAs})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", resp, err)
	}
	if c := resp.Header["Set-Cookie"]; len(c) > 0 {
		t.Errorf("the answer to an upgrade sets %q", c)
	}
	for _, word := range []string{"one\n", "two\n"} {
		io.WriteString(conn, word)
		if got, err := r.ReadString('\n'); err != nil || got != word {
			t.Errorf("%q, %v", got, err)
		}
	}
}

func TestApplicationThatDoesNotAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	p := httptest.NewServer((&Server{Source: &source{}}).handler("feeds", port))
	defer p.Close()
	if status, body, _ := get(t, p.Client(), p.URL+"/", "*/*"); status != http.StatusBadGateway || !strings.Contains(body, "does not answer") {
		t.Errorf("%d %q", status, body)
	}
}

// journal is a log that several goroutines write and that says when it is written to.
type journal struct {
	mu      sync.Mutex
	text    bytes.Buffer
	written chan struct{}
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	select {
	case j.written <- struct{}{}:
	default:
	}
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func newJournal() (*journal, *slog.Logger) {
	j := &journal{written: make(chan struct{}, 1)}
	return j, slog.New(slog.NewTextHandler(j, nil))
}

func await(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("waited 30 s for " + what)
	}
}

func TestProxyIsServedOnceItsPortIsFreeAndUntilTheApplicationIsGone(t *testing.T) {
	taken, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	s := &source{reason: "the chain", webs: map[string][]int{"feeds": {port - manifest.ProxyOffset}}, changed: make(chan struct{})}
	certificate := httptest.NewTLSServer(nil) // for its own name, example.com
	defer certificate.Close()
	ctx, end := context.WithCancel(t.Context())
	journal, log := newJournal()
	served := make(chan struct{})
	go func() { defer close(served); (&Server{Source: s, TLS: certificate.TLS, Log: log}).byPort(ctx) }()
	await(t, "a word about the port that is taken", journal.written)
	if said := journal.String(); !strings.Contains(said, "app=feeds") || !strings.Contains(said, strconv.Itoa(port)) {
		t.Errorf("it says %q", said)
	}
	taken.Close()
	await(t, "a word about the port that is free", journal.written)
	if status, body, _ := get(t, certificate.Client(), fmt.Sprintf("https://127.0.0.1:%d/", port), "*/*"); status != http.StatusServiceUnavailable {
		t.Errorf("the waiting page: %d %q", status, body)
	}
	for _, a := range own(t) {
		conn, err := tls.Dial("tcp", netip.AddrPortFrom(a, uint16(port)).String(), &tls.Config{InsecureSkipVerify: true})
		if err == nil {
			conn.Close()
			t.Errorf("a connection from %s, where containers come from, is answered", a)
		}
	}
	changed := s.changed
	s.webs, s.changed = nil, make(chan struct{})
	close(changed)
	free, cancel := context.WithTimeoutCause(t.Context(), 30*time.Second, errors.New("waited 30 s for the port of an application that is gone"))
	defer cancel()
	l, err := listen(free, fmt.Sprintf(":%d", port), time.Millisecond, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	end()
	await(t, "the proxies to end", served)
}

func TestAPortThatStaysTakenIsLoggedOnceAndGivenUpWithTheApplication(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	journal, log := newJournal()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // for several attempts
	defer cancel()
	if l, err := listen(ctx, taken.Addr().String(), time.Millisecond, log); err == nil {
		l.Close()
		t.Fatal("it listens on a port that is taken")
	}
	if said := journal.String(); strings.Count(said, "\n") != 1 {
		t.Errorf("it says %q", said)
	}
}

// TestAFormIsNotSentOnAConnectionThatTheApplicationGivesUp has an application that ends a
// connection on which nothing came for two seconds: just when the next request comes.
func TestAFormIsNotSentOnAConnectionThatTheApplicationGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{Source: &source{}, Token: token}
		transport := s.transport().(*http.Transport)
		transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() {
				defer theirs.Close()
				in := bufio.NewReader(theirs)
				for idle := time.Duration(0); idle < 2*time.Second; {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					io.Copy(io.Discard, r.Body)
					fmt.Fprint(theirs, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
					begin := time.Now()
					if _, err := in.Peek(1); err != nil {
						return
					}
					idle = time.Since(begin)
				}
			}()
			return ours, nil
		}
		defer transport.CloseIdleConnections()
		for range 2 {
			w := httptest.NewRecorder()
			s.handler("feeds", 8081).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/login", strings.NewReader("password=x")))
			if w.Code != http.StatusOK {
				t.Errorf("status %d", w.Code)
			}
			time.Sleep(2 * time.Second)
		}
	})
}
