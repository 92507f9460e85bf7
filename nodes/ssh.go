package nodes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	dialTimeout       = 5 * time.Second
	keepaliveInterval = 5 * time.Second
	keepaliveTimeout  = 10 * time.Second
	requestTimeout    = 10 * time.Second // of the server's answer to a request on a connection
	retryPause        = 100 * time.Millisecond

	// commandTimeout ends a command whose context has no end of its own: longer than anything
	// that the gate has a node do takes.
	commandTimeout = 15 * time.Minute
	// maxOutput is how many bytes a command may print: more than any answer that the gate
	// asks for.
	maxOutput = 32 << 20

	// maxSessions is how many sessions a connection has at the same time. sshd allows 10
	// (MaxSessions, sshd_config(5)), and may still count one that has just ended here.
	maxSessions = 8
	// maxCarried is how many connections are carried at the same time by each client: to a node,
	// and from it, where that is more than the images that it pulls at a time have layers.
	maxCarried = 256
)

var (
	// ErrLost is wrapped in the error of any call that failed because the node
	// could not be reached, or not any more: it says nothing about what is tested.
	ErrLost = errors.New("node lost")
	// ErrRefused is wrapped where a node answers but must not be used: wrong or
	// unknown host key, key not accepted, or a machine that lacks what nodes need.
	ErrRefused = errors.New("node refused")
)

// ExitError is a command on the node that exited with a status other than 0.
type ExitError struct {
	Node, Command string
	Status        int
	Stderr        string
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("node %s: %s: exit status %d: %s", e.Node, e.Command, e.Status, strings.TrimSpace(e.Stderr))
}

// Client is the one connection to a node. It is safe for concurrent use. It connects on
// first use, and again after the node was away.
type Client struct {
	Node *Node

	sessions chan struct{} // a place for each
	carried  chan struct{} // a place for each connection
	patience time.Duration // with a command
	most     int64         // bytes of a command's output

	mu   sync.Mutex
	conn *ssh.Client
	stop context.CancelFunc
	done chan struct{}
}

// NewClient prepares a client; nothing is sent until the first call.
func NewClient(n *Node) *Client {
	return &Client{Node: n, sessions: make(chan struct{}, maxSessions), carried: make(chan struct{}, maxCarried), patience: commandTimeout, most: maxOutput}
}

// Close ends the connection and waits for its keepalive.
func (c *Client) Close() {
	c.mu.Lock()
	conn, stop, done := c.conn, c.stop, c.done
	c.conn = nil
	c.mu.Unlock()
	if conn != nil {
		stop()
		conn.Close()
		<-done
	}
}

// Connect returns the live connection, opening one if necessary.
func (c *Client) Connect(ctx context.Context) (*ssh.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		return c.conn, nil
	}
	config, err := c.Node.clientConfig()
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	raw, err := dialer.DialContext(ctx, "tcp", c.Node.Addr())
	if err != nil {
		return nil, fmt.Errorf("%s: connecting: %w: %w", c.Node, ErrLost, err)
	}
	raw.SetDeadline(time.Now().Add(dialTimeout))
	sc, chans, reqs, err := ssh.NewClientConn(raw, c.Node.Addr(), config)
	if err != nil {
		raw.Close()
		return nil, c.Node.handshakeError(err)
	}
	raw.SetDeadline(time.Time{})
	conn := ssh.NewClient(sc, chans, reqs)
	life, stop := context.WithCancel(context.Background())
	c.conn, c.stop, c.done = conn, stop, make(chan struct{})
	go c.keepalive(life, conn, c.done)
	return conn, nil
}

func (n *Node) clientConfig() (*ssh.ClientConfig, error) {
	if n.HostKey == "" {
		return nil, fmt.Errorf("%s: %w: its host key is not known; record it with 'gate nodes trust %s'", n, ErrRefused, n.Name)
	}
	pem, err := os.ReadFile(n.Key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: private key: %w", n, ErrRefused, err)
	}
	signer, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: private key %s: %w", n, ErrRefused, n.Key, err)
	}
	hostKey, _, _, _, err := ssh.ParseAuthorizedKey([]byte(n.HostKey))
	if err != nil {
		return nil, fmt.Errorf("%s: %w: host key: %w", n, ErrRefused, err)
	}
	return &ssh.ClientConfig{
		User: n.User,
		Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: func(_ string, _ net.Addr, got ssh.PublicKey) error {
			if !bytes.Equal(got.Marshal(), hostKey.Marshal()) {
				return fmt.Errorf("%w: host key is %s, the inventory has %s: another machine, or someone in between",
					ErrRefused, ssh.FingerprintSHA256(got), ssh.FingerprintSHA256(hostKey))
			}
			return nil
		},
		HostKeyAlgorithms: []string{hostKey.Type()},
	}, nil
}

func (n *Node) handshakeError(err error) error {
	switch {
	case errors.Is(err, ErrRefused):
		return fmt.Errorf("%s: %w", n, err)
	case strings.Contains(err.Error(), "unable to authenticate"):
		return fmt.Errorf("%s: %w: the key %s is not accepted for user %s", n, ErrRefused, n.Key, n.User)
	case strings.Contains(err.Error(), "no common algorithm for host key"):
		return fmt.Errorf("%s: %w: it has no host key of the recorded type; see 'gate nodes trust'", n, ErrRefused)
	}
	return fmt.Errorf("%s: SSH handshake: %w: %w", n, ErrLost, err)
}

// AskHostKey asks the node for its host key without trusting it and without signing in.
func (n *Node) AskHostKey(ctx context.Context) (ssh.PublicKey, error) {
	var key ssh.PublicKey
	seen := errors.New("seen")
	config := &ssh.ClientConfig{User: n.User, Timeout: dialTimeout, HostKeyCallback: func(_ string, _ net.Addr, k ssh.PublicKey) error {
		key = k
		return seen
	}}
	dialer := net.Dialer{Timeout: dialTimeout}
	raw, err := dialer.DialContext(ctx, "tcp", n.Addr())
	if err != nil {
		return nil, fmt.Errorf("%s: connecting: %w: %w", n, ErrLost, err)
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(dialTimeout))
	if _, _, _, err := ssh.NewClientConn(raw, n.Addr(), config); key == nil {
		return nil, fmt.Errorf("%s: %w: no host key: %w", n, ErrLost, err)
	}
	return key, nil
}

func (c *Client) keepalive(ctx context.Context, conn *ssh.Client, done chan struct{}) {
	defer close(done)
	gone := make(chan struct{})
	go func() { conn.Wait(); close(gone) }()
	tick := time.NewTicker(keepaliveInterval)
	defer tick.Stop()
	defer func() { conn.Close(); <-gone; c.forget(conn) }()
	for {
		select {
		case <-ctx.Done():
			return
		case <-gone:
			return
		case <-tick.C:
		}
		answer := make(chan error, 1)
		go func() { _, _, err := conn.SendRequest("keepalive@openssh.com", true, nil); answer <- err }()
		select {
		case err := <-answer:
			if err != nil {
				return
			}
		case <-time.After(keepaliveTimeout):
			return
		case <-ctx.Done():
			return
		}
	}
}

func (c *Client) forget(conn *ssh.Client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == conn {
		c.conn = nil
	}
}

// Drop forgets the connection without waiting, so that the next call makes a new one.
func (c *Client) Drop() {
	c.mu.Lock()
	conn := c.conn
	c.conn = nil
	c.mu.Unlock()
	if conn != nil {
		conn.Close()
	}
}

// doubt drops the connection after a request that failed; not where only who asked has given
// up, because others use it, and its keepalive notices when it is dead.
func (c *Client) doubt(asked context.Context) {
	if asked.Err() == nil {
		c.Drop()
	}
}

// Run executes a shell command and returns its standard output. When the context ends,
// the command is killed and the session closed. A command that failed is an *ExitError;
// a node that is lost is ErrLost.
func (c *Client) Run(ctx context.Context, command string) (string, error) {
	var out bytes.Buffer
	err := c.Stream(ctx, command, nil, &out)
	return out.String(), err
}

// Stream executes a shell command with stdin, which may be nil, and copies its output to
// w as it arrives. A command that prints without end, or that does not end, is ended; the
// error is an ErrLost, because nothing else can be known of the node by that.
func (c *Client) Stream(ctx context.Context, command string, stdin io.Reader, w io.Writer) error {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.patience, fmt.Errorf("%w: it did not end within %s", ErrLost, c.patience))
		defer cancel()
	}
	ctx, give := context.WithCancelCause(ctx)
	defer give(nil)
	out := &bounded{w: w, left: c.most, full: func() { give(fmt.Errorf("%w: it printed more than %d bytes", ErrLost, c.most)) }}
	defer out.shut()
	select {
	case c.sessions <- struct{}{}:
		defer func() { <-c.sessions }()
	case <-ctx.Done():
		return fmt.Errorf("%s: %q: waiting for one of %d sessions to end: %w", c.Node, short(command), maxSessions, context.Cause(ctx))
	}
	conn, err := c.Connect(ctx)
	if err != nil {
		return err
	}
	s, err := session(ctx, conn)
	if err != nil {
		if !refused(err) {
			c.doubt(ctx)
		}
		return fmt.Errorf("%s: opening a session: %w: %w", c.Node, ErrLost, err)
	}
	defer s.Close()
	var stderr tail
	s.Stdin, s.Stdout, s.Stderr = stdin, out, &stderr
	finished := make(chan error, 1)
	if _, err := within(ctx, func() (struct{}, error) { return struct{}{}, s.Start(command) }, nil); err != nil {
		c.doubt(ctx)
		return fmt.Errorf("%s: starting %q: %w: %w", c.Node, short(command), ErrLost, err)
	}
	go func() { finished <- s.Wait() }()
	select {
	case err = <-finished:
	case <-ctx.Done():
		s.Signal(ssh.SIGKILL)
		s.Close()
		return fmt.Errorf("%s: %q: %w", c.Node, short(command), context.Cause(ctx))
	}
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit):
		return &ExitError{c.Node.Name, short(command), exit.ExitStatus(), stderr.String()}
	}
	return fmt.Errorf("%s: %q: %w: %w", c.Node, short(command), ErrLost, err)
}

// session opens a session. A busy node's sshd still counts some that have ended here, more than
// it allows at times, and refuses others until it has noticed: nothing of the command was begun,
// and the connection, which others use, is as good as before.
func session(ctx context.Context, conn *ssh.Client) (*ssh.Session, error) {
	again := time.NewTicker(retryPause)
	defer again.Stop()
	deadline := time.NewTimer(requestTimeout)
	defer deadline.Stop()
	for {
		s, err := within(ctx, conn.NewSession, func(late *ssh.Session) { late.Close() })
		if !refused(err) {
			return s, err
		}
		select {
		case <-again.C:
		case <-deadline.C:
			return nil, fmt.Errorf("sshd refused it for %s: %w", requestTimeout, err)
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), err)
		}
	}
}

// refused tells whether the other side answered that it opens no channel.
func refused(err error) bool {
	var answer *ssh.OpenChannelError
	return errors.As(err, &answer)
}

// within bounds a request that takes no context. If the connection ends at the wrong
// moment, the answer never comes, and only a deadline notices. late, which may be nil, is given
// an answer that nobody waits for any more.
func within[T any](ctx context.Context, request func() (T, error), late func(T)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answered := make(chan answer, 1)
	go func() {
		v, err := request()
		answered <- answer{v, err}
	}()
	deadline := time.NewTimer(requestTimeout)
	defer deadline.Stop()
	var none T
	forgo := func(err error) (T, error) {
		go func() {
			if a := <-answered; a.err == nil && late != nil {
				late(a.value)
			}
		}()
		return none, err
	}
	select {
	case a := <-answered:
		return a.value, a.err
	case <-ctx.Done():
		return forgo(context.Cause(ctx))
	case <-deadline.C:
		return forgo(fmt.Errorf("no answer within %s", requestTimeout))
	}
}

func short(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 120 {
		return s[:120] + "…"
	}
	return s
}

// Quote turns s into one word for the node's shell.
func Quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
