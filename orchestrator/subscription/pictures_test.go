package subscription

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/catalog/mirror"
)

const dot = `<svg xmlns="http://www.w3.org/2000/svg"><circle r="1"/></svg>`

func TestAPictureIsThatOfItsDigestAndKept(t *testing.T) {
	w := newWorld(t)
	w.follow()
	l := &manifest.Listing{Icon: manifest.PictureDigest([]byte(dot))}
	address := "/" + mirror.Picture(l.Icon)
	get := func() (string, error) {
		w.hits.Store(0)
		b, kind, err := w.sub.Picture(t.Context(), l, l.Icon)
		if err == nil && kind != "image/svg+xml" {
			t.Error(kind)
		}
		return string(b), err
	}

	// None, and one that is another: neither is taken, and the mirror is not asked again at once.
	if _, err := get(); !errors.Is(err, catalog.ErrNoPicture) || w.hits.Load() != 1 {
		t.Errorf("the mirror has none: %v, asked %d times", err, w.hits.Load())
	}
	if _, err := get(); !errors.Is(err, catalog.ErrNoPicture) || w.hits.Load() != 0 {
		t.Errorf("asked again at once: %v, %d times", err, w.hits.Load())
	}
	for what, other := range map[string]string{"other bytes": strings.Replace(dot, "1", "2", 1), "too many bytes": dot + strings.Repeat(" ", manifest.MaxScreenshot)} {
		w.clock = w.clock.Add(pictureAgain)
		w.files[address] = []byte(other)
		if b, err := get(); !errors.Is(err, catalog.ErrNoPicture) || b != "" {
			t.Errorf("%s: %q, %v", what, b, err)
		}
	}

	w.clock = w.clock.Add(pictureAgain)
	w.files[address] = []byte(dot)
	if b, err := get(); err != nil || b != dot {
		t.Fatalf("%q, %v", b, err)
	}
	delete(w.files, address)
	w.open()
	if b, err := get(); err != nil || b != dot || w.hits.Load() != 0 {
		t.Errorf("after a restart: %q, %v, asked %d times", b, err, w.hits.Load())
	}
	// What the disk holds is looked at like what a mirror says.
	file := filepath.Join(w.dir, manifest.PicturesDir, manifest.PictureFile(l.Icon))
	if err := os.WriteFile(file, []byte("<svg/>"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := get(); err == nil || b != "" {
		t.Errorf("a changed file is shown: %q", b)
	}
	// A digest that the manifest does not name is asked of nobody.
	w.hits.Store(0)
	for _, digest := range []string{manifest.PictureDigest([]byte("x")), "sha256:..", "../root/1.json", ""} {
		if _, _, err := w.sub.Picture(t.Context(), l, digest); !errors.Is(err, catalog.ErrNoPicture) || w.hits.Load() != 0 {
			t.Errorf("%q: %v, asked %d times", digest, err, w.hits.Load())
		}
	}
}

func TestAnIconWithAScriptIsNotTakenFromAMirror(t *testing.T) {
	w := newWorld(t)
	w.follow()
	hostile := strings.Replace(dot, "<circle", "<script/><circle", 1)
	l := &manifest.Listing{Icon: manifest.PictureDigest([]byte(hostile))}
	w.files["/"+mirror.Picture(l.Icon)] = []byte(hostile)
	if b, _, err := w.sub.Picture(t.Context(), l, l.Icon); !errors.Is(err, manifest.ErrPicture) || len(b) > 0 {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := os.Stat(filepath.Join(w.dir, manifest.PicturesDir)); !os.IsNotExist(err) {
		t.Errorf("it is kept: %v", err)
	}
}

// A mirror that answers to nothing keeps nobody for longer than a picture's time, and a
// visitor who leaves is waited for by nobody.
func TestAMirrorThatHangsHoldsNoVisitor(t *testing.T) {
	w := newWorld(t)
	w.follow()
	w.wrap = func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	}
	l := &manifest.Listing{Icon: manifest.PictureDigest([]byte(dot))}
	ctx, leave := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer leave()
	if _, _, err := w.sub.Picture(ctx, l, l.Icon); !errors.Is(err, catalog.ErrNoPicture) {
		t.Error(err)
	}
}

func TestTheOldestPicturesGo(t *testing.T) {
	w := newWorld(t)
	w.sub.pictures.limit = 10
	dir := filepath.Join(w.dir, manifest.PicturesDir)
	for i, name := range []string{"a", "b", "c"} {
		if err := w.sub.keepPicture(filepath.Join(dir, name), []byte("1234")); err != nil {
			t.Fatal(err)
		}
		then := w.clock.Add(time.Duration(i) * time.Hour)
		if err := os.Chtimes(filepath.Join(dir, name), then, then); err != nil {
			t.Fatal(err)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 || left[0].Name() != "b" {
		t.Errorf("%v, %v", left, err)
	}
}
