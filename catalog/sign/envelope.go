package sign

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// ErrUntrusted is wrapped where a document is not signed as it must be.
var ErrUntrusted = errors.New("not trusted")

// ErrMalformed is wrapped where JSON is not exactly one well-formed document.
var ErrMalformed = errors.New("malformed")

// MaxDepth is how deep a document may nest.
const MaxDepth = 64

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

// Verify gives an envelope's payload where at least threshold different ones of the
// keys have signed exactly it as payloadType. Nothing of the payload is read before.
func Verify(ctx context.Context, envelope []byte, maxSize int, payloadType string, keys []PublicKey, threshold int) ([]byte, error) {
	if threshold < 1 {
		return nil, fmt.Errorf("%w: a threshold of %d", ErrUntrusted, threshold)
	}
	var e dsse.Envelope
	if err := Decode(envelope, maxSize, &e); err != nil {
		return nil, err
	}
	if e.PayloadType != payloadType {
		return nil, fmt.Errorf("%w: it is %q, expected %q", ErrUntrusted, e.PayloadType, payloadType)
	}
	// One encoding of each part: the library would take two.
	for _, s := range append([]string{e.Payload}, signatures(e)...) {
		if b, err := base64.StdEncoding.Strict().DecodeString(s); err != nil || base64.StdEncoding.EncodeToString(b) != s {
			return nil, fmt.Errorf("%w: not base64: %.20q", ErrMalformed, s)
		}
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
	if _, err := v.Verify(ctx, &e); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	return e.DecodeB64Payload()
}

func signatures(e dsse.Envelope) (out []string) {
	for _, s := range e.Signatures {
		out = append(out, s.Sig)
	}
	return out
}

// Decode reads exactly one JSON document into v: within the size, in UTF-8, no
// deeper than MaxDepth, every name of an object once and written as v's fields are,
// no unknown field, nothing after it. (encoding/json would take "Payload" for
// "payload", so that two readers could see two documents.)
func Decode(b []byte, maxSize int, v any) error {
	if len(b) > maxSize {
		return fmt.Errorf("%w: %d bytes; the limit is %d", ErrMalformed, len(b), maxSize)
	}
	if !utf8.Valid(b) {
		return fmt.Errorf("%w: not UTF-8", ErrMalformed)
	}
	fields := map[string]bool{}
	names(reflect.TypeOf(v), fields, map[reflect.Type]bool{})
	if err := scan(json.NewDecoder(bytes.NewReader(b)), fields); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

// scan walks one document and finds what encoding/json lets pass.
func scan(dec *json.Decoder, fields map[string]bool) error {
	type level struct {
		object bool
		names  map[string]bool
		value  bool // in an object: a value is next
	}
	var stack []level
	for {
		t, err := dec.Token()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		top := len(stack) - 1
		if d, ok := t.(json.Delim); ok {
			switch d {
			case '{', '[':
				if len(stack) == MaxDepth {
					return fmt.Errorf("%w: nested deeper than %d", ErrMalformed, MaxDepth)
				}
				if top >= 0 {
					stack[top].value = false
				}
				stack = append(stack, level{object: d == '{', names: map[string]bool{}})
				continue
			default:
				stack = stack[:top]
			}
		} else if top >= 0 && stack[top].object {
			if name, ok := t.(string); ok && !stack[top].value {
				if stack[top].names[name] {
					return fmt.Errorf("%w: the name %.60q stands twice in an object", ErrMalformed, name)
				}
				for f := range fields {
					if f != name && strings.EqualFold(f, name) {
						return fmt.Errorf("%w: %.60q is not how %q is written", ErrMalformed, name, f)
					}
				}
				stack[top].names[name], stack[top].value = true, true
				continue
			}
			stack[top].value = false
		}
		if len(stack) == 0 {
			if _, err := dec.Token(); !errors.Is(err, io.EOF) {
				return fmt.Errorf("%w: something follows the document", ErrMalformed)
			}
			return nil
		}
	}
}

// names collects the JSON names of the fields of a type and of all it is made of.
func names(t reflect.Type, fields map[string]bool, seen map[reflect.Type]bool) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Array || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || seen[t] {
		return
	}
	seen[t] = true
	for f := range t.Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			fields[name] = true
		}
		names(f.Type, fields, seen)
	}
}
