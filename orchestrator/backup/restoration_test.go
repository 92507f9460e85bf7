package backup_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/archipelago-cloud/archipelago/internal/mountstest"
	"github.com/archipelago-cloud/archipelago/orchestrator/backup"
	"github.com/archipelago-cloud/archipelago/orchestrator/operation"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/secrets"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// bringing is a backup of two volumes, which a fresh node unpacks on its disk.
func bringing(t *testing.T) (*backup.Manager, *node, content) {
	t.Helper()
	m, n := manager(t)
	m.Engine = onDisk{n}
	c := whole()
	c.Data.Volumes = []string{"db", "files"}
	n.unpacks = func(dir string) error {
		put(t, filepath.Join(dir, "db", "file"), "the owner's")
		put(t, filepath.Join(dir, "files", "file"), "the owner's")
		return nil
	}
	return m, n, c
}

// killed does what a daemon does until it is killed.
func killed(t *testing.T, do func()) {
	t.Helper()
	defer func() {
		if why := recover(); why == nil {
			t.Error("it was not killed")
		} else if why != errKilled {
			panic(why)
		}
	}()
	do()
}

// next is the daemon after one that was killed.
func next(t *testing.T, m *backup.Manager) (*backup.Manager, *node) {
	t.Helper()
	dir := filepath.Dir(m.Snapshots)
	store, err := state.Open(filepath.Join(dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	sec, err := secrets.Open(filepath.Join(dir, "secrets"))
	if err != nil {
		t.Fatal(err)
	}
	n := &node{Tracker: operation.New(), store: store, data: m.DataDir, fail: map[string]error{}}
	return &backup.Manager{Engine: onDisk{n}, Node: n, Store: store, Secrets: sec, DataDir: m.DataDir, Snapshots: m.Snapshots, Drills: n, Log: slog.New(slog.DiscardHandler)}, n
}

// complete wants all of a restoration to be there, and nothing to be left to do.
func complete(t *testing.T, m *backup.Manager, n *node, c content) {
	t.Helper()
	for _, volume := range c.Data.Volumes {
		if b, err := os.ReadFile(filepath.Join(n.data, "pair", volume, "file")); err != nil || string(b) != "the owner's" {
			t.Errorf("%s: %q, %v", volume, b, err)
		}
	}
	if values, err := m.Secrets.All(pair()); err != nil || !maps.Equal(values, c.values) {
		t.Errorf("secrets: %v, %v", values, err)
	}
	if data := n.store.Data("pair"); len(data.Volumes) != 2 {
		t.Errorf("on record: %+v", data)
	}
	settled(t, m)
}

// nothing wants nothing of a restoration to be there.
func nothing(t *testing.T, m *backup.Manager, n *node) {
	t.Helper()
	if _, err := os.Lstat(filepath.Join(n.data, "pair")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("data is there: %v", err)
	}
	if values, err := m.Secrets.All(pair()); err != nil || len(values) > 0 || len(n.store.Data("pair").Volumes) > 0 {
		t.Errorf("it left %v, %v, %+v", values, err, n.store.Data("pair"))
	}
	settled(t, m)
}

func settled(t *testing.T, m *backup.Manager) {
	t.Helper()
	if left, err := os.ReadDir(m.Snapshots); err != nil || len(left) > 0 || m.Left("pair") || len(m.Unsettled()) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
}

// TestARestorationThatWasDecidedIsFinished by the daemon after the one that was killed, or by
// the one after that.
func TestARestorationThatWasDecidedIsFinished(t *testing.T) {
	for _, at := range []string{"place db", "place files", "put-back pair", "restore"} {
		for _, again := range []string{"", "place files", "put-back pair", "restore"} {
			t.Run(at+", "+again, func(t *testing.T) {
				m, n, c := bringing(t)
				n.kill = at
				killed(t, func() { restore(t, m, c) })
				m, n = next(t, m)
				if got := m.Unsettled(); len(got) != 1 || got[0] != "pair" || !m.Left("pair") {
					t.Errorf("it is not known: %v", got)
				}
				if n.kill = again; again == "place files" && at != "place db" {
					n.kill = "" // it is in its place
				}
				if n.kill != "" {
					killed(t, func() { m.Settle(t.Context(), "the daemon") })
					m, n = next(t, m)
				}
				m.Settle(t.Context(), "the daemon")
				complete(t, m, n, c)
				if len(n.restored) != 1 || n.restored[0].App != "pair" || n.restored[0].Goal != state.Running || n.restored[0].Manifest.Digest() != c.Manifest.Digest() {
					t.Errorf("accepted: %+v", n.restored)
				}
			})
		}
	}
}

// undecided is a restoration that a kill ends before it is decided, and the daemon after that.
func undecided(t *testing.T) (*backup.Manager, *node) {
	t.Helper()
	m, n, c := bringing(t)
	n.kill = "place db"
	killed(t, func() { restore(t, m, c) })
	home, restored := filepath.Join(n.data, "pair"), filepath.Join(m.Snapshots, "pair.restore")
	if err := errors.Join(os.Rename(filepath.Join(home, "db"), filepath.Join(restored, "db")), os.RemoveAll(home), os.Truncate(restored+".json", 0)); err != nil { // as it was
		t.Fatal(err)
	}
	return next(t, m)
}

// TestARestorationThatWasNotDecidedIsUndone, also where its undoing is cut off.
func TestARestorationThatWasNotDecidedIsUndone(t *testing.T) {
	for _, again := range []string{"", "delete pair.restore", "delete pair.restore.old"} {
		m, n := undecided(t)
		if n.kill = again; again != "" {
			killed(t, func() { m.Settle(t.Context(), "the daemon") })
			m, n = next(t, m)
		}
		m.Settle(t.Context(), "the daemon")
		nothing(t, m, n)
		if len(n.restored) > 0 {
			t.Errorf("accepted: %+v", n.restored)
		}
	}
}

// TestWhatIsNotTheRestorationsStays: of a disk that was mounted late, say, with the data of the
// node before.
func TestWhatIsNotTheRestorationsStays(t *testing.T) {
	m, n := undecided(t)
	older := filepath.Join(n.data, "pair", "db", "file")
	put(t, older, "older")
	m.Settle(t.Context(), "the daemon")
	if b, err := os.ReadFile(older); err != nil || string(b) != "older" {
		t.Errorf("undone, and with it went what was there: %q, %v", b, err)
	}
	settled(t, m)

	m, n, c := bringing(t)
	older = filepath.Join(n.data, "pair", "db", "file")
	unpacks := n.unpacks
	n.unpacks = func(dir string) error { put(t, older, "older"); return unpacks(dir) }
	_, err := restore(t, m, c)
	if b, readErr := os.ReadFile(older); !errors.Is(err, request.ErrRefused) || readErr != nil || string(b) != "older" {
		t.Errorf("what came while the backup was fetched: %q, %v, %v", b, readErr, err)
	}
	settled(t, m)
}

// TestARestorationIsFinishedOnTheDisksOnWhichItBegan: what has come since is not emptied for it,
// and nothing is put beneath what has not come yet.
func TestARestorationIsFinishedOnTheDisksOnWhichItBegan(t *testing.T) {
	if !mountstest.Inside(t) {
		return
	}
	mount := func(dir string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(dir, 0o700), unix.Mount("none", dir, "tmpfs", 0, "size=1m")); err != nil {
			t.Fatal(err)
		}
	}
	unmount := func(dir string) {
		t.Helper()
		if err := unix.Unmount(dir, 0); err != nil {
			t.Fatal(err)
		}
	}
	m, n, c := bringing(t)
	n.kill = "place db"
	killed(t, func() { restore(t, m, c) })
	dir := filepath.Join(n.data, "pair", "files")
	mount(dir)
	put(t, filepath.Join(dir, "file"), "older")
	m, n = next(t, m)
	m.Settle(t.Context(), "the daemon")
	if b, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(b) != "older" || !m.Left("pair") || len(n.restored) > 0 {
		t.Errorf("a disk that has come: %q, %v, %v", b, err, n.restored)
	}
	unmount(dir)
	m.Settle(t.Context(), "the daemon")
	complete(t, m, n, c)

	m, n, c = bringing(t)
	dir = filepath.Join(n.data, "pair", "files")
	mount(dir)
	n.kill = "place db"
	killed(t, func() { restore(t, m, c) })
	unmount(dir)
	m, n = next(t, m)
	m.Settle(t.Context(), "the daemon")
	if inside, err := os.ReadDir(dir); err != nil || len(inside) > 0 || !m.Left("pair") || len(n.restored) > 0 {
		t.Errorf("a disk that has not come: %v, %v, %v", inside, err, n.restored)
	}
}

// TestAFileOfNoApplicationIsNoRestoration: to undo that would empty the directory of all.
func TestAFileOfNoApplicationIsNoRestoration(t *testing.T) {
	m, n, _ := bringing(t)
	put(t, filepath.Join(n.data, "other", "db", "file"), "other's")
	for _, name := range []string{"", ".", "_daemon"} {
		put(t, filepath.Join(m.Snapshots, name+".restore.json"), "")
	}
	m.Settle(t.Context(), "the daemon")
	if got := m.Unsettled(); len(got) > 0 || n.seen() != "" {
		t.Errorf("%v, %s", got, n.seen())
	}
}

// TestAnUndoingThatWasCutOffGoesOn: what is half gone is never finished.
func TestAnUndoingThatWasCutOffGoesOn(t *testing.T) {
	m, n, c := bringing(t)
	n.fail["restore"], n.kill = errors.New("planted"), "delete pair"
	killed(t, func() { restore(t, m, c) })
	m, n = next(t, m)
	m.Settle(t.Context(), "the daemon")
	nothing(t, m, n)
	if len(n.restored) > 0 {
		t.Errorf("accepted: %+v", n.restored)
	}
}

// TestARestorationThatWasAcceptedStays, whatever its owner has asked for since.
func TestARestorationThatWasAcceptedStays(t *testing.T) {
	for _, record := range []func(string) error{func(string) error { return nil }, func(file string) error { return os.Truncate(file, 0) }} {
		m, n, c := bringing(t)
		n.kill = "restore"
		killed(t, func() { restore(t, m, c) })
		n.accept(t, state.Stopped)
		if err := record(filepath.Join(m.Snapshots, "pair.restore.json")); err != nil {
			t.Fatal(err)
		}
		m, n = next(t, m)
		m.Settle(t.Context(), "the daemon")
		complete(t, m, n, c)
		if len(n.restored) > 0 || n.seen() != "" {
			t.Errorf("accepted once more: %+v, %s", n.restored, n.seen())
		}
	}
}

// TestARestorationThatIsRefusedInTheEndIsUndone; what else keeps it from being finished may pass.
func TestARestorationThatIsRefusedInTheEndIsUndone(t *testing.T) {
	m, n, c := bringing(t)
	n.kill = "place db"
	killed(t, func() { restore(t, m, c) })
	m, n = next(t, m)
	n.fail["restore"] = errors.New("no answer")
	m.Settle(t.Context(), "the daemon")
	if !m.Left("pair") {
		t.Fatal("given up, and it may be finished yet")
	}
	// Who restores again has it tried, and does not have two.
	if _, err := restore(t, m, c); err == nil || !strings.Contains(err.Error(), "no answer") || !m.Left("pair") {
		t.Errorf("%v", err)
	}
	n.fail["restore"] = request.ErrRefused
	m.Settle(t.Context(), "the daemon")
	nothing(t, m, n)
}

// TestADamagedRecordOfARestorationIsNamed: nothing is deleted, nor accepted, by it.
func TestADamagedRecordOfARestorationIsNamed(t *testing.T) {
	m, n, c := bringing(t)
	n.kill = "put-back pair"
	killed(t, func() { restore(t, m, c) })
	put(t, filepath.Join(m.Snapshots, "pair.restore.json"), "{")
	m, n = next(t, m)
	m.Settle(t.Context(), "the daemon")
	if _, err := restore(t, m, c); !errors.Is(err, request.ErrRefused) || !strings.Contains(err.Error(), "pair.restore.json is damaged") || !strings.Contains(err.Error(), "--purge") {
		t.Error(err)
	}
	if b, err := os.ReadFile(filepath.Join(n.data, "pair", "db", "file")); err != nil || string(b) != "the owner's" || len(n.restored) > 0 {
		t.Errorf("%q, %v, %+v", b, err, n.restored)
	}
}

// TestWhoAskedMayBeGoneOnceARestorationIsDecided: it is finished all the same.
func TestWhoAskedMayBeGoneOnceARestorationIsDecided(t *testing.T) {
	m, n, c := bringing(t)
	ctx, gone := context.WithCancel(t.Context())
	m.Engine = leaving{onDisk{n}, gone}
	if _, err := m.Restore(ctx, c.Backup, c.values, strings.NewReader(c.volumes), c.sum, "owner"); err != nil {
		t.Error(err)
	}
	complete(t, m, n, c)
}

// leaving is an engine whose caller goes while it puts volumes in their places.
type leaving struct {
	onDisk
	gone context.CancelFunc
}

func (l leaving) PutBack(ctx context.Context, dir, home string) error {
	l.gone()
	if err := ctx.Err(); err != nil {
		return err
	}
	return l.onDisk.PutBack(ctx, dir, home)
}
