package nodes

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// authorityFile holds the certificate of a node's own authority, which the daemon makes at
// its first start.
const authorityFile = manifest.DataDir + "/" + manifest.OwnDir + "/state/ca.crt"

// Authority is the certificate authority of a node: what its daemon's certificates are
// signed by, and all that is trusted of them. As text, it is PEM.
type Authority struct{ cert *x509.Certificate }

// UnmarshalText reads PEM.
func (a *Authority) UnmarshalText(text []byte) error {
	block, _ := pem.Decode(text)
	if block == nil {
		return errors.New("not a certificate in PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	a.cert = cert
	return nil
}

// MarshalText writes PEM.
func (a Authority) MarshalText() ([]byte, error) {
	if a.cert == nil {
		return nil, errors.New("no certificate")
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}), nil
}

// IsZero tells that there is none.
func (a Authority) IsZero() bool { return a.cert == nil }

// Fingerprint is the SHA-256 of the certificate, in hex: what clients know the node by.
func (a Authority) Fingerprint() string {
	if a.cert == nil {
		return ""
	}
	sum := sha256.Sum256(a.cert.Raw)
	return hex.EncodeToString(sum[:])
}

// KeyHash is the SHA-256 of the public key, in base64: what Chromium knows the authority by.
func (a Authority) KeyHash() string {
	if a.cert == nil {
		return ""
	}
	sum := sha256.Sum256(a.cert.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// TLS is the configuration of a client that trusts the authority, and nothing else.
func (a Authority) TLS() *tls.Config {
	roots := x509.NewCertPool()
	if a.cert != nil {
		roots.AddCert(a.cert)
	}
	return &tls.Config{RootCAs: roots}
}

// Authority reads the authority from the node's disk. It waits for a daemon that is
// starting, and has yet to make it.
func (c *Client) Authority(ctx context.Context) (a Authority, err error) {
	ctx, cancel := context.WithTimeout(ctx, daemonAnswer)
	defer cancel()
	tick := time.NewTicker(retryPause)
	defer tick.Stop()
	for {
		text, err := c.Run(ctx, "cat "+authorityFile)
		if err == nil {
			err = a.UnmarshalText([]byte(text))
		}
		switch {
		case err == nil:
			return a, nil
		case errors.Is(err, ErrLost) || errors.Is(err, ErrRefused):
			return a, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return a, fmt.Errorf("%s: waited %s for %s: %w", c.Node, daemonAnswer, authorityFile, err)
		}
	}
}
