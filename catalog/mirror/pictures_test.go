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
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// A catalog is not in a mirror without its pictures; what is there already is not asked for
// again.
func TestPicturesArePublishedWithTheirCatalog(t *testing.T) {
	m, err := manifest.ParseFile("../apps/mosquitto/manifest.yaml")
	if err != nil {
		t.Fatal(err)
	}
	m.Containers[0].Image = manifest.Image{Ref: "r.example/a", Digest: "sha256:" + strings.Repeat("0", 64)}
	e, err := document.NewEntry(m, "test", "")
	if err != nil {
		t.Fatal(err)
	}
	d := document.Next(nil, "feature", time.Now(), time.Hour)
	d.Entries = []document.Entry{e}
	envelope, err := d.Encode()
	if err == nil {
		d, err = document.Decode(envelope)
	}
	if err != nil {
		t.Fatal(err)
	}
	dir, beside := t.TempDir(), t.TempDir()
	c := Signed{Name: "feature.json", Document: d, Envelope: envelope, Pictures: filepath.Join(beside, manifest.PicturesDir)}
	if _, err := Publish(dir, Chain{}, c); !errors.Is(err, catalog.ErrNoPicture) || len(tree(t, dir)) != 0 {
		t.Fatalf("without its icon: %v; written: %v", err, tree(t, dir))
	}
	icon, err := os.ReadFile("../apps/mosquitto/icon.svg")
	if err != nil {
		t.Fatal(err)
	}
	name := manifest.PictureFile(m.Icon)
	if err := WritePictures(beside, map[string][]byte{name: []byte("another")}); err != nil {
		t.Fatal(err)
	}
	if _, err := Publish(dir, Chain{}, c); !errors.Is(err, manifest.ErrPicture) || len(tree(t, dir)) != 0 {
		t.Fatalf("with another: %v; written: %v", err, tree(t, dir))
	}
	if err := WritePictures(beside, map[string][]byte{name: icon}); err != nil {
		t.Fatal(err)
	}
	if _, err := Publish(dir, Chain{}, c); err != nil || tree(t, dir)["pictures/"+name] != string(icon) {
		t.Fatal(err, tree(t, dir))
	}
	c.Pictures = "nowhere"
	if _, err := Publish(dir, Chain{}, c); err != nil {
		t.Error("the mirror has it:", err)
	}
}
