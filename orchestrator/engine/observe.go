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
	"strings"
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
	Networks  []string
	Ports     []struct {
		HostPort uint16 `json:"host_port"`
		Range    uint16 `json:"range"`
		Protocol string `json:"protocol"` // "tcp", "udp", or several with commas
	}
}

// nodePorts are the ports of the node that the container publishes.
func (c listed) nodePorts() (ports []manifest.NodePort) {
	for _, p := range c.Ports {
		for protocol := range strings.SplitSeq(p.Protocol, ",") {
			for i := range max(int(p.Range), 1) {
				ports = append(ports, manifest.NodePort{Number: int(p.HostPort) + i, UDP: protocol == "udp"})
			}
		}
	}
	return ports
}

// Observe lists all containers in one call, all units in another, and reads the
// Quadlet directory.
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
			State: c.State, Health: health(c.Status), StartedAt: time.Unix(c.StartedAt, 0), Networks: c.Networks,
		}
		if seen.App == "" {
			alive[c.ID] = true
			var err error
			if seen.Mounts, err = e.mounts(ctx, c.ID); err != nil {
				return obs, err
			}
			seen.Ports = c.nodePorts()
		}
		for _, name := range c.Names {
			seen.Name = name
			obs.Containers[name] = seen
		}
	}
	e.mu.Lock()
	maps.DeleteFunc(e.unmanaged, func(id string, _ []string) bool { return !alive[id] })
	e.mu.Unlock()
	var err error
	if obs.Units, err = e.systemd.list(ctx); err != nil {
		return obs, err
	}
	e.mu.Lock()
	obs.UnitFiles, err = e.units.find(e.systemd.path)
	e.mu.Unlock()
	if err != nil {
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
	obs.Devices = devices("")
	obs.At = time.Now()
	return obs, nil
}

// mounts returns the directories of the node that an unmanaged container mounts. They
// are looked up once for each container, so that a pass costs one call.
func (e *Engine) mounts(ctx context.Context, id string) ([]string, error) {
	e.mu.Lock()
	known, ok := e.unmanaged[id]
	e.mu.Unlock()
	if ok {
		return known, nil
	}
	c, err := e.Inspect(ctx, id)
	if notFound(err) {
		return nil, nil // gone between the two calls
	}
	if err != nil {
		return nil, err
	}
	for _, m := range c.Mounts {
		known = append(known, m.Source)
	}
	e.mu.Lock()
	e.unmanaged[id] = known
	e.mu.Unlock()
	return known, nil
}

// health reads the health out of Status, where Podman's list puts it if the container
// has a health check: one word of three.
func health(status string) string {
	switch status {
	case "starting", "healthy", "unhealthy":
		return status
	}
	return ""
}

// Events calls changed for every container that Podman reports as changed, until the
// context ends or the stream breaks. health is the result of a health check and empty
// for other events.
func (p *Podman) Events(ctx context.Context, changed func(container, health string)) error {
	filters := `{"type":["container"],"event":["start","died","remove","health_status"]}`
	resp, err := p.request(ctx, http.MethodGet, "/events", url.Values{"stream": {"true"}, "filters": {filters}}, nil)
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
