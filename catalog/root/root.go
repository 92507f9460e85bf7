// Package root owns the root document, which says whose signatures on a catalog count. It
// is that of TUF (https://theupdateframework.github.io/specification/latest/): each role
// has keys and a threshold, and a successor must be signed by both the old and the new
// root keys, so that keys can change without anyone touching a node.
//
// The roles are TUF's root and targets, and one of our own: gate, whose keys sign what has
// been tested. Snapshot and timestamp are left out: the catalog
// is one document with its own serial and expiry, which does the work of TUF's three
// files. The catalog itself is in a DSSE envelope, like every other signed statement of
// this project; go-tuf reads and verifies the root.
package root

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"

	"github.com/archipelago-cloud/archipelago/catalog/sign"
)

// MaxSize bounds a root document, in bytes.
const MaxSize = 1 << 20

// ErrRoot is wrapped when a root document is malformed or not trusted.
var ErrRoot = errors.New("root document")

// Role says whose signatures count, and how many of them are needed.
type Role struct {
	Keys      []sign.PublicKey
	Threshold int
}

// Policy is the content of a root document.
type Policy struct {
	Version int64 // 1 for the first, one more for each successor
	Expires time.Time
	Root    Role // signs the next root
	Catalog Role // signs catalogs, and releases of the daemon
	Gate    Role // signs what gates have tested; without keys, nothing is proven
}

// gateRole is a role of this project's own, beside TUF's.
const gateRole = "gate"

func (p *Policy) roles() map[string]*Role {
	return map[string]*Role{metadata.ROOT: &p.Root, metadata.TARGETS: &p.Catalog, gateRole: &p.Gate}
}

// Sign makes the root document of a policy.
func Sign(p Policy, signers ...*sign.Signer) ([]byte, error) {
	m := metadata.Root(p.Expires.UTC().Truncate(time.Second))
	m.Signed.Version = p.Version
	delete(m.Signed.Roles, metadata.SNAPSHOT)
	delete(m.Signed.Roles, metadata.TIMESTAMP)
	for name, r := range p.roles() {
		if name == gateRole && len(r.Keys) == 0 {
			continue
		}
		if r.Threshold < 1 || r.Threshold > len(r.Keys) {
			return nil, fmt.Errorf("%w: %d keys cannot make a threshold of %d", ErrRoot, len(r.Keys), r.Threshold)
		}
		m.Signed.Roles[name] = &metadata.Role{KeyIDs: []string{}, Threshold: r.Threshold}
		for _, k := range r.Keys {
			key, err := metadata.KeyFromPublicKey(k.Public())
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrRoot, err)
			}
			if err := m.Signed.AddKey(key, name); err != nil {
				return nil, fmt.Errorf("%w: %w", ErrRoot, err)
			}
		}
	}
	for _, s := range signers {
		if _, err := m.Sign(tufSigner{s}); err != nil {
			return nil, fmt.Errorf("%w: signing: %w", ErrRoot, err)
		}
	}
	b, err := m.ToBytes(false)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRoot, err)
	}
	return b, nil
}

// Add adds signatures to a root document. A signature of the same key is replaced.
func Add(b []byte, signers ...*sign.Signer) ([]byte, error) {
	if err := wellFormed(b); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRoot, err)
	}
	m, err := metadata.Root().FromBytes(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRoot, err)
	}
	for _, s := range signers {
		mine, err := m.Sign(tufSigner{s})
		if err != nil {
			return nil, fmt.Errorf("%w: signing: %w", ErrRoot, err)
		}
		last := len(m.Signatures) - 1
		m.Signatures = append(slices.DeleteFunc(m.Signatures[:last:last], func(o metadata.Signature) bool { return o.KeyID == mine.KeyID }), *mine)
	}
	return m.ToBytes(false)
}

// Peek reads what a root document says, whoever signed it: nothing of it is trusted.
func Peek(b []byte) (*Policy, error) {
	if err := wellFormed(b); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRoot, err)
	}
	m, err := metadata.Root().FromBytes(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRoot, err)
	}
	return policyOf(&m.Signed)
}

// Counts says why a key's signature on the root document of this policy would count for nothing;
// nil if it counts. Those of its own root role do, and those of the document that it succeeds;
// before is nil where that one is not at hand.
func (p *Policy) Counts(before *Policy, k sign.PublicKey) error {
	has := func(r Role) bool {
		return slices.ContainsFunc(r.Keys, func(o sign.PublicKey) bool { return o.ID() == k.ID() })
	}
	use := map[string]string{metadata.TARGETS: "catalogs and releases", gateRole: "the runs of gates"}
	var other []string
	for _, name := range slices.Sorted(maps.Keys(p.roles())) {
		if name != metadata.ROOT && has(*p.roles()[name]) {
			other = append(other, use[name])
		}
	}
	switch {
	case has(p.Root):
		return nil
	case before != nil && before.Version+1 != p.Version:
		return fmt.Errorf("%w: root %d is not the one that root %d succeeds", ErrRoot, before.Version, p.Version)
	case before != nil && has(before.Root):
		return nil
	case len(other) > 0:
		return fmt.Errorf("%w: %s is a key for %s there, and may not sign root documents", ErrRoot, k, strings.Join(other, " and "))
	case before != nil:
		return fmt.Errorf("%w: %s may sign neither root %d nor what succeeds root %d", ErrRoot, k, p.Version, before.Version)
	}
	return fmt.Errorf("%w: %s is no root key of root %d", ErrRoot, k, p.Version)
}

// Same tells whether two root documents say the same, whoever signed them. What cannot be
// read is only the same as itself.
func Same(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var signed [2][]byte
	for i, doc := range [][]byte{a, b} {
		if wellFormed(doc) != nil {
			return false
		}
		m, err := metadata.Root().FromBytes(doc)
		if err == nil {
			signed[i], err = json.Marshal(m.Signed)
		}
		if err != nil {
			return false
		}
	}
	return bytes.Equal(signed[0], signed[1])
}

// tufSigner is a key pair as go-tuf's signer.
type tufSigner struct{ *sign.Signer }

func (s tufSigner) PublicKey(...signature.PublicKeyOption) (crypto.PublicKey, error) {
	return s.Public(), nil
}

func (s tufSigner) SignMessage(message io.Reader, _ ...signature.SignOption) ([]byte, error) {
	b, err := io.ReadAll(message)
	if err != nil {
		return nil, err
	}
	return s.Sign(context.Background(), b)
}

// Verify returns the policy of the last in a chain of root documents. The first is trusted
// as it is, because the owner provided it; each of the others must be the successor of the
// one before. Only the last must not have expired, so that a node that was off for years
// can catch up.
func Verify(now time.Time, first []byte, successors ...[]byte) (*Policy, error) {
	var t *trustedmetadata.TrustedMetadata
	for i, b := range append([][]byte{first}, successors...) {
		err := wellFormed(b)
		if err == nil {
			if i == 0 {
				t, err = trustedmetadata.New(b)
			} else {
				_, err = t.UpdateRoot(b)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%w %d of %d: %w", ErrRoot, i+1, len(successors)+1, err)
		}
	}
	s := &t.Root.Signed
	if s.IsExpired(now) {
		return nil, fmt.Errorf("%w: version %d expired on %s; a newer one is needed", ErrRoot, s.Version, s.Expires.Format(time.DateOnly))
	}
	return policyOf(s)
}

func policyOf(s *metadata.RootType) (*Policy, error) {
	p := &Policy{Version: s.Version, Expires: s.Expires}
	for name, r := range p.roles() {
		role, ok := s.Roles[name]
		if !ok && name == gateRole {
			continue // a root from before gates had a role
		}
		if !ok {
			return nil, fmt.Errorf("%w: no role %q", ErrRoot, name)
		}
		r.Threshold = role.Threshold
		for _, id := range role.KeyIDs {
			key, ok := s.Keys[id]
			if !ok {
				return nil, fmt.Errorf("%w: role %q names an unknown key %.12s", ErrRoot, name, id)
			}
			raw, err := publicKey(key)
			if err != nil {
				return nil, fmt.Errorf("%w: key %.12s: %w", ErrRoot, id, err)
			}
			r.Keys = append(r.Keys, sign.NewPublicKey(raw))
		}
	}
	return p, nil
}

// wellFormed refuses what go-tuf cannot verify safely: it accepts whatever encoding/json
// does, and panics on an Ed25519 key of the wrong length.
func wellFormed(b []byte) error {
	var strict struct {
		Signed     any   `json:"signed"`
		Signatures []any `json:"signatures"`
	}
	if err := sign.Decode(b, MaxSize, &strict); err != nil {
		return err
	}
	m, err := metadata.Root().FromBytes(b)
	if err != nil {
		return err
	}
	for id, key := range m.Signed.Keys {
		if _, err := publicKey(key); err != nil {
			return fmt.Errorf("key %.12s: %w", id, err)
		}
	}
	return nil
}

func publicKey(key *metadata.Key) (ed25519.PublicKey, error) {
	if key == nil || key.Type != metadata.KeyTypeEd25519 || key.Scheme != metadata.KeySchemeEd25519 {
		return nil, errors.New("not an Ed25519 key")
	}
	raw, err := hex.DecodeString(key.Value.PublicKey)
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("%.12q is not the hex of %d bytes", key.Value.PublicKey, ed25519.PublicKeySize)
	}
	return raw, nil
}
