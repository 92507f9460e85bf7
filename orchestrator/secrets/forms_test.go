package secrets

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// keys is an application with keys and what is made of them, each before its source.
func keys() *manifest.Manifest {
	derive := func(name, from, as string) manifest.GeneratedSecret {
		return manifest.GeneratedSecret{Name: name, Derive: &manifest.Derivation{From: from, As: as}}
	}
	return &manifest.Manifest{ID: "a", Containers: []manifest.Container{{Name: "a", Hostname: "a.internal"}, {Name: "a-db"}}, Secrets: []manifest.GeneratedSecret{
		derive("cert", "tls", manifest.AsCertificate), derive("public", "tls", manifest.AsPublicKey), derive("rsa-cert", "rsa", manifest.AsCertificate),
		derive("bcrypt", "password", manifest.AsBcrypt), derive("argon2", "password", manifest.AsArgon2id),
		{Name: "tls", Form: manifest.FormEd25519}, {Name: "rsa", Form: manifest.FormRSA}, {Name: "password"},
	}}
}

func ensured(t *testing.T, s *Store, hasData bool) map[string]string {
	t.Helper()
	values, err := s.Ensure(keys(), hasData)
	if err != nil {
		t.Fatal(err)
	}
	return values
}

func TestKeysCertificatesAndHashesAreOfEachOther(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	v := ensured(t, s, false)
	for key, cert := range map[string]string{"tls": "cert", "rsa": "rsa-cert"} {
		pair, err := tls.X509KeyPair([]byte(v[cert]), []byte(v[key]))
		if err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		c := pair.Leaf
		roots := x509.NewCertPool()
		roots.AddCert(c)
		for _, name := range []string{"localhost", "a", "a.internal", "a-db"} {
			if _, err := c.Verify(x509.VerifyOptions{DNSName: name, Roots: roots}); err != nil {
				t.Errorf("%s for %s: %v", cert, name, err)
			}
		}
		if c.IsCA || c.NotBefore.Year() > 2000 || c.NotAfter.Year() < 2049 {
			t.Errorf("%s: %+v", cert, c)
		}
		switch k := pair.PrivateKey.(type) {
		case ed25519.PrivateKey:
		case *rsa.PrivateKey:
			if k.N.BitLen() != 3072 {
				t.Errorf("%d bits", k.N.BitLen())
			}
		default:
			t.Errorf("%s is a %T", key, k)
		}
	}
	block, _ := pem.Decode([]byte(v["public"]))
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if key, _ := parsed(v["tls"]); err != nil || !public.(ed25519.PublicKey).Equal(key.Public()) {
		t.Errorf("the public key is of another, %v", err)
	}
	if err := bcrypt.CompareHashAndPassword([]byte(v["bcrypt"]), []byte(v["password"])); err != nil {
		t.Errorf("bcrypt: %v", err)
	}
	var version, memory, time, threads int
	fields := strings.Split(v["argon2"], "$")
	if _, err := fmt.Sscanf(fields[2]+" "+fields[3], "v=%d m=%d,t=%d,p=%d", &version, &memory, &time, &threads); err != nil || fields[1] != "argon2id" || version != argon2.Version {
		t.Fatalf("%q: %v", v["argon2"], err)
	}
	salt, err := base64.RawStdEncoding.DecodeString(fields[4])
	hash, err2 := base64.RawStdEncoding.DecodeString(fields[5])
	if errors.Join(err, err2) != nil || !bytes.Equal(hash, argon2.IDKey([]byte(v["password"]), salt, uint32(time), uint32(memory), uint8(threads), uint32(len(hash)))) {
		t.Errorf("argon2: %v, %v", err, err2)
	}
	if again := ensured(t, s, true); !maps.Equal(again, v) {
		t.Error("asked again, it made others")
	}
	for name := range v {
		if info, err := os.Stat(filepath.Join(dir, "a", name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

// What follows from a key is made again, the same; a hash has something random in it, and the
// application may have kept it.
func TestOverDataOnlyWhatFollowsIsMadeAgain(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	v := ensured(t, s, false)
	lose := func(names ...string) {
		t.Helper()
		for _, name := range names {
			if err := os.Remove(filepath.Join(dir, "a", name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	lose("cert", "rsa-cert", "public")
	if again := ensured(t, s, true); !maps.Equal(again, v) {
		t.Error("over data, what follows from a key is another one")
	}
	for _, name := range []string{"bcrypt", "argon2", "tls", "password"} {
		lose(name)
		if _, err := s.Ensure(keys(), true); !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), "secret "+name+" ") {
			t.Errorf("%s: %v", name, err)
		}
		if err := s.Import(keys(), name, v[name], false); err != nil {
			t.Errorf("brought back: %v", err)
		}
	}
	if again := ensured(t, s, true); !maps.Equal(again, v) {
		t.Error("brought back, and others")
	}
}

// Where no data depends on them, another value has others made of it.
func TestWhatIsDerivedFollowsItsSource(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	v := ensured(t, s, false)
	if err := s.Import(keys(), "password", "brought", true); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "a", "tls")); err != nil {
		t.Fatal(err)
	}
	again := ensured(t, s, false)
	if err := bcrypt.CompareHashAndPassword([]byte(again["bcrypt"]), []byte("brought")); err != nil || again["argon2"] == v["argon2"] {
		t.Errorf("the hashes are of the password before: %v", err)
	}
	if _, err := tls.X509KeyPair([]byte(again["cert"]), []byte(again["tls"])); err != nil || again["public"] == v["public"] {
		t.Errorf("the certificate is of the key before: %v", err)
	}
	if again["rsa-cert"] != v["rsa-cert"] {
		t.Error("another key's certificate is another one, too")
	}
}

func TestImportTakesAKeyAsAKeyOnly(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	v := ensured(t, s, false)
	other, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, value, want string }{
		{"tls", "hunter2", "expected a private key in PEM"},
		{"tls", v["cert"], "expected a private key in PEM"},
		{"tls", v["tls"] + v["cert"], "expected a private key in PEM, and nothing else"},
		{"tls", strings.Replace(v["tls"], "MC4C", "AAAA", 1), "it is no private key"},
		{"cert", v["public"], "expected a certificate in PEM"},
		{"public", v["tls"], "expected a public key in PEM"},
		{"password", v["tls"], "expected one line"},
		{"bcrypt", "two\nlines", "expected one line"},
	} {
		err := other.Import(keys(), c.name, c.value, true)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, expected %q", c.name, err, c.want)
		}
	}
	for _, name := range []string{"tls", "rsa", "cert", "public", "bcrypt"} {
		if err := other.Import(keys(), name, v[name], true); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := other.Ensure(&manifest.Manifest{ID: "a", Secrets: []manifest.GeneratedSecret{{Name: "tls"}, {Name: "hash", Derive: &manifest.Derivation{From: "rsa", As: manifest.AsPublicKey}}}}, false); err == nil {
		t.Error("a public key of nothing")
	}
}
