// Package certificate makes the node's certificates: a certificate authority (CA) that
// exists on this node only, the certificates it signs for the node's names and
// addresses, and, if the owner wants, certificates that an ACME authority signs for
// public names.
package certificate

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
)

const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 90 * 24 * time.Hour
	renewal  = 30 * 24 * time.Hour // of a leaf, before its end
	backdate = 24 * time.Hour      // for clients whose clock is behind

	// CertificateFile, in the daemon's state directory, is what clients trust.
	CertificateFile = "ca.crt"
	// keyFile holds the CA's key and, once more, its certificate: written at once, so that
	// a power cut leaves no half of a CA.
	keyFile = "ca.key"
)

// private are the domains that are never anybody's on the internet (RFC 6761, 6762, 8375,
// and ICANN's "internal"), and those that routers give to home networks. The CA may sign
// for nothing else but the names that its node had when it was made.
var private = []string{"local", "localhost", "internal", "home.arpa", "lan", "home"}

// Names are what certificates are made for.
type Names struct {
	Host  string   // the node's host name
	Extra []string // further names, and addresses, under which clients reach the node
	ACME  ACME
}

// Authority gives out the node's certificates.
type Authority struct {
	names Names
	now   func() time.Time
	ca    *x509.Certificate
	key   any
	acme  *autocert.Manager // nil where no public name is served

	mu     sync.Mutex
	leaves map[netip.Addr]*tls.Certificate // by the address that was dialled
}

// Open reads the CA from the daemon's state directory. It makes one if there is none, and
// never where there is a part of one: what clients trust is replaced only by the owner.
func Open(dir string, names Names) (*Authority, error) { return open(dir, names, time.Now) }

func open(dir string, names Names, now func() time.Time) (*Authority, error) {
	a := &Authority{names: names, now: now, leaves: map[netip.Addr]*tls.Certificate{}}
	if err := names.check(); err != nil {
		return nil, err
	}
	pair, err := load(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := a.make(dir); err != nil {
			return nil, fmt.Errorf("making the node's CA: %w", err)
		}
		pair, err = load(dir)
	}
	if err != nil {
		return nil, err
	}
	a.ca, a.key = pair.Leaf, pair.PrivateKey
	var problems []error
	for _, name := range names.Extra {
		if !a.mayCertify(name) {
			problems = append(problems, fmt.Errorf("%w %q: this node's CA may sign only for %q and below; for a public name use --acme-name, or remove %s and %s from %s for a new CA, which all who trust the present one then have to trust instead", ErrName, name, a.ca.PermittedDNSDomains, CertificateFile, keyFile, dir))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	if len(names.ACME.Names) > 0 {
		a.acme = names.ACME.manager(dir)
	}
	return a, nil
}

// load reads the CA. The error is fs.ErrNotExist only where there is no part of one.
func load(dir string) (pair tls.Certificate, err error) {
	certFile, keyFile := filepath.Join(dir, CertificateFile), filepath.Join(dir, keyFile)
	const remedy = "put it back from a copy of the directory, or remove both files for a new CA, which all who trust the present one then have to trust instead"
	cert, certErr := os.ReadFile(certFile)
	key, err := os.ReadFile(keyFile)
	switch {
	case errors.Is(err, fs.ErrNotExist) && certErr == nil:
		return pair, fmt.Errorf("%s is there, but %s is missing: %s", certFile, keyFile, remedy)
	case err != nil:
		return pair, fmt.Errorf("reading the node's CA: %w", err)
	}
	pair, err = tls.X509KeyPair(key, key)
	if err == nil && !pair.Leaf.IsCA {
		err = errors.New("its certificate is not a CA's")
	}
	if err != nil {
		return pair, fmt.Errorf("%s is damaged: %w: %s", keyFile, err, remedy)
	}
	switch want := encode(pair.Leaf); {
	case errors.Is(certErr, fs.ErrNotExist): // a power cut came between the two
		err = atomicfile.Write(certFile, want, 0o644)
	case certErr != nil:
		err = fmt.Errorf("reading the node's CA: %w", certErr)
	case !bytes.Equal(cert, want):
		err = fmt.Errorf("%s is damaged, or does not belong to %s: %s", certFile, keyFile, remedy)
	}
	return pair, err
}

func (a *Authority) make(dir string) error {
	host := a.names.Host
	permitted := slices.Clone(private)
	for _, name := range append([]string{host}, a.names.Extra...) {
		if _, err := netip.ParseAddr(name); err != nil && isName(name) && !within(name, permitted) {
			permitted = append(permitted, name)
		}
	}
	now := a.now()
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "Archipelago node " + host, Organization: []string{"Archipelago"}},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(caLife),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
		PermittedDNSDomains: permitted, PermittedDNSDomainsCritical: true,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	cert, err := sign(template, template, key, key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	both := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), encode(cert)...)
	return atomicfile.Write(filepath.Join(dir, keyFile), both, 0o600)
}

func sign(template, parent *x509.Certificate, key *ecdsa.PrivateKey, parentKey any) (*x509.Certificate, error) {
	var err error
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func encode(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// PEM is the CA's certificate, to be trusted by clients and browsers.
func (a *Authority) PEM() []byte { return encode(a.ca) }

// Ends is when the CA's certificate expires. Nothing replaces it but its owner.
func (a *Authority) Ends() time.Time { return a.ca.NotAfter }

// Fingerprint is the SHA-256 of the CA's certificate in DER form, in lower-case hex: what
// clients know the node by.
func (a *Authority) Fingerprint() string { return fingerprint(a.ca) }

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// ReadFingerprint gives the fingerprint of the CA in a daemon's state directory.
func ReadFingerprint(dir string) (string, error) {
	file := filepath.Join(dir, CertificateFile)
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading the node's CA, which the daemon makes when it starts: %w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return "", fmt.Errorf("%s holds no certificate", file)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	return fingerprint(c), nil
}

// Config serves TLS with the node's certificates, on every listener of the daemon.
func (a *Authority) Config() *tls.Config {
	c := &tls.Config{GetCertificate: a.certificate, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	if a.acme != nil {
		c.NextProtos = append(c.NextProtos, alpnProto)
	}
	return c
}

func (a *Authority) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if a.acme != nil && a.names.ACME.holds(hello.ServerName) {
		return a.acme.GetCertificate(hello)
	}
	return a.leaf(dialled(hello.Conn))
}

// dialled is the node's address at which a connection came in. All loopback addresses are
// one: there are millions, and every process of the node can dial them.
func dialled(c net.Conn) netip.Addr {
	if c == nil {
		return netip.Addr{}
	}
	at, ok := c.LocalAddr().(*net.TCPAddr)
	if !ok || at.IP.IsLoopback() {
		return netip.Addr{}
	}
	return at.AddrPort().Addr().Unmap().WithZone("")
}

// leaf is a certificate for the node's names and for the address that was dialled, so that
// nothing has to follow the addresses that the node gets and loses. It is kept in memory
// and made again well before its end, or if the clock was set to where it is not valid.
func (a *Authority) leaf(at netip.Addr) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if !now.Before(a.ca.NotAfter) || now.Before(a.ca.NotBefore) {
		return nil, fmt.Errorf("the node's CA is valid from %s to %s, and the clock says %s: set the clock, or remove %s and %s from the daemon's state directory and restart it for a new CA", a.ca.NotBefore.Format(time.DateOnly), a.ca.NotAfter.Format(time.DateOnly), now.Format(time.DateOnly), CertificateFile, keyFile)
	}
	for of, l := range a.leaves {
		if now.Before(l.Leaf.NotBefore) || now.After(l.Leaf.NotAfter.Add(-renewal)) {
			delete(a.leaves, of)
		}
	}
	if l := a.leaves[at]; l != nil {
		return l, nil
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: a.names.Host, Organization: []string{"Archipelago"}},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if at.IsValid() {
		template.IPAddresses = append(template.IPAddresses, at.AsSlice())
	}
	for _, name := range a.names.all() {
		if ip, err := netip.ParseAddr(name); err == nil {
			template.IPAddresses = append(template.IPAddresses, ip.AsSlice())
		} else if a.mayCertify(name) { // a host name that came after the CA may not be among them
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	cert, err := sign(template, a.ca, key, a.key)
	if err != nil {
		return nil, fmt.Errorf("making the node's certificate: %w", err)
	}
	l := &tls.Certificate{Certificate: [][]byte{cert.Raw, a.ca.Raw}, PrivateKey: key, Leaf: cert}
	a.leaves[at] = l
	return l, nil
}
