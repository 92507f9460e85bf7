package client

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// Check tells why a daemon is not spoken to at an address, if so: the token never travels
// unencrypted over a network.
func Check(base string) error {
	u, err := url.Parse(base)
	if err != nil {
		return fmt.Errorf("the node's address: %w", err)
	}
	switch ip, err := netip.ParseAddr(u.Hostname()); {
	case u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("%q is not the address of a node: it is https://NODE:7443, or on the node itself http://127.0.0.1:7070", base)
	case u.Scheme == "http" && u.Hostname() != "localhost" && (err != nil || !ip.IsLoopback()):
		return fmt.Errorf("%s is another machine's address, and http would send the access token there unencrypted: use https://%s", base, net.JoinHostPort(u.Hostname(), "7443"))
	}
	return nil
}

// Fingerprint brings a fingerprint as people and other programs write it into the form of
// this one: SHA-256 in lower-case hex, without colons.
func Fingerprint(typed string) (string, error) {
	s := strings.ToLower(strings.NewReplacer(":", "", " ", "").Replace(typed))
	if b, err := hex.DecodeString(s); err != nil || len(b) != sha256.Size {
		return "", fmt.Errorf("%q is not a fingerprint: it has 64 hexadecimal digits, and 'archipelago fingerprint' prints it on the node", typed)
	}
	return s, nil
}

// pin has TLS accept the CA with this fingerprint and no other. The name that was dialled
// is not compared with those in the certificate: the CA exists on one node only and signs
// for nothing but that node, so its signature says which node answers, also where the node
// is reached under an address that it does not know, as behind a router.
func pin(fingerprint string) *tls.Config {
	if fingerprint == "" {
		return nil
	}
	return &tls.Config{
		InsecureSkipVerify: true, // VerifyConnection does
		VerifyConnection: func(s tls.ConnectionState) error {
			ca, err := authority(s.PeerCertificates)
			if err != nil {
				return err
			}
			if got := sum(ca); got != strings.ToLower(fingerprint) {
				return fmt.Errorf("the node's CA has the fingerprint %s, expected %s; if 'archipelago fingerprint' prints this one on the node, sign in again with 'archy login --fingerprint'", got, fingerprint)
			}
			return nil
		},
	}
}

// authority is the CA that signed a server's certificate, as the server shows it.
func authority(shown []*x509.Certificate) (*x509.Certificate, error) {
	roots := x509.NewCertPool()
	ca := shown[len(shown)-1]
	roots.AddCert(ca)
	if !ca.IsCA {
		return nil, errors.New("what answers there shows no CA, as a node would")
	}
	if _, err := shown[0].Verify(x509.VerifyOptions{Roots: roots}); err != nil {
		return nil, fmt.Errorf("the node's certificate: %w", err)
	}
	return ca, nil
}

func sum(c *x509.Certificate) string {
	s := sha256.Sum256(c.Raw)
	return hex.EncodeToString(s[:])
}

// AskFingerprint connects to an https address, and gives the fingerprint of the CA that is
// shown there, or none where this machine trusts the certificate already. Whether it is the
// node's, only a person can say who has compared it with what the node itself prints.
func AskFingerprint(ctx context.Context, base string) (string, error) {
	u, err := url.Parse(base)
	if err != nil {
		return "", err
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	var shown []*x509.Certificate
	d := &tls.Dialer{NetDialer: &net.Dialer{Timeout: dialTimeout}, Config: &tls.Config{
		ServerName:         u.Hostname(),
		InsecureSkipVerify: true, // nothing is said over this connection
		VerifyConnection:   func(s tls.ConnectionState) error { shown = s.PeerCertificates; return nil },
	}}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return "", err
	}
	conn.Close()
	between := x509.NewCertPool()
	for _, c := range shown[1:] {
		between.AddCert(c)
	}
	if _, err := shown[0].Verify(x509.VerifyOptions{DNSName: u.Hostname(), Intermediates: between}); err == nil {
		return "", nil
	}
	ca, err := authority(shown)
	if err != nil {
		return "", err
	}
	return sum(ca), nil
}
