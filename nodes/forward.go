package nodes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
)

// Dial opens a connection from the node to an address as seen there; network is
// "tcp" or "unix". With maxCarried open, it waits until one is closed.
func (c *Client) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	select {
	case c.carried <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: connecting to %s there: waiting for one of %d connections to be closed: %w", c.Node, address, cap(c.carried), context.Cause(ctx))
	}
	leave := sync.OnceFunc(func() { <-c.carried })
	nc, over, err := c.dial(ctx, network, address)
	if err != nil {
		leave()
		return nil, err
	}
	return &place{Conn: nc, over: over, leave: leave}, nil
}

// place is a connection that gives back its place when it is closed.
type place struct {
	net.Conn
	over  *ssh.Client // that carries it
	leave func()
}

// Lost tells whether a connection that Dial gave has lost what carries it: that it ended then
// says nothing about the other end.
func Lost(ctx context.Context, conn net.Conn) bool {
	p, carried := conn.(*place)
	if !carried || p.over == nil {
		return false
	}
	_, err := within(ctx, func() (struct{}, error) {
		_, _, err := p.over.SendRequest("keepalive@openssh.com", true, nil)
		return struct{}{}, err
	}, nil)
	return err != nil
}

func (p *place) Close() error {
	defer p.leave()
	return p.Conn.Close()
}

// CloseWrite says that nothing more is sent, as connections over SSH do.
func (p *place) CloseWrite() error {
	if half, ok := p.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (c *Client) dial(ctx context.Context, network, address string) (nc net.Conn, over *ssh.Client, err error) {
	over, err = c.Connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	nc, err = over.DialContext(ctx, network, address)
	if err != nil {
		var open *ssh.OpenChannelError
		if errors.As(err, &open) {
			return nil, nil, fmt.Errorf("%s: connecting to %s there: %w", c.Node, address, err)
		}
		return nil, nil, fmt.Errorf("%s: connecting to %s there: %w: %w", c.Node, address, ErrLost, err)
	}
	return nc, over, nil
}

// Listen accepts connections to an address on the node and forwards them here: a reverse
// tunnel.
func (c *Client) Listen(ctx context.Context, address string) (net.Listener, error) {
	conn, err := c.Connect(ctx)
	if err != nil {
		return nil, err
	}
	l, err := within(ctx, func() (net.Listener, error) { return conn.Listen("tcp", address) }, func(late net.Listener) { late.Close() })
	if err != nil {
		return nil, fmt.Errorf("%s: listening on %s there: %w (is something else on that port?)", c.Node, address, err)
	}
	return l, nil
}

// ForwardUnix opens a local Unix socket whose connections reach a socket on the node;
// $UID in the path stands for the id of the node's user. stop removes it.
func (c *Client) ForwardUnix(remote string) (local string, stop func(), err error) {
	ctx, cancel := context.WithCancel(context.Background())
	if strings.Contains(remote, "$UID") {
		bounded, done := context.WithTimeout(ctx, dialTimeout)
		uid, err := c.Run(bounded, "id -u")
		done()
		if err != nil {
			cancel()
			return "", nil, err
		}
		remote = strings.ReplaceAll(remote, "$UID", strings.TrimSpace(uid))
	}
	dir, err := os.MkdirTemp("", "archipelago-")
	if err != nil {
		cancel()
		return "", nil, err
	}
	local = filepath.Join(dir, "sock")
	l, err := net.Listen("unix", local)
	if err != nil {
		cancel()
		os.RemoveAll(dir)
		return "", nil, err
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			here, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer here.Close()
				there, err := c.Dial(ctx, "unix", remote)
				if err != nil {
					return
				}
				defer there.Close()
				end := context.AfterFunc(ctx, func() { here.Close(); there.Close() })
				defer end()
				done := make(chan struct{})
				go func() {
					io.Copy(there, here)
					if h, ok := there.(interface{ CloseWrite() error }); ok {
						h.CloseWrite()
					}
					close(done)
				}()
				io.Copy(here, there)
				here.Close()
				<-done
			})
		}
	})
	return local, func() {
		cancel()
		l.Close()
		wg.Wait()
		os.RemoveAll(dir)
	}, nil
}
