// Package description owns the signed description of a release: every file of it by its
// digest, with the version and the age of its programs. It is an in-toto statement in a
// DSSE envelope, signed by the keys that sign catalogs. Nothing in it is parsed before its
// signatures are verified.
package description

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/sign"
)

const (
	// File is the envelope's name, beside the files that it describes.
	File = "release.dsse.json"
	// MaxSize bounds an envelope, in bytes.
	MaxSize = 256 << 10

	payloadType   = "application/vnd.in-toto+json"
	statementType = "https://in-toto.io/Statement/v1"
	predicateType = "https://github.com/archipelago-cloud/archipelago/release/v1"
)

// ErrInvalid is wrapped when a description does not say what it must.
var ErrInvalid = errors.New("description of a release")

// Description is what is signed of a release.
type Description struct {
	Version string            // what its programs say they are
	Created time.Time         // when the commit was made that they are built from; UTC, to the second
	Commit  string            // its id, in hex
	Files   map[string]string // SHA-256 in hex, by file name
}

// Daemon is the file name of the daemon's program for an architecture of Go.
func Daemon(arch string) string { return "archipelago-linux-" + arch }

// statement is the in-toto statement (https://github.com/in-toto/attestation/tree/main/spec/v1).
type statement struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"` // by name, in order
	PredicateType string    `json:"predicateType"`
	Predicate     predicate `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

type predicate struct {
	Version string    `json:"version"`
	Created time.Time `json:"created"`
	Commit  string    `json:"commit"`
}

// Sign gives the envelope of a description. The same description and keys give the same
// bytes.
func Sign(ctx context.Context, d Description, signers ...*sign.Signer) ([]byte, error) {
	b, err := d.encode()
	if err != nil {
		return nil, err
	}
	return sign.Sign(ctx, payloadType, b, signers...)
}

// Verify gives the description in an envelope that at least threshold of these keys have
// signed.
func Verify(ctx context.Context, envelope []byte, keys []sign.PublicKey, threshold int) (*Description, error) {
	payload, err := sign.Verify(ctx, envelope, MaxSize, payloadType, keys, threshold)
	if err != nil {
		return nil, err
	}
	return decode(payload)
}

// Peek gives the description in an envelope whoever signed it: to show it to a person,
// never to act on it.
func Peek(envelope []byte) (*Description, error) {
	payload, err := sign.Unverified(envelope, MaxSize, payloadType)
	if err != nil {
		return nil, err
	}
	return decode(payload)
}

func (d *Description) encode() ([]byte, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	s := statement{Type: statementType, PredicateType: predicateType, Predicate: predicate{d.Version, d.Created.UTC(), d.Commit}}
	for _, name := range slices.Sorted(maps.Keys(d.Files)) {
		s.Subject = append(s.Subject, subject{name, map[string]string{"sha256": d.Files[name]}})
	}
	b, err := json.MarshalIndent(s, "", "  ")
	return append(b, '\n'), err
}

// decode reads a payload. A description has exactly one encoding.
func decode(payload []byte) (*Description, error) {
	var s statement
	if err := sign.Decode(payload, MaxSize, &s); err != nil {
		return nil, err
	}
	if s.PredicateType != predicateType {
		return nil, fmt.Errorf("%w: it is a statement of %q", ErrInvalid, s.PredicateType)
	}
	d := &Description{Version: s.Predicate.Version, Created: s.Predicate.Created, Commit: s.Predicate.Commit, Files: map[string]string{}}
	for _, f := range s.Subject {
		d.Files[f.Name] = f.Digest["sha256"]
	}
	again, err := d.encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, payload) {
		return nil, fmt.Errorf("%w: it is not in the form in which descriptions are written", ErrInvalid)
	}
	return d, nil
}

func (d *Description) check() error {
	switch {
	case d.Version == "" || strings.ContainsAny(d.Version, " \t\r\n"):
		return fmt.Errorf("%w: version %q: expected one word", ErrInvalid, d.Version)
	case d.Created.IsZero() || !d.Created.Equal(d.Created.Truncate(time.Second)):
		return fmt.Errorf("%w: created %s: expected a time, to the second", ErrInvalid, d.Created)
	case !isHex(d.Commit):
		return fmt.Errorf("%w: commit %q: expected its id", ErrInvalid, d.Commit)
	case len(d.Files) == 0:
		return fmt.Errorf("%w: it names no file", ErrInvalid)
	}
	for name, digest := range d.Files {
		if name != path.Base(name) || name == "." || name == ".." || name == "/" {
			return fmt.Errorf("%w: file %q: expected a name without a directory", ErrInvalid, name)
		}
		if len(digest) != 64 || !isHex(digest) {
			return fmt.Errorf("%w: file %q: %q is not a SHA-256", ErrInvalid, name, digest)
		}
	}
	return nil
}

func isHex(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) > 0 && s == strings.ToLower(s)
}
