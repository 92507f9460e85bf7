package repository_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/archipelago-cloud/archipelago/orchestrator/repository"
)

// inPlace is a node with a repository, a directory in which volumes are seen, and a volume
// elsewhere, of which files are given.
func inPlace(t *testing.T, content map[string]string) (n *node, r *repository.Repository, dir, volume string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("volumes are seen elsewhere only by root, as whom restic runs in Podman's user namespace")
	}
	n = newNode(t)
	r = n.add(t, "disk")
	dir, volume = t.TempDir(), filepath.Join(files(t, content), "db")
	if err := os.Mkdir(filepath.Join(dir, "db"), 0o700); err != nil {
		t.Fatal(err)
	}
	return n, r, dir, volume
}

// renew has what was changed since a time be read again, as the engine does.
func renew(t *testing.T, since time.Time, volume string) {
	t.Helper()
	if out, err := exec.Command("/bin/sh", "../engine/scripts/renew.sh", strconv.FormatInt(since.Unix(), 10), volume).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// everything is how many snapshots there are, whatever they are of.
func (n *node) everything(t *testing.T) int {
	t.Helper()
	out, err := exec.Command("restic", "--no-cache", "--no-lock", "-r", n.disk, "--password-file", filepath.Join(n.dir, "disk", "password"), "snapshots", "--json").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(out), `"hostname"`)
}

func ctime(t *testing.T, file string) syscall.Timespec {
	t.Helper()
	info, err := os.Lstat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Ctim
}

// TestABackupInPlaceHoldsWhatIsThereAtTheStop: what changes after it was first read, and what
// changes without a new time, size or inode, as within a tick of the clock, or through memory.
func TestABackupInPlaceHoldsWhatIsThereAtTheStop(t *testing.T) {
	n, r, dir, volume := inPlace(t, map[string]string{"db/same": "same", "db/changes": "before", "db/goes": "goes", "db/hidden": "before"})
	hidden := filepath.Join(volume, "hidden")
	f, err := os.OpenFile(hidden, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	memory, err := unix.Mmap(int(f.Fd()), 0, 6, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(memory)
	copy(memory, "BEFORE") // of which the kernel is told, as it is not of the next
	since := time.Now().Add(-time.Minute)
	started := 0
	s, err := r.BackupInPlace(t.Context(), "pair", dir, []string{volume}, time.Minute, func(took time.Duration) (func(), error) {
		if took <= 0 {
			t.Error("it took no time")
		}
		was := ctime(t, hidden)
		copy(memory, "hidden")
		if ctime(t, hidden) != was {
			t.Log("the change has another time, and proves nothing here")
		}
		err := errors.Join(os.WriteFile(filepath.Join(volume, "changes"), []byte("after."), 0o600), os.Remove(filepath.Join(volume, "goes")),
			os.WriteFile(filepath.Join(volume, "comes"), []byte("comes"), 0o600), os.Symlink("/nowhere", filepath.Join(volume, "link")),
			os.Link(filepath.Join(volume, "same"), filepath.Join(volume, "twin")), os.WriteFile(filepath.Join(dir, "backup.json"), []byte("{}"), 0o600))
		renew(t, since, volume)
		return func() { started++ }, err
	}, nil)
	if err != nil || s.App != "pair" || s.Size == 0 || s.New == 0 || started != 1 {
		t.Fatalf("%+v, %v, started %d times", s, err, started)
	}
	back := filepath.Join(t.TempDir(), "back")
	if err := r.Restore(t.Context(), s, back, nil, nil); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"db/same": "same", "db/twin": "same", "db/changes": "after.", "db/hidden": "hidden", "db/comes": "comes", "backup.json": "{}"} {
		if got := read(t, filepath.Join(back, name)); got != want {
			t.Errorf("%s: %q; expected %q", name, got, want)
		}
	}
	entries, err := os.ReadDir(filepath.Join(back, "db"))
	if len(entries) != 6 || err != nil {
		t.Error(entries, err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "db")); err != nil || len(left) > 0 {
		t.Errorf("the volume is still seen there: %v, %v", left, err)
	}
	if got := n.everything(t); got != 1 {
		t.Errorf("%d snapshots; the first reading is one of them", got)
	}
}

// TestWhatHasNotChangedIsReadOnce: the application is stopped for a look at its files.
func TestWhatHasNotChangedIsReadOnce(t *testing.T) {
	n, r, dir, volume := inPlace(t, map[string]string{"db/one": "1", "db/two": "2"})
	if _, err := r.BackupInPlace(t.Context(), "pair", dir, []string{volume}, time.Minute, func(time.Duration) (func(), error) {
		renew(t, time.Now().Add(time.Hour), volume)
		return func() {}, nil
	}, nil); err != nil {
		t.Fatal(err)
	}
	if said := n.run.Seen(); !strings.Contains(said, `"files_unmodified":2`) {
		t.Error("they were read again")
	}
}

// TestAReadingIsNoBackup: not where the daemon was killed before it became one, for any daemon.
func TestAReadingIsNoBackup(t *testing.T) {
	n, r, dir, volume := inPlace(t, map[string]string{"db/one": "1"})
	killed := errors.New("killed")
	cut := func() {
		t.Helper()
		n.run.Before = func(argv []string) error {
			if slices.Contains(argv, "forget") {
				return killed
			}
			return nil
		}
		if _, err := r.BackupInPlace(t.Context(), "pair", dir, []string{volume}, time.Minute, func(time.Duration) (func(), error) { return nil, killed }, nil); !errors.Is(err, killed) {
			t.Fatal(err)
		}
		n.run.Before = nil
	}
	cut()
	if got := n.everything(t); got != 1 {
		t.Fatalf("%d snapshots; nothing is planted", got)
	}
	for _, app := range []string{"", "pair"} {
		if all, err := r.Snapshots(t.Context(), app); err != nil || len(all) > 0 {
			t.Errorf("%q: %v, %v", app, all, err)
		}
	}
	if s, err := r.Find(t.Context(), "pair", ""); !errors.Is(err, repository.ErrNoSnapshot) {
		t.Error(s, err)
	}
	s, err := r.BackupInPlace(t.Context(), "pair", dir, []string{volume}, time.Minute, func(time.Duration) (func(), error) { return func() {}, nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := n.everything(t); got != 1 {
		t.Errorf("%d snapshots after the next backup; expected it alone", got)
	}
	cut()
	if err := errors.Join(r.Forget(t.Context(), "pair", repository.Keep{Last: 1}), r.Prune(t.Context())); err != nil {
		t.Fatal(err)
	}
	if all, err := r.Snapshots(t.Context(), ""); err != nil || len(all) != 1 || all[0].ID != s.ID || n.everything(t) != 1 {
		t.Errorf("%v, %v, and %d in all; expected the backup alone", all, err, n.everything(t))
	}
}

// TestAnApplicationIsNotStoppedForTheNetwork: what takes long is given up, and it starts.
func TestAnApplicationIsNotStoppedForTheNetwork(t *testing.T) {
	n, r, dir, volume := inPlace(t, map[string]string{"db/one": "1"})
	started := 0
	_, err := r.BackupInPlace(t.Context(), "pair", dir, []string{volume}, 0, func(time.Duration) (func(), error) { return func() { started++ }, nil }, nil)
	if !errors.Is(err, context.DeadlineExceeded) || started != 1 {
		t.Errorf("%v, started %d times", err, started)
	}
	if got := n.everything(t); got != 0 {
		t.Errorf("it left %d snapshots", got)
	}
}
