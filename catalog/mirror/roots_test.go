package mirror

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/root"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
)

func newKey(t *testing.T) *sign.Signer {
	t.Helper()
	k, err := sign.NewSigner("key")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func rootOf(t *testing.T, version int64, of *sign.Signer, by ...*sign.Signer) []byte {
	t.Helper()
	role := root.Role{Keys: []sign.PublicKey{of.PublicKey}, Threshold: 1}
	b, err := root.Sign(root.Policy{Version: version, Expires: now.AddDate(10, 0, 0), Root: role, Catalog: role}, by...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestTheNewestRootOfTheMirrorCounts: a key that it has removed cannot publish by naming
// an older one.
func TestTheNewestRootOfTheMirrorCounts(t *testing.T) {
	a, b := newKey(t), newKey(t)
	one, two, three := rootOf(t, 1, a, a), rootOf(t, 2, b, a, b), rootOf(t, 3, b, b)
	strange := newKey(t)
	cosigned, err := root.Add(two, strange)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		there  map[int64][]byte
		given  [][]byte
		newest int64
		want   int // of the chain
		why    string
	}{
		"an empty mirror":          {nil, [][]byte{one}, 1, 1, ""},
		"the same":                 {map[int64][]byte{1: one}, [][]byte{one}, 1, 1, ""},
		"the mirror is ahead":      {map[int64][]byte{1: one, 2: two, 3: three}, [][]byte{one}, 1, 3, ""},
		"the publisher is ahead":   {map[int64][]byte{1: one}, [][]byte{one, two}, 2, 2, ""},
		"a chain that begins late": {map[int64][]byte{2: two, 3: three}, [][]byte{two}, 2, 2, ""},
		"signed by one more":       {map[int64][]byte{1: one, 2: cosigned}, [][]byte{one, two}, 2, 2, ""},
		"another root":             {map[int64][]byte{1: rootOf(t, 1, b, b)}, [][]byte{one}, 1, 0, "root/1.json is another root"},
		"a stranger's successor":   {map[int64][]byte{1: one, 2: rootOf(t, 2, strange, strange)}, [][]byte{one}, 1, 0, "root/2.json does not succeed"},
		"damaged":                  {map[int64][]byte{1: one, 2: two[:40]}, [][]byte{one}, 1, 0, "put back the one that was published"},
		"one is missing":           {map[int64][]byte{1: one, 3: three}, [][]byte{one}, 1, 0, "root/2.json before it is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for v, body := range c.there {
				file := filepath.Join(dir, Root(v))
				if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, body, 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			chain, err := Roots(dir, c.given, c.newest)
			if c.why != "" {
				if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), c.why) {
					t.Errorf("%v, expected one that names %q", err, c.why)
				}
				return
			}
			if err != nil || len(chain) != c.want {
				t.Errorf("%d documents, %v", len(chain), err)
			}
		})
	}
}

// TestADamagedMirrorIsNotPublishedTo: what nobody can read may be newer than what is to be
// published.
func TestADamagedMirrorIsNotPublishedTo(t *testing.T) {
	key := newKey(t)
	roots := Chain{Documents: [][]byte{[]byte("one")}, Newest: 1}
	for _, damage := range []string{"", "{", "<html>404</html>"} {
		dir := t.TempDir()
		if _, err := Publish(dir, roots, signed(t, key, "beta", 7, time.Hour)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "beta.json"), []byte(damage), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := Publish(dir, roots, signed(t, key, "beta", 6, time.Hour))
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "beta.json cannot be read") || !strings.Contains(err.Error(), "put back the last one") {
			t.Errorf("%q: %v", damage, err)
		}
		if b, _ := os.ReadFile(filepath.Join(dir, "beta.json")); string(b) != damage {
			t.Errorf("%q was overwritten", damage)
		}
	}
}

func TestARevocationStaysPublished(t *testing.T) {
	key := newKey(t)
	withdrawn := func(serial int64, versions ...string) Signed {
		t.Helper()
		d := document.Next(nil, "beta", now, time.Hour)
		d.Serial = serial
		for _, v := range versions {
			if err := d.Revoke(document.Revocation{ID: "feeds", Version: v, Reason: "it leaks", Since: now}); err != nil {
				t.Fatal(err)
			}
		}
		envelope, err := document.Sign(t.Context(), d, key)
		if err != nil {
			t.Fatal(err)
		}
		if d, err = document.Peek(envelope); err != nil {
			t.Fatal(err)
		}
		return Signed{Name: "beta.json", Document: d, Envelope: envelope}
	}
	dir := t.TempDir()
	roots := Chain{Documents: [][]byte{[]byte("one")}, Newest: 1}
	if _, err := Publish(dir, roots, withdrawn(1, "1")); err != nil {
		t.Fatal(err)
	}
	if _, err := Publish(dir, roots, withdrawn(2, "2")); !errors.Is(err, document.ErrRollback) || !strings.Contains(err.Error(), "feeds 1 was revoked") {
		t.Error(err)
	}
	if _, err := Publish(dir, roots, withdrawn(2, "1", "2")); err != nil {
		t.Error(err)
	}
}
