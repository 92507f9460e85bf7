package repository_test

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
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/internal/restictest"
	"github.com/archipelago-cloud/archipelago/orchestrator/repository"
)

// another is a node of the same name that has the repository of the first.
func (n *node) another(t *testing.T, name string) (*node, *repository.Repository) {
	t.Helper()
	key, err := n.Key(name)
	if err != nil {
		t.Fatal(err)
	}
	other := newNode(t)
	other.disk = n.disk
	r, err := other.Add(t.Context(), repository.Added{Name: name, URL: n.disk, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	return other, r
}

func backedUp(t *testing.T, r *repository.Repository, text string) repository.Snapshot {
	t.Helper()
	s, err := r.Backup(t.Context(), "pair", files(t, map[string]string{"db/one": text}), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestNodesOfOneNameAreKeptApart: images of systems give all nodes the same name, and their
// owner has one disk for all of them.
func TestNodesOfOneNameAreKeptApart(t *testing.T) {
	n := newNode(t)
	mine := n.add(t, "disk")
	_, theirs := n.another(t, "disk")
	a := backedUp(t, mine, "mine")
	if s, err := theirs.Find(t.Context(), "pair", ""); err != nil || s.ID != a.ID {
		t.Errorf("the only node's is not taken: %+v, %v", s, err)
	}
	b := backedUp(t, theirs, "theirs")
	if !mine.Own(a) || mine.Own(b) || theirs.Own(a) || !theirs.Own(b) {
		t.Errorf("%+v and %+v are of one node", a, b)
	}
	if err := theirs.Forget(t.Context(), "pair", repository.Keep{Last: 1}); err != nil {
		t.Fatal(err)
	}
	all, err := mine.Snapshots(t.Context(), "pair")
	if err != nil || len(all) != 2 {
		t.Errorf("another node's was forgotten: %+v, %v", all, err)
	}
	if s, err := mine.Find(t.Context(), "pair", ""); err != nil || s.ID != a.ID {
		t.Errorf("the newest is another node's: %+v, %v", s, err)
	}
	_, third := n.another(t, "disk")
	if s, err := third.Find(t.Context(), "pair", ""); err == nil || !strings.Contains(err.Error(), a.ID[:8]) || !strings.Contains(err.Error(), b.ID[:8]) {
		t.Errorf("which node's is meant is guessed: %+v, %v", s, err)
	}
	if s, err := third.Find(t.Context(), "pair", a.ID[:8]); err != nil || s.ID != a.ID {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestALockOfANodeOfTheSameNameStays: its process cannot be seen from here, which does not
// make it a dead one. This node's own, whose process has ended, goes.
func TestALockOfANodeOfTheSameNameStays(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a name of its own takes root, as restic is in a user namespace")
	}
	n := newNode(t)
	mine := n.add(t, "disk")
	_, theirs := n.another(t, "disk")
	planted := errors.New("planted")
	var argv []string
	n.run.Before = func(args []string) error {
		if slices.Contains(args, "backup") {
			argv = args
			return planted
		}
		return nil
	}
	if _, err := mine.Backup(t.Context(), "pair", t.TempDir(), nil); !errors.Is(err, planted) {
		t.Fatal(err)
	}
	n.run.Before = nil
	// It is cut off while it reads.
	argv = append(slices.Clone(argv[:slices.Index(argv, "--force")]), "--stdin")
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	locks := func() []string {
		found, err := filepath.Glob(filepath.Join(n.disk, "locks", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return slices.DeleteFunc(found, func(name string) bool { return strings.Contains(filepath.Base(name), "-tmp-") })
	}
	deadline := time.Now().Add(time.Minute)
	for tick := time.NewTicker(50 * time.Millisecond); len(locks()) == 0; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("it takes no lock")
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if err := theirs.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(locks()) != 1 {
		t.Error("the lock of another node is gone: what it writes can be pruned meanwhile")
	}
	if err := mine.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := locks(); len(left) != 0 {
		t.Errorf("its own is left: %v", left)
	}
}

// endless is a repository whose files never end.
type endless struct {
	*restictest.Runner
	lines int
}

func (e *endless) Restic(ctx context.Context, line func([]byte), argv ...string) error {
	if !slices.Contains(argv, "dump") {
		return e.Runner.Restic(ctx, line, argv...)
	}
	for ctx.Err() == nil && e.lines < 1000 {
		line([]byte("a line"))
		e.lines++
	}
	return context.Cause(ctx)
}

func TestAFileWithoutEndIsNotReadToItsEnd(t *testing.T) {
	n := newNode(t)
	run := &endless{Runner: n.run}
	n.Store = repository.Open(n.dir, "nodename", filepath.Dir(n.dir), run)
	r := n.add(t, "disk")
	if _, err := r.Dump(t.Context(), repository.Snapshot{ID: strings.Repeat("0", 64)}, "backup.json", 100); err == nil || !strings.Contains(err.Error(), "larger than 100 bytes") || run.lines > 100 {
		t.Errorf("%d lines were read; %v", run.lines, err)
	}
}

// hasty adds another repository of the same name while the first is being made.
type hasty struct {
	meanwhile func()
	key       func() string
	made      []string // keys that repositories were made with
}

func (h *hasty) Restic(_ context.Context, _ func([]byte), argv ...string) error {
	switch {
	case slices.Contains(argv, "init"):
		h.made = append(h.made, h.key())
		if h.meanwhile != nil {
			go h.meanwhile()
			h.meanwhile = nil
			synctest.Wait()
		}
	case slices.Contains(argv, "config") && len(h.made) == 0:
		return errors.New("repository does not exist")
	}
	return nil
}

func TestARepositoryKeepsTheKeyThatItWasMadeWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		run := &hasty{}
		store := repository.Open(filepath.Join(dir, "repositories"), "nodename", filepath.Join(dir, "data"), run)
		refused := make(chan error, 1)
		run.meanwhile = func() {
			_, err := store.Add(context.Background(), repository.Added{Name: "disk", URL: "/mnt/other"})
			refused <- err
		}
		run.key = func() string { return read(t, filepath.Join(dir, "repositories", "disk.new", "password")) }
		_, err := store.Add(t.Context(), repository.Added{Name: "disk", URL: "/mnt/one"})
		key, keyErr := store.Key("disk")
		if err := errors.Join(err, keyErr); err != nil || len(run.made) != 1 || strings.TrimSpace(run.made[0]) != key {
			t.Errorf("the repository has another key than it was made with: %v", err)
		}
		if err := <-refused; !errors.Is(err, repository.ErrRefused) {
			t.Errorf("there are two: %v", err)
		}
	})
}

// TestWhatASnapshotIsCalledIsNotObeyed: whoever has the key chooses the names in it, and an
// owner's terminal shows them.
func TestWhatASnapshotIsCalledIsNotObeyed(t *testing.T) {
	n := newNode(t)
	r := n.add(t, "disk")
	key, err := n.Key("disk")
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range []string{"app:pair", "app:\x1b]0;pair\a", "app:--all", "app:"} {
		cmd := exec.CommandContext(t.Context(), "restic", "--no-cache", "--repo", n.disk, "backup", "--host", "else\x1b[2Jwhere\n", "--tag", of, t.TempDir())
		cmd.Env = append(os.Environ(), "RESTIC_PASSWORD="+key)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	all, err := r.Snapshots(t.Context(), "")
	if err != nil || len(all) != 1 || all[0].App != "pair" || all[0].Host != "else?[2Jwhere?" {
		t.Errorf("%q, %v", fmt.Sprint(all), err)
	}
}
