// Package passkeytest is, for tests, a device that makes passkeys and signs in by them (WebAuthn),
// with the browser around it, which it does not keep from asking for what a browser would refuse.
package passkeytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"

	"github.com/go-webauthn/webauthn/protocol/webauthncbor"
)

// Flags of what a device says (WebAuthn, section 6.1).
const (
	present  = 1 << 0
	verified = 1 << 2
	copied   = 1<<3 | 1<<4 // may be copied to other devices, and is
	attested = 1 << 6
)

// Device holds one passkey.
type Device struct {
	Blind   bool   // it does not find out who uses it
	Copied  bool   // its passkey is on other devices, too
	Counter uint32 // of signatures; stays 0 where Copied
	Framed  bool   // the page that asks is within another one's

	ID   []byte // of the passkey
	Key  *ecdsa.PrivateKey
	user []byte
}

// New gives a device without a passkey.
func New() *Device { return &Device{} }

type options struct {
	Challenge string
	RPID      string
	RP        struct{ ID string }
	User      struct{ ID string }
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// Make makes a passkey, for a page of an origin that asks for it with the options of a node, and
// gives the browser's answer.
func (d *Device) Make(asked []byte, origin string) (answer string, err error) {
	var o options
	if err := json.Unmarshal(asked, &o); err != nil {
		return "", err
	}
	if d.Key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return "", err
	}
	if d.user, err = base64.RawURLEncoding.DecodeString(o.User.ID); err != nil {
		return "", err
	}
	d.ID = make([]byte, 16)
	rand.Read(d.ID)
	point, err := d.Key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		return "", err
	}
	key, err := webauthncbor.Marshal(map[int]any{1: 2, 3: -7, -1: 1, -2: point[1:33], -3: point[33:]}) // ES256, RFC 9053
	if err != nil {
		return "", err
	}
	data := d.data(o.RP.ID, attested)
	data = append(data, make([]byte, 16)...) // of no model
	data = binary.BigEndian.AppendUint16(data, uint16(len(d.ID)))
	data = append(append(data, d.ID...), key...)
	object, err := webauthncbor.Marshal(map[string]any{"fmt": "none", "attStmt": map[string]any{}, "authData": data})
	if err != nil {
		return "", err
	}
	return d.answer(map[string]string{"clientDataJSON": b64(d.client("webauthn.create", o.Challenge, origin)), "attestationObject": b64(object)})
}

// Sign signs in by the passkey, for a page of an origin that asks for it with the options of a node,
// and gives the browser's answer.
func (d *Device) Sign(asked []byte, origin string) (answer string, err error) {
	var o options
	if err := json.Unmarshal(asked, &o); err != nil {
		return "", err
	}
	if d.Key == nil {
		return "", errors.New("the device has no passkey")
	}
	if !d.Copied {
		d.Counter++
	}
	data, client := d.data(o.RPID, 0), d.client("webauthn.get", o.Challenge, origin)
	of := sha256.Sum256(client)
	sum := sha256.Sum256(append(data[:len(data):len(data)], of[:]...))
	signature, err := ecdsa.SignASN1(rand.Reader, d.Key, sum[:])
	if err != nil {
		return "", err
	}
	return d.answer(map[string]string{"clientDataJSON": b64(client), "authenticatorData": b64(data), "signature": b64(signature), "userHandle": b64(d.user)})
}

func (d *Device) data(host string, flags byte) []byte {
	flags |= present
	if !d.Blind {
		flags |= verified
	}
	if d.Copied {
		flags |= copied
	}
	of := sha256.Sum256([]byte(host))
	return binary.BigEndian.AppendUint32(append(of[:], flags), d.Counter)
}

func (d *Device) client(kind, challenge, origin string) []byte {
	b, _ := json.Marshal(map[string]any{"type": kind, "challenge": challenge, "origin": origin, "crossOrigin": d.Framed})
	return b
}

func (d *Device) answer(response map[string]string) (string, error) {
	b, err := json.Marshal(map[string]any{"id": b64(d.ID), "rawId": b64(d.ID), "type": "public-key", "response": response, "clientExtensionResults": map[string]any{}})
	return string(b), err
}
