package certificate

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var box = Names{Host: "box"}

// opened is an authority whose clock stands until the test moves it.
func opened(t *testing.T, dir string, names Names) (a *Authority, clock func(time.Duration)) {
	t.Helper()
	now := time.Now()
	a, err := open(dir, names, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	return a, func(d time.Duration) { now = now.Add(d) }
}

// handshake connects as a client that trusts the CA, and names the node as given.
func handshake(t *testing.T, a *Authority, name string) (*x509.Certificate, error) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", a.Config())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			c.(*tls.Conn).Handshake()
			c.Close()
		}
	}()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(a.PEM()) {
		t.Fatal("the CA is no PEM")
	}
	conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: roots, ServerName: name, Time: a.now})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0], nil
}

func TestTheCAIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	first, _ := opened(t, dir, box)
	second, _ := opened(t, dir, Names{Host: "renamed"})
	if first.Fingerprint() != second.Fingerprint() {
		t.Error("another CA after a restart")
	}
	if read, err := ReadFingerprint(dir); err != nil || read != first.Fingerprint() || len(read) != 64 || strings.ToLower(read) != read {
		t.Errorf("%q, %v", read, err)
	}
	for file, want := range map[string]os.FileMode{CertificateFile: 0o644, keyFile: 0o600} {
		if info, err := os.Stat(filepath.Join(dir, file)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
	if ca := first.ca; !ca.PermittedDNSDomainsCritical || !ca.MaxPathLenZero || ca.MaxPathLen != 0 {
		t.Errorf("its constraints bind not everyone: critical %t, path length %d", ca.PermittedDNSDomainsCritical, ca.MaxPathLen)
	}
	if !first.Ends().After(time.Now().Add(9 * 365 * 24 * time.Hour)) {
		t.Errorf("it ends at %s", first.Ends())
	}
}

func TestAPartOfACAIsRefusedWithItsRemedyAndStaysAsItIs(t *testing.T) {
	other := t.TempDir()
	opened(t, other, box)
	foreign, err := os.ReadFile(filepath.Join(other, CertificateFile))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		file string
		body []byte // none: removed
	}{
		"no key":                       {keyFile, nil},
		"a key that is cut off":        {keyFile, []byte("-----BEGIN PRIVATE KEY-----\nMIG")},
		"an empty key":                 {keyFile, []byte{}},
		"a certificate that is cut":    {CertificateFile, []byte("-----BEGIN CERTIFICATE-----\nMIG")},
		"the certificate of other CAs": {CertificateFile, foreign},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			opened(t, dir, box)
			file := filepath.Join(dir, c.file)
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			if c.body != nil {
				if err := os.WriteFile(file, c.body, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			before := files(t, dir)
			_, err := Open(dir, box)
			if err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "remove both files") {
				t.Errorf("%v", err)
			}
			if after := files(t, dir); after != before {
				t.Errorf("it was %q and is %q", before, after)
			}
		})
	}
}

func TestACertificateThatIsNoCAsIsNoCA(t *testing.T) {
	a, _ := opened(t, t.TempDir(), box)
	leaf, err := a.leaf(netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	both := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), encode(leaf.Leaf)...)
	if err := os.WriteFile(filepath.Join(dir, keyFile), both, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, box); err == nil || !strings.Contains(err.Error(), "its certificate is not a CA's") {
		t.Error(err)
	}
}

func files(t *testing.T, dir string) (all string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all += e.Name() + ": " + string(b)
	}
	return all
}

func TestAPowerCutWhileTheCAIsMadeLeavesAWholeOne(t *testing.T) {
	dir := t.TempDir()
	a, _ := opened(t, dir, box)
	if err := os.Remove(filepath.Join(dir, CertificateFile)); err != nil { // it is written last
		t.Fatal(err)
	}
	again, _ := opened(t, dir, box)
	if read, err := ReadFingerprint(dir); err != nil || read != a.Fingerprint() || again.Fingerprint() != read {
		t.Errorf("%s, then %s, %v", a.Fingerprint(), read, err)
	}
}

func TestLeafIsForTheNodesNamesAndTheAddressThatWasDialled(t *testing.T) {
	a, _ := opened(t, t.TempDir(), Names{Host: "Box.example.org", Extra: []string{"box.lan", "203.0.113.7"}})
	for _, name := range []string{"localhost", "127.0.0.1", "box.local", "miniflux.box.local", "box.example.org", "box.lan", "203.0.113.7"} {
		if _, err := handshake(t, a, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"example.org", "other.local", "a.b.box.local", "192.0.2.9"} {
		if c, err := handshake(t, a, name); err == nil {
			t.Errorf("%s is accepted: %q %v", name, c.DNSNames, c.IPAddresses)
		}
	}
	if c, err := handshake(t, a, "localhost"); err != nil || c.IsCA || c.KeyUsage&x509.KeyUsageCertSign != 0 {
		t.Errorf("it can sign others, or: %v", err)
	}
	at := func(ip string) *x509.Certificate {
		c, err := a.certificate(&tls.ClientHelloInfo{Conn: arrival{local: &net.TCPAddr{IP: net.ParseIP(ip), Port: 7443}}})
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf
	}
	for _, ip := range []string{"192.0.2.9", "2001:db8::9"} {
		if err := at(ip).VerifyHostname(ip); err != nil {
			t.Error(err)
		}
	}
	for i := range 100 {
		at(netip.AddrFrom4([4]byte{127, 0, 1, byte(i)}).String())
	}
	if n := len(a.leaves); n != 3 {
		t.Errorf("%d certificates are kept for three addresses", n)
	}
}

// arrival is a connection to one of the node's addresses.
type arrival struct {
	net.Conn
	local net.Addr
}

func (c arrival) LocalAddr() net.Addr { return c.local }

func TestLeavesAreRenewedWellBeforeTheirEndWithoutARestart(t *testing.T) {
	a, clock := opened(t, t.TempDir(), box)
	first, err := handshake(t, a, "box.local")
	if err != nil {
		t.Fatal(err)
	}
	if life := first.NotAfter.Sub(a.now()); life > leafLife || life < leafLife-time.Minute {
		t.Errorf("a leaf lives %s", life)
	}
	clock(leafLife - renewal - time.Hour)
	if same, err := handshake(t, a, "box.local"); err != nil || !same.Equal(first) {
		t.Errorf("it was renewed too soon, or: %v", err)
	}
	clock(2 * time.Hour)
	second, err := handshake(t, a, "box.local")
	if err != nil || second.Equal(first) || second.NotAfter.Sub(a.now()) < leafLife-time.Minute {
		t.Errorf("not renewed, %v", err)
	}
	clock(-2 * 365 * 24 * time.Hour / 10) // the clock is set back by 73 days
	if third, err := handshake(t, a, "box.local"); err == nil || third != nil {
		t.Errorf("before the CA is valid: %v", err)
	}
	clock(2 * 365 * 24 * time.Hour / 10)
	clock(9 * 365 * 24 * time.Hour)
	if _, err := handshake(t, a, "box.local"); err != nil {
		t.Errorf("after nine years: %v", err)
	}
	clock(2 * 365 * 24 * time.Hour)
	if _, err := a.leaf(netip.Addr{}); err == nil || !strings.Contains(err.Error(), "remove ca.crt and ca.key") {
		t.Errorf("after the CA's end: %v", err)
	}
}

func TestOldVersionsOfTLSAreRefused(t *testing.T) {
	a, _ := opened(t, t.TempDir(), box)
	if least := a.Config().MinVersion; least < tls.VersionTLS12 { // RFC 8996
		t.Errorf("it serves %s", tls.VersionName(least))
	}
}

func TestAClockThatWasSetBackGetsALeafThatIsValidThen(t *testing.T) {
	a, clock := opened(t, t.TempDir(), box)
	clock(50 * 24 * time.Hour)
	if _, err := handshake(t, a, "box.local"); err != nil {
		t.Fatal(err)
	}
	clock(-40 * 24 * time.Hour)
	if _, err := handshake(t, a, "box.local"); err != nil {
		t.Error(err)
	}
}

func TestTheCASignsForNobodyElsesName(t *testing.T) {
	a, _ := opened(t, t.TempDir(), box)
	a.names.Extra = []string{"bank.example"}
	if slices.ContainsFunc(a.names.Extra, a.mayCertify) {
		t.Error("it would sign for bank.example")
	}
	// Whoever has the key can sign what they like; clients reject it.
	a.ca.PermittedDNSDomains = []string{"example"}
	if _, err := handshake(t, a, "bank.example"); err == nil {
		t.Error("a certificate for bank.example is accepted")
	}
}

func TestTheNodeGoesByWhatItHasCertificatesFor(t *testing.T) {
	a, _ := opened(t, t.TempDir(), Names{Host: "box", Extra: []string{"nas.lan"}, ACME: ACME{Names: []string{public}}})
	for host, want := range map[string]bool{
		"box": true, "BOX.local": true, "box.local.": true, "localhost": true, "nas.lan": true, public: true, "192.0.2.7": true, "::1": true, "[::1]": true,
		"evil.example": false, "box.local.evil.example": false, "feeds.box.local": false, "": false, "192.0.2.7.evil.example": false,
	} {
		if got := a.Named(host); got != want {
			t.Errorf("%q: %t", host, got)
		}
	}
}

func TestNamesThatCannotBeCertifiedAreRefusedAllAtOnce(t *testing.T) {
	dir := t.TempDir()
	opened(t, dir, box)
	_, err := Open(dir, Names{Host: "box", Extra: []string{"no name", "x_y"}, ACME: ACME{Names: []string{"192.0.2.1", "box", "box.local"}}})
	if !errors.Is(err, ErrName) {
		t.Fatal(err)
	}
	for _, want := range []string{`"no name"`, `"x_y"`, `"192.0.2.1" by ACME`, `"box" by ACME`, `"box.local" by ACME`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no word about %s in: %v", want, err)
		}
	}
	_, err = Open(dir, Names{Host: "box", Extra: []string{"box.example.org", "nas.example.org"}})
	if !errors.Is(err, ErrName) || !strings.Contains(err.Error(), "box.example.org") || !strings.Contains(err.Error(), "nas.example.org") || !strings.Contains(err.Error(), "--acme-name") {
		t.Errorf("names beyond the CA's: %v", err)
	}
	if _, err := Open(t.TempDir(), Names{Host: "box", Extra: []string{"box.example.org"}}); err != nil {
		t.Errorf("a name that was there before the CA: %v", err)
	}
}

func TestANodeThatWasRenamedKeepsItsCAAndLeavesTheNameOut(t *testing.T) {
	dir := t.TempDir()
	opened(t, dir, box)
	a, _ := opened(t, dir, Names{Host: "nas.example.org"})
	if _, err := handshake(t, a, "nas.local"); err != nil {
		t.Error(err)
	}
	if _, err := handshake(t, a, "nas.example.org"); err == nil {
		t.Error("the CA signed for a name that it may not sign for")
	}
	if got := Local("bad_host"); got != "" {
		t.Errorf("%q", got)
	}
}
