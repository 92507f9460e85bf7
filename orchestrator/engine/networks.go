package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
)

// network is a network as Podman shows and takes it.
type network struct {
	Name     string            `json:"name"`
	Driver   string            `json:"driver"`
	Internal bool              `json:"internal"`
	DNS      bool              `json:"dns_enabled"`
	Labels   map[string]string `json:"labels"`
	Options  map[string]string `json:"options"`
}

// wanted is the network that the bridge's unit would make.
func wanted(b quadlet.Bridge) network {
	return network{
		Name: b.Name, Driver: "bridge", Internal: b.Internal, DNS: true,
		Labels:  map[string]string{manifest.LabelApp: b.App},
		Options: map[string]string{quadlet.Isolate: quadlet.Strict},
	}
}

// as tells whether a network lets through just what the bridge is to let through.
func (n network) as(b quadlet.Bridge) bool {
	return n.Internal == b.Internal && n.Options[quadlet.Isolate] == quadlet.Strict
}

// Join has a running container be on a network too, which is made where there is none;
// alias is a name that it has there besides its own.
func (e *Engine) Join(ctx context.Context, container, alias string, b quadlet.Bridge) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	made, err := json.Marshal(wanted(b))
	if err != nil {
		return err
	}
	if err := e.call(ctx, http.MethodPost, "/networks/create", url.Values{"ignoreIfExists": {"true"}}, made, nil); err != nil && !hasStatus(err, http.StatusConflict) {
		return fmt.Errorf("making network %s: %w", b.Name, err)
	}
	how := map[string]any{"container": container}
	if alias != container {
		how["aliases"] = []string{alias}
	}
	return e.connection(ctx, "connect", container, b.Name, how, true)
}

// Leave takes a container off a network. A missing container, or network, has left.
func (e *Engine) Leave(ctx context.Context, container, network string) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	return e.connection(ctx, "disconnect", container, network, map[string]any{"container": container}, false)
}

// connection connects or disconnects. Podman calls it an error where that is so
// already, and systemd connects at a restart: it counts what is so in the end.
func (e *Engine) connection(ctx context.Context, verb, container, network string, how map[string]any, want bool) error {
	body, err := json.Marshal(how)
	if err != nil {
		return err
	}
	failed := e.call(ctx, http.MethodPost, "/networks/%s/"+verb, nil, body, nil, network)
	if failed == nil {
		return nil
	}
	on, err := e.onNetworks(ctx)
	if err == nil && slices.Contains(on[network], container) == want {
		return nil
	}
	return fmt.Errorf("%s %s and network %s: %w", verb, container, network, failed)
}

// onNetworks gives the containers on each network, running or not.
func (e *Engine) onNetworks(ctx context.Context) (map[string][]string, error) {
	var list []listed
	if err := e.call(ctx, http.MethodGet, "/containers/json", url.Values{"all": {"true"}}, nil, &list); err != nil {
		return nil, fmt.Errorf("listing containers: %w", err)
	}
	on := map[string][]string{}
	for _, c := range list {
		for _, n := range c.Networks {
			on[n] = append(on[n], c.Names...)
		}
	}
	return on, nil
}

// networks gives an application's networks, by its label.
func (e *Engine) networks(ctx context.Context, app string) ([]network, error) {
	filters, err := json.Marshal(map[string][]string{"label": {manifest.LabelApp + "=" + app}})
	if err != nil {
		return nil, err
	}
	var out []network
	if err := e.call(ctx, http.MethodGet, "/networks/json", url.Values{"filters": {string(filters)}}, nil, &out); err != nil {
		return nil, fmt.Errorf("listing networks of %s: %w", app, err)
	}
	return out, nil
}

// RenewNetworks removes those of an application's networks that let through something
// else than they are to, so that their units make them anew; but none that a container
// is on.
func (e *Engine) RenewNetworks(ctx context.Context, app string, bridges []quadlet.Bridge) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	have, err := e.networks(ctx, app)
	if err != nil {
		return err
	}
	have = slices.DeleteFunc(have, func(n network) bool {
		return !slices.ContainsFunc(bridges, func(b quadlet.Bridge) bool { return b.Name == n.Name && !n.as(b) })
	})
	if len(have) == 0 {
		return nil
	}
	on, err := e.onNetworks(ctx)
	if err != nil {
		return err
	}
	for _, n := range have {
		if len(on[n.Name]) > 0 {
			continue
		}
		if err := e.removeNetwork(ctx, n.Name); err != nil {
			return err
		}
	}
	return nil
}

// removeNetworks deletes an application's networks. Containers of others that are on
// them leave, and run on.
func (e *Engine) removeNetworks(ctx context.Context, app string) error {
	have, err := e.networks(ctx, app)
	if err != nil || len(have) == 0 {
		return err
	}
	on, err := e.onNetworks(ctx)
	if err != nil {
		return err
	}
	for _, n := range have {
		for _, c := range on[n.Name] {
			if err := e.Leave(ctx, c, n.Name); err != nil {
				return err
			}
		}
		if err := e.removeNetwork(ctx, n.Name); err != nil {
			return err
		}
	}
	return nil
}

// removeNetwork deletes a network that no container is on. Its unit is a oneshot that
// stays active: stopped first, it makes the network anew when it is wanted again.
func (e *Engine) removeNetwork(ctx context.Context, name string) error {
	if err := e.StopUnit(ctx, quadlet.NetworkService(name)); err != nil {
		return err
	}
	// Not by force, which would delete the containers on it as well.
	if err := e.call(ctx, http.MethodDelete, "/networks/%s", nil, nil, nil, name); err != nil && !notFound(err) {
		return fmt.Errorf("removing network %s: %w", name, err)
	}
	return nil
}
