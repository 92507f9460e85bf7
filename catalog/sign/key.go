// Package sign owns keys, signatures and envelopes: they prove where a document comes
// from before anything in it is parsed. Verifiers decide which keys to trust.
package sign

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// ErrKey is wrapped when a key cannot be read or used.
var ErrKey = errors.New("key")

// keyType begins a public key's line, "archipelago-ed25519 BASE64 [comment]".
const keyType = "archipelago-ed25519"

const maxKeyFile = 64 << 10

// PublicKey verifies signatures by Ed25519 (RFC 8032).
type PublicKey struct {
	key     ed25519.PublicKey
	Comment string
}

// ParsePublicKey parses the line of a public key, or of an SSH key, "ssh-ed25519 …".
func ParsePublicKey(line string) (PublicKey, error) {
	w := strings.Fields(line)
	if len(w) > 0 && w[0] == ssh.KeyAlgoED25519 {
		k, comment, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			return PublicKey{}, fmt.Errorf("%w: %w", ErrKey, err)
		}
		return fromSSH(k, comment)
	}
	if len(w) < 2 || w[0] != keyType {
		return PublicKey{}, fmt.Errorf("%w: expected a line \"%s BASE64 [comment]\"", ErrKey, keyType)
	}
	b, err := base64.StdEncoding.Strict().DecodeString(w[1])
	if err != nil || len(b) != ed25519.PublicKeySize {
		return PublicKey{}, fmt.Errorf("%w: %q is not the base64 of %d bytes", ErrKey, w[1], ed25519.PublicKeySize)
	}
	return PublicKey{b, strings.Join(w[2:], " ")}, nil
}

func fromSSH(k ssh.PublicKey, comment string) (PublicKey, error) {
	if c, ok := k.(ssh.CryptoPublicKey); ok {
		if raw, ok := c.CryptoPublicKey().(ed25519.PublicKey); ok {
			return PublicKey{raw, comment}, nil
		}
	}
	return PublicKey{}, fmt.Errorf("%w: %s is not an Ed25519 key", ErrKey, k.Type())
}

// NewPublicKey returns the key of these 32 bytes (RFC 8032). A key of any other length
// verifies nothing.
func NewPublicKey(raw []byte) PublicKey { return PublicKey{key: raw} }

// String is the key's line.
func (k PublicKey) String() string {
	return strings.TrimSpace(keyType + " " + base64.StdEncoding.EncodeToString(k.key) + " " + k.Comment)
}

// ID names the key: the SHA-256 of its 32 bytes, in hex.
func (k PublicKey) ID() string {
	sum := sha256.Sum256(k.key)
	return hex.EncodeToString(sum[:])
}

// KeyID, Public and Verify make the key a dsse.Verifier.
func (k PublicKey) KeyID() (string, error) { return k.ID(), nil }

// Public is the key as a type of the standard library.
func (k PublicKey) Public() crypto.PublicKey { return k.key }

// Verify returns nil if the signature is by this key over the data.
func (k PublicKey) Verify(_ context.Context, data, sig []byte) error {
	if len(k.key) != ed25519.PublicKeySize || !ed25519.Verify(k.key, data, sig) {
		return fmt.Errorf("%w %.12s: not its signature", ErrKey, k.ID())
	}
	return nil
}

// Signer is a key pair. The private half is in memory, or with an SSH agent.
type Signer struct {
	PublicKey
	private ed25519.PrivateKey
	agent   func(data []byte) (*ssh.Signature, error)
}

// NewSigner makes a key pair.
func NewSigner(comment string) (*Signer, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return &Signer{PublicKey: PublicKey{public, comment}, private: private}, nil
}

// Sign signs data; it makes the pair a dsse.Signer.
func (s *Signer) Sign(ctx context.Context, data []byte) ([]byte, error) {
	if s.agent != nil {
		sig, err := s.agent(data)
		if err != nil {
			return nil, fmt.Errorf("%w: the SSH agent: %w", ErrKey, err)
		}
		// The agent may be somebody else's: check what it returned.
		return sig.Blob, s.Verify(ctx, data, sig.Blob)
	}
	return ed25519.Sign(s.private, data), nil
}

// AgentSigner signs with an SSH agent's Ed25519 key, given by its comment or its SHA-256
// fingerprint ("SHA256:…"). An empty name is the only key that the agent holds.
func AgentSigner(a agent.Agent, name string) (*Signer, error) {
	held, err := a.List()
	if err != nil {
		return nil, fmt.Errorf("%w: the SSH agent: %w", ErrKey, err)
	}
	var found []*Signer
	var names []string
	for _, h := range held {
		k, err := ssh.ParsePublicKey(h.Blob)
		if err != nil {
			continue
		}
		public, err := fromSSH(k, h.Comment)
		if err != nil {
			continue
		}
		names = append(names, fmt.Sprintf("%s %s", ssh.FingerprintSHA256(k), h.Comment))
		if name == "" || name == h.Comment || name == ssh.FingerprintSHA256(k) {
			found = append(found, &Signer{PublicKey: public, agent: func(data []byte) (*ssh.Signature, error) { return a.Sign(k, data) }})
		}
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("%w: the SSH agent has %d Ed25519 keys that answer to %q; it holds: %s", ErrKey, len(found), name, strings.Join(names, ", "))
	}
	return found[0], nil
}

// Seal returns the private key as a file that only the recipients can open.
func (s *Signer) Seal(recipients ...age.Recipient) ([]byte, error) {
	var b bytes.Buffer
	a := armor.NewWriter(&b)
	w, err := age.Encrypt(a, recipients...)
	if err != nil {
		return nil, fmt.Errorf("%w: sealing: %w", ErrKey, err)
	}
	_, err = fmt.Fprintf(w, "%s-seed %s %s\n", keyType, base64.StdEncoding.EncodeToString(s.private.Seed()), s.Comment)
	if err := errors.Join(err, w.Close(), a.Close()); err != nil {
		return nil, fmt.Errorf("%w: sealing: %w", ErrKey, err)
	}
	return b.Bytes(), nil
}

// OpenSigner opens a sealed private key.
func OpenSigner(sealed []byte, identities ...age.Identity) (*Signer, error) {
	r, err := age.Decrypt(armor.NewReader(bytes.NewReader(sealed)), identities...)
	if err != nil {
		return nil, fmt.Errorf("%w: opening: %w", ErrKey, err)
	}
	b, err := io.ReadAll(io.LimitReader(r, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("%w: opening: %w", ErrKey, err)
	}
	w := strings.Fields(string(b))
	if len(w) < 2 || w[0] != keyType+"-seed" {
		return nil, fmt.Errorf("%w: the file holds no private key", ErrKey)
	}
	seed, err := base64.StdEncoding.Strict().DecodeString(w[1])
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("%w: the file holds no private key", ErrKey)
	}
	private := ed25519.NewKeyFromSeed(seed)
	return &Signer{PublicKey: PublicKey{private.Public().(ed25519.PublicKey), strings.Join(w[2:], " ")}, private: private}, nil
}
