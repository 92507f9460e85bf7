package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/nodes/lab"
)

func TestNothingIsInstalledUnasked(t *testing.T) {
	const command = "apt-get install planted"
	for _, c := range []struct {
		name, answer string
		terminal     bool
		agreed       bool
	}{
		{"yes", "y\n", true, true}, {"no", "n\n", true, false}, {"only Enter", "\n", true, false}, {"the end of the input", "", true, false}, {"another word", "yesterday\n", true, false},
		{"nobody is there", "y\n", false, false},
	} {
		var out bytes.Buffer
		err := consent(strings.NewReader(c.answer), &out, c.terminal, command)
		if (err == nil) != c.agreed || err != nil && (!errors.Is(err, plan.ErrUsage) || !strings.Contains(err.Error(), command)) {
			t.Errorf("%s: %v", c.name, err)
		}
		if asked := strings.Contains(out.String(), command); asked != c.terminal {
			t.Errorf("%s: %q", c.name, out.String())
		}
	}
}

// Without a terminal and without --yes, setup names the command and exits with 2; apt-get is
// planted, and says so if it is run.
func TestSetupWithoutATerminal(t *testing.T) {
	if os.Getenv("GATE_TEST_SETUP") != "" {
		lab.SubordinateIDs = nil
		os.Args = append([]string{"gate"}, strings.Fields(os.Getenv("GATE_TEST_SETUP"))...)
		main()
		return
	}
	if os.Geteuid() != 0 {
		t.Log("as another user than root, setup installs nothing anyway")
		return
	}
	bin := t.TempDir()
	ran := filepath.Join(bin, "ran")
	if err := os.WriteFile(filepath.Join(bin, "apt-get"), []byte("#!/bin/sh\n: >"+ran+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(sh, filepath.Join(bin, "sh")); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]int{"setup": exitUsage, "setup --yes": exitGreen} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSetupWithoutATerminal$")
		cmd.Env = []string{"PATH=" + bin, "GATE_TEST_SETUP=" + args}
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != want || want == exitUsage && !strings.Contains(string(out), "apt-get install") {
			t.Errorf("%s: exit status %d: %s", args, got, out)
		}
		if _, err := os.Stat(ran); (err == nil) != (want == exitGreen) {
			t.Errorf("%s: installed: %v", args, err)
		}
		os.Remove(ran)
	}
}
