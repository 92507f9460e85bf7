package runner

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

// The evidence of earlier sessions counts: once there is too much of it, no more is begun.
func TestTheEvidenceOfARunIsBounded(t *testing.T) {
	dir := t.TempDir()
	r, _ := newRunner(t, dir)
	onOneNode(r, 1)
	huge, err := os.Create(filepath.Join(dir, "huge.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if err := huge.Truncate(reports.MaxRun); err != nil { // it takes no room
		t.Fatal(err)
	}
	huge.Close()
	r.Results = []reports.Result{{Cell: reports.Cell{App: "gone", Node: "x", Cycle: 1, Step: matrix.Stop}, Status: reports.Failed, Evidence: []string{"huge.txt"}}}
	if err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for c, res := range statuses(t, dir) {
		if !res.OfNode() && !strings.Contains(res.Note, "full") {
			t.Errorf("%s: %+v", c, res)
		}
	}
	file, err := r.evidence("late.txt", []byte(strings.Repeat("x", 1000)))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, file)); err != nil || !strings.Contains(string(b), "1000 bytes are left out") {
		t.Errorf("%q, %v", b, err)
	}
}

func TestAFileOfEvidenceIsBounded(t *testing.T) {
	r := &Runner{Dir: t.TempDir()}
	file, err := r.evidence(filepath.Join("evidence", "journal.txt"), make([]byte, 2*reports.MaxEvidence))
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(r.Dir, file))
	if err != nil || info.Size() > reports.MaxEvidence {
		t.Errorf("%v, %v", info, err)
	}
}
