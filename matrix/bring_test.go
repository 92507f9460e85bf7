package matrix

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/archipelago-cloud/archipelago/internal/sshtest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// shellNode is a node that runs each command in a directory for a home, and counts them.
type shellNode struct {
	*nodes.Node
	home string

	mu   sync.Mutex
	said []string // commands, by the first words of each
}

func newShellNode(t *testing.T) *shellNode {
	t.Helper()
	n := &shellNode{home: t.TempDir()}
	s := sshtest.Start(t, sshtest.Commands(n.run))
	n.Node = &nodes.Node{Name: ".7", Address: "127.0.0.1", Port: s.Port, User: "u", Key: s.Key, HostKey: s.HostKey}
	return n
}

// run runs a session's command.
func (n *shellNode) run(ctx context.Context, command string, session ssh.Channel) (status int) {
	words := strings.Fields(command)
	n.mu.Lock()
	n.said = append(n.said, strings.Join(words[:min(2, len(words))], " "))
	n.mu.Unlock()
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Env = append(os.Environ(), "HOME="+n.home)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = session, session, session.Stderr()
	cmd.WaitDelay = time.Second // it need not read all that it is given
	cmd.Run()
	if cmd.ProcessState != nil {
		status = cmd.ProcessState.ExitCode()
	}
	return status
}

// TestTheWitnessesProgramIsTheOneOfThisRun has none on the node, another one there, and one that
// goes: the node runs the file of this machine, brought once by a process that looks often.
func TestTheWitnessesProgramIsTheOneOfThisRun(t *testing.T) {
	n := newShellNode(t)
	file := filepath.Join(t.TempDir(), "look")
	if err := os.WriteFile(file, []byte("#!/bin/sh\necho \"the run's: $*\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	there := filepath.Join(n.home, programOnNode)
	ssh := nodes.NewClient(n.Node)
	defer ssh.Close()
	glances := func(w *Witness, want int) {
		t.Helper()
		n.mu.Lock()
		n.said = nil
		n.mu.Unlock()
		for range 3 {
			if facts, err := w.ask(t.Context(), nil, "glance", "it's"); err != nil || facts != "the run's: glance it's\n" {
				t.Errorf("%q, %v", facts, err)
			}
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		if len(n.said) != want {
			t.Errorf("%d commands, expected %d: %q", len(n.said), want, n.said)
		}
	}
	w := NewWitness(ssh, n.Address, file)
	glances(w, 5) // compared, brought
	glances(w, 3)
	glances(NewWitness(ssh, n.Address, file), 4) // compared
	if err := errors.Join(os.Remove(there), os.WriteFile(there, []byte("#!/bin/sh\necho another\n"), 0o755)); err != nil {
		t.Fatal(err)
	}
	w = NewWitness(ssh, n.Address, file)
	glances(w, 5)
	if err := os.Remove(there); err != nil {
		t.Fatal(err)
	}
	if facts, err := w.ask(t.Context(), nil, "glance"); !errors.Is(err, ErrIncomplete) {
		t.Errorf("without the program: %q, %v", facts, err)
	}
	glances(w, 5)
	if _, err := NewWitness(ssh, n.Address, file+"-gone").ask(t.Context(), nil, "glance"); !errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), "make build") {
		t.Errorf("without a file: %v", err)
	}
}
