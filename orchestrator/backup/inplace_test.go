package backup_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/internal/restictest"
	"github.com/archipelago-cloud/archipelago/orchestrator/backup"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

const stoppedInPlace = "stop pair.service, stop pair-db.service, renew"

// large is as stored, with volumes that are better read where they are.
func large(t *testing.T) (m *backup.Manager, n *node, run *restictest.Runner, disk string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("volumes are seen elsewhere only by root, as whom restic runs in Podman's user namespace")
	}
	m, n, run, disk = stored(t)
	n.size = 1 << 30
	run.Before = func(argv []string) error {
		if words := strings.Join(argv, " "); strings.Contains(words, " --tag reading ") && !n.running() {
			t.Error("it was stopped while it was read")
		}
		return nil
	}
	return m, n, run, disk
}

func (n *node) running() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.up
}

// brings wants the newest backup to bring a file back, and nothing to be left of its making.
func brings(t *testing.T, m *backup.Manager, n *node, disk, want string) {
	t.Helper()
	if left, err := os.ReadDir(m.Snapshots); err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
	if !n.running() || m.Under("pair") != "" {
		t.Error("it does not run, or is claimed still")
	}
	other, fresh := elsewhere(t, m, disk)
	if _, err := other.RestoreSnapshot(t.Context(), "pair", "disk", "", "owner", nil, silent); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(fresh.data, "pair", "db", "file")); err != nil || string(b) != want {
		t.Errorf("%q, %v; expected %q", b, err, want)
	}
}

func TestLargeVolumesAreReadWhileTheApplicationRuns(t *testing.T) {
	m, n, _, disk := large(t)
	file := filepath.Join(n.data, "pair", "db", "file")
	n.renews = func() { put(t, file, "at the stop.") } // as long as before
	var steps []string
	if _, err := m.BackUp(t.Context(), "pair", "disk", "owner", func(s backup.Step) { steps = append(steps, s.Message) }); err != nil {
		t.Fatal(err)
	}
	if got, want := n.seen(), "delete pair.backup, "+stoppedInPlace+", start"; got != want {
		t.Errorf("%s\nexpected %s", got, want)
	}
	if said := strings.Join(steps, "; "); !strings.Contains(said, "the application runs meanwhile") || !strings.Contains(said, "reading what has changed; the application is stopped meanwhile") {
		t.Error(said)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "at the stop." {
		t.Errorf("its own data: %q, %v", b, err)
	}
	brings(t, m, n, disk, "at the stop.")
}

// clock is one that was set, or was not.
type clock bool

func (c clock) Set() bool  { return bool(c) }
func (clock) Close() error { return nil }

// moving is an engine under which the volume of the pair has moved by the time that it stops.
type moving struct{ onDisk }

func (m moving) StopUnit(ctx context.Context, unit string) error {
	if unit == "pair.service" {
		to := filepath.Join(m.data, "moved", "db")
		err := errors.Join(os.Mkdir(filepath.Dir(to), 0o700), os.Rename(filepath.Join(m.data, "pair", "db"), to),
			m.store.PutData(state.Data{App: "pair", Version: "1", Volumes: []string{"db"}, Places: map[string]state.Place{"db": {Dir: to}}}))
		if err != nil {
			return err
		}
	}
	return m.onDisk.StopUnit(ctx, unit)
}

// TestWhatCannotBeReadInPlaceIsCopied: no backup fails that a copy would have made.
func TestWhatCannotBeReadInPlaceIsCopied(t *testing.T) {
	planted := errors.New("planted")
	const stops = "stop pair.service, stop pair-db.service"
	copies := ", copy db to pair.backup, start, delete pair.backup"
	for name, c := range map[string]struct {
		plant func(m *backup.Manager, n *node)
		fails string // the reading in whose command line this is
		want  string
	}{
		"the clock was set": {plant: func(m *backup.Manager, n *node) {
			m.Clock = func() (backup.Clock, error) { return clock(true), nil }
		}, want: stoppedInPlace + copies},
		"the clock says nothing": {plant: func(m *backup.Manager, n *node) {
			m.Clock = func() (backup.Clock, error) { return nil, planted }
		}, want: stops + copies},
		"most has changed":                       {plant: func(m *backup.Manager, n *node) { n.changed = 1000 * n.size }, want: stoppedInPlace + copies},
		"a file cannot be marked":                {plant: func(m *backup.Manager, n *node) { n.fail["renew"] = planted }, want: stoppedInPlace + copies},
		"the volume was moved while it was read": {plant: func(m *backup.Manager, n *node) { m.Engine = moving{onDisk{n}} }, want: stops + copies},
		"the first reading fails":                {fails: " --tag reading ", want: stops + copies},
		"the second reading fails":               {fails: " --parent ", want: stoppedInPlace + ", start, " + stops + copies},
	} {
		t.Run(name, func(t *testing.T) {
			m, n, run, disk := large(t)
			if c.plant != nil {
				c.plant(m, n)
			}
			run.Before = func(argv []string) error {
				if words := strings.Join(argv, " "); c.fails != "" && strings.Contains(words, " backup ") && strings.Contains(words, c.fails) {
					return planted
				}
				return nil
			}
			if _, err := m.BackUp(t.Context(), "pair", "disk", "owner", silent); err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimPrefix(n.seen(), "delete pair.backup, "); got != c.want {
				t.Errorf("%s\nexpected %s", got, c.want)
			}
			brings(t, m, n, disk, "the owner's")
		})
	}
}
