package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/archipelago-cloud/archipelago/orchestrator/host"
)

// The scripts run here as they do on a node, except outside a user namespace, and with a
// sync that does nothing: no power is cut here, and the real one waits for the disk.

func owner() string { return fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid()) }

// script runs one of the scripts; path, if not empty, comes first in its PATH.
func script(t *testing.T, path, name string, args ...string) (said string, err error) {
	t.Helper()
	body, err := scripts.ReadFile("scripts/" + name)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", append([]string{"-c", string(body), name}, args...)...)
	fast := t.TempDir()
	if err := os.WriteFile(filepath.Join(fast, "sync"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if path != "" {
		path += ":"
	}
	cmd.Env = append(os.Environ(), "PATH="+path+fast+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func mustScript(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := script(t, "", name, args...); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}

// volume makes a directory with one file in it.
func volume(t *testing.T, dir, content string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func holds(t *testing.T, dir, want string) {
	t.Helper()
	if b, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(b) != want {
		t.Errorf("%s holds %q, %v; expected %q", dir, b, err, want)
	}
}

func absent(t *testing.T, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if _, err := os.Lstat(p); !os.IsNotExist(err) {
			t.Errorf("%s exists (%v)", p, err)
		}
	}
}

// failing is a directory with a program that dies at its n-th call and otherwise does
// what the real one does.
func failing(t *testing.T, program string, n int) string {
	t.Helper()
	genuine := "true"
	if program != "sync" {
		var err error
		if genuine, err = exec.LookPath(program); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	body := fmt.Sprintf("#!/bin/sh\necho >> %[1]s/calls\n[ $(wc -l < %[1]s/calls) -ne %[2]d ] || exit 9\nexec %[3]s \"$@\"\n", dir, n, genuine)
	if err := os.WriteFile(filepath.Join(dir, program), []byte(body), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

const tooMuch = "1125899906842624" // KiB: more than any disk has

func TestCopyIsCompleteAndReplacesAnOlderOne(t *testing.T) {
	home, to := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	volume(t, home+"/data", "one")
	volume(t, home+"/with space", "two")
	volume(t, to+"/older", "leftover")
	volume(t, to+".new/half", "leftover")
	mustScript(t, "copy-volumes.sh", "0", to, home+"/data", home+"/with space")
	holds(t, to+"/data", "one")
	holds(t, to+"/with space", "two")
	absent(t, to+"/older", to+".new", to+".old")
	holds(t, home+"/data", "one")
}

func TestCopyOfNothingIsAnEmptyDirectory(t *testing.T) {
	to := filepath.Join(t.TempDir(), "copy")
	mustScript(t, "copy-volumes.sh", "0", to)
	if entries, err := os.ReadDir(to); err != nil || len(entries) != 0 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestCopyThatDoesNotFitIsRefused(t *testing.T) {
	home, to := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	volume(t, home+"/data", "one")
	out, err := script(t, "", "copy-volumes.sh", tooMuch, to, home+"/data")
	if err == nil || !strings.Contains(out, "the copy needs") || !strings.Contains(out, "MiB that are free") {
		t.Errorf("%v: %s", err, out)
	}
	absent(t, to, to+".new")
	if err := os.Mkdir(home+"/new", 0o755); err != nil {
		t.Fatal(err)
	}
	out, err = script(t, "", "take-over.sh", tooMuch, home+"/data", home+"/new/data", owner())
	if err == nil || !strings.Contains(out, "the copy needs") {
		t.Errorf("%v: %s", err, out)
	}
	absent(t, home+"/new/data", home+"/new/data.new")
}

func TestIncompleteCopyNeverBearsTheName(t *testing.T) {
	home, to := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	volume(t, home+"/a", "one")
	volume(t, home+"/b", "two")
	for cut, program := range map[string]string{"before the first is copied": "cp", "before the name is given": "mv"} {
		if out, err := script(t, failing(t, program, 1), "copy-volumes.sh", "0", to, home+"/a", home+"/b"); err == nil {
			t.Fatalf("%s: it succeeded: %s", cut, out)
		}
		absent(t, to)
	}
	if out, err := script(t, failing(t, "cp", 2), "copy-volumes.sh", "0", to, home+"/a", home+"/b"); err == nil {
		t.Fatalf("between the two: it succeeded: %s", out)
	}
	absent(t, to)
	mustScript(t, "copy-volumes.sh", "0", to, home+"/a", home+"/b")
	holds(t, to+"/a", "one")
	holds(t, to+"/b", "two")
	absent(t, to+".new")
}

// cut has a script die before the first call of each of these programs, before the second, and so
// on until there is no such call. try is given the directory of the one that dies, and gives how
// the script ended. At least so many cuts have to be made.
func cut(t *testing.T, programs []string, least int, try func(programs string) error) {
	t.Helper()
	cuts := 0
	for _, program := range programs {
		for n := 1; ; n++ {
			err := try(failing(t, program, n))
			if t.Failed() {
				t.Fatalf("cut before %s number %d", program, n)
			}
			if err == nil {
				break // there is no such call
			}
			cuts++
		}
	}
	if cuts < least {
		t.Errorf("only %d cuts were made", cuts)
	}
}

// TestPutBackContinuesAfterACut ends the script before every one of its steps in turn,
// and runs it again.
func TestPutBackContinuesAfterACut(t *testing.T) {
	cut(t, []string{"mkdir", "mv", "rm", "sync"}, 10, func(programs string) error {
		root := t.TempDir()
		from, home := root+"/copy", root+"/home"
		volume(t, from+"/a", "old a")
		volume(t, from+"/b", "old b")
		volume(t, from+"/gone", "old gone") // has no counterpart any more
		volume(t, home+"/a", "new a")
		volume(t, home+"/b", "new b")
		volume(t, home+"/c", "new c") // has no copy: stays
		_, err := script(t, programs, "put-back.sh", from, home)
		mustScript(t, "put-back.sh", from, home)
		for dir, want := range map[string]string{"a": "old a", "b": "old b", "gone": "old gone", "c": "new c"} {
			holds(t, home+"/"+dir, want)
		}
		absent(t, from, from+".old")
		return err
	})
}

func TestPutBackWithoutACopyDoesNothing(t *testing.T) {
	home := t.TempDir()
	volume(t, home+"/a", "new a")
	mustScript(t, "put-back.sh", filepath.Join(t.TempDir(), "absent"), home)
	holds(t, home+"/a", "new a")
	mustScript(t, "put-back.sh", home+"/absent", home+"/other")
	absent(t, home+"/other", home+"/absent.old")
}

// exchanging has copies of before, and volumes: one that both have, one that cannot be moved
// and has a copy already, and of each side one that the other lacks.
func exchanging(t *testing.T, root string) (args []string) {
	volume(t, root+"/copies/a", "old a")
	volume(t, root+"/copies/fixed", "old fixed")
	volume(t, root+"/copies/older", "old older")
	volume(t, root+"/copies/a/deep", "old deep")
	volume(t, root+"/home/a", "new a")
	volume(t, root+"/disk/app/fixed", "new fixed")
	volume(t, root+"/home/newer", "new newer")
	volume(t, root+"/kept.swap/fixed", "new fixed")
	if err := os.WriteFile(root+"/disk/app/fixed/more", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{root + "/copies", root + "/kept", root + "/home/a", root + "/disk/app/fixed", root + "/home/older", root + "/home/newer"}
}

// TestAnExchangeContinuesAfterACut ends the script before every one of its steps in turn, and
// runs it again, and again when it is done.
func TestAnExchangeContinuesAfterACut(t *testing.T) {
	cut(t, []string{"mkdir", "mv", "find", "cp", "rm", "rmdir", "sync", "stat"}, 20, func(programs string) error {
		root := t.TempDir()
		args := exchanging(t, root)
		_, err := script(t, programs, "exchange.sh", args...)
		for range 2 {
			mustScript(t, "exchange.sh", args...)
		}
		holds(t, root+"/home/a", "old a")
		holds(t, root+"/home/a/deep", "old deep")
		holds(t, root+"/disk/app/fixed", "old fixed")
		holds(t, root+"/home/older", "old older")
		holds(t, root+"/kept/a", "new a")
		holds(t, root+"/kept/fixed", "new fixed")
		holds(t, root+"/kept/newer", "new newer")
		absent(t, root+"/home/newer", root+"/disk/app/fixed/more", root+"/kept/older", root+"/kept/.away", root+"/kept.swap", root+"/copies", root+"/copies.old")
		return err
	})
}

// TestAnExchangeIsUndoneByAnother: what was there is there again, and so is what was kept.
func TestAnExchangeIsUndoneByAnother(t *testing.T) {
	root := t.TempDir()
	args := exchanging(t, root)
	mustScript(t, "exchange.sh", args...)
	volume(t, root+"/copies.swap/fixed", "old fixed")
	mustScript(t, "exchange.sh", append([]string{root + "/kept", root + "/copies"}, args[2:]...)...)
	for dir, want := range map[string]string{"/home/a": "new a", "/disk/app/fixed": "new fixed", "/home/newer": "new newer", "/copies/a": "old a", "/copies/fixed": "old fixed", "/copies/older": "old older"} {
		holds(t, root+dir, want)
	}
	absent(t, root+"/home/older", root+"/kept", root+"/kept.old", root+"/copies.swap")
}

// TestAnExchangeIsRefused, and has changed nothing that a second try would not find.
func TestAnExchangeIsRefused(t *testing.T) {
	root := t.TempDir()
	args := exchanging(t, root)
	if err := errors.Join(os.Rename(root+"/home/newer", root+"/elsewhere"), os.Symlink(root+"/elsewhere", root+"/home/newer")); err != nil {
		t.Fatal(err)
	}
	if out, err := script(t, "", "exchange.sh", args...); err == nil || !strings.Contains(out, "is a symbolic link") {
		t.Errorf("%v: %s", err, out)
	}
	holds(t, root+"/home/a", "new a")
	if err := errors.Join(os.Remove(root+"/home/newer"), os.RemoveAll(root+"/disk")); err != nil {
		t.Fatal(err)
	}
	if out, err := script(t, "", "exchange.sh", args...); err == nil || !strings.Contains(out, root+"/disk/app/fixed, where the volume was moved to, is not there; connect and mount its disk") {
		t.Errorf("%v: %s", err, out)
	}
	holds(t, root+"/copies/fixed", "old fixed")
	if err := os.MkdirAll(root+"/disk/app", 0o700); err != nil {
		t.Fatal(err)
	}
	mustScript(t, "exchange.sh", args...)
	holds(t, root+"/disk/app/fixed", "old fixed")
}

// TestWhatCannotBeMovedIsCopiedBeforeAnExchange; nothing begins without the copies.
// scripted runs the scripts without user namespaces, and tells which ran.
func scripted(t *testing.T, ran *[]string) *Engine {
	return &Engine{helper: func(_ context.Context, _ limit, _ string, argv ...string) (string, error) {
		*ran = append(*ran, argv[5]) // podman unshare /bin/sh -c SCRIPT NAME
		out, err := script(t, "", argv[5], argv[6:]...)
		if err != nil {
			return "", errors.New(out)
		}
		return out, nil
	}}
}

// TestAVolumeWhoseDiskIsAwayIsNotExchanged: when the disk is back, the volume on it would be
// emptied, and no copy of it be anywhere.
func TestAVolumeWhoseDiskIsAwayIsNotExchanged(t *testing.T) {
	root := t.TempDir()
	var ran []string
	e := scripted(t, &ran)
	volume(t, root+"/home/a", "new a")
	volume(t, root+"/copies/a", "old a")
	volume(t, root+"/copies/fixed", "old fixed")
	fixed := root + "/disk/app/fixed"
	for name, exchange := range map[string]func() error{
		"before": func() error {
			return e.BeginExchange(t.Context(), []string{root + "/home/a", fixed}, root+"/copies", root+"/kept")
		},
		"on the way": func() error {
			return e.Exchange(t.Context(), []string{root + "/home/a", fixed}, root+"/copies", root+"/kept")
		},
	} {
		if err := exchange(); err == nil || !strings.Contains(err.Error(), "connect and mount its disk") || len(ran) > 0 {
			t.Errorf("%s: %v, and ran: %q", name, err, ran)
		}
	}
	// Nor where it was away while the others were put aside.
	volume(t, fixed, "new fixed")
	if err := os.MkdirAll(root+"/kept.swap/.away", 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := script(t, "", "exchange.sh", root+"/copies", root+"/kept", fixed); err == nil || !strings.Contains(out, "has no copy") {
		t.Errorf("%v: %s", err, out)
	}
	holds(t, fixed, "new fixed")
	holds(t, root+"/copies/fixed", "old fixed")
}

// TestACopyLeavesNothingOfAnExchangeBeforeIt: one that was given up would be taken for its own.
func TestACopyLeavesNothingOfAnExchangeBeforeIt(t *testing.T) {
	root := t.TempDir()
	volume(t, root+"/home/a", "a")
	volume(t, root+"/kept.swap/a", "stale")
	mustScript(t, "copy-volumes.sh", "0", root+"/kept", root+"/home/a")
	holds(t, root+"/kept/a", "a")
	absent(t, root+"/kept.swap")
}

func TestWhatCannotBeMovedIsCopiedBeforeAnExchange(t *testing.T) {
	root := t.TempDir()
	var ran []string
	e := scripted(t, &ran)
	other, err := os.MkdirTemp("/dev/shm", "archipelago-")
	if err != nil {
		t.Skip(err)
	}
	defer os.RemoveAll(other)
	volume(t, root+"/home/a", "new a")
	volume(t, other+"/app/fixed", "new fixed")
	if moves, err := movable(other+"/app/fixed", root); err != nil || moves {
		t.Skipf("there is no other disk here: %v", err)
	}
	dirs := []string{root + "/home/a", other + "/app/fixed", root + "/home/none"}
	if err := e.Exchange(t.Context(), dirs, root+"/copies", root+"/kept"); err == nil || !strings.Contains(err.Error(), root+"/copies is gone") || len(ran) > 0 {
		t.Errorf("without the copies: %v, %q", err, ran)
	}
	volume(t, root+"/copies/a", "old a")
	volume(t, root+"/copies/fixed", "old fixed")
	if err := e.BeginExchange(t.Context(), dirs, root+"/copies", root+"/kept"); err != nil {
		t.Fatal(err)
	}
	holds(t, root+"/kept.swap/fixed", "new fixed")
	holds(t, root+"/home/a", "new a")
	absent(t, root+"/kept.swap/a", root+"/kept")
	for range 2 {
		if err := e.Exchange(t.Context(), dirs, root+"/copies", root+"/kept"); err != nil {
			t.Fatal(err)
		}
		holds(t, root+"/home/a", "old a")
		holds(t, other+"/app/fixed", "old fixed")
		holds(t, root+"/kept/a", "new a")
		holds(t, root+"/kept/fixed", "new fixed")
	}
	// The way forward copies what cannot be moved by itself.
	if err := e.Exchange(t.Context(), dirs, root+"/kept", root+"/copies"); err != nil {
		t.Fatal(err)
	}
	holds(t, other+"/app/fixed", "new fixed")
	holds(t, root+"/copies/fixed", "old fixed")
	if want := []string{"fits.sh", "copy-volumes.sh", "fits.sh", "exchange.sh", "exchange.sh", "fits.sh", "copy-volumes.sh", "exchange.sh"}; !slices.Equal(ran, want) {
		t.Errorf("%q, expected %q", ran, want)
	}
}

// crowded runs the scripts where it is looked whether volumes fit, and they do not while full.
func crowded(t *testing.T, full *bool) *Engine {
	return &Engine{helper: func(_ context.Context, _ limit, _ string, argv ...string) (string, error) {
		if argv[5] == "fits.sh" && *full {
			argv[6] = tooMuch
		}
		out, err := script(t, "", argv[5], argv[6:]...)
		if err != nil {
			err = errors.New(out)
		}
		return out, err
	}}
}

// TestNothingIsExchangedWhereItDoesNotFit: a volume on another disk would be emptied, and the disk
// be full before what it is to hold is there.
func TestNothingIsExchangedWhereItDoesNotFit(t *testing.T) {
	root := t.TempDir()
	other, err := os.MkdirTemp("/dev/shm", "archipelago-")
	if err != nil {
		t.Skip(err)
	}
	defer os.RemoveAll(other)
	fixed := other + "/app/fixed"
	volume(t, fixed, "new")
	if moves, err := movable(fixed, root); err != nil || moves {
		t.Skipf("there is no other disk here: %v", err)
	}
	volume(t, root+"/copies/fixed", "old")
	if err := os.WriteFile(root+"/copies/fixed/more", make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	full := true
	e := crowded(t, &full)
	err = e.BeginExchange(t.Context(), []string{fixed}, root+"/copies", root+"/kept")
	if err == nil || !strings.Contains(err.Error(), "the volume "+fixed+" needs ") {
		t.Error(err)
	}
	holds(t, fixed, "new")
	absent(t, root+"/kept", root+"/kept.swap")
	// What takes no more than is there needs no room.
	if err := os.WriteFile(fixed+"/more", make([]byte, 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	mustScript(t, "fits.sh", tooMuch, root+"/copies", fixed)
}

// TestNothingIsPutBackWhereItDoesNotFit: neither a volume that was moved, nor what changes places
// again; and the others wait for it. Once there is room, it goes on.
func TestNothingIsPutBackWhereItDoesNotFit(t *testing.T) {
	root := t.TempDir()
	other, err := os.MkdirTemp("/dev/shm", "archipelago-")
	if err != nil {
		t.Skip(err)
	}
	defer os.RemoveAll(other)
	fixed := other + "/app/fixed"
	volume(t, fixed, "new")
	volume(t, root+"/home/a", "new a")
	volume(t, root+"/copies/a", "old a")
	volume(t, root+"/copies/fixed", "old")
	if err := os.WriteFile(root+"/copies/fixed/more", make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if moves, err := movable(fixed, root); err != nil || moves {
		t.Skipf("there is no other disk here: %v", err)
	}
	full := true
	e := crowded(t, &full)
	for range 2 {
		err := e.Refill(t.Context(), root+"/copies/fixed", fixed)
		if !errors.Is(err, host.ErrNoRoom) || !strings.Contains(err.Error(), "the volume "+fixed+" needs ") || !strings.Contains(err.Error(), "MiB that are free there") {
			t.Error(err)
		}
		if err := e.Exchange(t.Context(), []string{root + "/home/a", fixed}, root+"/copies", root+"/kept"); !errors.Is(err, host.ErrNoRoom) {
			t.Error(err)
		}
		holds(t, fixed, "new")
		holds(t, root+"/home/a", "new a")
		holds(t, root+"/copies/fixed", "old")
		absent(t, root+"/kept", root+"/kept.swap", root+"/copies.old")
	}
	full = false
	if err := errors.Join(e.Refill(t.Context(), root+"/copies/fixed", fixed), e.PutBack(t.Context(), root+"/copies", root+"/home")); err != nil {
		t.Error(err)
	}
	holds(t, fixed, "old")
	holds(t, root+"/home/a", "old a")
	absent(t, root+"/copies", root+"/copies.old")
}

func TestACopyThatDoesNotFitIsForWantOfRoom(t *testing.T) {
	e := &Engine{helper: func(_ context.Context, _ limit, _ string, argv ...string) (string, error) {
		out, err := script(t, "", argv[5], append([]string{tooMuch}, argv[7:]...)...)
		if err != nil {
			err = errors.New(out)
		}
		return "", err
	}}
	home, to := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	volume(t, home+"/data", "one")
	if err := e.CopyVolumes(t.Context(), []string{home + "/data"}, to); !errors.Is(err, host.ErrNoRoom) {
		t.Error(err)
	}
	if err := os.Symlink(home, home+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := e.CopyVolumes(t.Context(), []string{home + "/link"}, to); err == nil || errors.Is(err, host.ErrNoRoom) {
		t.Error(err)
	}
}

func TestVolumeNeverExistsWithAnotherOwner(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if _, err := script(t, failing(t, "chown", 1), "ensure-volumes.sh", dir, owner()); err == nil {
		t.Fatal("it succeeded without chown")
	}
	absent(t, dir)
	mustScript(t, "ensure-volumes.sh", dir, owner())
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	absent(t, dir+".new")
}

// TestVolumesOfAnApplicationAreMadeByOneProcess: those that are there need none.
func TestVolumesOfAnApplicationAreMadeByOneProcess(t *testing.T) {
	home := t.TempDir()
	var ran [][]string
	e := &Engine{helper: func(_ context.Context, _ limit, _ string, argv ...string) (string, error) {
		ran = append(ran, argv)
		return script(t, "", "ensure-volumes.sh", argv[6:]...) // podman unshare /bin/sh -c SCRIPT NAME
	}}
	var owners []host.VolumeOwner
	for _, name := range []string{"db", "with space", "files"} {
		owners = append(owners, host.VolumeOwner{Dir: filepath.Join(home, name), UID: os.Getuid(), GID: os.Getgid()})
	}
	volume(t, owners[0].Dir, "old")
	for range 2 {
		if err := e.EnsureVolumes(t.Context(), owners); err != nil {
			t.Fatal(err)
		}
	}
	if len(ran) != 1 || len(ran[0]) != 6+2*2 || slices.Contains(ran[0], owners[0].Dir) {
		t.Errorf("expected one process for the two that are missing: %q", ran)
	}
	for _, o := range owners[1:] {
		if info, err := os.Stat(o.Dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", o.Dir, info, err)
		}
	}
	holds(t, owners[0].Dir, "old")
}

func TestTheVolumeThatCannotBeMadeIsNamed(t *testing.T) {
	home := t.TempDir()
	if err := os.WriteFile(home+"/bad.new", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := script(t, "", "ensure-volumes.sh", home+"/good", owner(), home+"/bad", owner(), home+"/later", owner())
	if err == nil || !strings.Contains(out, home+"/bad") {
		t.Errorf("%v: %s", err, out)
	}
	absent(t, home+"/bad", home+"/later")
}

func TestTakingOverLeavesAnExistingVolumeAndItsSourceAlone(t *testing.T) {
	root := t.TempDir()
	volume(t, root+"/theirs", "theirs")
	if _, err := script(t, failing(t, "chown", 1), "take-over.sh", "0", root+"/theirs", root+"/data", owner()); err == nil {
		t.Fatal("it succeeded without chown")
	}
	absent(t, root+"/data")
	mustScript(t, "take-over.sh", "0", root+"/theirs", root+"/data", owner())
	holds(t, root+"/data", "theirs")
	holds(t, root+"/theirs", "theirs")
	volume(t, root+"/data", "changed")
	mustScript(t, "take-over.sh", "0", root+"/theirs", root+"/data", owner())
	holds(t, root+"/data", "changed")
}

func TestExtractReplacesADirectory(t *testing.T) {
	root := t.TempDir()
	volume(t, root+"/from", "saved")
	volume(t, root+"/to", "spoilt")
	volume(t, root+"/to/more", "spoilt")
	if out, err := exec.Command("tar", "-C", root+"/from", "-cf", root+"/archive.tar", ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	mustScript(t, "extract.sh", root+"/archive.tar", root+"/to")
	holds(t, root+"/to", "saved")
	absent(t, root+"/to/more")
}

// A backup may come from anywhere, and a container is given what its volume leads to.
func TestExtractRefusesAVolumeThatLeadsElsewhere(t *testing.T) {
	root := t.TempDir()
	volume(t, root+"/elsewhere", "theirs")
	if err := os.MkdirAll(root+"/from/honest", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(root+"/elsewhere", root+"/from/data"); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("tar", "-C", root+"/from", "-cf", root+"/archive.tar", ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	said, err := script(t, "", "extract.sh", root+"/archive.tar", root+"/to")
	if err == nil || !strings.Contains(said, "the volume data is a symbolic link") {
		t.Errorf("%v: %s", err, said)
	}
	absent(t, root+"/to")
	holds(t, root+"/elsewhere", "theirs")
}

func TestASymbolicLinkIsNoVolume(t *testing.T) {
	root := t.TempDir()
	volume(t, root+"/theirs", "theirs")
	volume(t, root+"/home/other", "other")
	volume(t, root+"/copy/data", "older")
	for _, link := range []string{root + "/home/data", root + "/link"} {
		if err := os.Symlink(root+"/theirs", link); err != nil {
			t.Fatal(err)
		}
	}
	for name, args := range map[string][]string{
		"copy-volumes.sh": {"0", root + "/copy", root + "/home/other", root + "/home/data"},
		"put-back.sh":     {root + "/copy", root + "/home"},
		"take-over.sh":    {"0", root + "/theirs", root + "/home/data", owner()},
		"delete-tree.sh":  {root + "/link"},
	} {
		if out, err := script(t, "", name, args...); err == nil || !strings.Contains(out, "is a symbolic link") {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
	holds(t, root+"/copy/data", "older") // the copy of before is not given up for none
	holds(t, root+"/theirs", "theirs")
	if _, err := volumeThere(root + "/home/data"); !errors.Is(err, ErrLink) || !strings.Contains(err.Error(), root+"/home/data") {
		t.Errorf("%v", err)
	}
	if err := os.RemoveAll(root + "/theirs"); err != nil {
		t.Fatal(err)
	}
	if _, err := volumeThere(root + "/home/data"); !errors.Is(err, ErrLink) {
		t.Errorf("it leads nowhere: %v", err)
	}
	if there, err := volumeThere(root + "/home/other"); err != nil || !there {
		t.Errorf("an honest one: %v, %v", there, err)
	}
	if there, err := volumeThere(root + "/home/none"); err != nil || there {
		t.Errorf("none: %v, %v", there, err)
	}
	mustScript(t, "delete-tree.sh", root+"/home")
	absent(t, root+"/home")
}

// TestAMountPointIsAVolume runs in namespaces of its own, where it may mount.
func TestAMountPointIsAVolume(t *testing.T) {
	if os.Getenv("MOUNTS_HERE") == "" {
		cmd := exec.Command("unshare", "-Urm", os.Args[0], "-test.run=^TestAMountPointIsAVolume$", "-test.v")
		cmd.Env = append(os.Environ(), "MOUNTS_HERE=yes")
		out, err := cmd.CombinedOutput()
		if strings.Contains(string(out), "unshare:") || errors.Is(err, exec.ErrNotFound) {
			t.Skipf("nothing can be mounted here: %v: %s", err, out)
		}
		if err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	root := t.TempDir()
	at, to := root+"/home/data", root+"/copy"
	if err := os.MkdirAll(at, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("test", at, "tmpfs", 0, "mode=0755"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(at, unix.MNT_DETACH)
	own := func() uint64 {
		var st unix.Stat_t
		if err := unix.Stat(at, &st); err != nil {
			t.Fatal(err)
		}
		return st.Dev
	}
	mounted := own()
	if there, err := volumeThere(at); err != nil || there {
		t.Errorf("it is to be looked at: %v, %v", there, err)
	}
	mode := func(want os.FileMode) {
		t.Helper()
		if info, err := os.Stat(at); err != nil || info.Mode().Perm() != want {
			t.Errorf("%v, %v; expected %v", info.Mode(), err, want)
		}
	}
	if err := os.Mkdir(at+"/lost+found", 0); err != nil {
		t.Fatal(err)
	}
	mustScript(t, "ensure-volumes.sh", at, owner())
	mode(0o700)
	volume(t, at, "old")
	if err := errors.Join(os.WriteFile(at+"/.hidden", nil, 0o600), os.Chmod(at, 0o750)); err != nil {
		t.Fatal(err)
	}
	mustScript(t, "ensure-volumes.sh", at, owner())
	mode(0o750) // with data in it, it is its application's
	volume(t, root+"/home/plain", "old")

	mustScript(t, "copy-volumes.sh", "0", to, at, root+"/home/plain")
	holds(t, to+"/data", "old")
	absent(t, to+"/data/lost+found")
	if info, err := os.Stat(to + "/data"); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("%v, %v", info, err)
	}
	spoil := func() {
		volume(t, at, "new")
		volume(t, root+"/home/plain", "new")
		if err := errors.Join(os.WriteFile(at+"/more", nil, 0o600), os.RemoveAll(at+"/.hidden")); err != nil {
			t.Fatal(err)
		}
	}
	cuts := 0
	for _, program := range []string{"mkdir", "find", "cp", "mv", "rm", "sync"} {
		for n := 1; ; n++ {
			mustScript(t, "copy-volumes.sh", "0", root+"/kept", at, root+"/home/plain")
			spoil()
			_, err := script(t, failing(t, program, n), "put-back.sh", to, root+"/home")
			mustScript(t, "put-back.sh", to, root+"/home")
			holds(t, at, "old")
			holds(t, root+"/home/plain", "old")
			absent(t, at+"/more", to, to+".old")
			if _, hidden := os.Stat(at + "/.hidden"); hidden != nil || t.Failed() {
				t.Fatalf("cut before %s number %d: %v", program, n, hidden)
			}
			if err := os.Rename(root+"/kept", to); err != nil {
				t.Fatal(err)
			}
			if err == nil {
				break // there is no such call
			}
			cuts++
		}
	}
	if cuts < 10 {
		t.Errorf("only %d cuts were made", cuts)
	}

	if mounted, err := mountPoints(to, root+"/home"); err != nil || !slices.Equal(mounted, []string{at}) {
		t.Errorf("room is looked for in %v, %v", mounted, err)
	}
	if err := os.WriteFile(to+"/data/more", make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	full := true
	e := crowded(t, &full)
	if err := e.PutBack(t.Context(), to, root+"/home"); !errors.Is(err, host.ErrNoRoom) || !strings.Contains(err.Error(), "the volume "+at+" needs ") {
		t.Error(err)
	}
	holds(t, at, "old")
	holds(t, root+"/home/plain", "old")

	mustScript(t, "delete-tree.sh", root+"/home")
	absent(t, at+"/file", at+"/.hidden", root+"/home/plain")
	if entries, err := os.ReadDir(at); err != nil || len(entries) != 1 || own() != mounted {
		t.Errorf("it is emptied, and stays: %v, %v", entries, err)
	}
	volume(t, at, "again")
	mustScript(t, "delete-tree.sh", at)
	absent(t, at+"/file")
	if own() != mounted {
		t.Error("the mount point itself is gone")
	}
}

// keeping is a directory with a stat that answers of a file system which is of this kind and
// keeps, or does not keep, owners and modes, and a chown that anybody may call.
func keeping(t *testing.T, kind, owners string) string {
	t.Helper()
	dir := t.TempDir()
	for name, body := range map[string]string{
		"stat":  fmt.Sprintf("#!/bin/sh\ncase $1 in -f) echo %s;; *) echo '%s';; esac\n", kind, owners),
		"chown": "#!/bin/sh\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const kept = "1:1 750"

func TestAVolumeIsCopiedToAnotherDiskWhole(t *testing.T) {
	root := t.TempDir()
	from, to := root+"/home/media", root+"/disk/app/media"
	volume(t, from, "photographs")
	if err := errors.Join(os.Chmod(from, 0o710), os.WriteFile(from+"/.hidden", nil, 0o600), os.Symlink("file", from+"/link"), os.MkdirAll(root+"/disk", 0o700), os.Mkdir(from+"/lost+found", 0)); err != nil {
		t.Fatal(err)
	}
	if out, err := script(t, keeping(t, "ext2/ext3", kept), "copy-to.sh", "0", from, to); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, dir := range []string{from, to} {
		holds(t, dir, "photographs")
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o710 {
			t.Errorf("%s: %v, %v", dir, info, err)
		}
		if link, err := os.Readlink(dir + "/link"); err != nil || link != "file" {
			t.Errorf("%s: %s, %v", dir, link, err)
		}
		if _, err := os.Stat(dir + "/.hidden"); err != nil {
			t.Error(err)
		}
	}
	absent(t, to+".new", to+"/lost+found")
}

func TestAVolumeIsNotCopiedWhereItCannotBe(t *testing.T) {
	for _, c := range []struct {
		name, kind, owners, reserve string
		prepare                     func(root string) error
		why                         string
	}{
		{name: "a file system without owners", kind: "msdos", owners: "0:0 755", reserve: "0", why: "(msdos) does not keep owners and modes"},
		{name: "one in memory", kind: "tmpfs", owners: kept, reserve: "0", why: "in memory (tmpfs)"},
		{name: "one that is too small", kind: "xfs", owners: kept, reserve: tooMuch, why: "which would leave less than"},
		{name: "something is there", kind: "xfs", owners: kept, reserve: "0", why: "media is there already", prepare: func(root string) error { return os.MkdirAll(root+"/disk/app/media", 0o700) }},
		{name: "a link is there", kind: "xfs", owners: kept, reserve: "0", why: "media is there already", prepare: func(root string) error {
			return errors.Join(os.MkdirAll(root+"/disk/app", 0o700), os.Symlink("nowhere", root+"/disk/app/media"))
		}},
		{name: "the disk's directory is not there", kind: "xfs", owners: kept, reserve: "0", why: "No such file", prepare: func(root string) error { return os.Remove(root + "/disk") }},
		{name: "the volume is a link", kind: "xfs", owners: kept, reserve: "0", why: "media is no directory", prepare: func(root string) error {
			return errors.Join(os.RemoveAll(root+"/home/media"), os.Symlink(root, root+"/home/media"))
		}},
	} {
		root := t.TempDir()
		volume(t, root+"/home/media", "photographs")
		if err := os.Mkdir(root+"/disk", 0o700); err != nil {
			t.Fatal(err)
		}
		if c.prepare != nil {
			if err := c.prepare(root); err != nil {
				t.Fatal(err)
			}
		}
		out, err := script(t, keeping(t, c.kind, c.owners), "copy-to.sh", c.reserve, root+"/home/media", root+"/disk/app/media")
		if err == nil || !strings.Contains(out, c.why) {
			t.Errorf("%s: %v: %s", c.name, err, out)
		}
		absent(t, root+"/disk/app/media.new")
		if c.name != "the volume is a link" {
			holds(t, root+"/home/media", "photographs")
		}
	}
}

func TestACopyToAnotherDiskThatIsCutNeverBearsTheName(t *testing.T) {
	cuts := 0
	for _, program := range []string{"mkdir", "cp", "chmod", "sync", "mv"} {
		for n := 1; ; n++ {
			root := t.TempDir()
			from, to := root+"/home/media", root+"/disk/app/media"
			volume(t, from, "photographs")
			if err := os.Mkdir(root+"/disk", 0o700); err != nil {
				t.Fatal(err)
			}
			_, err := script(t, failing(t, program, n)+":"+keeping(t, "xfs", kept), "copy-to.sh", "0", from, to)
			holds(t, from, "photographs")
			if err == nil {
				break // there is no such call
			}
			cuts++
			if _, there := os.Stat(to); there == nil {
				holds(t, to, "photographs")
				continue
			}
			// The next attempt is not kept from it by what was left.
			if out, err := script(t, keeping(t, "xfs", kept), "copy-to.sh", "0", from, to); err != nil {
				t.Errorf("cut before %s number %d: %v: %s", program, n, err, out)
			}
			holds(t, to, "photographs")
		}
	}
	if cuts < 6 {
		t.Errorf("only %d cuts were made", cuts)
	}
}

func TestWhatAMoveMadeIsDeletedAndNothingElse(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"/disk/app/media", "/disk/app/db", "/disk/other"} {
		volume(t, root+dir, "x")
	}
	mustScript(t, "delete-moved.sh", root+"/disk/app/media")
	holds(t, root+"/disk/app/db", "x")
	absent(t, root+"/disk/app/media")
	mustScript(t, "delete-moved.sh", root+"/disk/app/db")
	absent(t, root+"/disk/app")
	holds(t, root+"/disk/other", "x")
	mustScript(t, "delete-moved.sh", root+"/disk/app/db") // it is gone
	mustScript(t, "delete-moved.sh", root+"/away/app/db")
}

func TestAMovedVolumeIsFilledAgainAfterACut(t *testing.T) {
	cut(t, []string{"find", "cp", "sync", "mkdir", "mv", "rm"}, 5, func(programs string) error {
		root := t.TempDir()
		copies, dir := root+"/copy", root+"/disk/app/media"
		volume(t, copies+"/media", "old")
		volume(t, copies+"/db", "old")
		volume(t, dir, "new")
		volume(t, root+"/home/db", "new")
		if err := os.WriteFile(dir+"/more", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := script(t, programs, "refill.sh", copies+"/media", dir, copies+".old")
		for range 2 {
			mustScript(t, "refill.sh", copies+"/media", dir, copies+".old")
		}
		mustScript(t, "put-back.sh", copies, root+"/home")
		holds(t, dir, "old")
		holds(t, root+"/home/db", "old")
		absent(t, dir+"/more", root+"/home/media", copies, copies+".old")
		return err
	})
	root := t.TempDir()
	volume(t, root+"/copy/media", "old")
	if out, err := script(t, "", "refill.sh", root+"/copy/media", root+"/disk/app/media", root+"/copy.old"); err == nil || !strings.Contains(out, "connect and mount its disk") {
		t.Errorf("%v: %s", err, out)
	}
	holds(t, root+"/copy/media", "old")
}
