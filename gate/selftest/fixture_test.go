package selftest

import (
	"path/filepath"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// TestFixturesAreValid needs no lab: a fixture that is not valid would say nothing about the
// gate.
func TestFixturesAreValid(t *testing.T) {
	files, err := filepath.Glob("fixture/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	families, err := filepath.Glob("fixture/[fs]*/*.yaml") // fixture/compose has what is imported
	if err != nil || len(files) == 0 || len(families) != 5 {
		t.Fatalf("%d and %d fixtures, %v", len(files), len(families), err)
	}
	for _, file := range append(files, families...) {
		if _, err := manifest.ParseFile(file); err != nil {
			t.Error(err)
		}
	}
}
