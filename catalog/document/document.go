// Package document owns the catalog as nodes receive it: one JSON document with complete
// manifests, in the canonical form of RFC 8785, signed in a DSSE envelope by the catalog
// keys of the root. Nothing in it is parsed before its signatures are verified.
package document

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/catalog/root"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
)

const (
	// PayloadType is the DSSE payload type of a catalog.
	PayloadType = "application/vnd.archipelago.catalog+json"
	// Schema is the version of the format that this program writes. It reads the one before
	// too, in which nothing is proven.
	Schema = 2
	// MaxSize bounds an envelope, in bytes; 10,000 applications take about half.
	MaxSize = 64 << 20
	// maxSerial keeps a serial exact in JSON's numbers.
	maxSerial = 1 << 53
)

var (
	// ErrRefused is wrapped when a document or an entry must not be used, although it is
	// properly signed.
	ErrRefused = errors.New("catalog refused")
	// ErrRollback is wrapped when a document is older than one that was seen before.
	ErrRollback = fmt.Errorf("%w: rollback", ErrRefused)
	// ErrExpired is returned beside a document that is valid but too old: what is
	// installed keeps running, and nothing new is installed from it.
	ErrExpired = errors.New("catalog expired")
)

// Document is a catalog. Times are in UTC, to the second.
type Document struct {
	Schema  int          `json:"schema"`
	Channel string       `json:"channel"`
	Serial  int64        `json:"serial"` // grows with every document of a channel; from 1
	Created time.Time    `json:"created"`
	Expires time.Time    `json:"expires"`
	Entries []Entry      `json:"entries"` // by id, in order
	Revoked []Revocation `json:"revoked"` // by id and version, in order
	// Attestations are the gates' signed statements (DSSE envelopes) that the entries'
	// proofs name, by the SHA-256 of the statement, in hex.
	Attestations map[string]string `json:"attestations,omitempty"`

	// Digest is the SHA-256 of the canonical form, in hex; only Decode sets it.
	Digest string `json:"-"`
	// RootExpires is when the root that vouches for the document expires; only Verify sets it.
	RootExpires time.Time `json:"-"`

	examined bool             // whether the proofs were verified; only Verify does
	unproven map[string]error // entries without a valid one
}

// Revocation withdraws a version: it is never installed again, and nodes that run it say
// so. It stays in every later document of the channel.
type Revocation struct {
	ID      string    `json:"id"`
	Version string    `json:"version"`
	Reason  string    `json:"reason"`
	Since   time.Time `json:"since"`
}

// Head names the document: its channel and serial.
func (d *Document) Head() string { return fmt.Sprintf("%s %d", d.Channel, d.Serial) }

// Frozen says why nothing new may be taken from the document any more; empty where it may.
func (d *Document) Frozen(now time.Time) string {
	switch what := "the catalog " + d.Head(); {
	case !now.Before(d.Expires):
		return frozen(what, d.Expires, now)
	case !d.RootExpires.IsZero() && !now.Before(d.RootExpires):
		return frozen("the root document that vouches for "+what, d.RootExpires, now)
	}
	return ""
}

func frozen(what string, expired, now time.Time) string {
	return fmt.Sprintf("%s expired %s ago, on %s: what is installed runs on, nothing new is taken from it until a newer one is there", what, now.Sub(expired).Truncate(time.Second), expired.Format(time.RFC3339))
}

// Ends is when the document freezes, by itself or with its root.
func (d *Document) Ends() time.Time {
	if !d.RootExpires.IsZero() && d.RootExpires.Before(d.Expires) {
		return d.RootExpires
	}
	return d.Expires
}

// Entry returns the entry of an application, or nil.
func (d *Document) Entry(id string) *Entry {
	i, ok := slices.BinarySearchFunc(d.Entries, id, func(e Entry, id string) int { return strings.Compare(e.ID, id) })
	if !ok {
		return nil
	}
	return &d.Entries[i]
}

// Revocation returns the revocation of a version, or nil.
func (d *Document) Revocation(id, version string) *Revocation {
	i := slices.IndexFunc(d.Revoked, func(r Revocation) bool { return r.ID == id && r.Version == version })
	if i < 0 {
		return nil
	}
	return &d.Revoked[i]
}

// Encode returns the canonical form of a document: the same content always is the same bytes.
func (d *Document) Encode() ([]byte, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	hollow := *d
	hollow.Entries = []Entry{}
	b, err := canonical(&hollow)
	if err != nil {
		return nil, fmt.Errorf("encoding the catalog: %w", err)
	}
	raw := make([][]byte, len(d.Entries))
	for i := range d.Entries {
		if raw[i], err = canonical(&d.Entries[i]); err != nil {
			return nil, fmt.Errorf("encoding the entry %q: %w", d.Entries[i].ID, err)
		}
	}
	return fill(b, raw)
}

func canonical(v any) ([]byte, error) {
	b, err := jsonv2.Marshal(v)
	if err == nil {
		err = (*jsontext.Value)(&b).Canonicalize()
	}
	return b, err
}

// fill inserts entries into a canonical document that has none.
func fill(hollow []byte, entries [][]byte) ([]byte, error) {
	const none = `"entries":[]`
	// These bytes cannot occur in a string before it, where quotation marks are escaped.
	before, after, ok := bytes.Cut(hollow, []byte(none))
	if !ok {
		return nil, errors.New("the document has no entries")
	}
	return slices.Concat(before, []byte(none[:len(none)-1]), bytes.Join(entries, []byte(",")), []byte("]"), after), nil
}

// check checks what must hold for every document, whoever reads it and when.
func (d *Document) check() error {
	switch {
	case d.Schema < 1 || d.Schema > Schema:
		return fmt.Errorf("%w: schema %d; this program reads 1 to %d", ErrRefused, d.Schema, Schema)
	case !slices.Contains(catalog.Channels, d.Channel):
		return fmt.Errorf("%w: channel %q; the channels are %s", ErrRefused, d.Channel, strings.Join(catalog.Channels, ", "))
	case d.Serial < 1 || d.Serial > maxSerial:
		return fmt.Errorf("%w: serial %d; serials start at 1", ErrRefused, d.Serial)
	case !d.Created.Before(d.Expires):
		return fmt.Errorf("%w: it expires at %s, before it was created at %s", ErrRefused, d.Expires.Format(time.RFC3339), d.Created.Format(time.RFC3339))
	}
	for i := range d.Entries[:max(len(d.Entries)-1, 0)] {
		if a, b := d.Entries[i].ID, d.Entries[i+1].ID; a >= b {
			return fmt.Errorf("%w: entries %q and %q are not in order", ErrRefused, a, b)
		}
	}
	for i, r := range d.Revoked {
		if i > 0 && d.Revoked[i-1].key() >= r.key() {
			return fmt.Errorf("%w: revocations of %q and %q are not in order", ErrRefused, d.Revoked[i-1].ID, r.ID)
		}
		if e := d.Entry(r.ID); e != nil && e.Version == r.Version {
			return fmt.Errorf("%w: %s %s is both an entry and revoked", ErrRefused, r.ID, r.Version)
		}
	}
	return nil
}

func (r Revocation) key() string { return r.ID + "\x00" + r.Version }

// Cycles says which entries require each other in a circle, with catalog.ErrCycle, and
// nil if none do. Nodes refuse such entries by name, so nothing may be published with them.
func (d *Document) Cycles() error {
	requires := map[string][]string{}
	for _, e := range d.Entries {
		if e.ImageOnly() {
			continue
		}
		var m struct {
			Requires []manifest.Requirement `json:"requires"`
		}
		if err := jsonv2.Unmarshal(e.Manifest, &m); err != nil {
			return fmt.Errorf("%w: entry %q: %w", ErrRefused, e.ID, err)
		}
		for _, r := range m.Requires {
			requires[e.ID] = append(requires[e.ID], r.Apps()...)
		}
	}
	paths := manifest.Cycles(requires)
	var problems []error
	for _, id := range slices.Sorted(maps.Keys(paths)) {
		problems = append(problems, fmt.Errorf("%w: %s: %w: %s", ErrRefused, id, catalog.ErrCycle, paths[id]))
	}
	return errors.Join(problems...)
}

// Sign returns a document in a signed envelope. One in which entries require each other
// in a circle is not signed.
func Sign(ctx context.Context, d *Document, signers ...*sign.Signer) ([]byte, error) {
	if err := d.Cycles(); err != nil {
		return nil, err
	}
	b, err := d.Encode()
	if err != nil {
		return nil, err
	}
	return sign.Sign(ctx, PayloadType, b, signers...)
}

// Expectation is what a reader expects of a document besides its signatures.
type Expectation struct {
	Channel string    // empty: any
	Serial  int64     // the highest seen so far; a lower one is refused
	Now     time.Time // a document that has expired by then comes with ErrExpired
}

// Verify returns the document in an envelope that the root's catalog keys have signed. A
// document that is valid but too old, or whose root is, comes with ErrExpired. Entries without a valid proof,
// in a channel that needs one, are refused one by one, by Merge.
func Verify(ctx context.Context, envelope []byte, p *root.Policy, want Expectation) (*Document, error) {
	payload, err := sign.Verify(ctx, envelope, MaxSize, PayloadType, p.Catalog.Keys, p.Catalog.Threshold)
	if err != nil {
		return nil, err
	}
	d, err := Decode(payload)
	if err != nil {
		return nil, err
	}
	d.examined, d.unproven, d.RootExpires = true, d.examine(ctx, p), p.Expires
	if want.Channel != "" && d.Channel != want.Channel {
		return nil, fmt.Errorf("%w: it is of channel %q, expected %q", ErrRefused, d.Channel, want.Channel)
	}
	if d.Serial < want.Serial {
		return nil, fmt.Errorf("%w: its serial is %d, %d has been seen", ErrRollback, d.Serial, want.Serial)
	}
	if !want.Now.Before(d.Expires) {
		return d, fmt.Errorf("%w on %s, %s ago", ErrExpired, d.Expires.Format(time.RFC3339), want.Now.Sub(d.Expires).Truncate(time.Second))
	}
	if why := d.Frozen(want.Now); why != "" {
		return d, fmt.Errorf("%w: %s", ErrExpired, why)
	}
	return d, nil
}

// Peek reads a catalog without asking who signed it, in its envelope or without one:
// to show it to a person, never to act on it.
func Peek(b []byte) (*Document, error) {
	if payload, err := sign.Unverified(b, MaxSize, PayloadType); err == nil {
		b = payload
	}
	return Decode(b)
}

// Decode reads the payload of an envelope. A document has exactly one encoding: it is
// canonical, no name occurs twice or in another case, and nothing is unknown or follows.
func Decode(payload []byte) (*Document, error) {
	var d struct {
		Document
		Entries []jsontext.Value `json:"entries"`
	}
	if err := sign.Decode(payload, MaxSize, &d); err != nil {
		return nil, err
	}
	out := &d.Document
	out.Entries = make([]Entry, len(d.Entries))
	raw := make([][]byte, len(d.Entries))
	err := each(len(d.Entries), func(i int) error {
		raw[i] = d.Entries[i]
		if err := sign.Decode(raw[i], MaxSize, &out.Entries[i]); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		if c := d.Entries[i].Clone(); c.Canonicalize() != nil || !bytes.Equal(c, raw[i]) {
			return fmt.Errorf("%w: entry %d: not in canonical form (RFC 8785)", sign.ErrMalformed, i)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := out.check(); err != nil {
		return nil, err
	}
	hollow := *out
	hollow.Entries = []Entry{}
	again, err := canonical(&hollow)
	if err == nil {
		again, err = fill(again, raw)
	}
	if err != nil || !bytes.Equal(again, payload) {
		return nil, fmt.Errorf("%w: not in canonical form (RFC 8785)", sign.ErrMalformed)
	}
	sum := sha256.Sum256(payload)
	out.Digest = hex.EncodeToString(sum[:])
	return out, nil
}
