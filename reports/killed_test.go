package reports

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// In the environment of this test binary: the run that it writes to as a gate would, until it
// is killed; and how large a file may become, as if the disk were full then.
const (
	writerDir  = "REPORTS_TEST_WRITER"
	writerRoom = "REPORTS_TEST_ROOM"
)

func result(n int) Result { return Result{Cell: Cell{App: fmt.Sprint("a", n)}, Status: Passed} }

// writeOn appends results, and says of each that it is kept.
func writeOn(t *testing.T, dir string) {
	if room := os.Getenv(writerRoom); room != "" {
		var limit unix.Rlimit
		if _, err := fmt.Sscan(room, &limit.Cur); err != nil {
			t.Fatal(err)
		}
		limit.Max = limit.Cur
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
			t.Fatal(err)
		}
	}
	s, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		if err := s.Append(result(n)); err != nil {
			fmt.Println("error", err)
			os.Exit(0)
		}
		fmt.Println("kept", n)
	}
}

func writer(t *testing.T, dir string, more ...string) (cmd *exec.Cmd, said *bufio.Scanner) {
	t.Helper()
	cmd = exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAKilledGateLosesNoResultThatItHad$")
	cmd.Env = append(append(os.Environ(), writerDir+"="+dir), more...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

func TestAKilledGateLosesNoResultThatItHad(t *testing.T) {
	if dir := os.Getenv(writerDir); dir != "" {
		writeOn(t, dir)
	}
	for _, kept := range []int{1, 2, 7} {
		dir := t.TempDir()
		cmd, said := writer(t, dir)
		for range kept {
			if !said.Scan() || !strings.HasPrefix(said.Text(), "kept") {
				t.Fatalf("%q, %v", said.Text(), said.Err())
			}
		}
		if err := cmd.Process.Kill(); err != nil { // while it writes the next one, or the one after
			t.Fatal(err)
		}
		cmd.Wait()
		resumed(t, dir, kept)
	}
}

// resumed goes on with a run, of which at least so many results must be there.
func resumed(t *testing.T, dir string, kept int) {
	t.Helper()
	before, err := ReadResults(dir)
	if err != nil || len(before) < kept {
		t.Fatalf("%d results, %d were kept: %v", len(before), kept, err)
	}
	s, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Append(result(-1)); err != nil {
		t.Fatal(err)
	}
	after, err := ReadResults(dir)
	if err != nil || len(after) != len(before)+1 {
		t.Errorf("%d results after %d: %v", len(after), len(before), err)
	}
}

// A kill can leave any part of the last line.
func TestAnyPartOfALastLineIsTolerated(t *testing.T) {
	whole, err := Encode([]Result{result(0), result(1)})
	if err != nil {
		t.Fatal(err)
	}
	first := strings.Index(string(whole), "\n") + 1
	for n := first; n < len(whole); n++ {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, ResultsFile), whole[:n], 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := OpenStore(dir)
		if err != nil || s.Cut != n-first {
			t.Fatalf("%d bytes: %+v, %v", n, s, err)
		}
		s.Close()
		resumed(t, dir, 1)
	}
}

func TestAFullDiskEndsTheRunByTheNameOfTheFileAndItCanBeResumed(t *testing.T) {
	dir := t.TempDir()
	_, said := writer(t, dir, writerRoom+"=1000")
	kept := 0
	for said.Scan() && strings.HasPrefix(said.Text(), "kept") {
		kept++
	}
	if said := said.Text(); kept == 0 || !strings.HasPrefix(said, "error") || !strings.Contains(said, filepath.Join(dir, ResultsFile)) {
		t.Fatalf("after %d results: %q", kept, said)
	}
	resumed(t, dir, kept)
}
