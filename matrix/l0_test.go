package matrix

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// levelZero makes the specs that need no node: every manifest is valid, survives a
// round trip, and is rendered by the daemon under test into what is meant.
func levelZero(t *testing.T) {
	// Catalogs, each a whole one: the last has earlier releases of what the first has.
	whole := [][]string{{filepath.Join("..", "catalog", "apps"), filepath.Join("..", "catalog", "field"), filepath.Join("..", "catalog", "upstream")}, {filepath.Join("..", "catalog", "previous")}}
	if dir := os.Getenv(CatalogVariable); dir != "" {
		whole = [][]string{{dir}}
	}
	daemon := sync.OnceValues(func() (string, error) { return daemonUnderTest(t) })
	var apps []string
	var err error
	for _, dir := range slices.Concat(whole...) {
		entries, unread := os.ReadDir(dir)
		err = errors.Join(err, unread)
		for _, e := range entries {
			apps = append(apps, filepath.Join(dir, e.Name()))
		}
	}
	Describe("level 0", Label("l0"), func() {
		It("finds the catalog", func() { Expect(err).NotTo(HaveOccurred()) })
		for _, app := range apps {
			file := filepath.Join(app, "manifest.yaml")
			Describe(app, Label("app:"+filepath.Base(app)), func() {
				It("has a valid manifest", func() {
					_, err := manifest.ParseFile(file)
					Expect(err).NotTo(HaveOccurred())
				})
				It("survives a round trip", func() {
					m, err := manifest.ParseFile(file)
					Expect(err).NotTo(HaveOccurred())
					b, err := json.Marshal(m)
					Expect(err).NotTo(HaveOccurred())
					again, err := manifest.Parse("round trip", b)
					Expect(err).NotTo(HaveOccurred())
					m.Beside = nil // the pictures do not travel in it
					Expect(again).To(Equal(m))
				})
				for _, requirers := range [][]Requirer{nil, {{App: "somebody"}, {App: "somebody-else"}}} {
					It(fmt.Sprintf("is rendered as it is meant, required by %d others", len(requirers)), func(ctx SpecContext) {
						program, err := daemon()
						Expect(err).NotTo(HaveOccurred())
						m, others, files := rendering(ctx, program, file, requirers)
						e, err := ExpectationOf(m, Facts{DataDir: nodes.DataDir, Requirers: requirers, Node: RenderedFor, Apps: others})
						Expect(err).NotTo(HaveOccurred())
						Expect(CheckRendered(e, files)).To(BeEmpty())
					})
				}
			})
		}
		It("has no two applications in each other's way", func() {
			for _, dirs := range whole {
				_, err := catalog.Load(dirs...)
				Expect(err).NotTo(HaveOccurred())
			}
		})
	})
}

// daemonUnderTest is the daemon that the gate tests, or else that of the source tree.
func daemonUnderTest(t *testing.T) (string, error) {
	if file := os.Getenv(DaemonVariable); file != "" {
		return file, nil
	}
	file := filepath.Join(t.TempDir(), "archipelago")
	build := exec.Command("go", "build", "-o", file, "../cmd/archipelago")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the daemon; %s can name one: %w: %s", DaemonVariable, err, out)
	}
	return file, nil
}

// rendering has the daemon render a manifest as it is published, with images that are
// pinned, and used by all requirers as much as it can be. others are those beside it that it
// requires.
func rendering(ctx context.Context, daemon, file string, requirers []Requirer) (m *manifest.Manifest, others map[string]*manifest.Manifest, files map[string]string) {
	GinkgoHelper()
	m = published(file)
	others = map[string]*manifest.Manifest{}
	for _, r := range m.Requires {
		for _, app := range r.Apps() {
			if beside := filepath.Join(filepath.Dir(file), "..", app, "manifest.yaml"); exists(beside) {
				others[app] = published(beside)
			}
		}
	}
	for i := range requirers {
		requirers[i].Uses = nil
		if len(m.Exports) > 0 {
			requirers[i].Uses = slices.Sorted(maps.Keys(m.Exports))
		}
	}
	files, err := Render(ctx, daemon, m, requirers, slices.Collect(maps.Values(others))...)
	Expect(err).NotTo(HaveOccurred())
	return m, others, files
}

func published(file string) *manifest.Manifest {
	GinkgoHelper()
	m, err := manifest.ParseFile(file)
	Expect(err).NotTo(HaveOccurred())
	for i := range m.Containers {
		if c := &m.Containers[i]; c.Image.Build != "" {
			c.Image = manifest.Image{Ref: "localhost:5000/" + m.ID + "/" + c.Name, Digest: fmt.Sprintf("sha256:%064x", i)}
		}
	}
	return m
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}
