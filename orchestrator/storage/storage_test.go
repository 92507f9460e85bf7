package storage

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

func TestWhereAFolderMayLie(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	// The directory of tests is in /tmp, which is the system's.
	was := system
	system = []string{"/etc", "/proc", top + "/run"}
	defer func() { system = was }()
	home, data := top+"/home/node", top+"/var/data"
	t.Setenv("HOME", home)
	for _, dir := range []string{home + "/Music", home + "/.config/x", data + "/app/db", top + "/srv/My photos", top + "/srv/a%b", top + "/run/x", top + "/disk"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"/srv/link": top + "/srv/My photos", "/srv/up": data, "/srv/nowhere": top + "/none", "/srv/odd": top + "/srv/a%b"} {
		if err := os.Symlink(to, top+link); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(top+"/srv/file", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{top + "/srv/My photos": top + "/srv/My photos", top + "/srv/link": top + "/srv/My photos", home + "/Music": home + "/Music", top + "/srv/": top + "/srv", top + "/srv/../disk": top + "/disk"} {
		if got, err := Place("photos", dir, data); err != nil || got != want {
			t.Errorf("%s: %q, %v", dir, got, err)
		}
	}
	for dir, want := range map[string]string{
		"srv/photos":                    "no absolute path",
		"":                              "no absolute path",
		"/":                             "is, or holds",
		top:                             "is, or holds",
		home:                            "is, or holds",
		top + "/home":                   "is, or holds",
		data:                            "is, or holds",
		top + "/srv/up":                 "is, or holds",
		data + "/app/db":                "where applications' data is",
		data + "/app":                   "where applications' data is",
		home + "/.config":               "the hidden directory .config",
		home + "/.config/x":             "the hidden directory .config",
		"/etc":                          "which is the system's",
		"/etc/ssl":                      "which is the system's",
		"/proc/self":                    "which is the system's",
		top + "/run/x":                  "which is the system's",
		top + "/srv/none":               "make it first",
		top + "/srv/nowhere":            "make it first",
		top + "/srv/file":               "is no directory",
		top + "/srv/a%b":                "expected a path",
		top + "/srv/odd":                "expected a path",
		top + "/srv/a:b":                "expected a path",
		top + "/srv/a\nb":               "expected a path",
		top + "/srv/a ":                 "expected a path",
		"/" + strings.Repeat("a", 2000): "expected a path",
	} {
		if got, err := Place("photos", dir, data); !errors.Is(err, ErrPlace) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v, expected %q", dir, got, err, want)
		}
	}
	for _, name := range []string{"", "Photos", "../x", "a b", "-a", strings.Repeat("a", 64)} {
		if _, err := Place(name, top+"/disk", data); !errors.Is(err, ErrPlace) || !strings.Contains(err.Error(), "no name") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestFoldersShareNoFiles(t *testing.T) {
	have := map[string]manifest.Folder{"photos": {Dir: "/srv/photos"}, "music": {Dir: "/srv/music/all"}}
	for dir, ok := range map[string]bool{"/srv/photos": false, "/srv/photos/2026": false, "/srv": false, "/srv/music": false, "/srv/photos2": true, "/srv/music/none": true} {
		if err := Fits("new", dir, have); (err == nil) != ok || err != nil && !errors.Is(err, ErrPlace) {
			t.Errorf("%s: %v", dir, err)
		}
	}
	if err := Fits("photos", "/srv/photos", have); err != nil {
		t.Errorf("itself: %v", err)
	}
	for i := range maxFolders {
		have[fmt.Sprint("f", i)] = manifest.Folder{Dir: fmt.Sprint("/mnt/", i)}
	}
	if err := Fits("new", "/srv/x", have); !errors.Is(err, ErrPlace) {
		t.Errorf("one more than a node may have: %v", err)
	}
}

// as runs a script as another user that has one further group; where the test may not
// become one, as its own.
func as(group int) As {
	return func(uid int, script string) error {
		c := exec.Command("/bin/sh", "-c", script)
		if os.Geteuid() == 0 {
			c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid), Groups: []uint32{uint32(group)}}}
		}
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("as %d: %w: %s", uid, err, bytes.TrimSpace(out))
		}
		return nil
	}
}

func share(t *testing.T, dir string, all bool) (string, int) {
	t.Helper()
	t.Chdir(dir)
	id, left, err := Share(dir, "photos", all, as(os.Getegid()))
	if err != nil {
		t.Fatal(err)
	}
	return id, left
}

func TestUsersOfASharedFolderReadAndWriteWhatOthersMake(t *testing.T) {
	dir := t.TempDir()
	id, _ := share(t, dir, false)
	again, _ := share(t, dir, false)
	if !idForm.MatchString(id) || again != id {
		t.Errorf("%q, and then %q", id, again)
	}
	as := as(os.Getegid())
	for _, c := range []struct {
		uid    int
		script string
	}{
		{first, "umask 077 && mkdir -p 2026/may && echo first > 2026/may/a"},
		{second, "echo second >> 2026/may/a && echo second > 2026/may/b && cat 2026/may/a"},
		{first, "grep -q second 2026/may/a && echo first >> 2026/may/b && rm 2026/may/a && mkdir 2026/june"},
		{second, "rm -r 2026"},
	} {
		if err := as(c.uid, c.script); err != nil {
			t.Errorf("%s: %v", c.script, err)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != ".archipelago-photos" {
		t.Errorf("left: %v, %v", left, err)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode()&os.ModeSetgid == 0 || info.Mode().Perm()&0o070 != 0o070 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestWhatIsThereAlreadyIsOpenedOnRequestOnly(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"old/a": 0o600, "old/run": 0o700} {
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, "old"), 0o700), os.WriteFile(filepath.Join(dir, name), nil, mode)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(outside, nil, 0o600), os.Symlink(outside, filepath.Join(dir, "old/link")), syscall.Mkfifo(filepath.Join(dir, "old/pipe"), 0o600)); err != nil {
		t.Fatal(err)
	}
	mode := func(name string) os.FileMode {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	share(t, dir, false)
	if m := mode(filepath.Join(dir, "old/a")); m != 0o600 {
		t.Errorf("opened unasked: %v", m)
	}
	if _, left := share(t, dir, true); left != 0 {
		t.Errorf("%d are left", left)
	}
	for name, want := range map[string]os.FileMode{"old": 0o770, "old/a": 0o660, "old/run": 0o770} {
		if m := mode(filepath.Join(dir, name)); m != want {
			t.Errorf("%s: %v, expected %v", name, m, want)
		}
	}
	if m := mode(outside); m != 0o600 {
		t.Errorf("what a link leads to is opened: %v", m)
	}
}

// TestWhoTriesAFolderFollowsNoLink: an application that has the folder sees the trial begin,
// and puts links in the place of what it makes.
func TestWhoTriesAFolderFollowsNoLink(t *testing.T) {
	for _, place := range []string{"", "a", "b"} {
		dir, outside := t.TempDir(), t.TempDir()
		if err := errors.Join(os.Chmod(outside, 0o777), os.Chmod(filepath.Dir(outside), 0o777)); err != nil {
			t.Fatal(err)
		}
		victim := outside
		if place == "b" {
			victim = filepath.Join(outside, "victim")
			if err := errors.Join(os.WriteFile(victim, []byte("mine\n"), 0o666), os.Chmod(victim, 0o666)); err != nil {
				t.Fatal(err)
			}
		}
		t.Chdir(dir)
		swapped := false
		_, _, err := Share(dir, "photos", false, func(uid int, script string) error {
			if all, _ := filepath.Glob(filepath.Join(dir, ".archipelago-try-*", place)); len(all) == 1 && !swapped {
				swapped = true
				if err := errors.Join(os.RemoveAll(all[0]), os.Symlink(victim, all[0])); err != nil {
					t.Fatal(err)
				}
			}
			return as(os.Getegid())(uid, script)
		})
		if err == nil || !swapped {
			t.Errorf("%q: accepted (%v), %v", place, swapped, err)
		}
		left, _ := os.ReadDir(outside)
		if place != "b" && len(left) > 0 {
			t.Errorf("%q: %v is made outside", place, left)
		}
		if b, err := os.ReadFile(victim); place == "b" && (err != nil || string(b) != "mine\n") {
			t.Errorf("%q is written to outside: %v", b, err)
		}
	}
}

func TestAFolderThatCannotBeSharedIsRefusedAndGetsNoMark(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	_, _, err := Share(dir, "photos", false, func(int, string) error { return errors.New("permission denied") })
	if err == nil || !strings.Contains(err.Error(), "sudo chgrp GROUP "+dir) {
		t.Error(err)
	}
	if _, err := ReadMark(dir, "photos"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("marked: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".archipelago-photos"), []byte("somebody's own"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Share(dir, "photos", false, as(os.Getegid())); err == nil || !strings.Contains(err.Error(), "is not a mark") {
		t.Error(err)
	}
}

func TestAFolderIsKnownByItsMark(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(top, "photos")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	id, _ := share(t, dir, false)
	f := manifest.Folder{Dir: dir, ID: id}
	looks := func(when, want string) {
		t.Helper()
		if why := Look("photos", f); (want == "") != (why == "") || !strings.Contains(why, want) {
			t.Errorf("%s: %q, expected %q", when, why, want)
		}
		if why := (&Watcher{}).Look(map[string]manifest.Folder{"photos": f})["photos"]; !strings.Contains(why, want) {
			t.Errorf("%s: the watcher says %q, expected %q", when, why, want)
		}
	}
	do := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	mark := filepath.Join(dir, ".archipelago-photos")
	looks("as it was added", "")
	do(os.Rename(mark, mark+"x"))
	looks("an empty mount point", "if a disk belongs there, mount it")
	do(os.WriteFile(mark, []byte("ANOTHER\n"), 0o644))
	looks("another disk", "another folder than the one that was added")
	do(os.Remove(mark), syscall.Mkfifo(mark, 0o644))
	looks("a pipe", "no regular file")
	do(os.Remove(mark), os.Symlink(mark+"x", mark))
	looks("a link in the mark's place", "it cannot be looked at")
	do(os.Remove(mark), os.Rename(mark+"x", mark), os.Rename(dir, dir+"2"))
	looks("gone", "is not there; if it is on a disk")
	do(os.Symlink(dir+"2", dir))
	looks("a link in its place", "leads to "+dir+"2 now")
}

// A folder that does not answer is not asked again before it has.
func TestASilentFolderKeepsNobodyWaiting(t *testing.T) {
	dir := t.TempDir()
	w := &Watcher{busy: map[string]bool{dir: true}}
	if why := w.Look(map[string]manifest.Folder{"photos": {Dir: dir, ID: "x"}})["photos"]; !strings.Contains(why, "does not answer") {
		t.Error(why)
	}
}
