package nodes

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// hostile is an SSH server that does with each command what its name says: it prints without
// end, never answers, or gives a byte from time to time.
func hostile(t *testing.T) *Node {
	return server(t, func(ctx context.Context, wg *sync.WaitGroup, _ ssh.Conn, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
		wg.Go(func() { ssh.DiscardRequests(requests) })
		for c := range channels {
			session, requests, err := c.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { misbehave(ctx, wg, session, requests) })
		}
	})
}

// server is an SSH server on which every connection is handled so, until ctx ends.
func server(t *testing.T, handle func(ctx context.Context, wg *sync.WaitGroup, conn ssh.Conn, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request)) *Node {
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
		text := pem.EncodeToMemory(block)
		signer, err := ssh.ParsePrivateKey(text)
		if err != nil {
			t.Fatal(err)
		}
		return signer, text
	}
	host, _ := key()
	_, user := key()
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
				end := context.AfterFunc(ctx, func() { raw.Close() })
				defer end()
				conn, channels, requests, err := ssh.NewServerConn(raw, config)
				if err != nil {
					return
				}
				handle(ctx, &wg, conn, channels, requests)
			})
		}
	})
	at := l.Addr().(*net.TCPAddr)
	return &Node{Name: ".7", Address: "127.0.0.1", Port: at.Port, User: "u", Key: file, HostKey: string(ssh.MarshalAuthorizedKey(host.PublicKey()))}
}

func misbehave(ctx context.Context, wg *sync.WaitGroup, session ssh.Channel, requests <-chan *ssh.Request) {
	defer session.Close()
	gone := make(chan struct{})
	defer func() { <-gone }()
	for r := range requests {
		var exec struct{ Command string }
		if r.Type != "exec" || ssh.Unmarshal(r.Payload, &exec) != nil {
			r.Reply(false, nil)
			continue
		}
		r.Reply(true, nil)
		wg.Go(func() { ssh.DiscardRequests(requests); close(gone) })
		fill := []byte(strings.Repeat("lie ", 4<<10))
		switch exec.Command {
		case "endless":
			for {
				if _, err := session.Write(fill); err != nil {
					return
				}
			}
		case "endless complaint":
			for {
				if _, err := session.Stderr().Write(fill); err != nil {
					return
				}
			}
		case "drip":
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for {
				if _, err := session.Write(fill[:1]); err != nil {
					return
				}
				select {
				case <-tick.C:
				case <-gone:
					return
				case <-ctx.Done():
					return
				}
			}
		case "honest":
			session.Write([]byte("yes"))
			session.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{0}))
			session.Close()
			return
		}
		select { // "never"
		case <-gone:
		case <-ctx.Done():
		}
		return
	}
	close(gone)
}

// A node that answers without end, or never, costs what was asked of it, and not the gate.
func TestANodeThatAnswersWithoutEndOrNeverIsLost(t *testing.T) {
	c := NewClient(hostile(t))
	defer c.Close()
	if c.most != maxOutput || c.patience != commandTimeout {
		t.Errorf("the bounds are %d bytes and %s", c.most, c.patience)
	}
	c.most, c.patience = 1<<20, time.Second
	for command, want := range map[string]string{
		"endless":           "printed more than 1048576 bytes",
		"endless complaint": "did not end within 1s",
		"never":             "did not end within 1s",
		"drip":              "did not end within 1s",
	} {
		begin := time.Now()
		// Without a deadline of its own, but never longer than the test.
		ctx, cancel := context.WithCancel(t.Context())
		stop := time.AfterFunc(20*time.Second, cancel)
		out, err := c.Run(ctx, command)
		stop.Stop()
		cancel()
		if !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", command, err)
		}
		if len(out) > 1<<20 {
			t.Errorf("%s: %d bytes are kept", command, len(out))
		}
		if took := time.Since(begin); took > 15*time.Second {
			t.Errorf("%s: it took %s", command, took)
		}
		if out, err := c.Run(t.Context(), "honest"); err != nil || out != "yes" {
			t.Errorf("after %s, the connection is of no use: %q, %v", command, out, err)
		}
	}
}

func TestAnAnswerIsReadUpToItsBound(t *testing.T) {
	for n, whole := range map[int]bool{0: true, 9: true, 10: true, 11: false, 1 << 20: false} {
		b, err := io.ReadAll(Bounded(strings.NewReader(strings.Repeat("x", n)), 10))
		if whole != (err == nil) || !whole && !errors.Is(err, ErrLost) || whole && len(b) != n || len(b) > 10 {
			t.Errorf("%d bytes: %d, %v", n, len(b), err)
		}
	}
}

// TestWhoGivesUpTakesTheConnectionFromNobody has many give up while they ask for a session, and
// one that has one.
func TestWhoGivesUpTakesTheConnectionFromNobody(t *testing.T) {
	c := NewClient(hostile(t))
	defer c.Close()
	ctx, end := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	read, write := io.Pipe()
	go func() { ended <- c.Stream(ctx, "drip", nil, write) }()
	if _, err := read.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	gaveUp, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		if _, err := c.Run(gaveUp, "drip"); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	more := make(chan struct{})
	go func() { io.ReadFull(read, make([]byte, 20)); close(more); io.Copy(io.Discard, read) }()
	select {
	case <-more:
	case err := <-ended:
		t.Fatalf("the one that had a session: %v", err)
	}
	done := errors.New("done")
	end(done)
	if err := <-ended; !errors.Is(err, done) {
		t.Errorf("the one that had a session: %v", err)
	}
}
