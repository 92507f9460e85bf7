package publish

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// built publishes a catalog of one image, and gives it with its repository and digest.
func built(t *testing.T, dir string) (p *Publisher, b *builder, cat catalog.Catalog, digest string) {
	t.Helper()
	files := t.TempDir()
	if err := os.WriteFile(filepath.Join(files, "Containerfile"), []byte("FROM base\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cat = catalog.Catalog{"page": {Dir: files, Manifest: &manifest.Manifest{ID: "page", Containers: []manifest.Container{{Name: "page", Image: manifest.Image{Build: "."}}}}}}
	b = &builder{base: "base"}
	p, err := Open(dir, b)
	if err != nil {
		t.Fatal(err)
	}
	return p, b, cat, publish(t, p, cat)
}

func publish(t *testing.T, p *Publisher, cat catalog.Catalog) string {
	t.Helper()
	out, err := p.Publish(t.Context(), cat, Registry, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return out["page"].Manifest.Containers[0].Image.Digest
}

func blobs(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "blobs", "*", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d blobs, %v", len(files), err)
	}
	return files
}

// Whoever is on a node reaches the registry: it gives what a digest names, and takes nothing.
func TestNodesCanPullByDigestAndDoNothingElse(t *testing.T) {
	dir := t.TempDir()
	p, _, _, digest := built(t, dir)
	server := httptest.NewServer(p.Nodes())
	defer server.Close()
	ref, err := name.NewDigest(strings.TrimPrefix(server.URL, "http://") + "/page/page@" + digest)
	if err != nil {
		t.Fatal(err)
	}
	pull := func() error {
		image, err := remote.Image(ref)
		if err != nil {
			return err
		}
		layers, err := image.Layers()
		for _, l := range layers {
			r, err := l.Compressed()
			if err != nil {
				return err
			}
			if _, err := io.Copy(io.Discard, r); err != nil { // it compares the digest
				return err
			}
		}
		return err
	}
	if err := pull(); err != nil {
		t.Fatal(err)
	}
	before := blobs(t, dir)
	blob := "/v2/page/page/blobs/sha256:" + filepath.Base(before[0])
	for _, attack := range []struct{ method, path string }{
		{http.MethodDelete, blob}, {http.MethodDelete, "/v2/page/page/manifests/" + digest},
		{http.MethodPut, "/v2/page/page/manifests/" + digest}, {http.MethodPut, "/v2/page/page/manifests/latest"},
		{http.MethodPost, "/v2/page/page/blobs/uploads/"}, {http.MethodPatch, "/v2/page/page/blobs/uploads/1"}, {http.MethodPut, "/v2/page/page/blobs/uploads/1?digest=" + digest},
		{http.MethodPost, "/v2/page/page/blobs/uploads/?digest=sha256:" + fmt.Sprintf("%x", sha256.Sum256([]byte("planted")))},
		{http.MethodGet, "/v2/_catalog"}, {http.MethodGet, "/v2/page/page/tags/list"}, {http.MethodGet, "/v2/page/page/manifests/latest"}, {http.MethodGet, "/v2/page/page/blobs/uploads/1"},
		{http.MethodGet, "/v2/page/page/referrers/" + digest}, {http.MethodGet, "/v2/page/page/blobs/sha256:../../../manifests"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), attack.method, server.URL+attack.path, strings.NewReader("planted"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusMethodNotAllowed && resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s %s: status %d", attack.method, attack.path, resp.StatusCode)
		}
	}
	if err := pull(); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if after := blobs(t, dir); !slices.Equal(before, after) {
		t.Errorf("before %q, after %q", before, after)
	}
}

func TestACachedImageIsBelievedOnlyIfItIsWhole(t *testing.T) {
	for name, damage := range map[string]func(file string) error{
		"a blob is gone":          os.Remove,
		"a blob has other bytes":  func(file string) error { return os.WriteFile(file, []byte("planted"), 0o644) },
		"a blob has lost its end": func(file string) error { return os.Truncate(file, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			for i := range 2 { // the configuration and the layer
				dir := t.TempDir()
				_, b, cat, _ := built(t, dir)
				if err := damage(blobs(t, dir)[i]); err != nil {
					t.Fatal(err)
				}
				p, err := Open(dir, b)
				if err != nil {
					t.Fatal(err)
				}
				digest := publish(t, p, cat)
				if len(b.builds) != 2 {
					t.Errorf("built %d times", len(b.builds))
				}
				if p.Size(t.Context(), Registry+"/page/page@"+digest) == 0 {
					t.Error("it is still not there")
				}
				if again := publish(t, p, cat); again != digest || len(b.builds) != 2 {
					t.Errorf("%s, then %s; built %d times", digest, again, len(b.builds))
				}
			}
		})
	}
	t.Run("the manifest is another one", func(t *testing.T) {
		dir := t.TempDir()
		_, b, cat, digest := built(t, dir)
		files, err := filepath.Glob(filepath.Join(dir, "manifests", "*.json"))
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		whole, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"{", strings.Replace(string(whole), digest, "sha256:"+strings.Repeat("1", 64), 1)} {
			if err := os.WriteFile(files[0], []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			n := len(b.builds)
			p, err := Open(dir, b)
			if err != nil {
				t.Fatal(err)
			}
			if publish(t, p, cat); len(b.builds) != n+1 {
				t.Errorf("%s: built %d times", text, len(b.builds)-n)
			}
		}
	})
	t.Run("a signed catalog names it", func(t *testing.T) {
		dir := t.TempDir()
		_, b, _, digest := built(t, dir)
		pinned := catalog.Catalog{"page": {Manifest: &manifest.Manifest{ID: "page", Containers: []manifest.Container{{Name: "page", Image: manifest.Image{Ref: Registry + "/page/page", Digest: digest}}}}}}
		for i, want := range []string{"", "build its catalog again"} {
			p, err := Open(dir, b)
			if err != nil {
				t.Fatal(err)
			}
			_, err = p.Publish(t.Context(), pinned, Registry, io.Discard)
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%d: %v", i, err)
			}
			if err := os.Remove(blobs(t, dir)[0]); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestUploadsAreBoundedAndLeaveNothingWrong(t *testing.T) {
	dir := t.TempDir()
	p, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	in, err := p.open("page/page")
	if err != nil {
		t.Fatal(err)
	}
	in.max = 100
	base := "http://" + in.address
	do := func(method, path string, body []byte) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, base+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp
	}
	left := func() int {
		t.Helper()
		files, err := os.ReadDir(in.dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	begin := func() string {
		t.Helper()
		resp := do(http.MethodPost, "/v2/"+in.repo+"/blobs/uploads/", nil)
		if resp.StatusCode != http.StatusAccepted {
			t.Fatalf("status %d", resp.StatusCode)
		}
		return resp.Header.Get("Location")
	}
	digest := func(b string) string { return fmt.Sprintf("?digest=sha256:%x", sha256.Sum256([]byte(b))) }

	at := begin()
	if resp := do(http.MethodPatch, at, []byte("one ")); resp.StatusCode != http.StatusAccepted {
		t.Errorf("status %d", resp.StatusCode)
	}
	if resp := do(http.MethodPut, at+digest("one two"), []byte("two")); resp.StatusCode != http.StatusCreated {
		t.Errorf("status %d", resp.StatusCode)
	}
	if b, err := os.ReadFile(blobs(t, dir)[0]); string(b) != "one two" {
		t.Errorf("%q, %v", b, err)
	}
	for name, attack := range map[string]func() *http.Response{
		"another digest": func() *http.Response { return do(http.MethodPut, begin()+digest("x"), []byte("y")) },
		"no digest":      func() *http.Response { return do(http.MethodPut, begin(), []byte("y")) },
		"too large":      func() *http.Response { return do(http.MethodPatch, begin(), make([]byte, 101)) },
		"too large again": func() *http.Response {
			at := begin()
			do(http.MethodPatch, at, make([]byte, 60))
			return do(http.MethodPut, at+digest(""), make([]byte, 60))
		},
		"no upload": func() *http.Response { return do(http.MethodPatch, "/v2/"+in.repo+"/blobs/uploads/7", nil) },
		"another path": func() *http.Response {
			return do(http.MethodPut, "/v2/"+in.repo+"/blobs/uploads/..%2fx"+digest("y"), []byte("y"))
		},
		"another name": func() *http.Response { return do(http.MethodPost, "/v2/page/page/blobs/uploads/", nil) },
		"a manifest under another name": func() *http.Response {
			return do(http.MethodPut, "/v2/page/page/manifests/latest", []byte("{}"))
		},
		"a deletion": func() *http.Response {
			return do(http.MethodDelete, "/v2/"+in.repo+"/blobs/sha256:"+filepath.Base(blobs(t, dir)[0]), nil)
		},
		"a huge manifest": func() *http.Response {
			return do(http.MethodPut, "/v2/"+in.repo+"/manifests/sha256:"+strings.Repeat("1", 64), make([]byte, maxManifest+1))
		},
	} {
		if resp := attack(); resp.StatusCode < 400 && name != "a huge manifest" { // what it is cut to has another digest
			t.Errorf("%s: status %d", name, resp.StatusCode)
		}
	}
	if n := left(); n != 0 {
		t.Errorf("%d uploads are left", n)
	}
	if n := len(blobs(t, dir)); n != 1 {
		t.Errorf("%d blobs", n)
	}
	begin()
	if err := in.close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(in.dir); !os.IsNotExist(err) {
		t.Errorf("what was begun is left: %v", err)
	}
}

func TestWhatAKilledGateReceivedIsRemoved(t *testing.T) {
	dir := t.TempDir()
	for name, age := range map[string]time.Duration{"upload-old": 2 * staleUploads, "upload-new": time.Minute} {
		then := time.Now().Add(-age)
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(dir, name), then, then); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(dir, nil); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, uploadDirs))
	if err != nil || len(left) != 1 || filepath.Base(left[0]) != "upload-new" {
		t.Errorf("%q, %v", left, err)
	}
}
