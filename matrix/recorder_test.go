package matrix

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/reports"
)

func TestTheEvidenceOfACellIsBounded(t *testing.T) {
	r := newRecorder(&Shard{Dir: t.TempDir()}, "a", Stop)
	journal := append(bytes.Repeat([]byte("x"), 2*reports.MaxEvidence), "the end"...)
	files := 2 * reports.MaxCell / reports.MaxEvidence
	for i := range files {
		if err := r.keep(fmt.Sprintf("journal-%d.txt", i), journal); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.keep("screenshot.png", make([]byte, 2*reports.MaxEvidence)); err != nil {
		t.Fatal(err)
	}
	sum := int64(0)
	for _, f := range r.files {
		info, err := os.Stat(filepath.Join(r.root, f))
		if err != nil || info.Size() > reports.MaxEvidence || info.Size() == 0 {
			t.Errorf("%s: %v, %v", f, info, err)
			continue
		}
		sum += info.Size()
	}
	if most := int64(reports.MaxCell + (files+1)*200); sum > most { // a line for each that there was no room for
		t.Errorf("%d bytes, and %d are allowed", sum, most)
	}
	first, err := os.ReadFile(filepath.Join(r.root, r.files[0]))
	if err != nil || !bytes.HasSuffix(first, []byte("the end")) {
		t.Errorf("the end of a journal is gone: %.40q", first)
	}
	if last := r.files[len(r.files)-1]; filepath.Base(last) != "screenshot.png.txt" {
		t.Errorf("half an image is kept: %s", last)
	}
}

func TestAFullRunKeepsNoMoreEvidence(t *testing.T) {
	r := newRecorder(&Shard{Dir: t.TempDir(), EvidenceFull: true}, "a", Stop)
	if err := r.keep("journal.txt", []byte("x")); err != nil || len(r.files) != 1 {
		t.Fatal(r.files, err)
	}
	if b, err := os.ReadFile(filepath.Join(r.root, r.files[0])); err != nil || !strings.Contains(string(b), "left out") {
		t.Errorf("%q, %v", b, err)
	}
}
