//go:build lab

package selftest

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/reports"
)

// imported are files of Compose, each with what it builds beside it.
var imported = []string{"single", "behind", "listed"}

// TestWhatIsImportedRuns makes manifests of compose files with archy, as their authors would,
// and wants them green on a node, as they are.
func TestWhatIsImportedRuns(t *testing.T) {
	dir := t.TempDir()
	image, err := fs.Sub(fixture, "fixture/image")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range imported {
		if err := os.CopyFS(filepath.Join(dir, id, "image"), image); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, id, "image", "entrypoint"), 0o755); err != nil {
			t.Fatal(err)
		}
		b, err := fixture.ReadFile("fixture/compose/" + id + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, id, "compose.yaml"), b, 0o644); err != nil {
			t.Fatal(err)
		}
		c := exec.CommandContext(t.Context(), bin(t, "archy"), "app", "import", "compose.yaml")
		c.Dir = filepath.Join(dir, id)
		var exit *exec.ExitError
		switch out, err := c.CombinedOutput(); {
		case err == nil: // nothing is left to the author
		case !errors.As(err, &exit) || exit.ExitCode() != 1:
			t.Fatalf("importing %s: %v\n%s", id, err, out)
		}
	}
	status, r := gateOf(t, dir, t.TempDir(), nil, "--apps", strings.Join(imported, ","), "--cycles", "1", "--only", ".228")
	if status != 0 || r.Verdict != reports.Green || len(r.Asked.Apps) != len(imported) {
		t.Fatalf("exit status %d, verdict %s of %q, first failure %+v", status, r.Verdict, r.Asked.Apps, r.First)
	}
}
