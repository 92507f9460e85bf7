package state

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRecordsAreKept(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	d := Desired{App: "a", Goal: Running, Generation: 3, Migration: 1, AcceptedAt: time.Now().UTC()}
	if err := s.Put(d); err != nil {
		t.Fatal(err)
	}
	again, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Get("a"); err != nil || got != d {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := again.Get("b"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if err := again.Delete("a"); err != nil {
		t.Fatal(err)
	}
	if err := again.Delete("a"); err != nil {
		t.Errorf("deleting twice: %v", err)
	}
	if all, err := again.All(); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
}

func TestOneCorruptRecordDoesNotHideTheOthers(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(Desired{App: "good", Goal: Stopped}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "desired", "bad.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := s.All()
	if err == nil || !strings.Contains(err.Error(), "bad.json") || len(all) != 1 || all[0].App != "good" {
		t.Errorf("%v, %v", all, err)
	}
}

func TestTokenIsMadeOnceAndPrivate(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	first, err := s.Token()
	if err != nil {
		t.Fatal(err)
	}
	if second, err := s.Token(); err != nil || second != first {
		t.Errorf("%q, then %q, %v", first, second, err)
	}
	info, err := os.Stat(filepath.Join(dir, "token"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestWriteFileLeavesNothingBehindWhenItFails(t *testing.T) {
	dir := t.TempDir()
	if err := WriteFile(filepath.Join(dir, "missing", "file"), []byte("x"), 0o600); err == nil {
		t.Error("wrote into a directory that does not exist")
	}
	// A directory stands where the file should go: the rename fails.
	target := filepath.Join(dir, "target")
	if err := os.MkdirAll(filepath.Join(target, "inside"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(target, []byte("x"), 0o600); err == nil {
		t.Error("replaced a directory")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left %v, %v", entries, err)
	}
}
