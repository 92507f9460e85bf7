package root

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/sign"
)

var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func signers(t testing.TB, n int) (out []*sign.Signer) {
	t.Helper()
	for i := range n {
		s, err := sign.NewSigner(fmt.Sprint("key ", i))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

func role(threshold int, of ...*sign.Signer) Role {
	r := Role{Threshold: threshold}
	for _, s := range of {
		r.Keys = append(r.Keys, s.PublicKey)
	}
	return r
}

func mustSign(t testing.TB, p Policy, by ...*sign.Signer) []byte {
	t.Helper()
	b, err := Sign(p, by...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRotation(t *testing.T) {
	k := signers(t, 5)
	policy := func(version int64, root, catalog Role) Policy {
		return Policy{Version: version, Expires: now.AddDate(1, 0, 0), Root: root, Catalog: catalog}
	}
	first := mustSign(t, policy(1, role(2, k[0], k[1], k[2]), role(1, k[3])), k[0], k[1])
	next := policy(2, role(2, k[1], k[2], k[4]), role(1, k[4]))
	for name, c := range map[string]struct {
		chain [][]byte
		at    time.Time
		want  string
	}{
		"the first":                          {chain: [][]byte{first}},
		"a successor by old and new":         {chain: [][]byte{first, mustSign(t, next, k[1], k[2])}},
		"one key below the old threshold":    {[][]byte{first, mustSign(t, next, k[1], k[4])}, now, "root document 2 of 2"},
		"one key below the new threshold":    {[][]byte{first, mustSign(t, next, k[0], k[1])}, now, "root document 2 of 2"},
		"the same key twice":                 {[][]byte{first, mustSign(t, next, k[1], k[1])}, now, "root document 2 of 2"},
		"a first that has not its threshold": {[][]byte{mustSign(t, policy(1, role(2, k[0], k[1]), role(1, k[3])), k[0])}, now, "root document 1 of 1"},
		"a version left out":                 {[][]byte{first, mustSign(t, policy(3, next.Root, next.Catalog), k[1], k[2])}, now, "bad version number"},
		"the same version again":             {[][]byte{first, first}, now, "bad version number"},
		"expired":                            {[][]byte{first}, now.AddDate(2, 0, 0), "version 1 expired on 2027-06-01"},
		"a stranger's":                       {[][]byte{first, mustSign(t, policy(2, role(1, k[4]), role(1, k[4])), k[4])}, now, "root document 2 of 2"},
		"something after it":                 {[][]byte{append(bytes.Clone(first), '{', '}')}, now, "after top-level value"},
		"a name twice":                       {[][]byte{bytes.Replace(first, []byte(`"_type"`), []byte(`"version":9,"_type"`), 1)}, now, "duplicate object member name"},
		"not JSON":                           {[][]byte{[]byte("root")}, now, "malformed"},
		"too large":                          {[][]byte{bytes.Repeat([]byte(" "), MaxSize+1)}, now, "limit"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.at.IsZero() {
				c.at = now
			}
			p, err := Verify(c.at, c.chain[0], c.chain[1:]...)
			if c.want != "" {
				if !errors.Is(err, ErrRoot) || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("%v, expected one that names %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if p.Version != int64(len(c.chain)) || p.Root.Threshold != 2 || len(p.Root.Keys) != 3 || len(p.Catalog.Keys) != 1 {
				t.Fatalf("%+v", p)
			}
		})
	}
	// A node that was off while the first expired finds its way to the second.
	old := mustSign(t, Policy{Version: 1, Expires: now.AddDate(0, 0, -1), Root: role(2, k[0], k[1], k[2]), Catalog: role(1, k[3])}, k[0], k[1])
	p, err := Verify(now, old, mustSign(t, next, k[1], k[2]))
	if err != nil || p.Catalog.Keys[0].ID() != k[4].ID() {
		t.Fatal(p, err)
	}
	if _, err := Sign(Policy{Version: 1, Expires: now, Root: role(2, k[0]), Catalog: role(1, k[0])}, k[0]); !errors.Is(err, ErrRoot) {
		t.Fatal("a threshold that cannot be met was signed:", err)
	}
}

func TestEveryFlippedBitOfARootIsFound(t *testing.T) {
	k := signers(t, 2)
	b := mustSign(t, Policy{Version: 1, Expires: now.AddDate(1, 0, 0), Root: role(2, k...), Catalog: role(1, k[0])}, k...)
	for i := range b {
		for bit := range 8 {
			c := bytes.Clone(b)
			c[i] ^= 1 << bit
			// The same JSON written otherwise, such as a hex digit in capitals, says the same.
			if p, err := Verify(now, c); err == nil && !bytes.EqualFold(c, b) {
				t.Fatalf("byte %d, bit %d: %q became %q: %+v", i, bit, b[i], c[i], p)
			}
		}
	}
}

func FuzzVerify(f *testing.F) {
	k := signers(f, 1)
	f.Add(mustSign(f, Policy{Version: 1, Expires: now.AddDate(1, 0, 0), Root: role(1, k...), Catalog: role(1, k...), Gate: role(1, k...)}, k...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := Verify(now, b); err == nil && (p.Root.Threshold < 1 || len(p.Root.Keys) < p.Root.Threshold) {
			t.Fatalf("%+v", p)
		}
	})
}

func TestTheRoleOfGates(t *testing.T) {
	k := signers(t, 4)
	before := mustSign(t, Policy{Version: 1, Expires: now.AddDate(1, 0, 0), Root: role(1, k[0]), Catalog: role(1, k[1])}, k[0])
	p, err := Verify(now, before)
	if err != nil || len(p.Gate.Keys) != 0 {
		t.Fatal("a root from before gates had a role:", p, err)
	}
	p.Version, p.Gate = 2, role(2, k[2], k[3])
	p, err = Verify(now, before, mustSign(t, *p, k[0]))
	if err != nil || p.Gate.Threshold != 2 || len(p.Gate.Keys) != 2 || p.Gate.Keys[1].ID() != k[3].ID() || len(p.Catalog.Keys) != 1 {
		t.Fatalf("%+v, %v", p, err)
	}
	if _, err := Sign(Policy{Version: 1, Expires: now, Root: role(1, k[0]), Catalog: role(1, k[0]), Gate: role(3, k[2], k[3])}, k[0]); !errors.Is(err, ErrRoot) {
		t.Error("a threshold of gates that cannot be met was signed:", err)
	}
}

// TestSignaturesAreAdded: those who hold the keys sign one after the other, and may do so
// again.
func TestSignaturesAreAdded(t *testing.T) {
	k := signers(t, 2)
	b := mustSign(t, Policy{Version: 1, Expires: now.AddDate(1, 0, 0), Root: role(2, k...), Catalog: role(1, k[0])}, k[0])
	if _, err := Verify(now, b); !errors.Is(err, ErrRoot) {
		t.Fatal("one key of two:", err)
	}
	for _, s := range []*sign.Signer{k[1], k[1], k[0]} {
		var err error
		if b, err = Add(b, s); err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(now, b); err != nil {
			t.Error(err)
		}
	}
}
