//go:build lab

package selftest

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

// TestEveryManifestEverReleasedRuns has the daemon under test run the manifests of each release,
// with the images that are built of them now: what docs/compatibility.md promises, on a node.
func TestEveryManifestEverReleasedRuns(t *testing.T) {
	releases, err := filepath.Glob(filepath.Join(root, "catalog", "manifest", "testdata", "released", "*"))
	if err != nil || len(releases) == 0 {
		t.Fatal(releases, err)
	}
	for _, release := range releases {
		t.Run(filepath.Base(release), func(t *testing.T) {
			status, r := gateOf(t, withContexts(t, release), t.TempDir(), nil, "--cycles", "1", "--only", ".228",
				"--steps", strings.Join([]string{matrix.Install, matrix.UIReachable, matrix.Stop, matrix.Start, matrix.Restart, matrix.Uninstall}, ","))
			if status != 0 || r.Verdict != reports.Green {
				t.Errorf("exit status %d, verdict %s, first failure %+v", status, r.Verdict, r.First)
			}
		})
	}
}

// withContexts is a catalog of a release's manifests, each beside what its images are built
// from, which is not kept: of the applications of today.
func withContexts(t *testing.T, release string) string {
	t.Helper()
	manifests, err := filepath.Glob(filepath.Join(release, "*", "manifest.yaml"))
	if err != nil || len(manifests) == 0 {
		t.Fatal(manifests, err)
	}
	dir := t.TempDir()
	for _, m := range manifests {
		id := filepath.Base(filepath.Dir(m))
		for _, from := range []string{filepath.Join(root, "catalog", "apps", id), filepath.Dir(m)} { // what is kept comes over the other
			if out, err := exec.Command("cp", "-rT", from, filepath.Join(dir, id)).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s; of an application that is in the catalog no more, keep what its images are built from", id, err, out)
			}
		}
	}
	return dir
}
