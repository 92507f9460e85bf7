package prober

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNamespace is what Run ends with if Podman has another user namespace than the one
// that this program runs in: start it anew.
var ErrNamespace = errors.New("podman's user namespace is another one by now")

// Inside is the network of a container.
type Inside interface {
	// Dial connects to a port on the loopback in there. The error wraps unix.EPERM if the
	// network may not be entered.
	Dial(ctx context.Context, port int) (net.Conn, error)
	Close() error
}

// process stands for the main process of a container, and never for another one that got
// its number.
type process int // a pidfd

// Enter gives the network of the container with this id, by its main process.
func Enter(pid int, id string) (Inside, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err == nil && !strings.Contains(string(b), id) {
		err = fmt.Errorf("it is not of container %.12s", id)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("process %d: %w", pid, err), unix.Close(fd))
	}
	return process(fd), nil
}

func (p process) Close() error { return unix.Close(int(p)) }

func (p process) Dial(ctx context.Context, port int) (conn net.Conn, err error) {
	onThread(func() {
		if err = unix.Setns(int(p), unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("entering the container's network: %w", err)
			return
		}
		// A socket stays in the network in which it was made.
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	})
	return conn, err
}

// onThread runs f on a thread that ends with it: this program's own network belongs to the
// node, and no thread may come back into it. The main thread cannot end, so it is held
// while f runs on another.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			onThread(f)
			return
		}
		f()
	}()
	<-done
}
