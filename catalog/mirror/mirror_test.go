package mirror

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
)

var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func signed(t *testing.T, key *sign.Signer, channel string, serial int64, life time.Duration) Signed {
	t.Helper()
	d := document.Next(nil, channel, now, life)
	d.Serial = serial
	envelope, err := document.Sign(t.Context(), d, key)
	if err != nil {
		t.Fatal(err)
	}
	if d, err = document.Peek(envelope); err != nil {
		t.Fatal(err)
	}
	return Signed{Name: channel + ".new.json", Document: d, Envelope: envelope}
}

// tree reads all files of a mirror.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		rel, relErr := filepath.Rel(dir, p)
		out[rel] = string(b)
		return errors.Join(err, relErr)
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTheLayoutIsAContract(t *testing.T) {
	// Nodes in the field ask for these; they cannot change.
	if Root(1) != "root/1.json" || Root(12) != "root/12.json" || Catalog("beta") != "beta.json" || Channel("/srv/mirror/beta.json") != "beta" || Picture("sha256:"+strings.Repeat("0", 64)) != "pictures/"+strings.Repeat("0", 64) {
		t.Error(Root(1), Root(12), Catalog("beta"), Channel("/srv/mirror/beta.json"))
	}
}

func TestPublish(t *testing.T) {
	key, err := sign.NewSigner("release")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "mirror")
	beta, user := signed(t, key, "beta", 7, time.Hour), signed(t, key, "user", 3, time.Hour)
	// The chain need not begin with the first root: two documents, the newest is 5.
	roots := Chain{Documents: [][]byte{[]byte("four"), []byte("five")}, Newest: 5}
	files, err := Publish(dir, roots, beta, user)
	if err != nil || strings.Join(files, " ") != filepath.Join(dir, "beta.json")+" "+filepath.Join(dir, "user.json") {
		t.Fatal(files, err)
	}
	got := tree(t, dir)
	want := map[string]string{"root/4.json": "four", "root/5.json": "five", "beta.json": string(beta.Envelope), "user.json": string(user.Envelope)}
	if len(got) != len(want) {
		t.Errorf("%d files: %v", len(got), got)
	}
	for name, body := range want {
		if got[name] != body {
			t.Errorf("%s is %q", name, got[name])
		}
	}

	for name, c := range map[string]struct {
		catalogs []Signed
		err      error
	}{
		"the same again":               {[]Signed{beta}, nil},
		"the same, signed by another":  {[]Signed{{Name: beta.Name, Document: beta.Document, Envelope: []byte("other signatures")}}, nil},
		"a newer one":                  {[]Signed{signed(t, key, "beta", 8, time.Hour)}, nil},
		"an older one":                 {[]Signed{signed(t, key, "beta", 6, time.Hour)}, document.ErrRollback},
		"another one of that serial":   {[]Signed{signed(t, key, "beta", 7, time.Minute)}, document.ErrRollback},
		"two of one channel":           {[]Signed{signed(t, key, "beta", 8, time.Hour), signed(t, key, "beta", 9, time.Hour)}, ErrDuplicate},
		"a good one beside an old one": {[]Signed{signed(t, key, "user", 4, time.Hour), signed(t, key, "beta", 6, time.Hour)}, document.ErrRollback},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := Publish(dir, roots, beta, user); err != nil {
				t.Fatal(err)
			}
			before := tree(t, dir)
			_, err := Publish(dir, Chain{Documents: [][]byte{[]byte("six")}, Newest: 6}, c.catalogs...)
			if !errors.Is(err, c.err) {
				t.Fatalf("%v, expected %v", err, c.err)
			}
			after := tree(t, dir)
			if c.err == nil {
				if last := c.catalogs[0]; after[Catalog(last.Document.Channel)] != string(last.Envelope) || after["root/6.json"] != "six" {
					t.Errorf("%v", after)
				}
				return
			}
			if len(after) != len(before) || after["beta.json"] != before["beta.json"] || after["user.json"] != before["user.json"] {
				t.Errorf("a refused catalog changed the mirror: %v", after)
			}
		})
	}
}

func TestACatalogWithARequirementCycleIsNotPublished(t *testing.T) {
	d := document.Next(nil, "beta", now, time.Hour)
	for id, other := range map[string]string{"a": "b", "b": "a"} {
		if err := d.Put(document.Entry{ID: id, Version: "1", Manifest: []byte(`{"requires":[{"app":"` + other + `"}]}`)}); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(t.TempDir(), "mirror")
	_, err := Publish(dir, Chain{Documents: [][]byte{[]byte("root")}, Newest: 1}, Signed{Name: "beta.json", Document: d})
	if !errors.Is(err, catalog.ErrCycle) || !strings.Contains(err.Error(), "beta.json: ") || !strings.Contains(err.Error(), "a requires b requires a") {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Error("something was written:", tree(t, dir))
	}
}
