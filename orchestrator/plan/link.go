package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/render"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// requirer is an application that requires another one, and what of it.
type requirer struct {
	app   string
	needs []manifest.Requirement // of the version that is installed, and of that which it will be
}

// requiredBy notes what an installed application requires, and what it will require
// once it is updated.
func (p *planning) requiredBy(d *state.Desired) {
	if d.Goal == state.Absent {
		return
	}
	note := func(m *manifest.Manifest) {
		for app, need := range p.met(d, m) {
			if p.requirers == nil {
				p.requirers = map[string][]requirer{}
			}
			those := p.requirers[app]
			i := slices.IndexFunc(those, func(r requirer) bool { return r.app == d.App })
			if i < 0 {
				i = len(those)
				those = append(those, requirer{app: d.App})
			}
			those[i].needs = append(those[i].needs, need)
			p.requirers[app] = those
		}
	}
	note(d.Manifest)
	if d.Update != nil {
		note(d.Update.To)
	}
}

// met are the requirements of a version of an application that count on this node, by the
// application that meets them: those that must be met, and the optional ones that are.
func (p *planning) met(d *state.Desired, m *manifest.Manifest) map[string]manifest.Requirement {
	if m == nil || len(m.Requires) == 0 {
		return nil
	}
	out := map[string]manifest.Requirement{}
	for _, r := range m.Needs(d.Chosen) {
		out[r.App] = r
	}
	for _, r := range m.Options() {
		if p.counts(d, m, r) {
			out[r.App] = r
		}
	}
	return out
}

// counts tells whether an optional requirement is met: from when the other application is
// ready for the first time until it is uninstalled. So what it makes of it, which takes a
// restart, does not come and go with the other's stops.
func (p *planning) counts(d *state.Desired, m *manifest.Manifest, r manifest.Requirement) bool {
	other := p.desired[r.App]
	if other == nil || other.Goal == state.Absent || other.Manifest == nil || p.Broken[r.App] != nil || m.Lacks(r, other.Manifest) != nil {
		return false
	}
	return p.follows(d.App, r.App) || other.Goal == state.Running && p.notReady(other) == ""
}

// follows tells whether an application's unit is one that starts after another application.
func (p *planning) follows(app, other string) bool {
	return strings.Contains(p.Observed.Files[app+".container"], "\nAfter="+quadlet.Service(other)+"\n")
}

// apps are the installed applications that meet a version's requirements.
func (p *planning) apps(d *state.Desired, m *manifest.Manifest) map[string]*manifest.Manifest {
	var out map[string]*manifest.Manifest
	for app := range p.met(d, m) {
		if other := p.desired[app]; other != nil && other.Goal != state.Absent && other.Manifest != nil {
			if out == nil {
				out = map[string]*manifest.Manifest{}
			}
			out[app] = other.Manifest
		}
	}
	return out
}

// reachedBy are the applications that require a version of another one, with the containers of it
// that each reaches.
func (p *planning) reachedBy(m *manifest.Manifest) (out []quadlet.Requirer) {
	for _, r := range p.requirers[m.ID] {
		var reaches []string
		for _, need := range r.needs {
			reaches = Union(reaches, m.Reached(need))
		}
		if len(reaches) > 0 {
			out = append(out, quadlet.Requirer{App: r.app, Reaches: reaches})
		}
	}
	return out
}

// render renders a version of an application as it is to be on this node.
func (p *planning) render(d *state.Desired, m *manifest.Manifest, boot bool) (*render.Rendering, error) {
	return p.Renderer.Render(m, d.Config, d.Overrides, boot, p.reachedBy(m), p.apps(d, m))
}

// serving is the container that serves as a member of an application.
func serving(d *state.Desired, member string) string {
	if theirs, ok := d.Adopted[member]; ok {
		return theirs
	}
	return member
}

// link plans the networks that each running container which others reach is to join and
// to leave. One that is on no network, as an adopted one may be, cannot join any.
func (p *planning) link(out *Plan, d *state.Desired, r *render.Rendering) {
	requirers := p.reachedBy(d.Manifest)
	for _, m := range r.Manifest.Containers {
		c := p.Observed.Containers[serving(d, m.Name)]
		if c.State != "running" || len(c.Networks) == 0 {
			continue
		}
		var by []string
		var join []quadlet.Bridge
		for _, other := range requirers {
			if !slices.Contains(other.Reaches, m.Name) {
				continue
			}
			by = append(by, other.App)
			if link := quadlet.Link(other.App, d.App); !slices.Contains(c.Networks, link.Name) {
				join = append(join, link)
			}
		}
		leave := p.leaves(d, c.Networks, by)
		if len(join)+len(leave) == 0 {
			continue
		}
		a := out.add(d, r, Link, "it is required by "+fmt.Sprint(by))
		a.Units, a.Alias, a.Join, a.Leave = []string{c.Name}, m.Name, join, leave
	}
}

// leaves are those of a container's networks that link an application to others which do
// not reach the container, sorted.
func (p *planning) leaves(d *state.Desired, networks, by []string) (leave []string) {
	for _, network := range networks {
		app, ok := quadlet.RequirerOn(network, d.App)
		if !ok || slices.Contains(by, app) {
			continue
		}
		// One that is being removed needs it to the end, and takes the network along; one
		// whose record cannot be read may need it.
		if other := p.desired[app]; p.Broken[app] != nil || other != nil && other.Goal == state.Absent {
			continue
		}
		leave = append(leave, network)
	}
	slices.Sort(leave)
	return leave
}

// linked tells whether an application that requires another one can reach what it uses.
func (p *planning) linked(app string, need manifest.Requirement, required *state.Desired) bool {
	for _, name := range required.Manifest.Reached(need) {
		on := p.Observed.Containers[serving(required, name)].Networks
		if len(on) > 0 && !slices.Contains(on, quadlet.Link(app, required.App).Name) {
			return false
		}
	}
	return true
}
