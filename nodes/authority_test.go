package nodes

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net/http/httptest"
	"testing"
	"time"
)

func TestAClientTrustsTheNodesAuthorityAndNothingElse(t *testing.T) {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	another := x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &another, &another, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	other, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		a       Authority
		trusted bool
	}{"the node's": {Authority{s.Certificate()}, true}, "another's": {Authority{other}, false}, "none": {Authority{}, false}} {
		conn, err := tls.Dial("tcp", s.Listener.Addr().String(), c.a.TLS())
		if err == nil {
			conn.Close()
		}
		if unknown := new(x509.UnknownAuthorityError); c.trusted != (err == nil) || !c.trusted && !errors.As(err, unknown) {
			t.Errorf("%s: %v", name, err)
		}
		if roots := c.a.TLS().RootCAs; roots == nil {
			t.Errorf("%s: whatever the machine trusts is trusted", name)
		}
	}
}

func TestAnAuthoritySurvivesTheShardItIsWrittenInto(t *testing.T) {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	type shard struct {
		Trusted Authority `json:"trusted,omitzero"`
	}
	var out, in shard
	if b, err := json.Marshal(out); err != nil || string(b) != "{}" {
		t.Errorf("none is written as %s, %v", b, err)
	}
	if err := out.Trusted.UnmarshalText(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &in); err != nil {
		t.Fatal(err)
	}
	if in.Trusted.IsZero() || in.Trusted.Fingerprint() != out.Trusted.Fingerprint() || in.Trusted.KeyHash() != out.Trusted.KeyHash() || len(in.Trusted.Fingerprint()) != 64 {
		t.Errorf("read again it is %q %q, expected %q %q", in.Trusted.Fingerprint(), in.Trusted.KeyHash(), out.Trusted.Fingerprint(), out.Trusted.KeyHash())
	}
	for _, bad := range []string{"", "text", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if err := new(Authority).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is read as a certificate", bad)
		}
	}
}
