// Package engine is the only code of the daemon that touches the host: Podman
// through its bindings, systemd over D-Bus. Every call is bounded by its context.
package engine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containers/podman/v5/pkg/bindings"

	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
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
	strangers map[string]stranger // by container id
}

// stranger is what is looked up once of a container that is not of the daemon's.
type stranger struct{ mounts []string }

// Open connects to the user's systemd; Podman is connected to at the first call.
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
		runtime: runtime,
		quadlet: filepath.Join(config, "containers", "systemd"),
		systemd: sd, strangers: map[string]stranger{},
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
// What cannot be reached in the end is host.ErrUnavailable.
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
			e.conn = nil // made anew at the next attempt
		}
		e.mu.Unlock()
	}
	return nil, fmt.Errorf("%w: %s %s: %w", host.ErrUnavailable, method, path, last)
}

// connect gives the connection to Podman that served last, or a new one.
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
	Ports     []struct {
		HostPort uint16 `json:"host_port"`
		Range    uint16 `json:"range"`
	}
}

// Observe lists all containers in one call and all units in another, and reads
// the Quadlet directory.
func (e *Engine) Observe(ctx context.Context) (host.Observation, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	obs := host.Observation{Containers: map[string]host.Container{}, Files: map[string]string{}}
	var list []listed
	if err := e.call(ctx, http.MethodGet, "/containers/json", url.Values{"all": {"true"}}, nil, &list); err != nil {
		return obs, fmt.Errorf("listing containers: %w", err)
	}
	alive := map[string]bool{}
	for _, c := range list {
		seen := host.Container{
			ID: c.ID, App: c.Labels[quadlet.LabelApp], Spec: c.Labels[quadlet.LabelSpec],
			State: c.State, Health: health(c.Status), StartedAt: time.Unix(c.StartedAt, 0),
		}
		if seen.App == "" {
			alive[c.ID] = true
			var err error
			if seen.Mounts, err = e.mounts(ctx, c.ID); err != nil {
				return obs, err
			}
			for _, p := range c.Ports {
				for i := range max(int(p.Range), 1) {
					seen.Ports = append(seen.Ports, int(p.HostPort)+i)
				}
			}
		}
		for _, name := range c.Names {
			seen.Name = name
			obs.Containers[name] = seen
		}
	}
	e.mu.Lock()
	maps.DeleteFunc(e.strangers, func(id string, _ stranger) bool { return !alive[id] })
	e.mu.Unlock()
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

// mounts are the directories of the node that a stranger's container has; they are
// asked for once, so that a pass over the daemon's own costs one call.
func (e *Engine) mounts(ctx context.Context, id string) ([]string, error) {
	e.mu.Lock()
	known, ok := e.strangers[id]
	e.mu.Unlock()
	if ok {
		return known.mounts, nil
	}
	c, err := e.Inspect(ctx, id)
	if notFound(err) {
		return nil, nil // gone between the two calls
	}
	if err != nil {
		return nil, err
	}
	for _, m := range c.Mounts {
		known.mounts = append(known.mounts, m.Source)
	}
	e.mu.Lock()
	e.strangers[id] = known
	e.mu.Unlock()
	return known.mounts, nil
}

// Inspect gives what is needed of a container to take it over.
func (e *Engine) Inspect(ctx context.Context, container string) (host.Inspection, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	var c struct {
		ID     string `json:"Id"`
		Mounts []host.Mount
		Config struct{ Env []string }
		State  struct {
			Status    string
			StartedAt time.Time
		}
		HostConfig struct{ RestartPolicy struct{ Name string } }
	}
	if err := e.call(ctx, http.MethodGet, "/containers/%s/json", nil, nil, &c, container); err != nil {
		return host.Inspection{}, fmt.Errorf("inspecting %s: %w", container, err)
	}
	out := host.Inspection{ID: c.ID, Mounts: c.Mounts, Environment: map[string]string{}, StartedAt: c.State.StartedAt}
	for _, v := range c.Config.Env {
		k, val, _ := strings.Cut(v, "=")
		out.Environment[k] = val
	}
	return out, nil
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

// HasImage looks for one image by name: never a walk through the store.
func (e *Engine) HasImage(ctx context.Context, name string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	resp, err := e.request(ctx, http.MethodGet, "/images/%s/exists", nil, nil, name)
	if err != nil {
		return false, fmt.Errorf("looking for image %s: %w", name, err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNoContent:
		return true, nil
	case http.StatusNotFound:
		return false, nil
	}
	return false, fmt.Errorf("looking for image %s: %w", name, resp.Process(nil))
}

// EnsureImage has an image by digest in the store, pulled only where it is missing.
func (e *Engine) EnsureImage(ctx context.Context, pinned string, progress func(string)) error {
	if there, err := e.HasImage(ctx, pinned); err != nil || there {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
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
func (e *Engine) Probe(ctx context.Context, container string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	var result struct{ Status string }
	err := e.call(ctx, http.MethodGet, "/containers/%s/healthcheck", nil, nil, &result, container)
	return result.Status == "healthy", err
}

// Retire stops someone else's container and renames it, so that its name is free
// and nothing of it is lost.
func (e *Engine) Retire(ctx context.Context, container, name string) error {
	ctx, cancel := context.WithTimeout(ctx, retireTimeout)
	defer cancel()
	if err := e.stopContainer(ctx, container); err != nil {
		return err
	}
	if err := e.call(ctx, http.MethodPost, "/containers/%s/update", url.Values{"restartPolicy": {"no"}}, []byte("{}"), nil, container); err != nil && !notFound(err) {
		return fmt.Errorf("taking the restart policy off %s: %w", container, err)
	}
	if err := e.call(ctx, http.MethodPost, "/containers/%s/rename", url.Values{"name": {name}}, nil, nil, container); err != nil && !notFound(err) {
		return fmt.Errorf("renaming %s: %w", container, err)
	}
	return nil
}

// stopContainer stops a container by Podman, within its own stop time; one that is
// not there has stopped.
func (e *Engine) stopContainer(ctx context.Context, container string) error {
	if err := e.call(ctx, http.MethodPost, "/containers/%s/stop", url.Values{"ignore": {"true"}}, nil, nil, container); err != nil && !notFound(err) {
		return fmt.Errorf("stopping %s: %w", container, err)
	}
	return nil
}

// HasSocket tells whether a Unix socket exists at a path in a container.
func (e *Engine) HasSocket(ctx context.Context, container, path string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	resp, err := e.request(ctx, http.MethodHead, "/containers/%s/archive", url.Values{"path": {path}}, nil, container)
	if err != nil {
		return false, err
	}
	resp.Body.Close()
	if !resp.IsSuccess() {
		return false, nil
	}
	b, err := base64.StdEncoding.DecodeString(resp.Header.Get("X-Docker-Container-Path-Stat"))
	if err != nil {
		return false, err
	}
	var st struct{ Mode fs.FileMode }
	if err := json.Unmarshal(b, &st); err != nil {
		return false, err
	}
	return st.Mode&fs.ModeSocket != 0, nil
}

// Exec runs a command in a running container and gives what it said, cut to 64
// KiB. A command that outlives the context is killed.
func (e *Engine) Exec(ctx context.Context, container string, argv []string) (string, error) {
	body, err := json.Marshal(map[string]any{"Cmd": argv, "AttachStdout": true, "AttachStderr": true})
	if err != nil {
		return "", err
	}
	var made struct {
		ID string `json:"Id"`
	}
	if err := e.call(ctx, http.MethodPost, "/containers/%s/exec", nil, body, &made, container); err != nil {
		return "", fmt.Errorf("running in %s: %w", container, err)
	}
	said, err := e.runExec(ctx, made.ID)
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), listTimeout)
	defer cancel()
	var done struct {
		Running  bool
		ExitCode int
		Pid      int
	}
	if inspectErr := e.call(after, http.MethodGet, "/exec/%s/json", nil, nil, &done, made.ID); inspectErr != nil {
		return said, errors.Join(err, inspectErr)
	}
	if ctx.Err() != nil {
		if done.Running && done.Pid > 0 {
			err = errors.Join(err, e.unshare(after, listTimeout, `kill -KILL "$1"`, fmt.Sprint(done.Pid)))
		}
		return said, fmt.Errorf("%s in %s: %w", strings.Join(argv, " "), container, errors.Join(context.Cause(ctx), err))
	}
	if err != nil {
		return said, fmt.Errorf("%s in %s: %w", strings.Join(argv, " "), container, err)
	}
	if done.ExitCode != 0 {
		return said, fmt.Errorf("%s in %s ended with status %d: %s", strings.Join(argv, " "), container, done.ExitCode, strings.TrimSpace(said))
	}
	return said, nil
}

// runExec starts a prepared command over a connection of its own, which Podman
// takes over for the command's output: frames as in logs.
func (e *Engine) runExec(ctx context.Context, id string) (string, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", strings.TrimPrefix(e.socket, "unix://"))
	if err != nil {
		return "", fmt.Errorf("%w: %w", host.ErrUnavailable, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://d/v5.0.0/libpod/exec/"+id+"/start", strings.NewReader(`{"Detach":false,"Tty":false}`))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	if err := req.Write(conn); err != nil {
		return "", err
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusSwitchingProtocols {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return "", fmt.Errorf("status %d: %s", resp.StatusCode, b)
	}
	var source io.Reader = resp.Body
	if resp.StatusCode == http.StatusSwitchingProtocols {
		source = r
	}
	var said strings.Builder
	err = frames(bufio.NewReader(source), func(p []byte) error {
		said.Write(p[:min(len(p), maxOutput-said.Len())])
		return nil
	})
	return said.String(), err
}

// frames reads Podman's multiplexed output: a header of eight bytes (stream, 0, 0,
// 0, length) and a payload, as in Docker's API.
func frames(r *bufio.Reader, emit func([]byte) error) error {
	var header [8]byte
	for {
		if _, err := io.ReadFull(r, header[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		n := binary.BigEndian.Uint32(header[4:])
		if n > 1<<20 {
			return fmt.Errorf("a frame of %d bytes", n)
		}
		p := make([]byte, n)
		if _, err := io.ReadFull(r, p); err != nil {
			return err
		}
		if err := emit(p); err != nil {
			return err
		}
	}
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

// Events calls changed for each container that Podman says has changed, until the
// context ends or the stream breaks. health is what a health check found, empty for
// other events.
func (e *Engine) Events(ctx context.Context, changed func(container, health string)) error {
	filters := `{"type":["container"],"event":["start","died","remove","health_status"]}`
	resp, err := e.request(ctx, http.MethodGet, "/events", url.Values{"stream": {"true"}, "filters": {filters}}, nil)
	if err != nil {
		return fmt.Errorf("following events: %w", err)
	}
	defer resp.Body.Close()
	if !resp.IsSuccess() {
		return fmt.Errorf("following events: %w", resp.Process(nil))
	}
	dec := json.NewDecoder(resp.Body)
	for {
		var event struct {
			Actor        struct{ Attributes map[string]string }
			HealthStatus string
		}
		if err := dec.Decode(&event); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("following events: %w", err)
		}
		changed(event.Actor.Attributes["name"], event.HealthStatus)
	}
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
	err = frames(bufio.NewReader(resp.Body), func(p []byte) error {
		for l := range strings.SplitSeq(strings.TrimRight(string(p), "\n"), "\n") {
			if err := emit(l); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the log of %s: %w", container, err)
	}
	return nil
}
