package engine

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTheLastErrorOfAUnitIsBounded(t *testing.T) {
	long := "Error: " + strings.Repeat("é", maxOutput)
	for said, want := range map[string]string{
		"one\nError: first\nError: no such image\nstopped\n": ": Error: no such image",
		"all is well\n":   "",
		long:              ": " + long[:maxWords-1], // a character is two bytes
		long + "\nmore\n": ": " + long[:maxWords-1],
	} {
		if got := lastError(strings.NewReader(said)); got != want {
			t.Errorf("%.40q: %d bytes, %.60q", said, len(got), got)
		}
	}
}

func TestAUnitIsStoppedWhileItStarts(t *testing.T) {
	for _, c := range []struct {
		before, now string
		want        bool
	}{
		{"start", "stop-sigterm", true},
		{"", "stop-sigterm", true}, // the daemon has just begun to look
		{"stop", "stop-sigterm", false},
		{"stop-sigterm", "stop-sigterm", false},
		{"running", "stop", false},
		{"start", "running", false},
	} {
		if got := stoppedStarting(c.before, c.now); got != c.want {
			t.Errorf("%q, then %q: %v", c.before, c.now, got)
		}
	}
}

// TestRemovedUnitsStayRemoved: the directory is synced, after the last is gone.
func TestRemovedUnitsStayRemoved(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.container", "b.container", "kept.container"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var at []string // what is there when it is synced
	sync := func(synced string) error {
		entries, err := os.ReadDir(synced)
		for _, e := range entries {
			at = append(at, e.Name())
		}
		return err
	}
	for range 2 { // also where a cut came between the two
		at = nil
		if _, err := removeUnits(dir, []string{"a.container", "b.container"}, sync); err != nil || !slices.Equal(at, []string{"kept.container"}) {
			t.Errorf("%v, synced with %v", err, at)
		}
	}
	at = nil
	if changed, err := removeUnits(dir, nil, sync); changed || err != nil || at != nil {
		t.Error("synced for nothing")
	}
	planted := errors.New("planted")
	if _, err := removeUnits(dir, []string{"a.container"}, func(string) error { return planted }); !errors.Is(err, planted) {
		t.Errorf("%v", err)
	}
}
