package engine

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestAProcessKilledForWantOfMemoryIsSaidWithItsUnit(t *testing.T) {
	groups := t.TempDir()
	m, err := followMemory(groups)
	if err != nil {
		t.Fatal(err)
	}
	defer m.watcher.Close()
	ctx, cancel := context.WithCancel(t.Context())
	killed, ended := make(chan string, 10), make(chan struct{})
	go func() { defer close(ended); m.run(ctx, func(unit string) { killed <- unit }) }()
	defer func() { cancel(); <-ended }()
	// say has a control group's file say how many were killed, as the kernel does: it is
	// changed, not replaced.
	say := func(unit, text string) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(groups, unit, memoryEvents), os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString(text)
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	begin := func(unit string, n string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(groups, unit), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(groups, unit, memoryEvents), []byte("low 0\nhigh 0\nmax 3\noom 0\noom_kill "+n+"\noom_group_kill 0\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	heard := func(want string) {
		t.Helper()
		select {
		case got := <-killed:
			if got != want {
				t.Errorf("%s was killed, want %s", got, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("that %s was killed is not said", want)
		}
	}
	begin("feeds.service", "4") // long ago
	begin("wiki.service", "0")
	m.follow([]string{"feeds.service", "wiki.service", "off.service"})
	say("wiki.service", "low 0\nhigh 0\nmax 9\noom 0\noom_kill 0\noom_group_kill 0\n") // at its limit, and nothing was killed
	say("feeds.service", "low 0\nhigh 0\nmax 4\noom 1\noom_kill 5\noom_group_kill 0\n")
	heard("feeds.service")
	// A unit that was started again counts anew.
	if err := os.Rename(filepath.Join(groups, "feeds.service"), filepath.Join(groups, "gone")); err != nil {
		t.Fatal(err)
	}
	begin("feeds.service", "0")
	begin("off.service", "0")
	units := []string{"feeds.service", "off.service"}
	m.follow(units)
	m.follow(units)
	say("wiki.service", "low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\noom_group_kill 0\n") // which is followed no more
	say("feeds.service", "low 0\nhigh 0\nmax 1\noom 1\noom_kill 1\noom_group_kill 0\n")
	heard("feeds.service")
	say("off.service", "low 0\nhigh 0\nmax 1\noom 1\noom_kill 2\noom_group_kill 0\n")
	heard("off.service")
	select {
	case got := <-killed:
		t.Errorf("and %s", got)
	default:
	}
}
