package nodes

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/archipelago-cloud/archipelago/internal/sshtest"
)

// hostile is a node that does with each command what its name says: it prints without end,
// never answers, or gives a byte from time to time.
func hostile(t *testing.T) *Node { return serving(t, sshtest.Commands(misbehave)) }

// serving is a node on which every connection is handled so.
func serving(t *testing.T, handle sshtest.Handler) *Node {
	s := sshtest.Start(t, handle)
	return &Node{Name: ".7", Address: "127.0.0.1", Port: s.Port, User: "u", Key: s.Key, HostKey: s.HostKey}
}

func misbehave(ctx context.Context, command string, session ssh.Channel) int {
	fill := []byte(strings.Repeat("lie ", 4<<10))
	switch command {
	case "endless":
		for {
			if _, err := session.Write(fill); err != nil {
				return 1
			}
		}
	case "endless complaint":
		for {
			if _, err := session.Stderr().Write(fill); err != nil {
				return 1
			}
		}
	case "drip":
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			if _, err := session.Write(fill[:1]); err != nil {
				return 1
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return 1
			}
		}
	case "honest":
		session.Write([]byte("yes"))
		return 0
	}
	<-ctx.Done() // "never"
	return 1
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
