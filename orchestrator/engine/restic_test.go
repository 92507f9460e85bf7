package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestResticSpeaksInLinesOutOfTheUserNamespace(t *testing.T) {
	planted := errors.New("planted")
	var ran []string
	e := &Engine{follows: func(_ context.Context, _ limit, _ string, said func([]byte), argv ...string) error {
		ran = argv
		for _, piece := range []string{"one\ntw", "o", "\n\nth", "ree"} {
			said([]byte(piece))
		}
		return planted
	}}
	var lines []string
	err := e.Restic(t.Context(), func(b []byte) { lines = append(lines, string(b)) }, "restic", "x")
	if !errors.Is(err, planted) || strings.Join(ran, " ") != "/usr/bin/podman unshare restic x" || !slices.Equal(lines, []string{"one", "two", "", "three"}) {
		t.Errorf("%v, %q, %v", ran, lines, err)
	}
}

// TestALineWithoutEndEndsTheCommand: whoever can write to a repository decides how long a line
// of what is in it is, and the daemon would hold all of it.
func TestALineWithoutEndEndsTheCommand(t *testing.T) {
	said, piece := 0, []byte(strings.Repeat("x", maxOutput))
	e := &Engine{follows: func(ctx context.Context, _ limit, _ string, pass func([]byte), _ ...string) error {
		for ctx.Err() == nil && said < 4*maxLine {
			pass(piece)
			said += len(piece)
		}
		return context.Cause(ctx)
	}}
	longest := 0
	err := e.Restic(t.Context(), func(b []byte) { longest = max(longest, len(b)) }, "restic", "x")
	if err == nil || !strings.Contains(err.Error(), "a line of more than") || said > 2*maxLine || longest > maxLine {
		t.Errorf("%v; %d bytes were taken, and %d passed on as a line", err, said, longest)
	}
}

func TestWhatACommandWritesIsPassedOnOnce(t *testing.T) {
	name := filepath.Join(t.TempDir(), "said")
	if err := os.WriteFile(name, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	var said string
	for _, more := range []string{"", " two", strings.Repeat("x", maxOutput+1)} {
		if _, err := w.WriteString(more); err != nil {
			t.Fatal(err)
		}
		if err := passOn(f, func(b []byte) { said += string(b) }); err != nil {
			t.Fatal(err)
		}
	}
	if said != "one two"+strings.Repeat("x", maxOutput+1) {
		t.Errorf("%d bytes", len(said))
	}
}
