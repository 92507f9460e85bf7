package publish

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestPruneRemovesWhatIsNoLongerUsed(t *testing.T) {
	dir := t.TempDir()
	p, b, cat, _ := built(t, dir)
	stray := filepath.Join(dir, "blobs", "sha256", "stray")
	if err := os.WriteFile(stray, make([]byte, 1000), 0o644); err != nil {
		t.Fatal(err)
	}
	month := time.Now().Add(-30 * 24 * time.Hour)
	if _, err := Prune(dir, month, false); !errors.Is(err, ErrInUse) {
		t.Errorf("while it is open: %v", err)
	}
	p.lock.Close()
	if freed, err := Prune(dir, month, true); err != nil || freed != 1000 {
		t.Errorf("%d bytes, %v", freed, err)
	}
	if _, err := os.Stat(stray); err != nil {
		t.Errorf("a dry run: %v", err)
	}
	if freed, err := Prune(dir, month, false); err != nil || freed != 1000 || len(blobs(t, dir)) != 2 {
		t.Errorf("%d bytes, %v", freed, err)
	}
	old := month.Add(-time.Hour)
	files, err := filepath.Glob(filepath.Join(dir, "manifests", "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if err := os.Chtimes(files[0], old, old); err != nil {
		t.Fatal(err)
	}
	// To use it is to keep it.
	if p, err = Open(dir, b); err != nil {
		t.Fatal(err)
	}
	publish(t, p, cat)
	p.lock.Close()
	if freed, err := Prune(dir, month, false); err != nil || freed != 0 {
		t.Errorf("%d bytes, %v", freed, err)
	}
	if err := os.Chtimes(files[0], old, old); err != nil {
		t.Fatal(err)
	}
	if freed, err := Prune(dir, month, false); err != nil || freed == 0 {
		t.Errorf("%d bytes, %v", freed, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*", "*", "*")); err != nil || len(left) != 0 {
		t.Errorf("%q, %v", left, err)
	}
	if freed, err := Prune(filepath.Join(dir, "none"), month, false); err != nil || freed != 0 {
		t.Errorf("%d bytes, %v", freed, err)
	}
}
