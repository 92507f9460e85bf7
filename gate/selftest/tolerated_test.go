//go:build lab

package selftest

import (
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

// TestWhatIsToleratedIsGreenAndSaid plants what upstream may do wrong, declared as such.
func TestWhatIsToleratedIsGreenAndSaid(t *testing.T) {
	const sees = "text: Signed in as owner}"
	catalogDir := catalogWith(t, `MARK: "1"`, `SCRIPT: "fetch('/missing'); console.error('upstream says so'); new Image().src='https://elsewhere.invalid/pixel.png'"`,
		sees, sees+`, hosts: [elsewhere.invalid], tolerate: [{text: "/missing: status 404", reason: upstream leaves it out}, {text: upstream says so, reason: it always does}, {text: "/pixel.png", reason: nobody serves it}, {text: "no such thing", reason: it was once}]`)
	status, r := gate(t, t.TempDir(), nil, "--catalog", catalogDir, "--cycles", "1", "--only", ".228", "--apps", "page", "--steps", matrix.Install+","+matrix.UIReachable)
	if status != 0 || r.Verdict != reports.Green {
		t.Fatalf("exit status %d, verdict %s, first failure %+v", status, r.Verdict, r.First)
	}
	for _, want := range []string{`tolerated once: "/missing: status 404" (upstream leaves it out)`, `tolerated once: "upstream says so" (it always does)`, `"/pixel.png" (nobody serves it)`, `warning: nothing needed the toleration of "no such thing"`} {
		said := false
		for _, c := range r.Apps[0].Cells {
			said = said || strings.Contains(c.Note, want)
		}
		if !said {
			t.Errorf("no cell says %q", want)
		}
	}
}
