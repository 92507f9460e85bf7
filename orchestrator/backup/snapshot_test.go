package backup_test

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/internal/restictest"
	"github.com/archipelago-cloud/archipelago/orchestrator/backup"
	"github.com/archipelago-cloud/archipelago/orchestrator/operation"
	"github.com/archipelago-cloud/archipelago/orchestrator/repository"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// onDisk does with directories what the engine does, for one user.
type onDisk struct{ *node }

func (d onDisk) CopyVolumes(ctx context.Context, dirs []string, dir string) error {
	for _, from := range dirs {
		if err := os.CopyFS(filepath.Join(dir, filepath.Base(from)), os.DirFS(from)); err != nil {
			return err
		}
	}
	return d.node.CopyVolumes(ctx, dirs, dir)
}

func (d onDisk) PutBack(ctx context.Context, dir, home string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		to := filepath.Join(home, e.Name())
		if err := errors.Join(os.MkdirAll(home, 0o700), os.RemoveAll(to), os.Rename(filepath.Join(dir, e.Name()), to), d.do("place "+e.Name())); err != nil {
			return err
		}
	}
	return errors.Join(os.RemoveAll(dir), d.node.PutBack(ctx, dir, home))
}

func (d onDisk) DeleteTree(ctx context.Context, dir string) error {
	return errors.Join(os.RemoveAll(dir), d.node.DeleteTree(ctx, dir))
}

// keeping has a manager keep backups in a repository on a disk of its own.
func keeping(t *testing.T, m *backup.Manager, n *node) (run *restictest.Runner, disk string) {
	t.Helper()
	run = restictest.New(t)
	m.Engine = onDisk{n}
	m.To = repository.Open(filepath.Join(m.Snapshots, "..", "repositories"), "nodename", m.DataDir, run)
	return run, filepath.Join(t.TempDir(), "backups")
}

// stored is a manager over a node on which the pair runs, with data in it, and a repository.
func stored(t *testing.T) (m *backup.Manager, n *node, run *restictest.Runner, disk string) {
	t.Helper()
	m, n = running(t)
	run, disk = keeping(t, m, n)
	put(t, filepath.Join(n.data, "pair", "db", "file"), "the owner's")
	if _, err := m.To.Add(t.Context(), repository.Added{Name: "disk", URL: disk}); err != nil {
		t.Fatal(err)
	}
	return m, n, run, disk
}

func put(t *testing.T, file, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func silent(backup.Step) {}

// elsewhere is a fresh node that has the repository of another.
func elsewhere(t *testing.T, of *backup.Manager, disk string) (*backup.Manager, *node) {
	t.Helper()
	key, err := of.To.Key("disk")
	if err != nil {
		t.Fatal(err)
	}
	m, n := manager(t)
	keeping(t, m, n)
	if _, err := m.To.Add(t.Context(), repository.Added{Name: "disk", URL: disk, Key: key}); err != nil {
		t.Fatal(err)
	}
	return m, n
}

func TestASnapshotComesBackOnAFreshNode(t *testing.T) {
	m, n, run, disk := stored(t)
	var steps []backup.Step
	s, err := m.BackUp(t.Context(), "pair", "disk", "owner", func(s backup.Step) { steps = append(steps, s) })
	if err != nil || s.App != "pair" || len(steps) < 3 {
		t.Fatalf("%+v, %v, %v", s, steps, err)
	}
	// It runs again before what was copied is stored.
	if got, want := n.seen(), stopped+", start, delete pair.backup"; got != want {
		t.Errorf("%s\nexpected %s", got, want)
	}
	values, err := m.Secrets.All(pair())
	if err != nil || values["password"] == "" {
		t.Fatal(values, err)
	}
	if strings.Contains(run.Seen(), values["password"]) {
		t.Error("a secret is in a command line, or in what restic says")
	}
	other, fresh := elsewhere(t, m, disk)
	gen, err := other.RestoreSnapshot(t.Context(), "pair", "disk", "", "owner", nil, silent)
	if err != nil || gen != 7 {
		t.Fatal(gen, err)
	}
	if b, err := os.ReadFile(filepath.Join(fresh.data, "pair", "db", "file")); err != nil || string(b) != "the owner's" {
		t.Errorf("%q, %v", b, err)
	}
	if back, err := other.Secrets.All(pair()); err != nil || !maps.Equal(back, values) {
		t.Errorf("other secrets, or %v", err)
	}
	d := fresh.restored[0]
	if d.App != "pair" || d.Goal != state.Running || d.Manifest.Version != "1" || !d.Installed {
		t.Errorf("%+v", d)
	}
	if left, err := os.ReadDir(other.Snapshots); err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
}

func TestTheSnapshotOfTheOwnersChoiceComesBack(t *testing.T) {
	m, n, _, disk := stored(t)
	first, err := m.BackUp(t.Context(), "pair", "disk", "owner", silent)
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(n.data, "pair", "db", "file"), "later")
	if _, err := m.BackUp(t.Context(), "pair", "disk", "owner", silent); err != nil {
		t.Fatal(err)
	}
	other, fresh := elsewhere(t, m, disk)
	if _, err := other.RestoreSnapshot(t.Context(), "pair", "disk", first.ID[:8], "owner", nil, silent); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(fresh.data, "pair", "db", "file")); err != nil || string(b) != "the owner's" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestASnapshotReplacesNothing(t *testing.T) {
	m, n, _, disk := stored(t)
	if _, err := m.BackUp(t.Context(), "pair", "disk", "owner", silent); err != nil {
		t.Fatal(err)
	}
	if _, err := m.RestoreSnapshot(t.Context(), "pair", "disk", "", "owner", nil, silent); !errors.Is(err, request.ErrRefused) || !strings.Contains(err.Error(), "has data on this node") {
		t.Error(err)
	}
	if b, err := os.ReadFile(filepath.Join(n.data, "pair", "db", "file")); err != nil || string(b) != "the owner's" {
		t.Errorf("%q, %v", b, err)
	}
	other, fresh := elsewhere(t, m, disk)
	newer := filepath.Join(fresh.data, "pair", "db", "file")
	put(t, newer, "newer")
	if _, err := other.RestoreSnapshot(t.Context(), "pair", "disk", "", "owner", nil, silent); !errors.Is(err, request.ErrRefused) || !strings.Contains(err.Error(), "though not on record") {
		t.Error(err)
	}
	if b, err := os.ReadFile(newer); err != nil || string(b) != "newer" {
		t.Errorf("%q, %v", b, err)
	}
}

// TestASnapshotThatLeadsElsewhereIsRefused: who can write to a repository may have put
// anything there.
func TestASnapshotThatLeadsElsewhereIsRefused(t *testing.T) {
	m, _, _, disk := stored(t)
	good, err := m.BackUp(t.Context(), "pair", "disk", "owner", silent)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(dir string) error
		why    string
	}{
		"a volume that is a link": {func(dir string) error {
			return errors.Join(os.RemoveAll(filepath.Join(dir, "db")), os.Symlink("/", filepath.Join(dir, "db")))
		}, "the volume db is no directory"},
		"a volume of no application": {func(dir string) error { return os.Mkdir(filepath.Join(dir, "more"), 0o700) }, `holds "more"`},
		"no volume":                  {func(dir string) error { return os.RemoveAll(filepath.Join(dir, "db")) }, "db is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			other, fresh := elsewhere(t, m, disk)
			r, err := other.To.Get("disk")
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(t.TempDir(), "changed")
			if err := errors.Join(r.Restore(t.Context(), good, dir, nil, nil), c.change(dir)); err != nil {
				t.Fatal(err)
			}
			bad, err := r.Backup(t.Context(), "pair", dir, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := other.RestoreSnapshot(t.Context(), "pair", "disk", bad.ID, "owner", nil, silent); !errors.Is(err, request.ErrRefused) || !strings.Contains(err.Error(), c.why) {
				t.Errorf("%v, expected %q", err, c.why)
			}
			if _, err := os.Lstat(filepath.Join(fresh.data, "pair")); !errors.Is(err, fs.ErrNotExist) || len(fresh.restored) > 0 {
				t.Errorf("it left data, or a record: %v, %v", err, fresh.restored)
			}
		})
	}
}

func TestABackupThatFailsLeavesTheApplicationRunning(t *testing.T) {
	m, n, run, disk := stored(t)
	planted := errors.New("planted")
	run.Before = func(argv []string) error {
		if strings.Contains(strings.Join(argv, " "), " backup ") {
			return planted
		}
		return nil
	}
	if _, err := m.BackUp(t.Context(), "pair", "disk", "owner", silent); !errors.Is(err, planted) {
		t.Error(err)
	}
	if got, want := n.seen(), stopped+", start, delete pair.backup"; got != want {
		t.Errorf("%s\nexpected %s", got, want)
	}
	if m.Under("pair") != "" {
		t.Error("it is claimed still")
	}
	// Nothing is stopped for a disk that is not there.
	run.Before = nil
	if err := os.Rename(disk, disk+".away"); err != nil {
		t.Fatal(err)
	}
	before := n.seen()
	if _, err := m.BackUp(t.Context(), "pair", "disk", "owner", silent); !errors.Is(err, repository.ErrNone) || n.seen() != before {
		t.Errorf("%v, %s", err, n.seen())
	}
	if _, err := m.BackUp(t.Context(), "pair", "none", "owner", silent); !errors.Is(err, repository.ErrUnknown) {
		t.Error(err)
	}
}

func TestASnapshotAndABackupDoNotOverlap(t *testing.T) {
	m, n, run, _ := stored(t)
	began, goOn := make(chan struct{}), make(chan struct{})
	run.Before = func(argv []string) error {
		if strings.Contains(strings.Join(argv, " "), " backup ") {
			close(began)
			<-goOn
		}
		return nil
	}
	done := make(chan error, 1)
	go func() {
		_, err := m.BackUp(t.Context(), "pair", "disk", "owner", silent)
		done <- err
	}()
	<-began
	if err := write(t, m, nil); !errors.Is(err, operation.ErrBusy) {
		t.Error(err)
	}
	close(goOn)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n.seen() == "" {
		t.Error("nothing was done")
	}
}

// TestARestorationThatWouldFillTheDiskIsRefused: all applications share it.
func TestARestorationThatWouldFillTheDiskIsRefused(t *testing.T) {
	m, _, _, disk := stored(t)
	if _, err := m.BackUp(t.Context(), "pair", "disk", "owner", silent); err != nil {
		t.Fatal(err)
	}
	other, fresh := elsewhere(t, m, disk)
	other.Space = room(0)
	if _, err := other.RestoreSnapshot(t.Context(), "pair", "disk", "", "owner", nil, silent); err == nil || !strings.Contains(err.Error(), "not enough space") {
		t.Error(err)
	}
	if _, err := os.Lstat(filepath.Join(fresh.data, "pair")); !errors.Is(err, fs.ErrNotExist) || len(fresh.restored) > 0 {
		t.Errorf("it left data, or a record: %v, %v", err, fresh.restored)
	}
}
