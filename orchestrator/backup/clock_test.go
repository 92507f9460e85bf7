package backup_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/backup"
	"github.com/archipelago-cloud/archipelago/orchestrator/repository"
)

// TestAClockThatWasAheadStopsNoBackups: once it is right again, all that was done in what is
// now the future has to be done again, and nobody waits years for it.
func TestAClockThatWasAheadStopsNoBackups(t *testing.T) {
	m, _, run, disk := stored(t)
	now := time.Now()
	ahead := now.Add(9 * 365 * 24 * time.Hour)
	away := errors.New("planted: " + disk + " is away")
	run.Before = func(argv []string) error {
		if strings.Contains(strings.Join(argv, " "), " backup ") {
			return away
		}
		return nil
	}
	m.Due(t.Context(), ahead) // it is looked, tried and checked then
	run.Before = nil
	m.Due(t.Context(), now)
	if got := backups(run.Seen()); got != 2 {
		t.Errorf("%d attempts at a backup, expected another one at the right time", got)
	}
	if h := m.Health("disk"); h.Checked.After(now) {
		t.Errorf("it is not checked again before %s", h.Checked)
	}
}

// TestABackupFromTheFutureIsNone: one that is dated ahead says nothing of today.
func TestABackupFromTheFutureIsNone(t *testing.T) {
	m, n, run, _ := stored(t)
	now := time.Now()
	m.Due(t.Context(), now)
	if got := backups(run.Seen()); got != 1 {
		t.Fatalf("%d backups", got)
	}
	earlier := now.Add(-400 * 24 * time.Hour) // the clock is set right: it was ahead all the time
	m.Due(t.Context(), earlier)
	if got := backups(run.Seen()); got != 2 {
		t.Errorf("%d backups, expected another one", got)
	}
	next := &backup.Manager{Engine: m.Engine, Node: n, Store: m.Store, Secrets: m.Secrets, DataDir: m.DataDir, Snapshots: m.Snapshots, To: m.To, Log: m.Log}
	next.Recall()
	if b := next.Backups(earlier.Add(49 * time.Hour))["pair"]; !strings.Contains(b.Problem, "backup overdue") || !strings.Contains(b.Problem, "clock") {
		t.Errorf("%+v", b)
	}
}

// TestNothingIsForgottenForASnapshotOfTheFuture: those take no place of one of today.
func TestNothingIsForgottenForASnapshotOfTheFuture(t *testing.T) {
	m, _, _, disk := stored(t)
	if err := m.To.Set("disk", repository.Settings{Hours: 1, Keep: repository.Keep{Last: 2}}); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	m.Due(t.Context(), now)
	r, err := m.To.Get("disk")
	if err != nil {
		t.Fatal(err)
	}
	all, err := r.Snapshots(t.Context(), "pair")
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	for _, at := range []time.Time{now.Add(24 * time.Hour), now.Add(48 * time.Hour)} {
		plant(t, m, disk, "backup", "--time", at.Format(time.DateTime), "--host", all[0].Host, "--tag", "app:pair", t.TempDir())
	}
	for i := range 3 {
		m.Due(t.Context(), now.Add(time.Duration(i+1)*61*time.Minute))
	}
	if all, err = r.Snapshots(t.Context(), "pair"); err != nil {
		t.Fatal(err)
	}
	present, ahead := 0, 0
	for _, s := range all {
		if s.Made.After(now.Add(12 * time.Hour)) {
			ahead++
		} else {
			present++
		}
	}
	if present != 2 || ahead != 2 {
		t.Errorf("%d of today and %d of the future are left, expected the last 2 of today, and both of the future: %+v", present, ahead, all)
	}
}

// plant runs restic on a repository as one does who has its key, and is not this daemon.
func plant(t *testing.T, m *backup.Manager, disk string, args ...string) {
	t.Helper()
	key, err := m.To.Key("disk")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "restic", append([]string{"--no-cache", "--repo", disk}, args...)...)
	cmd.Env = append(os.Environ(), "RESTIC_PASSWORD="+key)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}
