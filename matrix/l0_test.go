package matrix

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/dist"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// levelZero makes the specs that need no node: every manifest is valid, survives a
// round trip, and is rendered by the daemon under test into what is meant.
func levelZero(t *testing.T) {
	dir := os.Getenv(CatalogVariable)
	if dir == "" {
		dir = filepath.Join("..", "catalog", "apps")
	}
	daemon := sync.OnceValues(func() (string, error) { return daemonUnderTest(t) })
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
				for _, requirers := range [][]string{nil, {"somebody", "somebody-else"}} {
					It(fmt.Sprintf("is rendered as it is meant, required by %d others", len(requirers)), func() {
						program, err := daemon()
						Expect(err).NotTo(HaveOccurred())
						m, files := rendering(program, file, requirers)
						e, err := ExpectationOf(m, Facts{DataDir: nodes.DataDir, Requirers: requirers})
						Expect(err).NotTo(HaveOccurred())
						Expect(CheckRendered(e, files)).To(BeEmpty())
					})
				}
				It("is taken by Podman's generator for what it is meant", func() {
					generator := podmansGenerator()
					if generator == "" {
						Skip("Podman's generator is not on this machine")
					}
					program, err := daemon()
					Expect(err).NotTo(HaveOccurred())
					m, files := rendering(program, file, nil)
					e, err := ExpectationOf(m, Facts{DataDir: nodes.DataDir})
					Expect(err).NotTo(HaveOccurred())
					Expect(CheckGenerated(e, generate(generator, files))).To(BeEmpty())
				})
			})
		}
		It("has no two applications in each other's way", func() {
			_, err := catalog.Load(dir)
			Expect(err).NotTo(HaveOccurred())
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

// rendering has the daemon render a manifest as it is published: with images that are
// pinned. Nothing of the gate's environment reaches the daemon.
func rendering(daemon, file string, requirers []string) (*manifest.Manifest, map[string]string) {
	GinkgoHelper()
	m, err := manifest.ParseFile(file)
	Expect(err).NotTo(HaveOccurred())
	for i := range m.Containers {
		if c := &m.Containers[i]; c.Image.Build != "" {
			c.Image = manifest.Image{Ref: "localhost:5000/" + m.ID + "/" + c.Name, Digest: fmt.Sprintf("sha256:%064x", i)}
		}
	}
	published := filepath.Join(GinkgoT().TempDir(), "manifest.json")
	Expect(os.WriteFile(published, m.Canonical(), 0o644)).To(Succeed())
	cmd := exec.Command(daemon, "render", published, "--json", "--data", nodes.DataDir, "--required-by", strings.Join(requirers, ","))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	Expect(cmd.Run()).To(Succeed(), stderr.String)
	var answer struct {
		App   string
		Files map[string]string
	}
	Expect(json.Unmarshal(out.Bytes(), &answer)).To(Succeed(), out.String)
	Expect(answer.App).To(Equal(m.ID))
	return m, answer.Files
}

// podmansGenerator is on the path, or where systemd would find it; empty where it is not
// installed.
func podmansGenerator() string {
	if file, err := exec.LookPath(dist.Generator); err == nil {
		return file
	}
	for _, dir := range dist.GeneratorDirs() {
		if file, err := exec.LookPath(filepath.Join(dir, dist.Generator)); err == nil {
			return file
		}
	}
	return ""
}

// generate runs Podman's generator over unit files and gives its output. A file that the
// generator refuses is a failure.
func generate(generator string, files map[string]string) string {
	GinkgoHelper()
	dir := GinkgoT().TempDir()
	for name, body := range files {
		Expect(os.WriteFile(filepath.Join(dir, name), []byte(body), 0o644)).To(Succeed())
	}
	cmd := exec.Command(generator, "-user", "-dryrun")
	cmd.Env = append(os.Environ(), "QUADLET_UNIT_DIRS="+dir)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	Expect(cmd.Run()).To(Succeed(), stderr.String)
	return out.String()
}
