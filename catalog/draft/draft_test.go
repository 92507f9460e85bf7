package draft

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

var update = flag.Bool("update", false, "rewrite testdata")

var rich = v1.Config{
	User: "1001:1002", ExposedPorts: map[string]struct{}{"80/tcp": {}, "9000/tcp": {}, "7443": {}, "53/udp": {}, "x/tcp": {}},
	Volumes: map[string]struct{}{"/var/lib/photos": {}, "/srv/Cache_1": {}, "/dev/shm/x": {}}, Entrypoint: []string{"/usr/bin/photos"}, Cmd: []string{"serve", "--all"},
	Healthcheck: &v1.HealthConfig{Test: []string{"CMD-SHELL", "curl -fsS  http://127.0.0.1/ ||\n exit 1"}, Interval: 90 * time.Second, Timeout: 5 * time.Second, StartPeriod: time.Minute, Retries: 5},
	Labels:      map[string]string{"org.opencontainers.image.version": "v1.4.2", "org.opencontainers.image.description": "Photos: \"yours\"\nalone"},
}

var digest = "sha256:" + strings.Repeat("0", 64)

func TestAnImageIsTakenOver(t *testing.T) {
	files, err := Make(Options{ID: "photos", Template: "web", Image: &Image{"registry.example/photos:latest", digest, rich}})
	if err != nil {
		t.Fatal(err)
	}
	got := files["manifest.yaml"]
	if *update {
		if err := os.WriteFile("testdata/photos.yaml", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/photos.yaml")
	if err != nil || !bytes.Equal(got, want) || len(files) != 2 {
		t.Errorf("%v: %d files, and the manifest is\n%s", err, len(files), got)
	}
}

// TestEveryTemplateIsWise wants no warning of what a template makes but what it cannot have.
func TestEveryTemplateIsWise(t *testing.T) {
	for _, template := range Templates {
		o := Options{ID: "photos-ui", Name: `"Photos" & <more>\`, Template: template.Name}
		if template.Name == "companion" {
			o.Requires = "photos"
		}
		for _, o.Image = range []*Image{nil, {"registry.example/photos:1", digest, rich}} {
			files, err := Make(o)
			if err != nil {
				t.Errorf("%s: %v", template.Name, err)
				continue
			}
			m, problems, warnings, err := manifest.Lint(template.Name, files["manifest.yaml"])
			if err != nil || len(problems) > 0 || o.Image != nil {
				if len(problems) > 0 || err != nil {
					t.Errorf("%s: %v %v", template.Name, err, problems)
				}
				continue
			}
			for _, w := range warnings {
				if w.Rule == manifest.RuleNoCanary && len(m.Volumes()) == 0 {
					continue
				}
				if w.Rule == manifest.RuleWholeApp && template.Name == "companion" {
					continue // what the other application exports is not known
				}
				t.Errorf("%s: %v", template.Name, w)
			}
			for _, c := range m.Containers {
				if files[c.Image.Build+"/Containerfile"] == nil {
					t.Errorf("%s: nothing builds %s", template.Name, c.Image.Build)
				}
			}
			for name, content := range files {
				if bytes.Contains(content, []byte("@NAME@")) || bytes.Contains(content, []byte("<more>")) && name != "manifest.yaml" {
					t.Errorf("%s: %s:\n%s", template.Name, name, content)
				}
			}
		}
	}
}

func TestWhatAnImageDoesNotSayIsLeftToTheAuthor(t *testing.T) {
	for name, c := range map[string]struct {
		template string
		config   v1.Config
		want     []string
	}{
		"a user by name": {"web", v1.Config{User: "app", ExposedPorts: map[string]struct{}{"8080/tcp": {}}}, []string{`TODO: the image runs as "app"`, "TODO: a health check"}},
		"root":           {"web", v1.Config{}, []string{"TODO: the image runs as root", "TODO: the image does not say on which ports"}},
		"a broker":       {"protocol", v1.Config{User: "7", ExposedPorts: map[string]struct{}{"1884/tcp": {}}}, []string{`user: "7"`, "{name: main, container: 1884, host: 1884}", "handshake: {"}},
		"a high port":    {"web", v1.Config{ExposedPorts: map[string]struct{}{"32400/tcp": {}}}, []string{"{name: web, container: 32400, host: 8400}"}},
		"a hostile text": {"web", v1.Config{User: "a\n  privileged: true", Labels: map[string]string{"org.opencontainers.image.description": "x\n\nprivileged: true", "org.opencontainers.image.version": "1\nprivileged: true"}, Entrypoint: []string{"a\nprivileged: true"}}, []string{"summary: \"x privileged: true\"", "version: \"0.1.0\""}},
		"a long check":   {"web", v1.Config{Healthcheck: &v1.HealthConfig{Test: []string{"CMD", strings.Repeat("x", 400)}}}, []string{"TODO: a health check"}},
		"no check":       {"web", v1.Config{Healthcheck: &v1.HealthConfig{Test: []string{"NONE"}}}, []string{"TODO: a health check"}},
	} {
		files, err := Make(Options{ID: "a", Template: c.template, Image: &Image{"registry.example/a:stable", digest, c.config}})
		for _, want := range c.want {
			if err != nil || !strings.Contains(string(files["manifest.yaml"]), want) {
				t.Errorf("%s: no %q, %v:\n%s", name, want, err, files["manifest.yaml"])
			}
		}
	}
}

// picture is an image with a layer, and the rich configuration.
func picture(t *testing.T) v1.Image {
	t.Helper()
	img, err := random.Image(2048, 1)
	if err == nil {
		img, err = mutate.Config(img, rich)
	}
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// pack makes a tar archive of a directory.
func pack(t *testing.T, dir, file string, compressed bool) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := errors.Join(w.AddFS(os.DirFS(dir)), w.Close()); err != nil {
		t.Fatal(err)
	}
	content := b.Bytes()
	if compressed {
		var z bytes.Buffer
		g := gzip.NewWriter(&z)
		if _, err := g.Write(content); err != nil || g.Close() != nil {
			t.Fatal(err)
		}
		content = z.Bytes()
	}
	file = filepath.Join(t.TempDir(), file)
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestArchivesOfEveryKindAreRead(t *testing.T) {
	img := picture(t)
	want, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path, err := layout.Write(dir, empty.Index)
	if err == nil {
		err = path.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "registry.example/photos:1"}))
	}
	if err != nil {
		t.Fatal(err)
	}
	docker := filepath.Join(t.TempDir(), "docker.tar")
	tag, err := name.NewTag("registry.example/photos:1")
	if err == nil {
		err = tarball.WriteToFile(docker, tag, img)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{dir, pack(t, dir, "oci.tar", false), pack(t, dir, "oci.tar.gz", true), docker} {
		got, err := FromArchive(file, "")
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if got.Ref != "registry.example/photos:1" || got.Digest != want.String() || got.Config.User != rich.User {
			t.Errorf("%s: %+v, expected the digest %s", file, got, want)
		}
		if got, err := FromArchive(file, "nginx:2"); err != nil || got.Ref != "docker.io/library/nginx:2" {
			t.Errorf("%s: %+v, %v", file, got, err)
		}
	}
	if err := path.AppendImage(img); err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("This is no archive, whatever else it is."), 0o644); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{dir: "expected one image, found 2", text: "this is no tar archive", t.TempDir(): "no OCI layout", "nowhere": "no such file"} {
		if _, err := FromArchive(file, "a/b:1"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, expected %q", file, err, want)
		}
	}
}

func TestAnImageOfARegistryIsPinnedByTheDigestOfItsTag(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	ref, err := name.ParseReference(host + "/photos:1")
	if err != nil {
		t.Fatal(err)
	}
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: picture(t), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: picture(t), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}})
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
	want, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	got, err := FromRegistry(t.Context(), ref.String())
	if err != nil || got.Digest != want.String() || got.Ref != host+"/photos:1" || got.Config.User != rich.User || got.ID() != "photos" {
		t.Errorf("%+v, %v; expected the index %s", got, err, want)
	}
	if got, err := FromRegistry(t.Context(), host+"/photos@"+want.String()); err != nil || got.Ref != host+"/photos" {
		t.Errorf("by digest: %+v, %v", got, err)
	}
	server.Close()
	if _, err := FromRegistry(t.Context(), ref.String()); err == nil || !strings.Contains(err.Error(), "asking the registry for "+ref.String()) {
		t.Errorf("no registry: %v", err)
	}
}

func TestFilesAreWrittenAllOrNone(t *testing.T) {
	files := map[string][]byte{"manifest.yaml": []byte("a"), "image/serve": []byte("#!/bin/sh\n"), "image/site/index.html": []byte("b")}
	root := t.TempDir()
	dir := filepath.Join(root, "new", "photos")
	names, err := Write(dir, files, false)
	if err != nil || len(names) != 3 || !slices.IsSorted(names) {
		t.Fatal(names, err)
	}
	if info, err := os.Stat(dir + "/image/serve"); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := Write(dir, files, false); !errors.Is(err, ErrExists) {
		t.Errorf("a second time: %v", err)
	}
	files["manifest.yaml"] = []byte("c")
	if _, err := Write(dir, files, true); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(dir + "/manifest.yaml"); err != nil || string(b) != "c" {
		t.Errorf("replaced: %s, %v", b, err)
	}
	// A file where a directory is needed: nothing is left behind, here or above.
	half := filepath.Join(root, "half")
	if err := os.WriteFile(half, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	some := filepath.Join(root, "new")
	if err := os.Symlink("nowhere", filepath.Join(some, "z")); err != nil {
		t.Fatal(err)
	}
	before := tree(t, root)
	for _, to := range []string{half, half + "/photos"} {
		if names, err := Write(to, files, true); err == nil || names != nil {
			t.Errorf("%s: %v, %v", to, names, err)
		}
	}
	// One of the files is there: neither is the other written.
	if _, err := Write(some, map[string][]byte{"other": nil, "photos": nil}, true); !errors.Is(err, ErrExists) {
		t.Errorf("over a directory: %v", err)
	}
	// What cannot be made, a directory in place of the link, shows when others have been.
	if _, err := Write(some, map[string][]byte{"a/b/x": nil, "c": nil, "z/y": nil}, false); err == nil {
		t.Error("a directory took the place of a link")
	}
	if _, err := Write(some, map[string][]byte{"a/x": nil, "photos/manifest.yaml/y": nil}, false); err == nil {
		t.Error("a file below a file was written")
	}
	if after := tree(t, root); !slices.Equal(before, after) {
		t.Errorf("left behind: %q, before %q", after, before)
	}
}

func tree(t *testing.T, root string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, _ os.DirEntry, err error) error {
		names = append(names, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestTextsAreQuotedWhereYAMLWouldReadThemOtherwise(t *testing.T) {
	for text, want := range map[string]string{
		"Photos": "Photos", "/usr/bin/x": "/usr/bin/x", "a b": "a b", "1.0": `"1.0"`, "true": `"true"`, "No": `"No"`, "a: b": `"a: b"`, "a,b": `"a,b"`, "": `""`, "-x": `"-x"`, "a ": `"a "`, "<&>": `"<&>"`, "x\ty": `"x\ty"`, "#a": `"#a"`, "null": `"null"`,
	} {
		if got := Quote(text); got != want {
			t.Errorf("%q: %s, expected %s", text, got, want)
		}
	}
}
