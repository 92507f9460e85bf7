package proxy

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// named is the port on which applications are served by name, and a client that asks it,
// with one name in the handshake and another, perhaps, in the request.
func named(t *testing.T) func(sni, host string) (int, string) {
	t.Helper()
	app := httptest.NewServer(feeds)
	t.Cleanup(app.Close)
	s := &Server{Source: &source{webs: map[string][]int{"feeds": {portOf(t, app), 1}, "none": nil}}, Domain: "node-1.local"}
	p := httptest.NewTLSServer(http.HandlerFunc(s.byName))
	t.Cleanup(p.Close)
	return func(sni, host string) (int, string) {
		t.Helper()
		c := &http.Client{Transport: &http.Transport{
			DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				// The certificate is httptest's; that it holds the name is another test's matter.
				return (&tls.Dialer{Config: &tls.Config{ServerName: sni, InsecureSkipVerify: true}}).DialContext(ctx, "tcp", strings.TrimPrefix(p.URL, "https://"))
			},
		}}
		defer c.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+host+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
}

func TestApplicationsAreServedByName(t *testing.T) {
	ask := named(t)
	for _, c := range []struct {
		sni, host string
		status    int
	}{
		{"feeds.node-1.local", "feeds.node-1.local:8443", http.StatusOK},
		{"feeds.node-1.local", "Feeds.Node-1.local", http.StatusOK},
		{"feeds.node-1.local", "feeds.node-1.local.:8443", http.StatusOK},
		{"other.node-1.local", "other.node-1.local:8443", http.StatusNotFound},
		{"none.node-1.local", "none.node-1.local:8443", http.StatusNotFound},
		{"feeds.node-2.local", "feeds.node-2.local:8443", http.StatusNotFound},
		{"node-1.local", "node-1.local:8443", http.StatusNotFound},
		{"", "127.0.0.1:8443", http.StatusNotFound},
		{"", "[::1]:8443", http.StatusNotFound},
		// A browser may use a connection to one application for another.
		{"feeds.node-1.local", "other.node-1.local:8443", http.StatusMisdirectedRequest},
		{"other.node-1.local", "feeds.node-1.local:8443", http.StatusMisdirectedRequest},
		{"", "feeds.node-1.local:8443", http.StatusMisdirectedRequest},
	} {
		status, body := ask(c.sni, c.host)
		if status != c.status {
			t.Errorf("%s over a connection to %q: status %d, expected %d", c.host, c.sni, status, c.status)
		}
		if c.status == http.StatusOK {
			if want := "host " + c.host + ", for 127.0.0.1, by https"; body != want {
				t.Errorf("%s: %q, expected %q", c.host, body, want)
			}
		} else if !strings.Contains(body, "https://node-1.local:7443/") {
			t.Errorf("%s: %q does not say where the applications are", c.host, body)
		}
	}
}
