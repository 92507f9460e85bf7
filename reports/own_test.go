package reports

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestARunHoldsFilesAndDirectoriesAlone(t *testing.T) {
	outside := t.TempDir()
	for name, plant := range map[string]func(dir string) error{
		"":             func(string) error { return nil },
		"a link":       func(dir string) error { return os.Symlink("/dev/zero", filepath.Join(dir, ResultsFile)) },
		"a deep one":   func(dir string) error { return os.Symlink(outside, filepath.Join(dir, "evidence", "feeds")) },
		"one within":   func(dir string) error { return os.Symlink(PlanFile, filepath.Join(dir, ResultsFile)) },
		"a broken one": func(dir string) error { return os.Symlink("nowhere", filepath.Join(dir, "x")) },
		"a pipe":       func(dir string) error { return unix.Mkfifo(filepath.Join(dir, WaiversDir), 0o600) },
		"no end": func(dir string) error {
			f, err := os.Create(filepath.Join(dir, "evidence", "sparse"))
			return errors.Join(err, f.Truncate(maxFile+1), f.Close())
		},
	} {
		dir := t.TempDir()
		if err := errors.Join(os.Mkdir(filepath.Join(dir, "evidence"), 0o755), os.WriteFile(filepath.Join(dir, PlanFile), []byte("{}"), 0o644), plant(dir)); err != nil {
			t.Fatal(err)
		}
		latest := filepath.Join(t.TempDir(), "latest") // how a run is named is its owner's
		if err := os.Symlink(dir, latest); err != nil {
			t.Fatal(err)
		}
		if err := Own(latest); errors.Is(err, ErrForeign) != (name != "") {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := Own(outside); !errors.Is(err, os.ErrNotExist) {
		t.Error("a directory that is no run:", err)
	}
}
