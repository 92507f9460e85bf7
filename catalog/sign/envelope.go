package sign

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// ErrUntrusted is wrapped when a document lacks the signatures that it needs.
var ErrUntrusted = errors.New("not trusted")

// ErrMalformed is wrapped when JSON is not exactly one well-formed document.
var ErrMalformed = errors.New("malformed")

// Sign wraps a payload into a DSSE envelope (https://github.com/secure-systems-lab/dsse),
// signed by every signer.
func Sign(ctx context.Context, payloadType string, payload []byte, signers ...*Signer) ([]byte, error) {
	var all []dsse.Signer
	for _, s := range signers {
		all = append(all, s)
	}
	es, err := dsse.NewEnvelopeSigner(all...)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	e, err := es.SignPayload(ctx, payloadType, payload)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return json.Marshal(e)
}

// Verify returns an envelope's payload, if at least threshold different keys of these have
// signed it as payloadType. The payload is not parsed.
func Verify(ctx context.Context, envelope []byte, maxSize int, payloadType string, keys []PublicKey, threshold int) ([]byte, error) {
	if threshold < 1 {
		return nil, fmt.Errorf("%w: a threshold of %d", ErrUntrusted, threshold)
	}
	e, payload, err := open(envelope, maxSize)
	if err != nil {
		return nil, err
	}
	if e.PayloadType != payloadType {
		return nil, fmt.Errorf("%w: it is %q, expected %q", ErrUntrusted, e.PayloadType, payloadType)
	}
	seen := map[string]bool{}
	var verifiers []dsse.Verifier
	for _, k := range keys {
		if !seen[k.ID()] { // the same key twice does not count twice
			seen[k.ID()] = true
			verifiers = append(verifiers, k)
		}
	}
	if len(verifiers) < threshold {
		return nil, fmt.Errorf("%w: %d trusted keys cannot make a threshold of %d", ErrUntrusted, len(verifiers), threshold)
	}
	v, err := dsse.NewMultiEnvelopeVerifier(threshold, verifiers...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	if _, err := v.Verify(ctx, e); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	return payload, nil
}

// open reads an envelope and its payload, whoever signed it. Each part must have the one
// strict encoding: the library accepts two, and the decoder skips line breaks.
func open(envelope []byte, maxSize int) (*dsse.Envelope, []byte, error) {
	var e dsse.Envelope
	if err := Decode(envelope, maxSize, &e); err != nil {
		return nil, nil, err
	}
	payload, err := strictBase64(e.Payload)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range e.Signatures {
		if _, err := strictBase64(s.Sig); err != nil {
			return nil, nil, err
		}
	}
	return &e, payload, nil
}

func strictBase64(s string) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") {
		return nil, fmt.Errorf("%w: not base64: %.20q", ErrMalformed, s)
	}
	return b, nil
}

// Unverified returns the payload of an envelope whoever signed it: to show it, never to
// act on it.
func Unverified(envelope []byte, maxSize int, payloadType string) ([]byte, error) {
	e, payload, err := open(envelope, maxSize)
	if err != nil {
		return nil, err
	}
	if e.PayloadType != payloadType {
		return nil, fmt.Errorf("%w: it is %q, expected %q", ErrMalformed, e.PayloadType, payloadType)
	}
	return payload, nil
}

// Decode reads exactly one JSON document into v. It must be within the size and in UTF-8,
// with every name in an object once and in the case of v's fields, without unknown fields,
// and with nothing after it. (encoding/json accepts "Payload" for "payload", so that two
// readers could see two documents.)
func Decode(b []byte, maxSize int, v any) error {
	if len(b) > maxSize {
		return fmt.Errorf("%w: %d bytes; the limit is %d", ErrMalformed, len(b), maxSize)
	}
	if err := jsonv2.Unmarshal(b, v, jsonv2.RejectUnknownMembers(true)); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

// Add adds signatures to an envelope. Signers who have signed it before are skipped; what
// only claims to be their signature is replaced.
func Add(ctx context.Context, envelope []byte, maxSize int, signers ...*Signer) ([]byte, error) {
	e, payload, err := open(envelope, maxSize)
	if err != nil {
		return nil, err
	}
	signed := dsse.PAE(e.PayloadType, payload)
	for _, s := range signers {
		own := func(have dsse.Signature) bool { return have.KeyID == s.ID() }
		if i := slices.IndexFunc(e.Signatures, own); i >= 0 {
			if sig, err := strictBase64(e.Signatures[i].Sig); err == nil && s.Verify(ctx, signed, sig) == nil {
				continue
			}
			e.Signatures = slices.DeleteFunc(e.Signatures, own)
		}
		sig, err := s.Sign(ctx, signed)
		if err != nil {
			return nil, fmt.Errorf("signing: %w", err)
		}
		e.Signatures = append(e.Signatures, dsse.Signature{KeyID: s.ID(), Sig: base64.StdEncoding.EncodeToString(sig)})
	}
	return json.Marshal(e)
}

// Resign signs a payload as Sign does. If before is an envelope of the very same payload,
// its signatures are kept, so that those who hold the keys can sign one after the other.
func Resign(ctx context.Context, before []byte, maxSize int, payloadType string, payload []byte, signers ...*Signer) ([]byte, error) {
	if e, had, err := open(before, maxSize); err == nil && e.PayloadType == payloadType && bytes.Equal(had, payload) {
		return Add(ctx, before, maxSize, signers...)
	}
	return Sign(ctx, payloadType, payload, signers...)
}
