package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
)

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

// stranger is what is looked up once of a container that is not of the daemon's.
type stranger struct{ mounts []string }

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
			ID: c.ID, App: c.Labels[manifest.LabelApp], Spec: c.Labels[manifest.LabelSpec],
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

// health reads what Podman's list puts into Status where a container has a
// health check: one word of three.
func health(status string) string {
	switch status {
	case "starting", "healthy", "unhealthy":
		return status
	}
	return ""
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
