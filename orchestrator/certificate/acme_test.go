package certificate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letsencrypt/challtestsrv"
	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
)

const public = "box.example.org"

// letsEncrypt is Let's Encrypt's test server. It looks names up where the test says, and
// validates at the given port instead of 443.
func letsEncrypt(t *testing.T, port int) (server *httptest.Server, roots *x509.CertPool, asked func() bool) {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	quiet := log.New(io.Discard, "", 0)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	resolver := free.Addr().String()
	free.Close()
	dns, err := challtestsrv.New(challtestsrv.Config{DNSAddrs: []string{resolver}, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	dns.SetDefaultDNSIPv4("127.0.0.1")
	dns.SetDefaultDNSIPv6("")
	dns.Run()
	t.Cleanup(dns.Shutdown)
	for deadline := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		conn, err := net.Dial("tcp", resolver)
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("waited 10 s for the test's name server: ", err)
		}
	}
	store := db.NewMemoryStore()
	authority := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {ValidityPeriod: 7 * 24 * 3600}})
	front := wfe.New(quiet, store, va.New(quiet, 0, port, false, resolver, store), authority, []string{"pebble"}, false, false, 1, 1)
	var requests atomic.Int32
	handler := front.Handler()
	server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	roots = x509.NewCertPool()
	roots.AddCert(authority.GetRootCert(0).Cert)
	return server, roots, func() bool { return requests.Load() > 0 }
}

func TestAPublicNameGetsItsCertificateByACME(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	_, port, _ := strings.Cut(tcp.Addr().String(), ":")
	number, _ := strconv.Atoi(port)
	authority, roots, asked := letsEncrypt(t, number)
	a, err := Open(t.TempDir(), Names{Host: "box", ACME: ACME{Names: []string{public}, Email: "owner@example.org", Directory: authority.URL + wfe.DirectoryPath}})
	if err != nil {
		t.Fatal(err)
	}
	a.acme.Client.HTTPClient = authority.Client()
	server := &http.Server{Handler: http.NotFoundHandler(), TLSConfig: a.Config(), ErrorLog: log.New(io.Discard, "", 0)}
	go server.ServeTLS(tcp, "", "")
	defer server.Close()
	get := func(name string, roots *x509.CertPool) (*x509.Certificate, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: name}}).DialContext(ctx, "tcp", tcp.Addr().String())
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		return conn.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
	}

	own := x509.NewCertPool()
	own.AddCert(a.ca)
	if _, err := get("box.local", own); err != nil {
		t.Errorf("the node's own name: %v", err)
	}
	for _, stranger := range []string{"victim.example.org", "x." + public, ""} {
		if _, err := get(stranger, roots); err == nil {
			t.Errorf("%q has a certificate of the public authority", stranger)
		}
	}
	if asked() {
		t.Fatal("the public authority was asked for a name that is not the owner's")
	}
	c, err := get(public, roots)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := get(strings.ToUpper(public), roots); err != nil || !again.Equal(c) {
		t.Errorf("it is not kept: %v", err)
	}
}
