package catalog

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// What is published finds its pictures again beside the applications' folders.
func TestPicturesAreFoundBesideAManifestAndBesideAPublishedOne(t *testing.T) {
	cat, err := Load("apps")
	if err != nil {
		t.Fatal(err)
	}
	pictures, err := cat.Pictures()
	if err != nil || len(pictures) != len(cat) {
		t.Fatal(len(pictures), err)
	}
	dir := t.TempDir()
	write := func(name string, b []byte) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	app := cat["mosquitto"]
	write("mosquitto/manifest.yaml", app.Canonical())
	name := manifest.PictureFile(app.Icon)
	write("pictures/"+name, pictures[name])
	there, err := Load(dir)
	if err != nil || there["mosquitto"].Digest() != app.Digest() {
		t.Fatal(err)
	}
	if b, kind, err := there["mosquitto"].Picture(&app.Listing, app.Icon); err != nil || kind != "image/svg+xml" || string(b) != string(pictures[name]) {
		t.Error(kind, err)
	}
	if _, _, err := there["mosquitto"].Picture(&app.Listing, "sha256:0"); !errors.Is(err, ErrNoPicture) {
		t.Error(err)
	}
	write("pictures/"+name, []byte("<svg onload='x'/>"))
	if _, _, err := there["mosquitto"].Picture(&app.Listing, app.Icon); !errors.Is(err, manifest.ErrPicture) {
		t.Error("what the disk has instead is shown:", err)
	}
	if err := os.Remove(filepath.Join(dir, "pictures", name)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := there["mosquitto"].Picture(&app.Listing, app.Icon); !errors.Is(err, ErrNoPicture) {
		t.Error(err)
	}
	// Two places for the notes of a release are one too many.
	write("mosquitto/manifest.yaml", []byte(strings.Replace(string(app.Canonical()), `"license":`, `"release_notes":"New.","license":`, 1)))
	write("mosquitto/NOTES", []byte("Newer."))
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "release_notes: NOTES beside the manifest") {
		t.Error(err)
	}
}
