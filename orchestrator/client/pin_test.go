package client_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/api/apiconnect"
	"github.com/archipelago-cloud/archipelago/orchestrator/certificate"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
)

// secure is a node with a CA of its own.
func secure(t *testing.T) (address, fingerprint string) {
	t.Helper()
	a, err := certificate.Open(t.TempDir(), certificate.Names{Host: "box"})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(apiconnect.NewOrchestratorHandler(node{}))
	s := httptest.NewUnstartedServer(mux)
	s.Listener = tls.NewListener(s.Listener, a.Config())
	s.Start()
	t.Cleanup(s.Close)
	return strings.Replace(s.URL, "http:", "https:", 1), a.Fingerprint()
}

func install(address, fingerprint string) error {
	_, err := client.New(address, "secret", fingerprint).Install(context.Background(), connect.NewRequest(&api.InstallRequest{Id: "feeds"}))
	return err
}

func TestTheNodesCAIsPinned(t *testing.T) {
	address, fingerprint := secure(t)
	other, stranger := secure(t)
	if err := install(address, fingerprint); err != nil {
		t.Error(err)
	}
	if err := install(address, strings.ToUpper(fingerprint)); err != nil {
		t.Errorf("in upper case: %v", err)
	}
	if err := install(address, stranger); err == nil || !strings.Contains(err.Error(), fingerprint) || !strings.Contains(err.Error(), "archipelago fingerprint") {
		t.Errorf("another node's CA: %v", err)
	}
	if err := install(other, fingerprint); err == nil {
		t.Error("another node is taken for this one")
	}
	if err := install(address, ""); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("without a fingerprint: %v", err)
	}
}

// TestACAThatIsOnlyShownIsNotEnough: the CA's certificate is public, its key is not.
func TestACAThatIsOnlyShownIsNotEnough(t *testing.T) {
	a, err := certificate.Open(t.TempDir(), certificate.Names{Host: "box"})
	if err != nil {
		t.Fatal(err)
	}
	thief, err := certificate.Open(t.TempDir(), certificate.Names{Host: "box"})
	if err != nil {
		t.Fatal(err)
	}
	shown, err := a.Config().GetCertificate(&tls.ClientHelloInfo{})
	if err != nil {
		t.Fatal(err)
	}
	own, err := thief.Config().GetCertificate(&tls.ClientHelloInfo{})
	if err != nil {
		t.Fatal(err)
	}
	for name, chain := range map[string][][]byte{
		"a leaf of its own, and the node's CA":     {own.Certificate[0], shown.Certificate[1]},
		"both CAs":                                 {own.Certificate[0], own.Certificate[1], shown.Certificate[1]},
		"both CAs, the node's before":              {own.Certificate[0], shown.Certificate[1], own.Certificate[1]},
		"the node's certificates, without its key": shown.Certificate,
		"a certificate alone":                      own.Certificate[:1],
	} {
		s := httptest.NewUnstartedServer(http.NotFoundHandler())
		s.Listener = tls.NewListener(s.Listener, &tls.Config{Certificates: []tls.Certificate{{Certificate: chain, PrivateKey: own.PrivateKey}}})
		s.Start()
		err := install(strings.Replace(s.URL, "http:", "https:", 1), a.Fingerprint())
		s.Close()
		if connect.CodeOf(err) != connect.CodeUnavailable {
			t.Errorf("%s is taken for the node: %v", name, err)
		}
	}
}

func TestTheTokenNeverTravelsUnencryptedOverANetwork(t *testing.T) {
	for address, ok := range map[string]bool{
		"http://127.0.0.1:7070": true, "http://[::1]:7070": true, "http://localhost:7070": true, "https://192.0.2.7:7443": true, "https://box.local:7443": true,
		"http://192.0.2.7:7070": false, "http://box.local:7070": false, "http://127.0.0.1.example.org:7070": false, "http://[2001:db8::1]:7070": false,
		"ftp://127.0.0.1": false, "127.0.0.1:7070": false, "http://": false, "": false,
	} {
		if err := client.Check(address); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
	err := install("http://192.0.2.7:7070", "")
	if err == nil || !strings.Contains(err.Error(), "use https://192.0.2.7:7443") {
		t.Errorf("a client that did not ask first: %v", err)
	}
}

func TestTheTokenIsNotSentWhereARedirectPoints(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s came with %q", r.Method, r.URL, r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	for _, status := range []int{http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		s := httptest.NewServer(http.RedirectHandler(elsewhere.URL, status))
		if err := install(s.URL, ""); err == nil {
			t.Errorf("%d is followed", status)
		}
		s.Close()
	}
}

func TestFingerprintIsAskedForWithoutAnythingBeingSaid(t *testing.T) {
	address, fingerprint := secure(t)
	if got, err := client.AskFingerprint(t.Context(), address); err != nil || got != fingerprint {
		t.Errorf("%q, %v", got, err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := client.AskFingerprint(t.Context(), "https://"+l.Addr().String()); err == nil {
		t.Error("nothing listens there")
	}
	colons := strings.ToUpper(fingerprint[:2] + ":" + fingerprint[2:])
	if got, err := client.Fingerprint(colons); err != nil || got != fingerprint {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"3f2a…", fingerprint[1:], "x" + fingerprint[1:]} {
		if _, err := client.Fingerprint(bad); err == nil {
			t.Errorf("%q is a fingerprint", bad)
		}
	}
}
