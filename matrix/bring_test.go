package matrix

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

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
	key := func() (ssh.Signer, []byte) {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		block, err := ssh.MarshalPrivateKey(private, "")
		if err != nil {
			t.Fatal(err)
		}
		signer, err := ssh.NewSignerFromKey(private)
		if err != nil {
			t.Fatal(err)
		}
		return signer, pem.EncodeToMemory(block)
	}
	host, _ := key()
	_, user := key()
	n := &shellNode{home: t.TempDir()}
	file := filepath.Join(t.TempDir(), "id")
	if err := os.WriteFile(file, user, 0o600); err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
	config.AddHostKey(host)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer raw.Close()
				defer context.AfterFunc(ctx, func() { raw.Close() })()
				_, channels, requests, err := ssh.NewServerConn(raw, config)
				if err != nil {
					return
				}
				wg.Go(func() { ssh.DiscardRequests(requests) })
				for c := range channels {
					if session, requests, err := c.Accept(); err == nil {
						wg.Go(func() { n.serve(ctx, session, requests) })
					}
				}
			})
		}
	})
	n.Node = &nodes.Node{Name: ".7", Address: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, User: "u", Key: file, HostKey: string(ssh.MarshalAuthorizedKey(host.PublicKey()))}
	return n
}

// serve runs a session's command.
func (n *shellNode) serve(ctx context.Context, session ssh.Channel, requests <-chan *ssh.Request) {
	defer session.Close()
	for r := range requests {
		var asked struct{ Command string }
		if r.Type != "exec" || ssh.Unmarshal(r.Payload, &asked) != nil {
			r.Reply(false, nil)
			continue
		}
		r.Reply(true, nil)
		words := strings.Fields(asked.Command)
		n.mu.Lock()
		n.said = append(n.said, strings.Join(words[:min(2, len(words))], " "))
		n.mu.Unlock()
		cmd := exec.CommandContext(ctx, "sh", "-c", asked.Command)
		cmd.Env = append(os.Environ(), "HOME="+n.home)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = session, session, session.Stderr()
		cmd.WaitDelay = time.Second // it need not read all that it is given
		status := struct{ Status uint32 }{}
		cmd.Run()
		if cmd.ProcessState != nil {
			status.Status = uint32(cmd.ProcessState.ExitCode())
		}
		session.SendRequest("exit-status", false, ssh.Marshal(status))
		return
	}
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
