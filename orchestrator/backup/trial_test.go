package backup_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/backup"
	"github.com/archipelago-cloud/archipelago/orchestrator/disk"
	"github.com/archipelago-cloud/archipelago/orchestrator/drill"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/repository"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// TestTheNewestBackupIsRestoredOnTrial: beside the data, which stays as it is; a damaged
// piece is said until a trial ends well.
func TestTheNewestBackupIsRestoredOnTrial(t *testing.T) {
	m, n, run, disk := stored(t)
	m.Space = room(1 << 40)
	mine := filepath.Join(n.data, "pair", "db", "file")
	now := time.Now()
	m.Due(t.Context(), now)
	put(t, mine, "newer")
	if b := m.Backups(now)["pair"]; !b.Proven.IsZero() || b.Problem != "" {
		t.Errorf("%+v", b)
	}
	trials := func() int { return strings.Count(run.Seen(), " restore --no-lock") }
	before := n.seen()
	if _, err := m.Prove(t.Context(), "pair", "disk", "owner", silent); err != nil {
		t.Fatal(err)
	}
	if b := m.Backups(now)["pair"]; time.Since(b.Proven) > time.Minute || b.Problem != "" {
		t.Errorf("%+v", b)
	}
	b, err := os.ReadFile(mine)
	left, dirErr := os.ReadDir(m.Snapshots)
	if string(b) != "newer" || len(left) > 0 || errors.Join(err, dirErr) != nil || strings.Contains(strings.TrimPrefix(n.seen(), before), "stop") || trials() != 1 {
		t.Errorf("%q, left %v, %v; %s", b, left, errors.Join(err, dirErr), n.seen())
	}

	// A piece of it is damaged; a week later the schedule finds that.
	packs, err := filepath.Glob(filepath.Join(disk, "data", "*", "*"))
	if err != nil || len(packs) == 0 {
		t.Fatal(packs, err)
	}
	whole := map[string][]byte{}
	for _, pack := range packs {
		if whole[pack], err = os.ReadFile(pack); err != nil {
			t.Fatal(err)
		}
		damaged := append([]byte{}, whole[pack]...)
		for i := range min(len(damaged), 40) {
			damaged[i] ^= 1
		}
		if err := errors.Join(os.Chmod(pack, 0o600), os.WriteFile(pack, damaged, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.To.Set("disk", repository.Settings{Hours: -1}); err != nil {
		t.Fatal(err)
	}
	m.Due(t.Context(), now.Add(8*24*time.Hour))
	if b := m.Backups(now)["pair"]; !strings.Contains(b.Problem, "could not be restored on trial") {
		t.Errorf("%+v", b)
	}
	if len(n.drilled) != 1 {
		t.Errorf("it was started from what is damaged: %d", len(n.drilled))
	}
	if left, err := os.ReadDir(m.Snapshots); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	for pack, b := range whole {
		if err := os.WriteFile(pack, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.Prove(t.Context(), "pair", "disk", "owner", silent); err != nil {
		t.Error(err)
	}
	if b := m.Backups(now)["pair"]; strings.Contains(b.Problem, "on trial") {
		t.Errorf("%+v", b)
	}
}

// room is a disk of which so many bytes are free.
func room(free int64) func(string) (disk.Space, error) {
	return func(string) (disk.Space, error) { return disk.Space{Free: free}, nil }
}

func TestATrialThatDoesNotFitSaysNothingOfTheBackup(t *testing.T) {
	m, _, run, _ := stored(t)
	m.Space = room(0)
	if _, err := m.BackUp(t.Context(), "pair", "disk", "owner", silent); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Prove(t.Context(), "pair", "disk", "owner", silent); err == nil || !strings.Contains(err.Error(), "not enough space") {
		t.Error(err)
	}
	if b := m.Backups(time.Now())["pair"]; b.Problem != "" || !b.Proven.IsZero() {
		t.Errorf("%+v", b)
	}
	if strings.Contains(run.Seen(), " restore --no-lock") {
		t.Error("it was restored all the same")
	}
}

// TestABackupWithoutASecretIsNotProven: the data alone would be of no use.
func TestABackupWithoutASecretIsNotProven(t *testing.T) {
	m, _, _, _ := stored(t)
	m.Space = room(1 << 40)
	good, err := m.BackUp(t.Context(), "pair", "disk", "owner", silent)
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.To.Get("disk")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "changed")
	if err := r.Restore(t.Context(), good, dir, nil, nil); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "secrets.json"), "{}")
	if _, err := r.Backup(t.Context(), "pair", dir, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Prove(t.Context(), "pair", "disk", "owner", silent); !errors.Is(err, request.ErrRefused) || !strings.Contains(err.Error(), "no secret password") {
		t.Error(err)
	}
	if b := m.Backups(time.Now())["pair"]; !strings.Contains(b.Problem, "no secret password") {
		t.Errorf("%+v", b)
	}
}

// backedUp is a node on which the pair runs that has a backup.
func backedUp(t *testing.T) (*backup.Manager, *node) {
	t.Helper()
	m, n, _, _ := stored(t)
	m.Space = room(1 << 40)
	if _, err := m.BackUp(t.Context(), "pair", "disk", "owner", silent); err != nil {
		t.Fatal(err)
	}
	return m, n
}

// TestTheApplicationIsStartedFromItsBackup: from the volumes and secrets of the backup, with
// the images of the node's own; and that is remembered.
func TestTheApplicationIsStartedFromItsBackup(t *testing.T) {
	m, n := backedUp(t)
	n.accept(t, state.Running, func(d *state.Desired) { d.Overrides = map[string]string{"pair-db": "localhost/pair/pair-db:local"} })
	kept, err := m.Secrets.All(pair())
	if err != nil {
		t.Fatal(err)
	}
	n.drilling = func(_ context.Context, s drill.Source) (string, error) {
		b, err := os.ReadFile(filepath.Join(s.Dir, "db", "file"))
		if string(b) != "the owner's" || filepath.Dir(s.Dir) != m.Snapshots || m.Under("pair") != backup.Trying {
			t.Errorf("%q in %s, %v", b, s.Dir, err)
		}
		return "it runs", err
	}
	trial, err := m.Prove(t.Context(), "pair", "disk", "owner", silent)
	if err != nil || trial.Seen != "it runs" || trial.NotStarted != "" || trial.ID == "" {
		t.Errorf("%+v, %v", trial, err)
	}
	if s := n.drilled[0]; s.Values["password"] != kept["password"] || len(s.Values) != 1 || s.Node != "box.local" || s.Manifest.Containers[1].Image.Pinned() != "localhost/pair/pair-db:local" || s.Manifest.Containers[0].Image.Digest == "" {
		t.Errorf("%+v", s)
	}
	if b := m.Backups(time.Now())["pair"]; time.Since(b.Started) > time.Minute || time.Since(b.Proven) > time.Minute || b.DataOnly != "" || b.Problem != "" {
		t.Errorf("%+v", b)
	}
	if left, err := os.ReadDir(m.Snapshots); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	// Of one that does not come up, the day stays on which another one did.
	n.drilling = func(context.Context, drill.Source) (string, error) {
		return "", errors.New("pair-db is unhealthy\nmore")
	}
	if _, err := m.Prove(t.Context(), "pair", "disk", "owner", silent); err == nil {
		t.Error("it is red, and nobody says so")
	}
	if b := m.Backups(time.Now())["pair"]; b.Started.IsZero() || b.Problem != "the newest backup in disk could not be restored on trial: pair does not come up from it: pair-db is unhealthy" {
		t.Errorf("%+v", b)
	}
}

// TestWhatIsNotStartedIsProvenAsDataAlone, and the reason is kept. Nothing is started to which
// nobody has consented: a backup may come from anywhere.
func TestWhatIsNotStartedIsProvenAsDataAlone(t *testing.T) {
	m, n := backedUp(t)
	prove := func(name, why string) {
		t.Helper()
		trial, err := m.Prove(t.Context(), "pair", "disk", "owner", silent)
		if err != nil || trial.NotStarted != why || trial.Seen != "" {
			t.Errorf("%s: %+v, %v; expected %q", name, trial, err, why)
		}
		n.accept(t, state.Running) // to be shown
		if b := m.Backups(time.Now())["pair"]; b.Proven.IsZero() || !b.Started.IsZero() || b.DataOnly != why || b.Problem != "" {
			t.Errorf("%s: %+v", name, b)
		}
	}
	with := func(change func(*manifest.Manifest)) func(*state.Desired) {
		return func(d *state.Desired) { m := *pair(); change(&m); d.Manifest = &m }
	}
	n.accept(t, state.Running, with(func(m *manifest.Manifest) { m.Version = "2" }))
	prove("another version", "the backup is of version 1, and not of what is installed, 2")
	n.accept(t, state.Running, with(func(m *manifest.Manifest) { m.Containers[0].Image.Digest = "sha256:" + strings.Repeat("1", 64) }))
	prove("another image", "the backup is of version 1, and not of what is installed, 1")
	n.accept(t, state.Absent)
	prove("not installed", "it is not installed here")
	if len(n.drilled) > 0 {
		t.Errorf("started were %+v", n.drilled)
	}
	n.drilling = func(context.Context, drill.Source) (string, error) {
		return "", fmt.Errorf("%w: no memory", drill.ErrNotStarted)
	}
	prove("no memory", "no memory")
	if len(n.drilled) != 1 {
		t.Errorf("tried were %d", len(n.drilled))
	}
	n.accept(t, state.Running, with(func(m *manifest.Manifest) { m.Requires = []manifest.Requirement{{App: "chain"}} }))
	if _, err := m.BackUp(t.Context(), "pair", "disk", "owner", silent); err != nil {
		t.Fatal(err)
	}
	prove("it requires others", "it requires chain")
	if len(n.drilled) != 1 {
		t.Error("it was tried all the same")
	}
}

// TestADrillSaysNothingOfABackupWhereItIsCutOff: the application is uninstalled, the engine
// does not answer, the disk fills up.
func TestADrillSaysNothingOfABackupWhereItIsCutOff(t *testing.T) {
	m, n := backedUp(t)
	var left atomic.Int64
	m.Space = func(string) (disk.Space, error) { return disk.Space{Free: left.Load()}, nil }
	for name, c := range map[string]struct {
		cut func(context.Context) error
		why string
	}{
		"uninstalled": {func(ctx context.Context) error {
			n.accept(t, state.Absent)
			<-ctx.Done()
			return ctx.Err()
		}, "pair is being uninstalled"},
		"unavailable": {func(context.Context) error { return fmt.Errorf("starting: %w", host.ErrUnavailable) }, host.ErrUnavailable.Error()},
		"full": {func(ctx context.Context) error {
			left.Store(0)
			<-ctx.Done()
			return ctx.Err()
		}, "the disk fills up"},
	} {
		left.Store(1 << 40)
		n.drilling = func(ctx context.Context, _ drill.Source) (string, error) { return "", c.cut(ctx) }
		if _, err := m.Prove(t.Context(), "pair", "disk", "owner", silent); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v", name, err)
		}
		n.accept(t, state.Running) // to be shown
		if b := m.Backups(time.Now())["pair"]; !b.Proven.IsZero() || b.Problem != "" {
			t.Errorf("%s: %+v", name, b)
		}
		if kept, err := os.ReadDir(m.Snapshots); err != nil || len(kept) > 0 {
			t.Errorf("%s: left %v, %v", name, kept, err)
		}
	}

	// While something else is done with the application, it waits.
	left.Store(1 << 40)
	release, err := n.Tracker.Hold(t.Context(), "pair", "planted")
	if err != nil {
		t.Fatal(err)
	}
	var held atomic.Bool
	held.Store(true)
	n.drilling = func(context.Context, drill.Source) (string, error) {
		if held.Load() {
			t.Error("it is being worked on")
		}
		return "it runs", nil
	}
	waits, done := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := m.Prove(t.Context(), "pair", "disk", "owner", func(s backup.Step) {
			if strings.HasPrefix(s.Message, "waiting until") {
				close(waits)
			}
		})
		done <- err
	}()
	<-waits
	if _, err := n.store.Update("pair", func(d *state.Desired) { d.Update = &state.Update{To: pair(), Phase: state.Staged} }); err != nil {
		t.Fatal(err)
	}
	release() // the update begins
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for seen := n.watches.Load(); n.watches.Load() < seen+3 && len(done) == 0; <-tick.C {
		n.Changed("pair") // between its steps nothing is under way
	}
	if _, err := n.store.Update("pair", func(d *state.Desired) { held.Store(false); d.Update = nil }); err != nil {
		t.Fatal(err)
	}
	n.Changed("pair")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestWhatADrillHasLeftIsLookedForWheneverBackupsAre(t *testing.T) {
	m, n := running(t)
	keeping(t, m, n)
	m.Due(t.Context(), time.Now())
	if n.tidied == 0 {
		t.Error("nobody looks for it")
	}
}
