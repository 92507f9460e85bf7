package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"

	"github.com/archipelago-cloud/archipelago/dist"
)

// unitList is systemd with these units.
type unitList struct {
	names   []string
	stopped []string
	ends    func(name string) error // nil: it ends at once
}

func (l *unitList) ListUnitsByPatternsContext(_ context.Context, _, patterns []string) (all []dbus.UnitStatus, err error) {
	for _, name := range l.names {
		for _, p := range patterns {
			if ok, err := filepath.Match(p, name); err != nil || ok {
				all = append(all, dbus.UnitStatus{Name: name})
			}
		}
	}
	return all, nil
}

var errStays = errors.New("it stays")

func (l *unitList) StopUnitContext(_ context.Context, name, _ string, ended chan<- string) (int, error) {
	l.stopped = append(l.stopped, name)
	switch err := l.ends(name); {
	case errors.Is(err, errStays):
		return 1, nil
	case err != nil:
		return 0, err
	}
	ended <- "done"
	return 1, nil
}

// TestWhatADaemonLeftRunningIsEnded: it was killed, and its commands went on.
func TestWhatADaemonLeftRunningIsEnded(t *testing.T) {
	left := []string{"archipelago-helper-7-1.service", "archipelago-helper-7-2.service"}
	planted := errors.New("planted")
	for name, c := range map[string]struct {
		ends func(string) error
		want error
		kept bool // what they wrote
	}{
		"all end":                {func(string) error { return nil }, nil, false},
		"one cannot be stopped":  {func(name string) error { return map[string]error{left[0]: planted}[name] }, planted, false},
		"one does not end":       {func(name string) error { return map[string]error{left[1]: errStays}[name] }, context.DeadlineExceeded, true},
		"there is none any more": {nil, nil, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			runtime := t.TempDir()
			for _, file := range []string{"archipelago-helper-123", "bus"} {
				if err := os.WriteFile(filepath.Join(runtime, file), []byte("secret"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			l := &unitList{names: append([]string{"archipelago.service", "pair.service"}, left...), ends: c.ends}
			if c.ends == nil {
				l.names = l.names[:2]
			}
			err := endHelpers(t.Context(), l, runtime)
			if c.want == nil && err != nil || !errors.Is(err, c.want) {
				t.Errorf("%s: %v, expected %v", name, err, c.want)
			}
			if c.ends != nil && !slices.Equal(l.stopped, left) || c.ends == nil && len(l.stopped) > 0 {
				t.Errorf("%s: stopped are %s", name, strings.Join(l.stopped, ", "))
			}
			_, lost := os.Stat(filepath.Join(runtime, "bus"))
			if _, err := os.Stat(filepath.Join(runtime, "archipelago-helper-123")); (err == nil) != c.kept || lost != nil {
				t.Errorf("%s: %v, %v", name, err, lost)
			}
		})
	}
}

// TestACommandThatDoesNotEndIsKilledBeforeTheDaemonIsGivenUp: restic that waits for its target
// does not hear that it is to end. A daemon that waits for it longer than systemd waits for
// the daemon would never come up. systemd waits once before it kills, and once after.
func TestACommandThatDoesNotEndIsKilledBeforeTheDaemonIsGivenUp(t *testing.T) {
	_, rest, ok := strings.Cut(string(dist.Files()[dist.UserUnits+dist.Unit]), "\nTimeoutStartSec=")
	line, _, _ := strings.Cut(rest, "\n")
	given, err := strconv.Atoi(line)
	if err != nil || !ok {
		t.Fatalf("the daemon's unit: %q, %v", line, err)
	}
	for _, p := range helper("a command", "out", "failed", []string{"/bin/true"}) {
		if stop, is := p.Value.Value().(uint64); is && p.Name == "TimeoutStopUSec" {
			if waits := 2 * time.Duration(stop) * time.Microsecond; stop == 0 || waits > time.Duration(given)*time.Second/2 {
				t.Errorf("it has %s, and the daemon %d s to start", waits, given)
			}
			return
		}
	}
	t.Error("it has systemd's 90 s")
}
