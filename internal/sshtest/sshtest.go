// Package sshtest is an SSH server for tests: a node that does as it is told, or misbehaves.
package sshtest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

// Server is how a server is reached, on the loopback. It takes any key.
type Server struct {
	Port    int
	Key     string // a file with a private key
	HostKey string // as a line of authorized_keys(5)
}

// Handler serves a connection. What it starts in wg is waited for; ctx ends with the test.
type Handler func(ctx context.Context, wg *sync.WaitGroup, conn ssh.Conn, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request)

// Start has every connection handled so until the test ends.
func Start(t *testing.T, handle Handler) *Server {
	t.Helper()
	host, _ := key(t)
	_, user := key(t)
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
				conn, channels, requests, err := ssh.NewServerConn(raw, config)
				if err != nil {
					return
				}
				handle(ctx, &wg, conn, channels, requests)
			})
		}
	})
	return &Server{Port: l.Addr().(*net.TCPAddr).Port, Key: file, HostKey: string(ssh.MarshalAuthorizedKey(host.PublicKey()))}
}

func key(t *testing.T) (ssh.Signer, []byte) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(block)
	signer, err := ssh.ParsePrivateKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return signer, text
}

// Commands gives the command of each session to run, which speaks through the session and
// returns its exit status; ctx ends where the client leaves.
func Commands(run func(ctx context.Context, command string, session ssh.Channel) (status int)) Handler {
	return func(ctx context.Context, wg *sync.WaitGroup, _ ssh.Conn, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
		wg.Go(func() { ssh.DiscardRequests(requests) })
		for c := range channels {
			session, requests, err := c.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { serve(ctx, wg, session, requests, run) })
		}
	}
}

// serve runs a session's command.
func serve(ctx context.Context, wg *sync.WaitGroup, session ssh.Channel, requests <-chan *ssh.Request, run func(context.Context, string, ssh.Channel) int) {
	defer session.Close()
	for r := range requests {
		var asked struct{ Command string }
		if r.Type != "exec" || ssh.Unmarshal(r.Payload, &asked) != nil {
			r.Reply(false, nil)
			continue
		}
		r.Reply(true, nil)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		wg.Go(func() { ssh.DiscardRequests(requests); cancel() })
		status := run(ctx, asked.Command, session)
		session.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status)}))
		return
	}
}
