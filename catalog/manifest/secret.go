package manifest

import (
	"cmp"
	"slices"
)

// The forms of generated secrets.
const (
	FormHex     = "hex"     // lower case, two digits for a byte
	FormBase64  = "base64"  // the standard alphabet, padded (RFC 4648, section 4)
	FormUUID    = "uuid"    // random, version 4, lower case (RFC 9562)
	FormEd25519 = "ed25519" // a private key, PKCS #8 in PEM (RFC 8410)
	FormRSA     = "rsa"     // a private key of 3072 bits, PKCS #8 in PEM (RFC 5958)
)

// Derivation makes a secret of another generated one, which is not derived itself.
type Derivation struct {
	From string `json:"from"`
	As   string `json:"as"`
}

// What can be derived.
const (
	AsPublicKey   = "public_key"  // of a key: SubjectPublicKeyInfo in PEM (RFC 5280, section 4.1.2.7)
	AsCertificate = "certificate" // of a key: X.509 in PEM, signed by itself, for localhost and the containers' names
	AsBcrypt      = "bcrypt"      // of a password of at most 72 bytes: "$2a$10$…"
	AsArgon2id    = "argon2id"    // of a password: "$argon2id$v=19$m=…" (RFC 9106)
)

// secretSize is the number of characters, or of bytes, of a secret of which nothing is said.
const secretSize = 32

// Key tells whether the secret is a private key.
func (g GeneratedSecret) Key() bool { return g.Form == FormEd25519 || g.Form == FormRSA }

// Repeatable tells whether the secret can be made again, the same, while what it is made of
// is there.
func (g GeneratedSecret) Repeatable() bool {
	return g.Derive != nil && (g.Derive.As == AsPublicKey || g.Derive.As == AsCertificate)
}

// PEM tells whether the secret is several lines.
func (g GeneratedSecret) PEM() bool { return g.Key() || g.Repeatable() }

// length is that of the secret in bytes; of a key it does not matter.
func (g GeneratedSecret) length() int {
	switch g.Form {
	case FormHex:
		return 2 * cmp.Or(g.Bytes, secretSize)
	case FormBase64:
		return (cmp.Or(g.Bytes, secretSize) + 2) / 3 * 4
	case FormUUID:
		return 36
	}
	return cmp.Or(g.Length, secretSize)
}

func (d *document) checkSecrets(m *Manifest) map[string]bool {
	seen := map[string]bool{}
	for i, s := range m.Secrets {
		if seen[s.Name] {
			d.report(at("generated_secrets", i, "name"), false, "a secret named %q is already declared", s.Name)
		}
		seen[s.Name] = true
		if s.Length > 0 && s.Form != "" {
			d.report(at("generated_secrets", i, "length"), false, "a secret of form %s has no length in characters", s.Form)
		}
		if s.Bytes > 0 && s.Form != FormHex && s.Form != FormBase64 {
			d.report(at("generated_secrets", i, "bytes"), false, "only the forms hex and base64 stand for bytes")
		}
		if s.Derive != nil {
			d.checkDerived(m, i, s)
		}
	}
	return seen
}

// maxBcrypt is how much of a password bcrypt takes, in bytes.
const maxBcrypt = 72

func (d *document) checkDerived(m *Manifest, i int, s GeneratedSecret) {
	if s.Form != "" || s.Length > 0 {
		d.report(at("generated_secrets", i, "derive"), false, "a secret that is derived has no form and no length of its own")
	}
	j := slices.IndexFunc(m.Secrets, func(g GeneratedSecret) bool { return g.Name == s.Derive.From })
	from, as := at("generated_secrets", i, "derive", "from"), at("generated_secrets", i, "derive", "as")
	switch {
	case j < 0:
		d.report(from, false, "no generated secret is named %q", s.Derive.From)
	case m.Secrets[j].Derive != nil:
		d.report(from, false, "%q is derived itself", s.Derive.From)
	case s.PEM() && !m.Secrets[j].Key():
		d.report(as, false, "a %s is made of a key: %q needs form: ed25519 or rsa", s.Derive.As, s.Derive.From)
	case !s.PEM() && m.Secrets[j].Key():
		d.report(as, false, "%s is made of a password, and %q is a key", s.Derive.As, s.Derive.From)
	case s.Derive.As == AsBcrypt && m.Secrets[j].length() > maxBcrypt:
		d.report(as, false, "bcrypt takes %d bytes of a password at most, and %q has %d", maxBcrypt, s.Derive.From, m.Secrets[j].length())
	}
}
