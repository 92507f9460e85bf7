package engine

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/fault"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
)

// Inspect looks closely at a container.
func (p *Podman) Inspect(ctx context.Context, container string) (host.Inspection, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	var c struct {
		ID     string `json:"Id"`
		Mounts []host.Mount
		Config struct {
			Env    []string
			Labels map[string]string
		}
		State struct {
			Status    string
			Pid       int
			StartedAt time.Time
			Health    struct {
				Status string
				Log    []struct {
					ExitCode int
					Output   string
				}
			}
		}
	}
	if err := p.call(ctx, http.MethodGet, "/containers/%s/json", nil, nil, &c, container); err != nil {
		if notFound(err) {
			err = errors.Join(host.ErrGone, err)
		}
		return host.Inspection{}, fmt.Errorf("inspecting %s: %w", container, err)
	}
	out := host.Inspection{ID: c.ID, Mounts: c.Mounts, Environment: map[string]string{}, StartedAt: c.State.StartedAt, Labels: c.Config.Labels}
	out.State, out.Health, out.PID = c.State.Status, c.State.Health.Status, c.State.Pid
	if log := c.State.Health.Log; len(log) > 0 && log[len(log)-1].ExitCode != 0 {
		out.Checked = log[len(log)-1].Output
	}
	for _, v := range c.Config.Env {
		k, val, _ := strings.Cut(v, "=")
		out.Environment[k] = val
	}
	return out, nil
}

// HasSocket reports whether a Unix socket exists at a path in a container.
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

// PutSecret stores a secret in Podman, replacing one of the same name; where the value
// is empty, it removes it.
func (e *Engine) PutSecret(ctx context.Context, name, app, value string) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	if value == "" {
		return e.removeSecret(ctx, name)
	}
	labels, err := json.Marshal(map[string]string{manifest.LabelApp: app})
	if err != nil {
		return err
	}
	q := url.Values{"name": {name}, "replace": {"true"}, "labels": {string(labels)}}
	if err := e.call(ctx, http.MethodPost, "/secrets/create", q, []byte(value), nil); err != nil {
		return fmt.Errorf("storing secret %s: %w", name, err)
	}
	return nil
}

func (e *Engine) removeSecret(ctx context.Context, name string) error {
	if err := e.call(ctx, http.MethodDelete, "/secrets/%s", nil, nil, nil, name); err != nil && !notFound(err) {
		return fmt.Errorf("removing secret %s: %w", name, err)
	}
	return nil
}

// Remove deletes an application's containers, secrets and networks.
func (e *Engine) Remove(ctx context.Context, app string, containers []string) error {
	return e.remove(ctx, app, containers, removeTimeout, changeTimeout)
}

// remove gives each container time of its own, by what it may have written, and the rest a
// short one.
func (e *Engine) remove(ctx context.Context, app string, containers []string, each, rest time.Duration) error {
	for _, c := range containers {
		if err := e.removeContainer(ctx, c, each); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, rest)
	defer cancel()
	var stored []struct{ Spec struct{ Name string } }
	if err := e.call(ctx, http.MethodGet, "/secrets/json", nil, nil, &stored); err != nil {
		return fmt.Errorf("listing secrets: %w", err)
	}
	for _, s := range stored {
		if !strings.HasPrefix(s.Spec.Name, app+".") {
			continue
		}
		if err := e.removeSecret(ctx, s.Spec.Name); err != nil {
			return err
		}
	}
	if fault.Planted(fault.NetworkLeft) {
		return nil
	}
	return e.removeNetworks(ctx, app)
}

func (e *Engine) removeContainer(ctx context.Context, container string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := e.call(ctx, http.MethodDelete, "/containers/%s", url.Values{"force": {"true"}, "ignore": {"true"}}, nil, nil, container); err != nil && !notFound(err) {
		return fmt.Errorf("removing container %s: %w", container, err)
	}
	return nil
}

// Retire stops an unmanaged container and renames it: its name becomes free, and
// nothing in it is lost.
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

// stopContainer stops a container through Podman, within its own stop time. A missing
// container counts as stopped.
func (e *Engine) stopContainer(ctx context.Context, container string) error {
	if err := e.call(ctx, http.MethodPost, "/containers/%s/stop", url.Values{"ignore": {"true"}}, nil, nil, container); err != nil && !notFound(err) {
		return fmt.Errorf("stopping %s: %w", container, err)
	}
	return nil
}
