package engine

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestWhatHasChangedIsReadAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	volume(t, dir, "content")
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := os.Symlink("file", link); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o641|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	stat := func(name string) (mode os.FileMode, changed, written time.Time) {
		t.Helper()
		info, err := os.Lstat(name)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode(), time.Unix(info.Sys().(*syscall.Stat_t).Ctim.Unix()), info.ModTime()
	}
	mode, changed, written := stat(file)
	renew := func(since time.Time, want string) {
		t.Helper()
		if out, err := script(t, "", "renew.sh", strconv.FormatInt(since.Unix(), 10), dir); err != nil || strings.TrimSpace(out) != want {
			t.Errorf("%q, %v; expected %s bytes", out, err, want)
		}
	}
	renew(time.Now().Add(time.Minute), "0")
	if _, now, _ := stat(file); !now.Equal(changed) {
		t.Error("what was not changed since then has another time")
	}
	_, ofLink, _ := stat(link)
	renew(time.Now().Add(-time.Minute), "7")
	newMode, newChanged, newWritten := stat(file)
	if newMode != mode || !newWritten.Equal(written) || !newChanged.After(changed) {
		t.Errorf("%v, %v, %v; before: %v, %v, %v", newMode, newChanged, newWritten, mode, changed, written)
	}
	if _, now, _ := stat(link); !now.Equal(ofLink) {
		t.Error("a link was changed")
	}
	if out, err := script(t, failing(t, "chmod", 1), "renew.sh", "0", dir); err == nil {
		t.Errorf("a file that could not be marked is not said: %s", out)
	}
}

func TestOnlyLargeVolumesAreReadInPlace(t *testing.T) {
	top := t.TempDir()
	dir, beside := filepath.Join(top, "db"), filepath.Join(top, "beside")
	volume(t, dir, "content")
	if err := os.Mkdir(beside, 0o700); err != nil {
		t.Fatal(err)
	}
	tools := func(name, body string) string {
		t.Helper()
		path := t.TempDir()
		if err := os.WriteFile(filepath.Join(path, name), []byte("#!/bin/sh\n"+body), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	// As ext4 says it, wherever the test's own directory is; see in-place.sh.
	ext4 := tools("stat", `case "$*" in *-f*) echo ext2/ext3 ;; *) echo "2026-01-01 00:00:00.123456789 +0000" ;; esac`)
	if err := os.WriteFile(filepath.Join(ext4, "cp"), []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil { // it makes no reflinks
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path, bytes, files string
		dirs               []string
		want               string
	}{
		"few bytes and files": {ext4, "8", "2", []string{dir}, "0"},
		"bytes":               {ext4, "7", "2", []string{dir}, "7"},
		"files":               {ext4, "8", "1", []string{dir}, "7"},
		"no volume":           {ext4, "0", "0", nil, "0"},
		"one that is missing": {ext4, "0", "0", []string{dir, dir + "2"}, "0"},
		"a mount point":       {ext4, "0", "0", []string{"/dev/shm"}, "0"},
		"memory":              {tools("stat", `echo tmpfs`), "7", "1", []string{dir}, "0"},
		"whole seconds":       {tools("stat", `case "$*" in *-f*) echo ext2/ext3 ;; *) echo "2026-01-01 00:00:00.000000000 +0000" ;; esac`), "7", "1", []string{dir}, "0"},
		"reflinks":            {tools("cp", `exec /bin/cp --reflink=auto -T "$4" "$5"`) + ":" + ext4, "7", "1", []string{dir}, "0"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := script(t, c.path, "in-place.sh", append([]string{beside, c.bytes, c.files}, c.dirs...)...)
			if err != nil || strings.TrimSpace(out) != c.want {
				t.Errorf("%q, %v; expected %s", out, err, c.want)
			}
			if left, err := os.ReadDir(beside); err != nil || len(left) > 0 {
				t.Errorf("it left %v, %v", left, err)
			}
		})
	}
}
