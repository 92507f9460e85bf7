// Package engine is the only code of the daemon that touches the host: Podman
// through its bindings, systemd over D-Bus. Every call is bounded by its context.
package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containers/podman/v5/pkg/bindings"

	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
)

const (
	listTimeout   = 10 * time.Second
	changeTimeout = 30 * time.Second
	pullTimeout   = 30 * time.Minute
	retireTimeout = 3 * time.Minute
	removeTimeout = 10 * time.Minute // of one container, with all that it has written outside its volumes

	connectAttempts = 3
	connectPause    = 200 * time.Millisecond
)

// Podman is the user's Podman.
type Podman struct {
	socket  string
	runtime string // XDG_RUNTIME_DIR

	mu   sync.Mutex
	conn *bindings.Connection
}

// OpenPodman finds the user's Podman. The first call connects to it.
func OpenPodman() (*Podman, error) {
	runtime := os.Getenv("XDG_RUNTIME_DIR")
	if runtime == "" {
		return nil, errors.New("XDG_RUNTIME_DIR is not set: this must run as a service of a user with lingering enabled (loginctl enable-linger USER)")
	}
	return &Podman{socket: "unix://" + filepath.Join(runtime, "podman", "podman.sock"), runtime: runtime}, nil
}

// Engine talks to the user's Podman and systemd.
type Engine struct {
	*Podman
	Reserve *atomicfile.Reserve // for units, where they are on a disk that is full; nil for none

	quadlet string // directory that Podman's generator reads
	drops   string // directory of the user's units, and of drop-ins for those of the generator
	systemd *systemd
	memory  atomic.Pointer[memory] // nil while nobody wants to hear of it
	reloads *reloads
	helper  func(ctx context.Context, l limit, description string, argv ...string) (string, error)          // outside
	follows func(ctx context.Context, l limit, description string, said func([]byte), argv ...string) error // follow

	mu        sync.Mutex
	unmanaged map[string][]string // mounts of unmanaged containers, by container id
	units     unitFiles
}

// Open connects to the user's systemd. The first call to Podman connects to Podman.
func Open(ctx context.Context) (*Engine, error) {
	podman, err := OpenPodman()
	if err != nil {
		return nil, err
	}
	config, err := os.UserConfigDir()
	if err != nil {
		return nil, err
	}
	sd, err := openSystemd(ctx)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		Podman:  podman,
		quadlet: filepath.Join(config, "containers", "systemd"), drops: filepath.Join(config, "systemd", "user"),
		systemd: sd, reloads: newReloads(sd.conn.ReloadContext), unmanaged: map[string][]string{},
	}
	e.helper, e.follows = e.outside, e.follow
	return e, os.MkdirAll(e.quadlet, 0o755)
}

// Close ends the connection to systemd.
func (e *Engine) Close() { e.systemd.close() }

func (p *Podman) call(ctx context.Context, method, path string, query url.Values, body []byte, out any, args ...string) error {
	resp, err := p.request(ctx, method, path, query, body, args...)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return resp.Process(out)
}

// request makes a call and repeats it if the connection breaks: Podman's service
// comes and goes with its socket, and every call made here is safe to repeat. If the
// service stays unreachable, the error wraps host.ErrUnavailable.
func (p *Podman) request(ctx context.Context, method, path string, query url.Values, body []byte, args ...string) (*bindings.APIResponse, error) {
	var last error
	for range connectAttempts {
		if last != nil {
			select {
			case <-time.After(connectPause):
			case <-ctx.Done():
				return nil, fmt.Errorf("%w: %s %s: %w", host.ErrUnavailable, method, path, last)
			}
		}
		conn, err := p.connect(ctx)
		if err != nil {
			last = err
			continue
		}
		var r io.Reader
		if body != nil {
			r = bytes.NewReader(body)
		}
		resp, err := conn.DoRequest(ctx, r, method, path, query, nil, args...)
		if err == nil {
			return resp, nil
		}
		last = err
		p.mu.Lock()
		if p.conn == conn {
			p.conn = nil // the next attempt makes a new one
		}
		p.mu.Unlock()
	}
	return nil, fmt.Errorf("%w: %s %s: %w", host.ErrUnavailable, method, path, last)
}

// connect returns the connection to Podman that worked last, or a new one.
func (p *Podman) connect(ctx context.Context) (*bindings.Connection, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// The bindings try for more than half a second, whether or not the context has ended. All
	// who waited here meanwhile would do the same, one after the other.
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if p.conn != nil {
		return p.conn, nil
	}
	bctx, err := bindings.NewConnection(ctx, p.socket)
	if err != nil {
		return nil, err
	}
	p.conn, err = bindings.GetClient(bctx)
	return p.conn, err
}

func notFound(err error) bool { return hasStatus(err, http.StatusNotFound) }

func hasStatus(err error, code int) bool {
	var model interface{ Code() int }
	return errors.As(err, &model) && model.Code() == code
}

// Version of Podman, by the answer to a ping: the longer answer of /version has Podman ask
// the package manager of each program that it uses, in a process each.
func (p *Podman) Version(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	resp, err := p.request(ctx, http.MethodGet, "/_ping", nil, nil)
	if err != nil {
		return "", fmt.Errorf("asking Podman's version: %w", err)
	}
	defer resp.Body.Close()
	version := resp.Header.Get("Libpod-API-Version")
	if !resp.IsSuccess() || version == "" {
		return "", fmt.Errorf("asking Podman's version: its ping is answered with status %d and Libpod-API-Version %q; is %s Podman's?", resp.StatusCode, version, p.socket)
	}
	return version, nil
}
