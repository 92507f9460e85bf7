package matrix

import (
	"encoding/json"
	"os"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
)

// levelZero makes the specs that need no node: every manifest is valid, survives a
// round trip and renders into units that keep the invariants.
func levelZero() {
	dir := os.Getenv(CatalogVariable)
	if dir == "" {
		dir = filepath.Join("..", "catalog", "apps")
	}
	entries, err := os.ReadDir(dir)
	Describe("level 0", Label("l0"), func() {
		It("finds the catalog", func() { Expect(err).NotTo(HaveOccurred()) })
		for _, e := range entries {
			file := filepath.Join(dir, e.Name(), "manifest.yaml")
			Describe(e.Name(), Label("app:"+e.Name()), func() {
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
					Expect(again).To(Equal(m))
				})
				It("renders units that keep the invariants", func() {
					m, err := manifest.ParseFile(file)
					Expect(err).NotTo(HaveOccurred())
					for name, body := range quadlet.Render(m, nodes.DataDir, true).Files {
						Expect(body).NotTo(MatchRegexp(`(?i)privileged|Network=host|podman\.sock|docker\.sock|SecurityLabelDisable|AddCapability`), name)
						if filepath.Ext(name) == ".container" {
							Expect(body).To(ContainSubstring("\nNoNewPrivileges=true\n"), name)
							Expect(body).To(ContainSubstring("\n[Install]\nWantedBy=default.target\n"), name)
						}
					}
				})
			})
		}
		It("has no two applications in each other's way", func() {
			_, err := catalog.Load(dir)
			Expect(err).NotTo(HaveOccurred())
		})
	})
}
