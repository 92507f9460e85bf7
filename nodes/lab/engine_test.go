package lab

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTheEngineHoldsNoLockOfItsCaller(t *testing.T) {
	lock := filepath.Join(t.TempDir(), "lock")
	fd, err := unix.Open(lock, unix.O_CREAT|unix.O_RDWR, 0o600) // without O_CLOEXEC, as flock(1) opens it
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	handedOn := func() bool {
		out, err := exec.Command("sh", "-c", "ls -l /proc/$$/fd").Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(out), lock)
	}
	if !handedOn() {
		t.Fatal("the lock was not handed on before, either")
	}
	if err := keepInherited(); err != nil {
		t.Fatal(err)
	}
	if handedOn() {
		t.Error("a program started afterwards has the caller's lock")
	}
}

// Podman's remote client passes on by the standard output what the programs of a build say.
func TestABuildThatFailsSaysWhy(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\necho step one\necho 'main.go:7: undefined: x'\necho 'Error: building at STEP two' >&2\nexit 1\n"
	if err := os.WriteFile(filepath.Join(dir, "podman"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	e := &Engine{storage: t.TempDir(), run: t.TempDir()}
	var out bytes.Buffer
	err := e.Podman(t.Context(), &out, "build", ".")
	if err == nil || !strings.Contains(err.Error(), "main.go:7: undefined: x") || !strings.Contains(err.Error(), "building at STEP two") {
		t.Errorf("%v", err)
	}
	if !strings.Contains(out.String(), "undefined: x") {
		t.Errorf("%q", out.String())
	}
}
