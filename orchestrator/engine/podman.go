// Package engine is the only code of the daemon that touches the host: Podman
// through its bindings, systemd over D-Bus. Every call is bounded by its context.
package engine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containers/podman/v5/pkg/bindings"

	"github.com/archipelago-cloud/archipelago/orchestrator"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
)

const (
	listTimeout   = 10 * time.Second
	changeTimeout = 30 * time.Second
	pullTimeout   = 30 * time.Minute

	connectAttempts = 3
	connectPause    = 200 * time.Millisecond
)

// Engine talks to the user's Podman and systemd.
type Engine struct {
	socket  string
	quadlet string // directory that Podman's generator reads
	systemd *systemd
}

// Open connects to the user's systemd; Podman is connected to at each call, since
// its service ends when it is idle.
func Open(ctx context.Context) (*Engine, error) {
	runtime := os.Getenv("XDG_RUNTIME_DIR")
	if runtime == "" {
		return nil, errors.New("XDG_RUNTIME_DIR is not set: the daemon runs as a service of a user that lingers (loginctl enable-linger)")
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
		quadlet: filepath.Join(config, "containers", "systemd"),
		systemd: sd,
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

// request makes a call, once more where the connection broke: Podman's service
// comes and goes with its socket, and every call that is made here may be repeated.
// What cannot be reached in the end is orchestrator.ErrEngine.
func (e *Engine) request(ctx context.Context, method, path string, query url.Values, body []byte, args ...string) (*bindings.APIResponse, error) {
	var last error
	for range connectAttempts {
		if last != nil {
			select {
			case <-time.After(connectPause):
			case <-ctx.Done():
				return nil, fmt.Errorf("%w: %s %s: %w", orchestrator.ErrEngine, method, path, last)
			}
		}
		bctx, err := bindings.NewConnection(ctx, e.socket)
		if err != nil {
			last = err
			continue
		}
		conn, err := bindings.GetClient(bctx)
		if err != nil {
			return nil, err
		}
		var r io.Reader
		if body != nil {
			r = bytes.NewReader(body)
		}
		resp, err := conn.DoRequest(bctx, r, method, path, query, nil, args...)
		if err == nil {
			return resp, nil
		}
		last = err
	}
	return nil, fmt.Errorf("%w: %s %s: %w", orchestrator.ErrEngine, method, path, last)
}

func notFound(err error) bool {
	var model interface{ Code() int }
	return errors.As(err, &model) && model.Code() == http.StatusNotFound
}

type listed struct {
	ID        string `json:"Id"`
	Names     []string
	Labels    map[string]string
	State     string
	Status    string
	StartedAt int64
}

// Observe lists all containers in one call and all units in another, and reads
// the Quadlet directory.
func (e *Engine) Observe(ctx context.Context) (orchestrator.Observed, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	obs := orchestrator.Observed{Containers: map[string]orchestrator.Container{}, Files: map[string]string{}}
	var list []listed
	if err := e.call(ctx, http.MethodGet, "/containers/json", url.Values{"all": {"true"}}, nil, &list); err != nil {
		return obs, fmt.Errorf("listing containers: %w", err)
	}
	for _, c := range list {
		for _, name := range c.Names {
			obs.Containers[name] = orchestrator.Container{
				ID: c.ID, Name: name, App: c.Labels[quadlet.LabelApp], Spec: c.Labels[quadlet.LabelSpec],
				State: c.State, Health: health(c.Status), StartedAt: time.Unix(c.StartedAt, 0),
			}
		}
	}
	var err error
	if obs.Units, err = e.systemd.list(ctx); err != nil {
		return obs, err
	}
	entries, err := os.ReadDir(e.quadlet)
	if err != nil {
		return obs, fmt.Errorf("reading units: %w", err)
	}
	for _, f := range entries {
		if !f.Type().IsRegular() {
			continue
		}
		b, err := os.ReadFile(filepath.Join(e.quadlet, f.Name()))
		if err != nil {
			return obs, fmt.Errorf("reading units: %w", err)
		}
		obs.Files[f.Name()] = string(b)
	}
	obs.At = time.Now()
	return obs, nil
}

// health reads what Podman's list puts into Status where a container has a
// health check: one word of three.
func health(status string) string {
	switch status {
	case "starting", "healthy", "unhealthy":
		return status
	}
	return ""
}

// EnsureImage has an image by digest in the store: looked up by name, pulled only
// where it is missing.
func (e *Engine) EnsureImage(ctx context.Context, pinned string, progress func(string)) error {
	look, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	resp, err := e.request(look, http.MethodGet, "/images/%s/exists", nil, nil, pinned)
	if err != nil {
		return fmt.Errorf("looking for image %s: %w", pinned, err)
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent {
		return nil
	}
	ctx, cancel = context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	progress("pulling " + pinned)
	pull, err := e.request(ctx, http.MethodPost, "/images/pull", url.Values{"reference": {pinned}, "policy": {"missing"}}, nil)
	if err != nil {
		return fmt.Errorf("pulling %s: %w", pinned, err)
	}
	defer pull.Body.Close()
	if !pull.IsSuccess() {
		return fmt.Errorf("pulling %s: %w", pinned, pull.Process(nil))
	}
	dec := json.NewDecoder(pull.Body)
	for {
		var line struct{ Stream, Error string }
		if err := dec.Decode(&line); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("pulling %s: %w", pinned, err)
		}
		if line.Error != "" {
			return fmt.Errorf("pulling %s: %s", pinned, line.Error)
		}
		if s := strings.TrimSpace(line.Stream); s != "" {
			progress(s)
		}
	}
}

// PutSecret has a secret of that name and value in Podman's store.
func (e *Engine) PutSecret(ctx context.Context, name, app, value string) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	labels, err := json.Marshal(map[string]string{quadlet.LabelApp: app})
	if err != nil {
		return err
	}
	q := url.Values{"name": {name}, "replace": {"true"}, "labels": {string(labels)}}
	if err := e.call(ctx, http.MethodPost, "/secrets/create", q, []byte(value), nil); err != nil {
		return fmt.Errorf("storing secret %s: %w", name, err)
	}
	return nil
}

// Remove takes an application's containers, secrets and network out of the engine.
func (e *Engine) Remove(ctx context.Context, app string, containers []string) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	for _, c := range containers {
		if err := e.call(ctx, http.MethodDelete, "/containers/%s", url.Values{"force": {"true"}, "ignore": {"true"}}, nil, nil, c); err != nil && !notFound(err) {
			return fmt.Errorf("removing container %s: %w", c, err)
		}
	}
	var stored []struct{ Spec struct{ Name string } }
	if err := e.call(ctx, http.MethodGet, "/secrets/json", nil, nil, &stored); err != nil {
		return fmt.Errorf("listing secrets: %w", err)
	}
	for _, s := range stored {
		if !strings.HasPrefix(s.Spec.Name, app+".") {
			continue
		}
		if err := e.call(ctx, http.MethodDelete, "/secrets/%s", nil, nil, nil, s.Spec.Name); err != nil && !notFound(err) {
			return fmt.Errorf("removing secret %s: %w", s.Spec.Name, err)
		}
	}
	if err := e.call(ctx, http.MethodDelete, "/networks/%s", url.Values{"force": {"true"}}, nil, nil, quadlet.Network(app)); err != nil && !notFound(err) {
		return fmt.Errorf("removing network of %s: %w", app, err)
	}
	return nil
}

// Probe runs a container's health check now, rather than at the timer's next
// tick, so that an application that has become ready is known to be.
func (e *Engine) Probe(ctx context.Context, container string) error {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	return e.call(ctx, http.MethodGet, "/containers/%s/healthcheck", nil, nil, nil, container)
}

// StartedAt is the instant of a container's start, finer than in a list.
func (e *Engine) StartedAt(ctx context.Context, container string) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	var c struct{ State struct{ StartedAt time.Time } }
	if err := e.call(ctx, http.MethodGet, "/containers/%s/json", nil, nil, &c, container); err != nil {
		return time.Time{}, fmt.Errorf("inspecting %s: %w", container, err)
	}
	return c.State.StartedAt, nil
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

// Events calls wake whenever Podman says that a container has changed, until the
// context ends or the stream breaks.
func (e *Engine) Events(ctx context.Context, wake func()) error {
	filters := `{"type":["container"],"event":["start","died","remove","health_status"]}`
	resp, err := e.request(ctx, http.MethodGet, "/events", url.Values{"stream": {"true"}, "filters": {filters}}, nil)
	if err != nil {
		return fmt.Errorf("following events: %w", err)
	}
	defer resp.Body.Close()
	if !resp.IsSuccess() {
		return fmt.Errorf("following events: %w", resp.Process(nil))
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		wake()
	}
	return lines.Err()
}

// Logs streams a container's lines to emit.
func (e *Engine) Logs(ctx context.Context, container string, follow bool, tail int, emit func(string) error) error {
	q := url.Values{"stdout": {"true"}, "stderr": {"true"}, "tail": {fmt.Sprint(tail)}, "follow": {fmt.Sprint(follow)}}
	resp, err := e.request(ctx, http.MethodGet, "/containers/%s/logs", q, nil, container)
	if err != nil {
		return fmt.Errorf("reading the log of %s: %w", container, err)
	}
	defer resp.Body.Close()
	if !resp.IsSuccess() {
		return fmt.Errorf("reading the log of %s: %w", container, resp.Process(nil))
	}
	// Frames of a header of eight bytes (stream, 0, 0, 0, length) and a payload,
	// as in Docker's API.
	r := bufio.NewReader(resp.Body)
	var header [8]byte
	for {
		if _, err := io.ReadFull(r, header[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading the log of %s: %w", container, err)
		}
		n := int(header[4])<<24 | int(header[5])<<16 | int(header[6])<<8 | int(header[7])
		if n > 1<<20 {
			return fmt.Errorf("reading the log of %s: a frame of %d bytes", container, n)
		}
		line := make([]byte, n)
		if _, err := io.ReadFull(r, line); err != nil {
			return fmt.Errorf("reading the log of %s: %w", container, err)
		}
		for l := range strings.SplitSeq(strings.TrimRight(string(line), "\n"), "\n") {
			if err := emit(l); err != nil {
				return err
			}
		}
	}
}
