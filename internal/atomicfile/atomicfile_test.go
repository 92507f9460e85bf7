package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestWriteLeavesNothingBehindWhenItFails(t *testing.T) {
	dir := t.TempDir()
	if err := Write(filepath.Join(dir, "missing", "file"), []byte("x"), 0o600); err == nil {
		t.Error("wrote into a directory that does not exist")
	}
	// A directory stands where the file should go: the rename fails.
	target := filepath.Join(dir, "target")
	if err := os.MkdirAll(filepath.Join(target, "inside"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(target, []byte("x"), 0o600); err == nil {
		t.Error("replaced a directory")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left %v, %v", entries, err)
	}
}

func TestTwoMayReplaceAFileAtTheSameTime(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	var writers sync.WaitGroup
	for _, text := range []string{strings.Repeat("a", 1<<20), strings.Repeat("b", 1<<10)} {
		writers.Go(func() {
			for range 30 {
				if err := Write(file, []byte(text), 0o600); err != nil {
					t.Error(err)
				}
				b, err := os.ReadFile(file)
				if whole := strings.Trim(string(b), "a") == "" && len(b) == 1<<20 || strings.Trim(string(b), "b") == "" && len(b) == 1<<10; err != nil || !whole {
					t.Errorf("%d bytes, %v", len(b), err)
				}
			}
		})
	}
	writers.Wait()
}

func TestWriteInLeavesItsDirectoryByNoLink(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	secret := filepath.Join(outside, "secret")
	if err := errors.Join(os.WriteFile(secret, []byte("x"), 0o600), os.Symlink(outside, filepath.Join(dir, "folder")), os.Symlink(secret, filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for name, taken := range map[string]bool{"folder/secret": false, "../secret": false, "link": true} {
		if err := WriteIn(root, name, []byte("planted"), 0o600); (err == nil) != taken {
			t.Errorf("%s: %v", name, err)
		}
	}
	left, err := os.ReadDir(outside)
	b, readErr := os.ReadFile(secret)
	if err := errors.Join(err, readErr); err != nil || len(left) != 1 || string(b) != "x" {
		t.Errorf("%d files, %q, %v", len(left), b, err)
	}
}
