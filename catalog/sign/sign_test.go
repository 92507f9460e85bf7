package sign

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"golang.org/x/crypto/ssh/agent"
)

const (
	kind = "application/vnd.archipelago.test+json"
	size = 1 << 20
)

func signer(t testing.TB) *Signer {
	t.Helper()
	s, err := NewSigner("test")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestPublicVectors: RFC 8032, section 7.1, tests 1 to 3; DSSE's protocol.md.
func TestPublicVectors(t *testing.T) {
	for _, v := range []struct{ seed, public, message, signature string }{
		{"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
			"e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"},
		{"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb", "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
			"92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"},
		{"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7", "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
			"6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"},
	} {
		seed, _ := hex.DecodeString(v.seed)
		message, _ := hex.DecodeString(v.message)
		private := ed25519.NewKeyFromSeed(seed)
		s := &Signer{PublicKey: PublicKey{private.Public().(ed25519.PublicKey), ""}, private: private}
		if got := hex.EncodeToString(s.key); got != v.public {
			t.Errorf("public key %s, expected %s", got, v.public)
		}
		sig, err := s.Sign(t.Context(), message)
		if err != nil || hex.EncodeToString(sig) != v.signature {
			t.Errorf("signature %x, %v", sig, err)
		}
		if err := s.Verify(t.Context(), message, sig); err != nil {
			t.Error(err)
		}
	}
	if got := string(dsse.PAE("http://example.com/HelloWorld", []byte("hello world"))); got != "DSSEv1 29 http://example.com/HelloWorld 11 hello world" {
		t.Errorf("pre-authentication encoding %q", got)
	}
}

func TestEnvelope(t *testing.T) {
	a, b, c := signer(t), signer(t), signer(t)
	payload := []byte(`{"serial":7}`)
	envelope := func(signers ...*Signer) []byte {
		e, err := Sign(t.Context(), kind, payload, signers...)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	twice := func() []byte { // one key that signs twice
		var e dsse.Envelope
		if err := json.Unmarshal(envelope(a), &e); err != nil {
			t.Fatal(err)
		}
		e.Signatures = append(e.Signatures, e.Signatures[0])
		out, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	keys := func(signers ...*Signer) (out []PublicKey) {
		for _, s := range signers {
			out = append(out, s.PublicKey)
		}
		return out
	}
	for _, x := range []struct {
		name      string
		envelope  []byte
		keys      []PublicKey
		threshold int
		ok        bool
	}{
		{"one of one", envelope(a), keys(a), 1, true},
		{"two of three", envelope(a, b), keys(a, b, c), 2, true},
		{"one of three, two needed", envelope(a), keys(a, b, c), 2, false},
		{"one that signs twice, two needed", twice(), keys(a, b, c), 2, false},
		{"the same key trusted twice, two needed", envelope(a), keys(a, a), 2, false},
		{"a key removed by rotation", envelope(c), keys(a, b), 1, false},
		{"nobody is trusted", envelope(a), nil, 1, false},
		{"a threshold of none", envelope(a), keys(a), 0, false},
	} {
		got, err := Verify(t.Context(), x.envelope, size, kind, x.keys, x.threshold)
		if (err == nil) != x.ok || x.ok && !bytes.Equal(got, payload) || !x.ok && !errors.Is(err, ErrUntrusted) {
			t.Errorf("%s: %q, %v", x.name, got, err)
		}
	}
	if _, err := Verify(t.Context(), envelope(a), size, "another/type", keys(a), 1); !errors.Is(err, ErrUntrusted) {
		t.Errorf("another type: %v", err)
	}
}

// TestEveryFlippedBitIsFound flips each bit of an envelope, one at a time.
func TestEveryFlippedBitIsFound(t *testing.T) {
	s := signer(t)
	payload := []byte(`{"serial":7,"apps":["feeds"]}`)
	e, err := Sign(t.Context(), kind, payload, s)
	if err != nil {
		t.Fatal(err)
	}
	keyid := bytes.Index(e, []byte(s.ID()))
	for i := range e {
		for bit := range 8 {
			bad := bytes.Clone(e)
			bad[i] ^= 1 << bit
			got, err := Verify(t.Context(), bad, size, kind, []PublicKey{s.PublicKey}, 1)
			if err == nil && !(bytes.Equal(got, payload) && i >= keyid && i < keyid+len(s.ID())) {
				t.Fatalf("bit %d of byte %d (%q): %q passed", bit, i, e[max(0, i-10):min(len(e), i+10)], got)
			}
		}
	}
}

func TestMalformedDocuments(t *testing.T) {
	for name, doc := range map[string]string{
		"twice the same name":              `{"payload": "a", "payload": "b"}`,
		"twice, in another object":         `{"signatures": [{"keyid": "a", "keyid": "b"}]}`,
		"twice, written differently":       `{"payload": "a", "p\u0061yload": "b"}`,
		"another case":                     `{"Payload": "a"}`,
		"another case of a letter":         `{"ſignatures": []}`,
		"something after it":               `{} {}`,
		"garbage after it":                 `{}x`,
		"cut off":                          `{"payload": `,
		"nothing":                          ``,
		"deep":                             strings.Repeat(`{"payload":`, 100000),
		"deep lists":                       strings.Repeat(`[`, 100000),
		"not UTF-8":                        "{\"payload\": \"\xff\"}",
		"unknown field":                    `{"payload": "", "extra": 1}`,
		"too large":                        `{"payload": "` + strings.Repeat("a", 100<<20) + `"}`,
		"a list where an object should be": `[]`,
	} {
		t.Run(name, func(t *testing.T) {
			var e dsse.Envelope
			if err := Decode([]byte(doc), size, &e); !errors.Is(err, ErrMalformed) {
				t.Errorf("%v", err)
			}
		})
	}
	var e dsse.Envelope
	if err := Decode([]byte(` {"payload": "", "payloadType": "x", "signatures": [{"keyid": "a", "sig": ""}, {"keyid": "a", "sig": ""}]} `), size, &e); err != nil {
		t.Errorf("a good one: %v", err)
	}
}

func TestKeysAreSealed(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	s := signer(t)
	sealed, err := s.Seal(id.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, s.private.Seed()) {
		t.Error("the seed is in the file")
	}
	again, err := OpenSigner(sealed, id)
	if err != nil || again.String() != s.String() || !again.private.Equal(s.private) {
		t.Errorf("%v, %v", again, err)
	}
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenSigner(sealed, other); !errors.Is(err, ErrKey) {
		t.Errorf("another identity: %v", err)
	}
	p, err := ParsePublicKey(s.String())
	if err != nil || p.ID() != s.ID() || p.Comment != "test" {
		t.Errorf("%v, %v", p, err)
	}
	for _, bad := range []string{"", "ssh-ed25519 AAAA", keyType, keyType + " ====", keyType + " AAAA"} {
		if _, err := ParsePublicKey(bad); !errors.Is(err, ErrKey) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestAnAgentSigns(t *testing.T) {
	ring := agent.NewKeyring()
	for _, comment := range []string{"one", "two"} {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if err := ring.Add(agent.AddedKey{PrivateKey: private, Comment: comment}); err != nil {
			t.Fatal(err)
		}
	}
	s, err := AgentSigner(ring, "two")
	if err != nil {
		t.Fatal(err)
	}
	e, err := Sign(t.Context(), kind, []byte("{}"), s)
	if err != nil {
		t.Fatal(err)
	}
	held, _ := ring.List()
	trusted, err := ParsePublicKey(held[1].String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(t.Context(), e, size, kind, []PublicKey{trusted}, 1); err != nil {
		t.Error(err)
	}
	other, err := ParsePublicKey(held[0].String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(t.Context(), e, size, kind, []PublicKey{other}, 1); !errors.Is(err, ErrUntrusted) {
		t.Error(err)
	}
	for _, name := range []string{"", "three"} {
		if _, err := AgentSigner(ring, name); !errors.Is(err, ErrKey) || !strings.Contains(err.Error(), "one") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	s := signer(f)
	e, err := Sign(f.Context(), kind, []byte(`{"a":1}`), s)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(e)
	f.Add([]byte(`{"payloadType":"` + kind + `","payload":"","signatures":[]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := Verify(t.Context(), b, size, kind, []PublicKey{s.PublicKey}, 1)
		if err == nil && string(got) != `{"a":1}` {
			t.Fatalf("%q passed", got)
		}
	})
}

// TestSignaturesAreKept: a payload that is signed again keeps the signatures of others, and
// another payload takes none of them over.
func TestSignaturesAreKept(t *testing.T) {
	ctx := t.Context()
	a, errA := NewSigner("a")
	b, errB := NewSigner("b")
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	both := []PublicKey{a.PublicKey, b.PublicKey}
	first, err := Resign(ctx, nil, 1<<20, "text/plain", []byte("one"), a)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Resign(ctx, first, 1<<20, "text/plain", []byte("one"), b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(ctx, second, 1<<20, "text/plain", both, 2); err != nil {
		t.Error("one after the other:", err)
	}
	for name, envelope := range map[string]func() ([]byte, error){
		"another payload": func() ([]byte, error) { return Resign(ctx, first, 1<<20, "text/plain", []byte("two"), b) },
		"another type":    func() ([]byte, error) { return Resign(ctx, first, 1<<20, "text/html", []byte("one"), b) },
		"damaged":         func() ([]byte, error) { return Resign(ctx, first[1:], 1<<20, "text/plain", []byte("one"), b) },
	} {
		e, err := envelope()
		if err != nil || strings.Count(string(e), "keyid") != 1 {
			t.Errorf("%s: %s, %v", name, e, err)
		}
	}
	// Whoever claims to be another does not keep that one from signing.
	claimed := bytes.Replace(first, []byte(a.ID()), []byte(b.ID()), 1)
	if claimed, err = Add(ctx, claimed, 1<<20, b); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(ctx, claimed, 1<<20, "text/plain", both[1:], 1); err != nil {
		t.Error(err)
	}
}
