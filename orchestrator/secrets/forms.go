package secrets

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

const (
	rsaBits = 3072 // until 2030 and beyond (NIST SP 800-57, part 1, table 2)

	// RFC 9106, section 4, the second recommended option.
	argonTime    = 3
	argonMemory  = 64 << 10 // KiB
	argonThreads = 4
	argonSalt    = 16 // bytes
	argonKey     = 32 // bytes

	blockKey         = "PRIVATE KEY" // of PEM (RFC 7468)
	blockPublicKey   = "PUBLIC KEY"
	blockCertificate = "CERTIFICATE"
)

// inOrder are secrets, each after the one that it is made of.
func inOrder(secrets []manifest.GeneratedSecret) []manifest.GeneratedSecret {
	out := slices.Clone(secrets)
	slices.SortStableFunc(out, func(a, b manifest.GeneratedSecret) int {
		switch {
		case a.Derive == nil && b.Derive != nil:
			return -1
		case a.Derive != nil && b.Derive == nil:
			return 1
		}
		return 0
	})
	return out
}

// generated makes a secret in the form that its manifest asks for; one that is derived, of
// those that are there already, by name.
func generated(m *manifest.Manifest, g manifest.GeneratedSecret, others map[string]string) (string, error) {
	if g.Derive != nil {
		return derived(m, *g.Derive, others[g.Derive.From])
	}
	random := make([]byte, cmp.Or(g.Bytes, defaultLength))
	rand.Read(random)
	switch g.Form {
	case manifest.FormHex:
		return hex.EncodeToString(random), nil
	case manifest.FormBase64:
		return base64.StdEncoding.EncodeToString(random), nil
	case manifest.FormUUID:
		return uuid.NewString(), nil
	case manifest.FormEd25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return "", err
		}
		return encoded(key)
	case manifest.FormRSA:
		key, err := rsa.GenerateKey(rand.Reader, rsaBits)
		if err != nil {
			return "", err
		}
		return encoded(key)
	}
	return generate(cmp.Or(g.Length, defaultLength)), nil
}

func encoded(key crypto.PrivateKey) (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	return inPEM(blockKey, der), nil
}

func inPEM(block string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: block, Bytes: der}))
}

// derived makes one secret of another.
func derived(m *manifest.Manifest, d manifest.Derivation, from string) (string, error) {
	switch d.As {
	case manifest.AsBcrypt:
		hash, err := bcrypt.GenerateFromPassword([]byte(from), bcrypt.DefaultCost)
		return string(hash), err
	case manifest.AsArgon2id:
		salt := make([]byte, argonSalt)
		rand.Read(salt)
		key := argon2.IDKey([]byte(from), salt, argonTime, argonMemory, argonThreads, argonKey)
		b64 := base64.RawStdEncoding
		return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads, b64.EncodeToString(salt), b64.EncodeToString(key)), nil
	}
	key, err := parsed(from)
	if err != nil {
		return "", fmt.Errorf("%s: %w", d.From, err)
	}
	if d.As == manifest.AsCertificate {
		return certificate(m, key)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	return inPEM(blockPublicKey, der), err
}

// parsed reads a private key.
func parsed(text string) (crypto.Signer, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != blockKey {
		return nil, errors.New("it is no private key in PEM (PKCS #8)")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("it is no private key in PEM (PKCS #8)")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("it is a key that cannot sign")
	}
	return signer, nil
}

// A certificate is valid whatever the clock of a small node says; the end is the last moment
// of X.509's older form of times (RFC 5280, section 4.1.2.5).
var (
	validFrom  = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	validUntil = time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC)
)

// certificate is signed by its own key, for localhost and the names by which the containers
// are found. Nothing in it is random: the same key gives the same one.
func certificate(m *manifest.Manifest, key crypto.Signer) (string, error) {
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return "", err
	}
	serial := sha256.Sum256(public)
	names := []string{"localhost"}
	for _, c := range m.Containers {
		names = append(names, c.Name)
		if c.Hostname != "" && c.Hostname != c.Name {
			names = append(names, c.Hostname)
		}
	}
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial[:16]), Subject: pkix.Name{CommonName: m.ID}, DNSNames: names,
		NotBefore: validFrom, NotAfter: validUntil,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
	if _, ok := key.(*rsa.PrivateKey); ok {
		template.KeyUsage |= x509.KeyUsageKeyEncipherment
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return inPEM(blockCertificate, der), err
}

// importable says what is wrong with a value that is brought in. It does not repeat it.
func importable(g manifest.GeneratedSecret, value string) error {
	if !g.PEM() {
		if value == "" || len(value) > maxValue || strings.ContainsAny(value, "\x00\n\r") {
			return fmt.Errorf("expected one line of 1 to %d bytes", maxValue)
		}
		return nil
	}
	want := blockKey
	if g.Derive != nil && g.Derive.As == manifest.AsPublicKey {
		want = blockPublicKey
	} else if g.Derive != nil {
		want = blockCertificate
	}
	block, rest := pem.Decode([]byte(value))
	if len(value) > maxValue || block == nil || block.Type != want || len(bytes.TrimSpace(rest)) > 0 {
		return fmt.Errorf("expected a %s in PEM, and nothing else, of at most %d bytes", strings.ToLower(want), maxValue)
	}
	if want == blockKey {
		_, err := parsed(value)
		return err
	}
	return nil
}
