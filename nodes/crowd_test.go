package nodes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// tunnelled is a node that agrees to every tunnel, and gives the connections with one.
func tunnelled(t *testing.T) (*Node, <-chan ssh.Conn) {
	conns := make(chan ssh.Conn, 1)
	return serving(t, func(_ context.Context, wg *sync.WaitGroup, conn ssh.Conn, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
		wg.Go(func() {
			for c := range channels {
				c.Reject(ssh.Prohibited, "")
			}
		})
		for r := range requests {
			r.Reply(true, nil)
			if r.Type == "tcpip-forward" {
				conns <- conn
			}
		}
	}), conns
}

// there opens a connection on the node to where the gate listens, which nobody may take: as sshd
// does for a process of the node.
func there(conn ssh.Conn, address string) (ssh.Channel, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	var p uint32
	if _, err := fmt.Sscan(port, &p); err != nil {
		return nil, err
	}
	c, requests, err := conn.OpenChannel("forwarded-tcpip", ssh.Marshal(struct {
		Host   string
		Port   uint32
		Origin string
		From   uint32
	}{host, p, "127.0.0.1", 1}))
	if err == nil {
		go ssh.DiscardRequests(requests)
	}
	return c, err
}

// Whoever on a node opens connections without end is refused beyond a number, in words; it holds
// up neither those that are open, nor the SSH connection, nor the end.
func TestANodeHasSoManyConnectionsToWhatIsServedThereAndOneMoreIsRefused(t *testing.T) {
	const address = "127.0.0.1:5000"
	node, conns := tunnelled(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		node.ServeThere(ctx, address, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "image") }), func(err error) { t.Error(err) })
	}()
	conn := <-conns
	get := func(c ssh.Channel) (string, error) {
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return "", err
		}
		b := make([]byte, 4<<10)
		n, err := c.Read(b)
		return string(b[:n]), err
	}
	var held []ssh.Channel
	begun := time.After(10 * time.Second)
	for len(held) < maxCarried {
		c, err := there(conn, address)
		if err == nil {
			held = append(held, c)
			continue
		}
		if len(held) > 0 {
			t.Fatal(err)
		}
		select { // the client has not heard yet that it is to listen
		case <-begun:
			t.Fatal(err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	// What is handed over is taken in its order: the last of them is served.
	if said, err := get(held[maxCarried-1]); err != nil || !strings.Contains(said, "image") {
		t.Fatalf("the last of %d: %q, %v", maxCarried, said, err)
	}
	for range 60 { // more than what SSH would keep for later
		c, err := there(conn, address)
		if err != nil {
			t.Fatal(err)
		}
		said, err := io.ReadAll(c)
		if err != nil || !strings.HasPrefix(string(said), "HTTP/1.1 429 ") || !strings.HasSuffix(string(said), "256 connections of this node are open already; one more is taken once one of them has ended\n") {
			t.Fatalf("one more: %q, %v", said, err)
		}
	}
	if said, err := get(held[0]); err != nil || !strings.Contains(said, "image") {
		t.Errorf("one that was open before: %q, %v", said, err)
	}
	if _, _, err := conn.SendRequest("keepalive@openssh.com", true, nil); err != nil {
		t.Error(err)
	}
	held[1].Close()
	taken := time.After(10 * time.Second)
	for {
		c, err := there(conn, address)
		if err != nil {
			t.Fatal(err)
		}
		said, err := get(c)
		if strings.Contains(said, "image") {
			break
		}
		c.Close()
		select {
		case <-taken:
			t.Fatalf("once one had ended: %q, %v", said, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	cancel()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("the tunnel does not end")
	}
}

// A server that has ended takes nothing any more, and what is still handed over stands in the way
// of the listener's end.
func TestATunnelEndsAlthoughNobodyTakesWhatIsHandedOver(t *testing.T) {
	const address = "127.0.0.1:5000"
	node, conns := tunnelled(t)
	c := NewClient(node)
	defer c.Close()
	l, err := c.Listen(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	conn := <-conns
	for range 20 {
		go there(conn, address)
	}
	// Answered once the requests before it have been read.
	if _, _, err := conn.SendRequest("keepalive@openssh.com", true, nil); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- newCrowd(l, 1).Close() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it does not end")
	}
}

func TestAClientCarriesSoManyConnectionsAndOneMoreWaits(t *testing.T) {
	c := NewClient(&Node{Name: ".7", Address: "127.0.0.77", Port: 1, User: "archipelago"})
	if cap(c.carried) != 256 {
		t.Errorf("%d connections", cap(c.carried))
	}
	for range maxCarried {
		c.carried <- struct{}{}
	}
	gone := errors.New("gone")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, gone)
	defer cancel()
	if _, err := c.Dial(ctx, "tcp", "127.0.0.1:80"); !errors.Is(err, gone) || !strings.Contains(err.Error(), "127.0.0.1:80 there: waiting for one of 256 connections to be closed") {
		t.Errorf("one more: %v", err)
	}
	<-c.carried
	for range 2 * maxCarried { // one that cannot be opened gives its place back
		if _, err := c.Dial(t.Context(), "tcp", "127.0.0.1:80"); !errors.Is(err, ErrRefused) {
			t.Fatalf("%v", err)
		}
	}
	near, far := net.Pipe()
	defer far.Close()
	p := &place{Conn: near, leave: func() { <-c.carried }}
	if err := p.Close(); err != nil || len(c.carried) != maxCarried-2 {
		t.Errorf("%v, %d places are taken", err, len(c.carried))
	}
}

// TestAConnectionThatEndsIsToldFromOneThatIsLost: one whose other end closed it says something
// about what listens there, one that went down with the SSH connection does not.
func TestAConnectionThatEndsIsToldFromOneThatIsLost(t *testing.T) {
	n := serving(t, func(_ context.Context, wg *sync.WaitGroup, conn ssh.Conn, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
		wg.Go(func() {
			for r := range requests {
				r.Reply(false, nil) // as sshd answers a keepalive
			}
		})
		for c := range channels {
			there, requests, err := c.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { ssh.DiscardRequests(requests) })
			wg.Go(func() {
				said := make([]byte, 5)
				if _, err := io.ReadFull(there, said); err == nil && string(said) == "crash" {
					conn.Close()
				}
				there.Close()
			})
		}
	})
	for said, want := range map[string]bool{"leave": false, "crash": true} {
		c := NewClient(n)
		defer c.Close()
		conn, err := c.Dial(t.Context(), "tcp", "127.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, said); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: it is read from", said)
		}
		if got := Lost(t.Context(), conn); got != want {
			t.Errorf("%s: lost %v, expected %v", said, got, want)
		}
	}
}
