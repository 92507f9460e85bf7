//go:build lab

package selftest

import (
	"testing"

	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

// sharedWith writes the catalog of two applications, of which one uses all that the other
// exports, and a folder of the owner's.
func sharedWith(t *testing.T, _ ...string) string {
	t.Helper()
	return catalogOf(t, "shared", "lender", "borrower")
}

func TestWhatIsSharedIsGreen(t *testing.T) {
	c := planted{from: sharedWith, app: "borrower", steps: []string{matrix.Install, matrix.UIReachable, matrix.Stop, matrix.Start, matrix.Restart, matrix.Reinstall, matrix.Uninstall}}
	if status, r := c.gate(t, "", ".228"); status != 0 || r.Verdict != reports.Green {
		t.Errorf("exit status %d, verdict %s, first failure %+v", status, r.Verdict, r.First)
	}
}
