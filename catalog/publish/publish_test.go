package publish

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// builder makes another image at every build.
type builder struct {
	base   string
	builds []string                       // the base of each
	pushed []string                       // the digest of each
	after  func(tag name.Reference) error // comes right after a push
}

func (b *builder) Base(context.Context, io.Writer) (string, error) { return b.base, nil }
func (b *builder) Build(_ context.Context, _, _ string, args map[string]string, _ io.Writer) error {
	b.builds = append(b.builds, args["BASE"])
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
	b.pushed = append(b.pushed, digest.String())
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
