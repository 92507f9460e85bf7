package waiting_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/archipelago-cloud/archipelago/orchestrator/waiting"
)

// freePort is a port on which nobody listens.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// get asks a port as a browser does, over a connection of its own.
func get(t *testing.T, port int) (status int, body string, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/some/page", port), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// free wants the port to be the application's at once.
func free(t *testing.T, port int) {
	t.Helper()
	l, err := net.Listen("tcp", ":"+strconv.Itoa(port))
	if err != nil {
		t.Errorf("the port is taken still: %v", err)
		return
	}
	l.Close()
}

func pages(t *testing.T, reason waiting.Reason) *waiting.Pages {
	p := waiting.NewPages(reason)
	t.Cleanup(p.CloseAll)
	return p
}

func TestPageTellsTheReasonAsItIsNow(t *testing.T) {
	reason := "waiting for chain: 4 %"
	p := pages(t, func(app string) (string, string) { return "Name of " + app, reason })
	port := freePort(t)
	for range 2 { // wanted again, it stays
		if err := p.Want("pair", port, true); err != nil {
			t.Fatal(err)
		}
		status, body, err := get(t, port)
		if err != nil || status != http.StatusServiceUnavailable || !strings.Contains(body, "Name of pair") || !strings.Contains(body, reason) {
			t.Errorf("%d, %v: %s", status, err, body)
		}
		reason = "waiting for chain: 5 %"
	}
	if err := p.Want("pair", port, false); err != nil {
		t.Error(err)
	}
	free(t, port)
	if err := p.Want("pair", port, false); err != nil {
		t.Errorf("taken away twice: %v", err)
	}
}

// The page stands where the application will: whoever is not on the node asks the proxy.
func TestPageIsOnTheLoopbackOnly(t *testing.T) {
	p := pages(t, func(string) (string, string) { return "Pair", "" })
	port := freePort(t)
	if err := p.Want("pair", port, true); err != nil {
		t.Fatal(err)
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		ip, _, err := net.ParseCIDR(a.String())
		if err != nil || ip.IsLoopback() || ip.IsLinkLocalUnicast() {
			continue
		}
		if conn, err := net.Dial("tcp", net.JoinHostPort(ip.String(), strconv.Itoa(port))); err == nil {
			conn.Close()
			t.Errorf("it is on %s too", ip)
		}
	}
}

func TestPageMakesRoomBeforeTheApplicationStarts(t *testing.T) {
	p := pages(t, func(string) (string, string) { return "Pair", "" })
	one, two := freePort(t), freePort(t)
	for port, app := range map[int]string{one: "pair", two: "other"} {
		if err := p.Want(app, port, true); err != nil {
			t.Fatal(err)
		}
	}
	p.Close(one)
	free(t, one)
	p.Close(one) // nothing is there
	if status, _, err := get(t, two); err != nil || status != http.StatusServiceUnavailable {
		t.Errorf("another application's page went too: %d, %v", status, err)
	}
	if err := p.Want("pair", one, true); err != nil {
		t.Errorf("wanted again: %v", err)
	}
	p.CloseAll()
	free(t, one)
	free(t, two)
}

func TestPortThatIsTakenIsTriedAgain(t *testing.T) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	p := pages(t, func(string) (string, string) { return "Pair", "" })
	for range 2 {
		if err := p.Want("pair", port, true); err == nil || !strings.Contains(err.Error(), "waiting page of pair") || !strings.Contains(err.Error(), syscall.EADDRINUSE.Error()) {
			t.Errorf("%v", err)
		}
	}
	l.Close()
	if err := p.Want("pair", port, true); err != nil {
		t.Fatal(err)
	}
	if status, _, err := get(t, port); err != nil || status != http.StatusServiceUnavailable {
		t.Errorf("%d, %v", status, err)
	}
}
