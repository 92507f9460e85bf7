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
	"time"

	"github.com/containers/podman/v5/pkg/bindings"

	"github.com/archipelago-cloud/archipelago/orchestrator/host"
)

const (
	listTimeout   = 10 * time.Second
	changeTimeout = 30 * time.Second
	pullTimeout   = 30 * time.Minute
	retireTimeout = 3 * time.Minute

	connectAttempts = 3
	connectPause    = 200 * time.Millisecond
)

// Engine talks to the user's Podman and systemd.
type Engine struct {
	socket  string
	runtime string // XDG_RUNTIME_DIR
	quadlet string // directory that Podman's generator reads
	systemd *systemd

	mu        sync.Mutex
	conn      *bindings.Connection
	unmanaged map[string][]string // mounts of unmanaged containers, by container id
	units     unitFiles
}

// Open connects to the user's systemd. The first call to Podman connects to Podman.
func Open(ctx context.Context) (*Engine, error) {
	runtime := os.Getenv("XDG_RUNTIME_DIR")
	if runtime == "" {
		return nil, errors.New("XDG_RUNTIME_DIR is not set: the daemon must run as a service of a user with lingering enabled (loginctl enable-linger USER)")
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
		socket:  "unix://" + filepath.Join(runtime, "podman", "podman.sock"),
		runtime: runtime,
		quadlet: filepath.Join(config, "containers", "systemd"),
		systemd: sd, unmanaged: map[string][]string{},
	}
	return e, os.MkdirAll(e.quadlet, 0o755)
}

// Close ends the connection to systemd.
func (e *Engine) Close() { e.systemd.close() }

func (e *Engine) call(ctx context.Context, method, path string, query url.Values, body []byte, out any, args ...string) error {
	resp, err := e.request(ctx, method, path, query, body, args...)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return resp.Process(out)
}

// request makes a call and repeats it if the connection breaks: Podman's service
// comes and goes with its socket, and every call made here is safe to repeat. If the
// service stays unreachable, the error wraps host.ErrUnavailable.
func (e *Engine) request(ctx context.Context, method, path string, query url.Values, body []byte, args ...string) (*bindings.APIResponse, error) {
	var last error
	for range connectAttempts {
		if last != nil {
			select {
			case <-time.After(connectPause):
			case <-ctx.Done():
				return nil, fmt.Errorf("%w: %s %s: %w", host.ErrUnavailable, method, path, last)
			}
		}
		conn, err := e.connect(ctx)
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
		e.mu.Lock()
		if e.conn == conn {
			e.conn = nil // the next attempt makes a new one
		}
		e.mu.Unlock()
	}
	return nil, fmt.Errorf("%w: %s %s: %w", host.ErrUnavailable, method, path, last)
}

// connect returns the connection to Podman that worked last, or a new one.
func (e *Engine) connect(ctx context.Context) (*bindings.Connection, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conn != nil {
		return e.conn, nil
	}
	bctx, err := bindings.NewConnection(ctx, e.socket)
	if err != nil {
		return nil, err
	}
	e.conn, err = bindings.GetClient(bctx)
	return e.conn, err
}

func notFound(err error) bool { return hasStatus(err, http.StatusNotFound) }

func hasStatus(err error, code int) bool {
	var model interface{ Code() int }
	return errors.As(err, &model) && model.Code() == code
}

// Version of Podman.
func (e *Engine) Version(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	var v struct{ Version string }
	if err := e.call(ctx, http.MethodGet, "/version", nil, nil, &v); err != nil {
		return "", fmt.Errorf("asking Podman's version: %w", err)
	}
	return v.Version, nil
}
