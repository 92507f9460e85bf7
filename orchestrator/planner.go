// Package orchestrator keeps a node's applications at their desired state. The
// planner is a pure function from what is desired and what is observed to
// actions; the reconciler carries them out, on events and every 30 s.
package orchestrator

import (
	"fmt"
	"slices"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/fault"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// Observed is what the engine and systemd said, all at one time.
type Observed struct {
	At         time.Time
	Containers map[string]Container // by name
	Units      map[string]Unit      // by name, "miniflux.service"
	Files      map[string]string    // Quadlet directory: file name -> content
}

// Container is one container as Podman lists it.
type Container struct {
	ID        string
	Name      string
	App       string // label io.archipelago.app; empty for a stranger's
	Spec      string // label io.archipelago.spec
	State     string // created, running, exited, …
	Health    string // starting, healthy, unhealthy, or empty
	StartedAt time.Time
}

// Unit is one unit as systemd lists it.
type Unit struct {
	Active string // active, activating, deactivating, inactive, failed
	Sub    string // running, auto-restart, …
}

// Verb is a kind of action.
type Verb string

// The verbs. Each is idempotent: a crash between two actions costs a repetition.
const (
	Prepare    Verb = "prepare"     // images, secrets, volumes
	WriteUnits Verb = "write-units" // and have systemd read them
	Start      Verb = "start"       // Units, which systemd orders among themselves
	StopUnits  Verb = "stop"        // Units, in this order
	Restarted  Verb = "restarted"   // take down that the restart asked for has been done
	RemoveAll  Verb = "remove"      // unit files, containers, network, engine secrets
	Purge      Verb = "purge"       // data and secrets, for ever
	Forget     Verb = "forget"      // the record of the application
	Refuse     Verb = "refuse"      // nothing can be done; Reason says why
)

// Action is one thing to do for an application.
type Action struct {
	App    string
	Verb   Verb
	Units  []string
	Reason string
}

// Plan gives the actions that bring each application closer to its desired state,
// in order per application. It has no clock, disk or network.
func Plan(desired []state.Desired, obs Observed, cat catalog.Catalog, dataDir string) []Action {
	var out []Action
	files := byOwner(obs.Files)
	containers := map[string][]string{}
	for name, c := range obs.Containers {
		if c.App != "" {
			containers[c.App] = append(containers[c.App], name)
		}
	}
	for _, d := range desired {
		if d.Goal == state.Absent {
			out = append(out, planAbsent(d, obs, files[d.App], containers[d.App])...)
		} else {
			out = append(out, planPresent(d, obs, cat.Manifest(d.App), dataDir, files[d.App])...)
		}
	}
	return out
}

// planPresent plans an installed application; files are the unit files it has.
func planPresent(d state.Desired, obs Observed, m *manifest.Manifest, dataDir string, files []string) []Action {
	act := func(v Verb, reason string, units ...string) Action { return Action{d.App, v, units, reason} }
	if m == nil {
		return []Action{act(Refuse, "its manifest is not in the catalog any more")}
	}
	if d.Migration > m.Migration {
		return []Action{act(Refuse, fmt.Sprintf("its data has format %d, the manifest knows only %d: install a newer version", d.Migration, m.Migration))}
	}
	rendered := quadlet.Render(m, dataDir, d.Goal == state.Running)
	members := names(m, rendered)
	for _, name := range members {
		if c, ok := obs.Containers[name]; ok && c.App != d.App {
			return []Action{act(Refuse, fmt.Sprintf("a container named %q exists that belongs to someone else (id %.12s); remove or rename it", name, c.ID))}
		}
	}
	var out []Action
	if !current(rendered.Files, obs.Files, files) {
		if d.Goal == state.Running {
			out = append(out, act(Prepare, "its units are missing or differ"))
		}
		out = append(out, act(WriteUnits, "its units are missing or differ"))
	}
	if d.Goal == state.Stopped {
		if up := running(obs, members); len(up) > 0 {
			slices.Reverse(up)
			if fault.Planted(fault.StopLeavesOne) {
				up = up[:len(up)-1]
			}
			if len(up) > 0 {
				out = append(out, act(StopUnits, "it is to be stopped", services(up)...))
			}
		}
		return out
	}
	var down, stale []string
	for _, name := range members {
		c, u := obs.Containers[name], obs.Units[quadlet.Service(name)]
		switch {
		case d.Restart > d.Restarted, c.State == "running" && c.Spec != rendered.Specs[name]:
			stale = append(stale, name)
		case u.Active == "activating" || u.Active == "deactivating" || u.Active == "reloading":
			down = append(down, name) // a start waits for the job under way
		case c.State != "running" || u.Active != "active":
			down = append(down, name)
		}
	}
	if len(stale) > 0 {
		reverse := slices.Clone(members)
		slices.Reverse(reverse)
		out = append(out, act(StopUnits, "it is to be restarted", services(reverse)...))
		down = members
	}
	if len(down) > 0 {
		out = append(out, act(Start, "not running: "+fmt.Sprint(down), services(members)...))
	}
	if d.Restart > d.Restarted {
		out = append(out, act(Restarted, "the restart is done"))
	}
	return out
}

// planAbsent plans an application that is to go; files and own are the unit files
// and containers it has.
func planAbsent(d state.Desired, obs Observed, files, own []string) []Action {
	act := func(v Verb, reason string, units ...string) Action { return Action{d.App, v, units, reason} }
	var out []Action
	own = slices.Clone(own)
	for _, f := range files {
		if name, ok := containerOf(f); ok && !slices.Contains(own, name) {
			own = append(own, name)
		}
	}
	slices.Sort(own)
	var up []string
	for _, name := range own {
		switch obs.Units[quadlet.Service(name)].Active {
		case "", "inactive", "failed":
		default:
			up = append(up, quadlet.Service(name))
		}
	}
	if len(up) > 0 {
		out = append(out, act(StopUnits, "it is to be removed", up...))
	}
	out = append(out, act(RemoveAll, "it is to be removed", own...))
	if d.Purge || fault.Planted(fault.VolumeDeleted) {
		out = append(out, act(Purge, "its data is to be deleted"))
	}
	return append(out, act(Forget, "nothing of it is left"))
}

// names are the members that have a unit, each after those it depends on.
func names(m *manifest.Manifest, u quadlet.Unit) []string {
	var out []string
	for _, c := range m.Ordered() {
		if _, ok := u.Specs[c.Name]; ok {
			out = append(out, c.Name)
		}
	}
	return out
}

func services(members []string) []string {
	out := make([]string, len(members))
	for i, m := range members {
		out[i] = quadlet.Service(m)
	}
	return out
}

func running(obs Observed, members []string) []string {
	var up []string
	for _, name := range members {
		active := obs.Units[quadlet.Service(name)].Active
		if obs.Containers[name].State == "running" || active == "active" || active == "activating" || active == "reloading" {
			up = append(up, name)
		}
	}
	return up
}

// current tells whether the unit files are exactly as rendered, with none left
// over from an earlier manifest; owned are the application's among have.
func current(want, have map[string]string, owned []string) bool {
	for f, body := range want {
		if have[f] != body {
			return false
		}
	}
	return !slices.ContainsFunc(owned, func(f string) bool { _, wanted := want[f]; return !wanted })
}
