package publish

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// builder makes another image at every build.
type builder struct {
	base   string
	mu     sync.Mutex
	builds []string                       // the base of each
	dirs   []string                       // the build context of each
	tags   []string                       // the name that each was asked for under
	pushed []string                       // the digest of each
	after  func(tag name.Reference) error // comes right after a push
}

func (b *builder) Base(context.Context, io.Writer) (string, error) { return b.base, nil }
func (b *builder) Build(_ context.Context, dir, tag string, args map[string]string, _ io.Writer) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.builds, b.dirs, b.tags = append(b.builds, args["BASE"]), append(b.dirs, dir), append(b.tags, tag)
	return nil
}
func (b *builder) Push(_ context.Context, _, destination string, _ io.Writer) error {
	image, err := random.Image(64, 1)
	if err != nil {
		return err
	}
	to, err := name.ParseReference(destination, name.Insecure)
	if err != nil {
		return err
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	b.mu.Lock()
	b.pushed = append(b.pushed, digest.String())
	b.mu.Unlock()
	if err := remote.Write(to, image); err != nil || b.after == nil {
		return err
	}
	return b.after(to)
}

// Whoever learns the name could push under the same tag, right after the builder.
func TestWhatIsPinnedIsWhatTheBuilderPushed(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Containerfile"), []byte("FROM base\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cat := catalog.Catalog{"page": {Dir: dir, Manifest: &manifest.Manifest{ID: "page", Containers: []manifest.Container{{Name: "page", Image: manifest.Image{Build: "."}}}}}}
	b := &builder{base: "base", after: func(tag name.Reference) error {
		image, err := random.Image(64, 1)
		if err != nil {
			return err
		}
		if remote.Write(tag, image) == nil {
			t.Error("another image was taken under the same name")
		}
		return nil
	}}
	p, err := Open(t.TempDir(), b)
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.Publish(t.Context(), cat, Registry, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if pinned := out["page"].Manifest.Containers[0].Image.Digest; len(b.pushed) != 1 || pinned != b.pushed[0] {
		t.Errorf("pinned %s, pushed %v", pinned, b.pushed)
	}
}

// A security fix in the base must reach the applications: their images are built anew on
// another base, and only then.
func TestAnotherBaseIsAnotherImage(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Containerfile"), []byte("FROM base\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cat := catalog.Catalog{"page": {Dir: dir, Manifest: &manifest.Manifest{ID: "page", Containers: []manifest.Container{{Name: "page", Image: manifest.Image{Build: "."}}}}}}
	b := &builder{base: "old"}
	p, err := Open(t.TempDir(), b)
	if err != nil {
		t.Fatal(err)
	}
	digest := func() string {
		t.Helper()
		out, err := p.Publish(t.Context(), cat, Registry, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		return out["page"].Manifest.Containers[0].Image.Digest
	}
	first, again := digest(), digest()
	b.base = "new"
	if renewed := digest(); first != again || renewed == first || len(b.builds) != 2 || b.builds[1] != "new" {
		t.Errorf("images %s, %s, then %s; built on %v", first, again, renewed, b.builds)
	}
}

// Whoever changes one page waits for one build, and owners pull one image: all others keep
// their digests, in this process and in later ones. An owner's own image is the owner's.
func TestOnlyWhatHasChangedIsBuiltAgain(t *testing.T) {
	cat := catalog.Catalog{"own": {Manifest: &manifest.Manifest{ID: "own", Containers: []manifest.Container{{Name: "own", Image: manifest.Image{Ref: manifest.Override("own", "own")}}}}}}
	write := func(id, name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(cat[id].Dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"page", "server"} {
		cat[id] = &catalog.Entry{Dir: t.TempDir(), Manifest: &manifest.Manifest{ID: id, Containers: []manifest.Container{{Name: id, Image: manifest.Image{Build: "."}}}}}
		write(id, "Containerfile", "FROM base\nCOPY page.html /\n")
		write(id, "page.html", "<title>Hello</title>")
	}
	registry, b := t.TempDir(), &builder{base: "base"}
	publish := func() (images map[string]manifest.Image, built []string) {
		t.Helper()
		p, err := Open(registry, b) // as each run does
		if err != nil {
			t.Fatal(err)
		}
		before := len(b.dirs)
		out, err := p.Publish(t.Context(), cat, Registry, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		images = map[string]manifest.Image{}
		for id, e := range out {
			images[id] = e.Manifest.Containers[0].Image
		}
		// What is pinned is there to be pulled.
		for _, id := range []string{"page", "server"} {
			w := httptest.NewRecorder()
			p.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v2/"+id+"/"+id+"/manifests/"+images[id].Digest, nil))
			if w.Code != http.StatusOK {
				t.Errorf("the registry answers %d for %s", w.Code, images[id].Pinned())
			}
		}
		return images, slices.Sorted(slices.Values(b.dirs[before:])) // several are built at once
	}
	first, built := publish()
	if !slices.Equal(built, slices.Sorted(slices.Values([]string{cat["page"].Dir, cat["server"].Dir}))) {
		t.Fatalf("built at first: %q", built)
	}
	if same, built := publish(); len(built) > 0 || !maps.Equal(same, first) {
		t.Errorf("nothing has changed; built %q, and %v became %v", built, first, same)
	}
	if err := os.Chtimes(filepath.Join(cat["server"].Dir, "page.html"), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	write("page", "page.html", "<title>Howdy</title>") // as long as before
	changed, built := publish()
	if !slices.Equal(built, []string{cat["page"].Dir}) || changed["page"].Digest == first["page"].Digest || changed["page"].Digest != b.pushed[len(b.pushed)-1] {
		t.Errorf("one page has changed; built %q, and %s became %s", built, first["page"].Digest, changed["page"].Digest)
	}
	if changed["server"] != first["server"] || changed["own"] != first["own"] {
		t.Errorf("what has not changed became another: %v, %v", first, changed)
	}
	if again, built := publish(); len(built) > 0 || !maps.Equal(again, changed) {
		t.Errorf("nothing has changed since; built %q, and %v became %v", built, changed, again)
	}
	write("page", "page.html", "<title>Hello</title>")
	if back, built := publish(); len(built) > 0 || !maps.Equal(back, first) {
		t.Errorf("the change was taken back; built %q, and %v instead of %v", built, back, first)
	}
	for _, tag := range b.tags {
		if strings.HasSuffix(tag, ":local") {
			t.Errorf("%s, which is the name of an owner's own image, was built", tag)
		}
	}
}
