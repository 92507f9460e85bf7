package engine

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/archipelago-cloud/archipelago/orchestrator/host"
)

// put stages files and runs the script, as PutFiles does in the user namespace.
func put(t *testing.T, dir string, files ...host.File) {
	t.Helper()
	args, err := stage(dir, files)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		for _, arg := range args {
			if strings.Contains(arg, strings.TrimSpace(f.Content)) {
				t.Errorf("%q is in a command, which everybody can see", arg)
			}
		}
		info, err := os.Stat(filepath.Join(dir, f.Name+fresh))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("before it has its owner, it is %v, %v", info, err)
		}
	}
	mustScript(t, "put-files.sh", args...)
}

func inode(t *testing.T, name string) uint64 {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Ino
}

func TestFilesAreTheirContainersUsersAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "files", "a")
	uid, gid := os.Getuid(), os.Getgid()
	secret := host.File{Name: "a.1", Content: "password=hunter2\n", Mode: 0o600, UID: uid, GID: gid}
	program := host.File{Name: "a.2", Content: "#!/bin/sh\n", Mode: 0o755, UID: uid, GID: gid}
	put(t, dir, secret, program)
	for _, f := range []host.File{secret, program} {
		b, err := os.ReadFile(filepath.Join(dir, f.Name))
		if info, statErr := os.Stat(filepath.Join(dir, f.Name)); err != nil || statErr != nil || string(b) != f.Content || info.Mode().Perm() != f.Mode {
			t.Errorf("%s: %q, %v, %v", f.Name, b, info, err)
		}
	}
	for _, name := range []string{dir, filepath.Dir(dir)} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	absent(t, filepath.Join(dir, "a.1"+fresh), filepath.Join(dir, "a.2"+fresh))

	// A container may have it: the same stays the same file, and another takes its place.
	before, other := inode(t, filepath.Join(dir, "a.1")), inode(t, filepath.Join(dir, "a.2"))
	program.Mode = 0o555
	put(t, dir, secret, program)
	if inode(t, filepath.Join(dir, "a.1")) != before {
		t.Error("what is the same was replaced")
	}
	if inode(t, filepath.Join(dir, "a.2")) == other {
		t.Error("with another mode, it is not replaced")
	}
	secret.Content = "password=hunter3\n"
	put(t, dir, secret)
	if b, err := os.ReadFile(filepath.Join(dir, "a.1")); err != nil || string(b) != secret.Content || inode(t, filepath.Join(dir, "a.1")) == before {
		t.Errorf("%q, %v: what a container has was changed in place, or not at all", b, err)
	}
}

// A cut leaves no file with another owner under its name.
func TestAFileNeverHasItsNameBeforeItsOwner(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "files", "a")
	file := host.File{Name: "a.1", Content: "x", Mode: 0o600, UID: os.Getuid(), GID: os.Getgid()}
	for _, program := range []string{"chown", "chmod"} {
		args, err := stage(dir, []host.File{file})
		if err != nil {
			t.Fatal(err)
		}
		if out, err := script(t, failing(t, program, 1), "put-files.sh", args...); err == nil {
			t.Errorf("without %s: %s", program, out)
		}
		absent(t, filepath.Join(dir, "a.1"))
	}
	put(t, dir, file)
	if err := os.Remove(filepath.Join(dir, "a.1")); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "a.1")); err != nil {
		t.Fatal(err)
	}
	put(t, dir, file)
	if info, err := os.Lstat(filepath.Join(dir, "a.1")); err != nil || !info.Mode().IsRegular() {
		t.Errorf("a link in its place stays: %v, %v", info, err)
	}
}
