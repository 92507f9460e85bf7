package plan

import (
	"fmt"
	"slices"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/render"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// requiredBy notes what an installed application requires, and what it will require
// once it is updated.
func (p *planning) requiredBy(d *state.Desired) {
	if d.Goal == state.Absent {
		return
	}
	note := func(m *manifest.Manifest) {
		if m == nil || len(m.Requires) == 0 {
			return
		}
		if p.requirers == nil {
			p.requirers = map[string][]string{}
		}
		for _, r := range m.Requires {
			if those := p.requirers[r.App]; !slices.Contains(those, d.App) {
				p.requirers[r.App] = append(those, d.App)
			}
		}
	}
	note(d.Manifest)
	if d.Update != nil {
		note(d.Update.To)
	}
}

// reached is the container by which others reach an application.
func reached(d *state.Desired) string {
	if theirs, ok := d.Adopted[d.App]; ok {
		return theirs
	}
	return d.App
}

// link plans the networks that the running container which others reach is to join and
// to leave. One that is on no network, as an adopted one may be, cannot join any.
func (p *planning) link(out *Plan, d *state.Desired, r *render.Rendering) {
	c := p.Observed.Containers[reached(d)]
	if c.State != "running" || len(c.Networks) == 0 {
		return
	}
	requirers := p.requirers[d.App]
	var join []quadlet.Bridge
	for _, app := range requirers {
		if link := quadlet.Link(app, d.App); !slices.Contains(c.Networks, link.Name) {
			join = append(join, link)
		}
	}
	var leave []string
	for _, network := range c.Networks {
		app, ok := quadlet.Requirer(network, d.App)
		if !ok || slices.Contains(requirers, app) {
			continue
		}
		// One that is being removed needs it to the end, and takes the network along; one
		// whose record cannot be read may need it.
		if other := p.desired[app]; p.Broken[app] != nil || other != nil && other.Goal == state.Absent {
			continue
		}
		leave = append(leave, network)
	}
	if len(join)+len(leave) == 0 {
		return
	}
	slices.Sort(leave)
	a := out.add(d, r, Link, "it is required by "+fmt.Sprint(requirers))
	a.Units, a.Join, a.Leave = []string{c.Name}, join, leave
}

// linked tells whether an application that requires another one can reach it.
func (p *planning) linked(app string, required *state.Desired) bool {
	on := p.Observed.Containers[reached(required)].Networks
	return len(on) == 0 || slices.Contains(on, quadlet.Link(app, required.App).Name)
}
