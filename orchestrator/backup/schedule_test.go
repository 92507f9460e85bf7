package backup_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/backup"
	"github.com/archipelago-cloud/archipelago/orchestrator/repository"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// backups counts how often restic was asked for one.
func backups(seen string) int { return strings.Count(seen, " backup --force") }

func TestBackupsAreMadeWhenTheyAreDueAndOldOnesForgotten(t *testing.T) {
	m, n, run, _ := stored(t)
	if err := m.To.Set("disk", repository.Settings{Hours: 12, Keep: repository.Keep{Last: 2}}); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	made := 0
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{0, 1}, {time.Hour, 1}, {13 * time.Hour, 2}, {13*time.Hour + time.Minute, 2}, {26 * time.Hour, 3}} {
		m.Due(t.Context(), now.Add(c.after))
		if got := backups(run.Seen()); got != c.want {
			t.Errorf("after %s: %d backups, expected %d", c.after, got, c.want)
		}
		made = c.want
	}
	r, err := m.To.Get("disk")
	if err != nil {
		t.Fatal(err)
	}
	all, err := r.Snapshots(t.Context(), "pair")
	if err != nil || len(all) != 2 {
		t.Errorf("%d of %d snapshots, expected the last 2: %v", len(all), made, err)
	}
	b := m.Backups(time.Now())["pair"]
	if len(all) == 0 || !b.Made.Equal(all[0].Made) || b.Repository != "disk" || b.Size == 0 || b.Problem != "" {
		t.Errorf("%+v", b)
	}
	if h := m.Health("disk"); !h.Checked.Equal(now) || h.Problem != "" {
		t.Errorf("%+v", h)
	}
	// What is not installed is not backed up, and nobody waits for it.
	n.accept(t, state.Absent)
	m.Due(t.Context(), now.Add(100*time.Hour))
	if got := backups(run.Seen()); got != made || len(m.Backups(now.Add(1000*time.Hour))) != 0 {
		t.Errorf("%d backups, %+v", got, m.Backups(now.Add(1000*time.Hour)))
	}
}

// TestADiskOfBackupsThatComesLateIsWaitedFor: nothing is asked of restic meanwhile, and what is
// due is made as soon as it is there.
func TestADiskOfBackupsThatComesLateIsWaitedFor(t *testing.T) {
	m, n, run, disk := stored(t)
	const late = "disk BIG (bbbb) at /mnt/big: connect and mount it"
	n.absent = map[string]string{disk: late}
	now := time.Now()
	before := run.Seen()
	m.Due(t.Context(), now)
	if _, err := m.BackUp(t.Context(), "pair", "disk", "owner", silent); !errors.Is(err, repository.ErrNone) || !strings.Contains(err.Error(), "waiting for "+late) {
		t.Errorf("on demand: %v", err)
	}
	if got := run.Seen(); got != before {
		t.Errorf("restic was asked: %s", strings.TrimPrefix(got, before))
	}
	if h := m.Health("disk"); h.Problem != "waiting for "+late {
		t.Errorf("%+v", h)
	}
	n.absent = nil
	m.Due(t.Context(), now.Add(time.Minute))
	if h := m.Health("disk"); h.Problem != "" || backups(run.Seen()) != 1 {
		t.Errorf("%d backups, %+v", backups(run.Seen()), h)
	}
	// Nothing of a volume is copied that is on another disk than it was.
	n.absent = map[string]string{filepath.Join(n.data, "pair", "db"): late}
	if _, err := m.BackUp(t.Context(), "pair", "disk", "owner", silent); !errors.Is(err, request.ErrRefused) || !strings.Contains(err.Error(), "waiting for "+late) || backups(run.Seen()) != 1 {
		t.Errorf("%d backups, %v", backups(run.Seen()), err)
	}
}

func TestABackupThatIsOverdueIsSaid(t *testing.T) {
	m, _, run, disk := stored(t)
	now := time.Now()
	if err := os.Rename(disk, disk+".away"); err != nil {
		t.Fatal(err)
	}
	m.Due(t.Context(), now)
	if b := m.Backups(now.Add(47 * time.Hour))["pair"]; b.Problem != "" {
		t.Errorf("it has time yet: %+v", b)
	}
	late := m.Backups(now.Add(49 * time.Hour))["pair"]
	if !strings.Contains(late.Problem, "backup overdue: there is none in disk") || !strings.Contains(late.Problem, "there is no repository") || !late.Made.IsZero() {
		t.Errorf("%+v", late)
	}
	if h := m.Health("disk"); !strings.Contains(h.Problem, "there is no repository") || strings.Contains(h.Problem, "\n") {
		t.Errorf("%+v", h)
	}
	asked := len(run.Seen())
	m.Due(t.Context(), now.Add(time.Minute))
	if len(run.Seen()) != asked {
		t.Error("a disk that is not there is asked for every minute")
	}
	// The daemon is restarted, and the disk comes back.
	next := &backup.Manager{Engine: m.Engine, Node: m.Node, Store: m.Store, Secrets: m.Secrets, DataDir: m.DataDir, Snapshots: m.Snapshots, To: m.To, Drills: m.Drills, Log: m.Log}
	next.Recall()
	if b := next.Backups(now.Add(49 * time.Hour))["pair"]; b != late {
		t.Errorf("the next daemon does not know: %+v", b)
	}
	if err := os.Rename(disk+".away", disk); err != nil {
		t.Fatal(err)
	}
	next.Due(t.Context(), now.Add(2*time.Hour))
	if b := next.Backups(now.Add(3 * time.Hour))["pair"]; b.Problem != "" || b.Made.IsZero() {
		t.Errorf("%+v", b)
	}
	if h := next.Health("disk"); h.Problem != "" {
		t.Errorf("%+v", h)
	}
}

func TestBackupsKeepToTheWindowAndToDemand(t *testing.T) {
	m, _, run, _ := stored(t)
	noon := time.Date(2026, 5, 1, 12, 0, 0, 0, time.Local)
	if err := m.To.Set("disk", repository.Settings{Window: "02:00-05:00"}); err != nil {
		t.Fatal(err)
	}
	m.Due(t.Context(), noon)
	if got := backups(run.Seen()); got != 0 {
		t.Error("outside the window")
	}
	if err := m.To.Set("disk", repository.Settings{Hours: -1}); err != nil {
		t.Fatal(err)
	}
	m.Due(t.Context(), noon.Add(15*time.Hour))
	if got := backups(run.Seen()); got != 0 || m.Backups(noon.Add(1000 * time.Hour))["pair"].Problem != "" {
		t.Errorf("%d backups that nobody asked for; %+v", got, m.Backups(noon.Add(1000*time.Hour)))
	}
	if err := m.To.Set("disk", repository.Settings{Window: "02:00-05:00"}); err != nil {
		t.Fatal(err)
	}
	m.Due(t.Context(), noon.Add(15*time.Hour))
	if got := backups(run.Seen()); got != 1 {
		t.Errorf("%d backups at 3 o'clock", got)
	}
}

func TestADamagedRepositoryIsSaidUntilItIsWhole(t *testing.T) {
	m, _, run, disk := stored(t)
	now := time.Now()
	planted := errors.New("Fatal: repository contains errors")
	run.Before = func(argv []string) error {
		if strings.Contains(strings.Join(argv, " "), " check ") {
			return planted
		}
		return nil
	}
	m.Due(t.Context(), now)
	if b := m.Backups(now)["pair"]; !strings.Contains(b.Problem, "the repository disk is damaged") {
		t.Errorf("%+v", b)
	}
	run.Before = nil
	// And so it is where a file is gone, or changed.
	packs, err := filepath.Glob(filepath.Join(disk, "data", "*", "*"))
	if err != nil || len(packs) == 0 {
		t.Fatal(packs, err)
	}
	kept, err := os.ReadFile(packs[0])
	if err := errors.Join(err, os.Remove(packs[0])); err != nil {
		t.Fatal(err)
	}
	m.Due(t.Context(), now.Add(7*time.Hour))
	if h := m.Health("disk"); h.Problem == "" || !h.Checked.IsZero() {
		t.Errorf("%+v", h)
	}
	if err := os.WriteFile(packs[0], kept, 0o600); err != nil {
		t.Fatal(err)
	}
	m.Due(t.Context(), now.Add(14*time.Hour))
	if b := m.Backups(now)["pair"]; b.Problem != "" || m.Health("disk").Checked.IsZero() {
		t.Errorf("%+v, %+v", b, m.Health("disk"))
	}
}

// TestATrialThatIsPutOffForLongIsSaid: for a while it says nothing of the backup.
func TestATrialThatIsPutOffForLongIsSaid(t *testing.T) {
	const days = 24 * time.Hour
	m, _, _, _ := stored(t)
	m.Space = room(0)
	if err := m.To.Set("disk", repository.Settings{Hours: -1}); err != nil {
		t.Fatal(err)
	}
	s, err := m.BackUp(t.Context(), "pair", "disk", "test", func(backup.Step) {})
	if err != nil {
		t.Fatal(err)
	}
	m.Due(t.Context(), s.Made.Add(8*days))
	if b := m.Backups(s.Made.Add(13 * days))["pair"]; b.Made.IsZero() || b.Problem != "" {
		t.Errorf("too early: %+v", b)
	}
	if b := m.Backups(s.Made.Add(15 * days))["pair"]; !strings.Contains(b.Problem, "not restored on trial from disk since "+s.Made.Format(time.DateOnly)+": not enough space") {
		t.Errorf("%+v", b)
	}
	m.Space = room(1 << 40)
	m.Due(t.Context(), s.Made.Add(15*days))
	if b := m.Backups(s.Made.Add(15 * days))["pair"]; b.Problem != "" || b.Proven.IsZero() {
		t.Errorf("it was restored: %+v", b)
	}
}

// TestNothingIsForgottenOfWhatMayBeTheLast: while the repository is damaged, or the newest
// backup cannot be restored, an older one may be the only one that can.
func TestNothingIsForgottenOfWhatMayBeTheLast(t *testing.T) {
	for name, c := range map[string]struct {
		broken string // what fails of restic's commands
		after  time.Duration
	}{"the repository is damaged": {" check ", 0}, "it cannot be restored": {" restore ", 8 * 24 * time.Hour}} {
		t.Run(name, func(t *testing.T) {
			m, _, run, _ := stored(t)
			m.Space = room(1 << 40)
			if err := m.To.Set("disk", repository.Settings{Hours: 1, Keep: repository.Keep{Last: 1}}); err != nil {
				t.Fatal(err)
			}
			run.Before = func(argv []string) error {
				if strings.Contains(strings.Join(argv, " ")+" ", c.broken) {
					return errors.New("Fatal: repository contains errors")
				}
				return nil
			}
			now := time.Now()
			m.Due(t.Context(), now)
			m.Due(t.Context(), now.Add(c.after+2*time.Hour))
			m.Due(t.Context(), now.Add(c.after+4*time.Hour))
			r, err := m.To.Get("disk")
			if err != nil {
				t.Fatal(err)
			}
			kept := 0
			if all, err := r.Snapshots(t.Context(), "pair"); err != nil || len(all) < 2 {
				t.Errorf("%d are left: %v", len(all), err)
			} else {
				kept = len(all)
			}
			run.Before = nil
			m.Due(t.Context(), now.Add(c.after+36*time.Hour)) // one more backup, and all is well again
			m.Due(t.Context(), now.Add(c.after+38*time.Hour))
			if all, err := r.Snapshots(t.Context(), "pair"); err != nil || len(all) != 1 {
				t.Errorf("%d of %d are left now that all is well: %v", len(all), kept, err)
			}
		})
	}
}
