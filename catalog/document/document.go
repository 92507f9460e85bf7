// Package document is the catalog as nodes receive it: one JSON document with whole
// manifests, canonical by RFC 8785 and signed in a DSSE envelope by the catalog
// keys of the root. Nothing of it is read before the signatures have been verified.
package document

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gowebpki/jcs"
	"github.com/zeebo/blake3"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/catalog/root"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
)

const (
	// PayloadType is the DSSE payload type of a catalog.
	PayloadType = "application/vnd.archipelago.catalog+json"
	// Schema is the version of the document's form that this program knows.
	Schema = 1
	// MaxSize bounds an envelope, in bytes; 10,000 applications take about a third.
	MaxSize = 64 << 20
)

// Channels, from internal to public.
var Channels = []string{"feature", "user", "beta"}

var (
	// ErrRefused is wrapped where a verified document must not be used.
	ErrRefused = errors.New("catalog refused")
	// ErrRollback is wrapped where a document is older than one already seen.
	ErrRollback = fmt.Errorf("%w: rollback", ErrRefused)
	// ErrExpired is returned beside a document that was good until it expired: what is
	// installed keeps running, nothing new is taken from it.
	ErrExpired = errors.New("catalog expired")
)

// Document is a catalog. Times are in UTC, to the second.
type Document struct {
	Schema  int       `json:"schema"`
	Channel string    `json:"channel"`
	Serial  int64     `json:"serial"` // grows with every document of a channel; from 1
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Entries []Entry   `json:"entries"` // by id, in order
}

// Entry is one application. Its digests are over the canonical form of its manifest.
type Entry struct {
	ID        string            `json:"id"`
	Version   string            `json:"version"`
	Publisher string            `json:"publisher"`
	Notes     string            `json:"notes,omitempty"`
	Manifest  json.RawMessage   `json:"manifest"`
	BLAKE3    string            `json:"blake3"` // 32 bytes, in hex
	SHA256    string            `json:"sha256"`
	Images    map[string]string `json:"images"` // by container, "sha256:HEX"
}

// NewEntry makes the entry of a published manifest, one whose images are pinned.
func NewEntry(m *manifest.Manifest, publisher, notes string) (Entry, error) {
	b, err := json.Marshal(m)
	if err == nil {
		b, err = jcs.Transform(b)
	}
	if err != nil {
		return Entry{}, fmt.Errorf("%s: %w", m.ID, err)
	}
	e := Entry{ID: m.ID, Version: m.Version, Publisher: publisher, Notes: notes, Manifest: b}
	e.BLAKE3, e.SHA256 = digests(b)
	if e.Images, err = images(m); err != nil {
		return Entry{}, err
	}
	// What is shipped must read back as what it was.
	if _, err := e.Parse(); err != nil {
		return Entry{}, err
	}
	return e, nil
}

func digests(b []byte) (string, string) {
	b3, s2 := blake3.Sum256(b), sha256.Sum256(b)
	return hex.EncodeToString(b3[:]), hex.EncodeToString(s2[:])
}

func images(m *manifest.Manifest) (map[string]string, error) {
	out := map[string]string{}
	for _, c := range m.Containers {
		_, digest, ok := strings.Cut(c.Image.Pinned(), "@")
		if !ok {
			return nil, fmt.Errorf("%s: the image of container %s is not pinned by digest", m.ID, c.Name)
		}
		out[c.Name] = digest
	}
	return out, nil
}

// Parse gives the manifest of an entry where all that the entry says of it is so.
func (e *Entry) Parse() (*manifest.Manifest, error) {
	if b3, s2 := digests(e.Manifest); b3 != e.BLAKE3 || s2 != e.SHA256 {
		return nil, fmt.Errorf("%w: entry %q: its manifest has other digests (blake3 %.12s…, sha256 %.12s…) than the entry's (%.12s…, %.12s…)", ErrRefused, e.ID, b3, s2, e.BLAKE3, e.SHA256)
	}
	m, err := manifest.Parse("entry "+e.ID, e.Manifest)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if m.ID != e.ID || m.Version != e.Version {
		return nil, fmt.Errorf("%w: entry %q, version %q: its manifest is of %q, version %q", ErrRefused, e.ID, e.Version, m.ID, m.Version)
	}
	have, err := images(m)
	if err != nil {
		return nil, fmt.Errorf("%w: entry %w", ErrRefused, err)
	}
	for name, digest := range have {
		if e.Images[name] != digest || len(e.Images) != len(have) {
			return nil, fmt.Errorf("%w: entry %q: its manifest has image %q for container %s, the entry %q", ErrRefused, e.ID, digest, name, e.Images[name])
		}
	}
	return m, nil
}

// Encode gives the canonical form of a document: the same content, the same bytes.
func (d *Document) Encode() ([]byte, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	b, err := json.Marshal(d)
	if err == nil {
		b, err = jcs.Transform(b)
	}
	if err != nil {
		return nil, fmt.Errorf("encoding the catalog: %w", err)
	}
	return b, nil
}

// check wants what holds for every document, whoever reads it and when.
func (d *Document) check() error {
	switch {
	case d.Schema != Schema:
		return fmt.Errorf("%w: schema %d; this program knows %d", ErrRefused, d.Schema, Schema)
	case !slices.Contains(Channels, d.Channel):
		return fmt.Errorf("%w: channel %q; it is one of %s", ErrRefused, d.Channel, strings.Join(Channels, ", "))
	case d.Serial < 1:
		return fmt.Errorf("%w: serial %d; it starts at 1", ErrRefused, d.Serial)
	case !d.Created.Before(d.Expires):
		return fmt.Errorf("%w: it expires %s and was created %s", ErrRefused, d.Expires.Format(time.RFC3339), d.Created.Format(time.RFC3339))
	}
	for i := range d.Entries[:max(len(d.Entries)-1, 0)] {
		if a, b := d.Entries[i].ID, d.Entries[i+1].ID; a >= b {
			return fmt.Errorf("%w: entries %q and %q are not in order", ErrRefused, a, b)
		}
	}
	return nil
}

// Sign gives the envelope of a document.
func Sign(ctx context.Context, d *Document, signers ...*sign.Signer) ([]byte, error) {
	b, err := d.Encode()
	if err != nil {
		return nil, err
	}
	return sign.Sign(ctx, PayloadType, b, signers...)
}

// Expectation is what a reader wants of a document besides its signatures.
type Expectation struct {
	Channel string
	Serial  int64     // the highest seen; a lower one is refused
	Now     time.Time // what has expired before is given with ErrExpired
}

// Verify gives the document of an envelope that the catalog keys of the root have
// signed. A document that is good but for its age comes with ErrExpired.
func Verify(ctx context.Context, envelope []byte, p *root.Policy, want Expectation) (*Document, error) {
	payload, err := sign.Verify(ctx, envelope, MaxSize, PayloadType, p.Catalog.Keys, p.Catalog.Threshold)
	if err != nil {
		return nil, err
	}
	var d Document
	if err := json.Unmarshal(payload, &d); err != nil {
		return nil, fmt.Errorf("%w: %w", sign.ErrMalformed, err)
	}
	// Only one text says this: no name twice or in other letters, nothing unknown,
	// nothing after it.
	if again, err := d.Encode(); err != nil {
		return nil, err
	} else if !bytes.Equal(again, payload) {
		return nil, fmt.Errorf("%w: not in its canonical form (RFC 8785)", sign.ErrMalformed)
	}
	if d.Channel != want.Channel {
		return nil, fmt.Errorf("%w: it is of channel %q, this node follows %q", ErrRefused, d.Channel, want.Channel)
	}
	if d.Serial < want.Serial {
		return nil, fmt.Errorf("%w: its serial is %d, %d has been seen", ErrRollback, d.Serial, want.Serial)
	}
	if !want.Now.Before(d.Expires) {
		return &d, fmt.Errorf("%w on %s, %s ago", ErrExpired, d.Expires.Format(time.RFC3339), want.Now.Sub(d.Expires).Truncate(time.Second))
	}
	return &d, nil
}

// Catalog gives the applications of a document. An entry that is not right is left
// out and named in the error, which does not take from the others.
func (d *Document) Catalog() (catalog.Catalog, error) {
	c := catalog.Catalog{}
	var problems []error
	for i := range d.Entries {
		m, err := d.Entries[i].Parse()
		if err != nil {
			problems = append(problems, err)
			continue
		}
		c[m.ID] = &catalog.Entry{Manifest: m}
	}
	return c, errors.Join(problems...)
}
