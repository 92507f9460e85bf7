package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/catalog/root"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
)

// TestEarlierReleasesAreThoseOfASignedCatalog reads one of a channel: one that has expired
// too, since owners have what is in it, and none that others have signed.
func TestEarlierReleasesAreThoseOfASignedCatalog(t *testing.T) {
	var signers []*sign.Signer
	for range 2 {
		s, err := sign.NewSigner("test")
		if err != nil {
			t.Fatal(err)
		}
		signers = append(signers, s)
	}
	role := root.Role{Keys: []sign.PublicKey{signers[0].PublicKey}, Threshold: 1}
	trusted, err := root.Sign(root.Policy{Version: 1, Expires: time.Now().Add(time.Hour), Root: role, Catalog: role}, signers[0])
	if err != nil {
		t.Fatal(err)
	}
	m, err := manifest.ParseFile("../../catalog/apps/mosquitto/manifest.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for i := range m.Containers {
		m.Containers[i].Image = manifest.Image{Ref: "registry.example/mosquitto", Digest: "sha256:0000000000000000000000000000000000000000000000000000000000000000"}
	}
	entry, err := document.NewEntry(m, "test", "")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, b, 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	rootFile := write("root.json", trusted)
	for name, c := range map[string]struct {
		signer  int
		created time.Time
		refused bool
	}{
		"in force":         {0, time.Now(), false},
		"expired":          {0, time.Now().AddDate(0, -1, 0), false},
		"signed by others": {1, time.Now(), true},
	} {
		d := document.Next(nil, "beta", c.created, time.Hour)
		d.Serial = 7
		if err := d.Put(entry); err != nil {
			t.Fatal(err)
		}
		envelope, err := document.Sign(t.Context(), d, signers[c.signer])
		if err != nil {
			t.Fatal(err)
		}
		a := &app{previous: write("beta.json", envelope), roots: []string{rootFile}}
		cat, source, err := a.earlier(t.Context())
		if c.refused {
			if !errors.Is(err, catalog.ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || source != "beta 7" || len(cat) != 1 || cat["mosquitto"].Digest() != m.Digest() {
			t.Errorf("%s: %v, %q, %v", name, err, source, cat)
		}
	}
}
