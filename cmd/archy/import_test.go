package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/sirupsen/logrus"

	"github.com/archipelago-cloud/archipelago/catalog/compose"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/internal/quadlettest"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
)

// TestUnitsOfWhatWasImportedAreTakenByPodman renders the manifests of the corpus, and has
// Podman's own generator, of the version that this module names, make services of the units.
func TestUnitsOfWhatWasImportedAreTakenByPodman(t *testing.T) {
	archives, err := filepath.Glob("../../catalog/compose/testdata/corpus/*.txtar")
	if err != nil || len(archives) < 80 {
		t.Fatal(len(archives), err)
	}
	rendered := 0
	for _, f := range archives {
		a, err := txtar.ParseFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range a.Files {
			if file.Name != "want/manifest.yaml" {
				continue
			}
			m, err := manifest.Parse(f, file.Data)
			if err != nil {
				t.Fatal(err)
			}
			if err := quadlettest.Generate(units(m)); err != nil {
				t.Errorf("%s: %v", f, err)
			}
			rendered++
		}
	}
	if rendered < 60 {
		t.Errorf("only %d manifests", rendered)
	}
}

// registered is a registry on the loopback with one image.
func registered(t *testing.T) (ref, digest string) {
	t.Helper()
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	ref = strings.TrimPrefix(s.URL, "http://") + "/tools/page:1.2.3"
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	image, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(r, image); err != nil {
		t.Fatal(err)
	}
	d, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return ref, d.String()
}

func TestARegistrySaysWhatATagMeans(t *testing.T) {
	ref, want := registered(t)
	got, err := digest(t.Context(), ref, registryTimeout)
	if err != nil || got != want {
		t.Errorf("%q, %v; expected %s", got, err, want)
	}
	if _, err := digest(t.Context(), strings.Replace(ref, "1.2.3", "9", 1), registryTimeout); err == nil {
		t.Error("a tag that there is not has a digest")
	}
}

func TestARegistryThatSaysNothingIsNotWaitedFor(t *testing.T) {
	end := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-end:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(end) })
	_, err := digest(t.Context(), strings.TrimPrefix(s.URL, "http://")+"/tools/page:1", 50*time.Millisecond)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, expected that the time is over", err)
	}
}

// TestAContainerOfPodmanIsAskedFor: by a program of that name, and what inspect prints is
// taken from standard input and from a file, too.
func TestAContainerOfPodmanIsAskedFor(t *testing.T) {
	dir := t.TempDir()
	const said = `[{"Name": "page", "ImageName": "docker.io/example/page:1.2", "Config": {"Cmd": ["serve"]}, "HostConfig": {}}]`
	file := filepath.Join(dir, "page.json")
	if err := os.WriteFile(file, []byte(said), 0o600); err != nil {
		t.Fatal(err)
	}
	podman := "#!/bin/sh\n[ \"$*\" = \"container inspect -- page\" ] || { echo no such container >&2; exit 125; }\ncat " + file + "\n"
	if err := os.WriteFile(filepath.Join(dir, "podman"), []byte(podman), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/bin:/usr/bin")
	for _, args := range [][]string{{"--container", "page"}, {"-"}, {file}} {
		c := importing()
		c.Flags().Bool("json", false, "")
		var out bytes.Buffer
		c.SetIn(strings.NewReader(said))
		c.SetOut(&out)
		c.SetErr(io.Discard)
		c.SilenceUsage, c.SilenceErrors = true, true
		c.SetArgs(append([]string{"--output", "-"}, args...))
		_ = c.ExecuteContext(t.Context()) // something is left for the author
		if !strings.Contains(out.String(), "command: [serve]") {
			t.Errorf("%q: %s", args, out.String())
		}
	}
	if _, err := inspect(t.Context(), "other"); err == nil || !strings.Contains(err.Error(), "no such container") {
		t.Errorf("%v", err)
	}
}

// TestACorpusOfYourOwn measures the importer with compose files that it has never seen,
// those below the directory ARCHY_CORPUS: which share gives a manifest whose units Podman
// takes.
func TestACorpusOfYourOwn(t *testing.T) {
	root := os.Getenv("ARCHY_CORPUS")
	if root == "" {
		t.Skip("ARCHY_CORPUS names no directory of compose files")
	}
	logrus.SetOutput(io.Discard)
	all, good := 0, 0
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !slices.Contains([]string{"docker-compose.yml", "docker-compose.yaml", "compose.yml", "compose.yaml"}, d.Name()) {
			return err
		}
		all++
		r, err := compose.Import(t.Context(), compose.Options{Dir: filepath.Dir(p), Files: []string{d.Name()}})
		if err != nil {
			t.Logf("refused: %s: %v", p, err)
			return nil
		}
		m, err := manifest.Parse(p, r.Manifest)
		if err != nil {
			t.Errorf("%s: %v", p, err)
			return nil
		}
		if err := quadlettest.Generate(units(m)); err != nil {
			t.Errorf("%s: %v", p, err)
			return nil
		}
		good++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d of %d", good, all)
	if good*10 < all*9 {
		t.Errorf("only %d of %d files give units", good, all)
	}
}

// units renders a manifest with its images built, as its publisher would.
func units(m *manifest.Manifest) map[string]string {
	for i := range m.Containers {
		if c := &m.Containers[i]; c.Image.Build != "" {
			c.Image = manifest.Image{Ref: "registry.invalid/" + c.Name, Digest: "sha256:" + strings.Repeat("0", 64)}
		}
	}
	return quadlet.Render(m, "/var/lib/archipelago", true).Files
}
