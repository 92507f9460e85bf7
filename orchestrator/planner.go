// Package orchestrator keeps a node's applications at their desired state. The
// planner is a pure function from what is desired and what is observed to
// actions; the reconciler carries them out, on events and every 30 s.
package orchestrator

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/fault"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// Verb is a kind of action.
type Verb string

// The verbs. Each is idempotent: a crash between two actions costs a repetition.
const (
	Prepare    Verb = "prepare"      // images, secrets, volumes
	WriteUnits Verb = "write-units"  // and have systemd read them
	Start      Verb = "start"        // Units, which systemd orders among themselves
	StopUnits  Verb = "stop"         // Units, in this order
	Restarted  Verb = "restarted"    // take down that the restart asked for has been done
	Convert    Verb = "convert"      // what was adopted: its secrets and data become the application's own
	PostInst   Verb = "post-install" // hooks, once after the first start
	PreUpdate  Verb = "pre-update"   // hooks, in the old version
	Copy       Verb = "copy"         // the volumes, before an update
	Switch     Verb = "switch"       // take down that the copy is complete
	PostUpdate Verb = "post-update"  // hooks, in the new version
	Commit     Verb = "commit"       // the new version is the one installed
	PutBack    Verb = "put-back"     // the copy takes the data's place
	RolledBack Verb = "rolled-back"  // take down that the old version is the one installed
	RemoveAll  Verb = "remove"       // unit files, containers, network, engine secrets
	Purge      Verb = "purge"        // data and secrets, for ever
	Forget     Verb = "forget"       // the record of the application
	Wait       Verb = "wait"         // nothing can be done yet; Reason says for what
	Refuse     Verb = "refuse"       // nothing can be done; Reason says why
)

// Verbs are all kinds of action that change something, in the order of a life.
var Verbs = []Verb{Prepare, WriteUnits, Start, StopUnits, Restarted, Convert, PostInst, PreUpdate, Copy, Switch, PostUpdate, Commit, PutBack, RolledBack, RemoveAll, Purge, Forget}

// Action is one thing to do for an application.
type Action struct {
	App      string
	Verb     Verb
	Units    []string
	Reason   string
	Manifest *manifest.Manifest // that it is done for, settings filled in
	Boot     bool               // with WriteUnits: the members start with the machine
}

// Input is all that a plan depends on.
type Input struct {
	Desired  []state.Desired // sorted by application
	Data     map[string]state.Data
	Observed Observed
	Ready    map[string]Readiness // of applications that declare conditions
	Renderer *Renderer
}

// planning is a plan under way.
type planning struct {
	Input
	desired    map[string]*state.Desired
	files      map[string][]string // unit files by application
	containers map[string][]string // container names by application
	strangers  []Container         // running, and not the daemon's
}

// Plan gives the actions that bring each application closer to its desired state,
// in order per application. It has no clock, disk or network.
func Plan(in Input) []Action {
	p := &planning{Input: in, desired: make(map[string]*state.Desired, len(in.Desired)), files: byOwner(in.Observed.Files), containers: map[string][]string{}}
	for name, c := range in.Observed.Containers {
		if c.App != "" {
			p.containers[c.App] = append(p.containers[c.App], name)
		} else if c.State == "running" {
			p.strangers = append(p.strangers, c)
		}
	}
	slices.SortFunc(p.strangers, func(a, b Container) int { return strings.Compare(a.Name, b.Name) })
	for i := range in.Desired {
		p.desired[in.Desired[i].App] = &in.Desired[i]
	}
	var out []Action
	for i := range in.Desired {
		d := &in.Desired[i]
		if d.Goal == state.Absent {
			out = append(out, p.absent(d)...)
		} else {
			out = append(out, p.present(d)...)
		}
	}
	return out
}

func refuse(app, format string, args ...any) []Action {
	return []Action{{App: app, Verb: Refuse, Reason: fmt.Sprintf(format, args...)}}
}

// present plans an installed application.
func (p *planning) present(d *state.Desired) []Action {
	if d.Manifest == nil {
		return refuse(d.App, "its record holds no manifest; install it again")
	}
	if data := p.Data[d.App]; data.Migration > d.Manifest.Migration && d.Update == nil {
		return refuse(d.App, "its data has format %d, version %s knows only %d: install a newer version", data.Migration, d.Manifest.Version, d.Manifest.Migration)
	}
	if gone := p.Observed.Missing[d.App]; len(gone) > 0 && (d.Update == nil || d.Update.Phase == state.Staged) {
		return refuse(d.App, "its data is gone: %s/%s/%s is missing; put it back, restore a backup, or uninstall with --purge to begin anew", p.Renderer.DataDir, d.App, gone[0])
	}
	r, err := p.Renderer.render(d.Manifest, d, d.Goal == state.Running)
	if err != nil {
		return refuse(d.App, "%v", err)
	}
	if len(d.Adopted) > 0 {
		return p.adopted(d, r)
	}
	if why := p.conflict(d.App, r); why != "" {
		return refuse(d.App, "%s", why)
	}
	if d.Update != nil {
		return p.update(d)
	}
	act := func(v Verb, reason string, units ...string) Action {
		return Action{App: d.App, Verb: v, Units: units, Reason: reason, Manifest: r.manifest}
	}
	var out []Action
	if !current(r.Files, p.Observed.Files, p.files[d.App]) {
		if d.Goal == state.Running {
			out = append(out, act(Prepare, "its units are missing or differ"))
		}
		write := act(WriteUnits, "its units are missing or differ")
		write.Boot = d.Goal == state.Running
		out = append(out, write)
	}
	if d.Goal == state.Stopped {
		return append(out, p.stop(d, r)...)
	}
	down, stale := p.broken(d, r)
	if d.Restart > d.Restarted && len(out) == 0 {
		out = append(out, act(Prepare, stale)) // an image of the owner's own may have come
	}
	if len(stale) > 0 {
		reverse := slices.Clone(r.services)
		slices.Reverse(reverse)
		out = append(out, act(StopUnits, stale, reverse...))
		down = r.members
	}
	if len(down) > 0 {
		for i, name := range r.members {
			// To start it now would cancel the stop under way, whoever asked for that.
			if p.Observed.Units[r.services[i]].Active == "deactivating" && len(stale) == 0 {
				return append(out, act(Wait, "waiting for "+name+" to end"))
			}
		}
		// A start by hand or by systemd is not undone, but the daemon itself starts
		// nothing before what it needs.
		if why := p.waitsFor(d); why != "" {
			if up := running(p.Observed, r.members); len(up) > 0 && len(stale) == 0 && p.stopping(d) {
				slices.Reverse(up)
				out = append(out, act(StopUnits, why, services(up)...))
			}
			return append(out, act(Wait, why))
		}
		out = append(out, act(Start, "not running: "+fmt.Sprint(down), r.services...))
	} else if p.stopping(d) {
		up := running(p.Observed, r.members)
		slices.Reverse(up)
		return append(out, act(StopUnits, p.waitsFor(d), services(up)...), act(Wait, p.waitsFor(d)))
	}
	if d.Restart > d.Restarted {
		out = append(out, act(Restarted, "the restart is done"))
	}
	if !d.Installed && len(d.Manifest.Hooks.PostInstall) > 0 {
		out = append(out, act(PostInst, "it has been started for the first time"))
	}
	return out
}

// broken gives the members that do not run, and why all are to be stopped before
// they are started, if they are.
func (p *planning) broken(d *state.Desired, r *rendering) (down []string, stale string) {
	for i, name := range r.members {
		c, u := p.Observed.Containers[name], p.Observed.Units[r.services[i]]
		switch {
		case d.Restart > d.Restarted:
			stale = "it is to be restarted"
		case c.State == "running" && c.Spec != r.Specs[name]:
			stale = "it runs from an older unit"
		case c.State == "running" && c.Health == "unhealthy" && u.Active == "active":
			stale = "it is not healthy: " + name
		case u.Active == "activating" || u.Active == "deactivating" || u.Active == "reloading":
			down = append(down, name) // a start waits for the job under way
		case c.State != "running" || u.Active != "active":
			down = append(down, name)
		}
	}
	return down, stale
}

// stop plans what is to be stopped: after those that require it.
func (p *planning) stop(d *state.Desired, r *rendering) []Action {
	up := running(p.Observed, r.members)
	if len(up) == 0 {
		return nil
	}
	for i := range p.Desired {
		other := &p.Desired[i]
		if other.Manifest == nil || other.Goal != state.Running {
			continue
		}
		if _, needs := other.Manifest.Requirement(d.App); needs && len(p.containersUp(other)) > 0 {
			return []Action{{App: d.App, Verb: Wait, Reason: "waiting for " + other.App + " to stop, which requires it"}}
		}
	}
	slices.Reverse(up)
	if fault.Planted(fault.StopLeavesOne) {
		up = up[:len(up)-1]
	}
	if len(up) == 0 {
		return nil
	}
	return []Action{{App: d.App, Verb: StopUnits, Units: services(up), Reason: "it is to be stopped", Manifest: r.manifest}}
}

func (p *planning) containersUp(d *state.Desired) []string {
	var names []string
	for _, c := range d.Manifest.Containers {
		names = append(names, c.Name)
	}
	return running(p.Observed, names)
}

// stopping tells whether something that the application requires is to be stopped.
func (p *planning) stopping(d *state.Desired) bool {
	return slices.ContainsFunc(d.Manifest.Requires, func(r manifest.Requirement) bool {
		dep := p.desired[r.App]
		return dep == nil || dep.Goal != state.Running
	})
}

// waitsFor says what an application that is to be started waits for; empty where
// all it requires is ready.
func (p *planning) waitsFor(d *state.Desired) string {
	for _, r := range d.Manifest.Requires {
		dep := p.desired[r.App]
		switch {
		case dep == nil || dep.Goal == state.Absent:
			return fmt.Sprintf("waiting for %s, which is not installed", r.App)
		case dep.Goal == state.Stopped:
			return fmt.Sprintf("waiting for %s, which is stopped", r.App)
		}
		if why := p.notReady(dep); why != "" {
			return fmt.Sprintf("waiting for %s: %s", r.App, why)
		}
	}
	return ""
}

func (p *planning) notReady(d *state.Desired) string {
	if d.Manifest == nil {
		return "its record holds no manifest"
	}
	if len(d.Adopted) == 0 {
		for _, c := range d.Manifest.Containers {
			if p.Observed.Containers[c.Name].State != "running" || p.Observed.Units[quadlet.Service(c.Name)].Active != "active" {
				return c.Name + " does not run yet"
			}
		}
	}
	if ready := p.Ready[d.App]; len(d.Manifest.Ready) > 0 && !ready.OK {
		return cmp.Or(ready.Detail, "not asked yet")
	}
	return ""
}

// conflict says what of someone else's stands in the way: FM5.
func (p *planning) conflict(app string, r *rendering) string {
	for _, name := range r.members {
		if c, ok := p.Observed.Containers[name]; ok && c.App != app {
			return fmt.Sprintf("a container named %q exists that belongs to someone else (id %.12s); remove or rename it, or take it over with 'archy adopt'", name, c.ID)
		}
	}
	home := p.Renderer.DataDir + "/" + app
	for _, c := range p.strangers {
		for _, m := range c.Mounts {
			if m == home || strings.HasPrefix(m, home+"/") || strings.HasPrefix(home+"/", strings.TrimSuffix(m, "/")+"/") {
				return fmt.Sprintf("the container %q (id %.12s), which belongs to someone else, uses the application's data at %s; stop it first", c.Name, c.ID, m)
			}
		}
		for _, m := range r.manifest.Containers {
			for _, port := range m.Ports {
				if slices.Contains(c.Ports, port.Host) {
					return fmt.Sprintf("port %d of the node is taken by the container %q (id %.12s), which belongs to someone else; stop it first", port.Host, c.Name, c.ID)
				}
			}
		}
	}
	return ""
}

// adopted plans an application that someone else's containers serve as: they are
// left alone until a restart is due, and then converted.
func (p *planning) adopted(d *state.Desired, r *rendering) []Action {
	whole := d.Goal == state.Running && d.Restart <= d.Restarted
	for _, name := range r.members {
		theirs, ok := d.Adopted[name]
		whole = whole && ok && p.Observed.Containers[theirs].State == "running"
	}
	if whole {
		return nil
	}
	return []Action{
		{App: d.App, Verb: Convert, Reason: "what was adopted is to be restarted, or does not run", Manifest: r.manifest},
	}
}

// update plans the steps of an update that are left.
func (p *planning) update(d *state.Desired) []Action {
	old, err := p.Renderer.render(d.Manifest, d, false)
	if err != nil {
		return refuse(d.App, "%v", err)
	}
	next, err := p.Renderer.render(d.Update.To, d, false)
	if err != nil {
		return refuse(d.App, "%v", err)
	}
	var out []Action
	act := func(v Verb, r *rendering, reason string, units ...string) {
		out = append(out, Action{App: d.App, Verb: v, Units: units, Reason: reason, Manifest: r.manifest})
	}
	// Stopped whether they are up or not: at boot a start may be queued that an
	// observation does not show, and nothing may write to data that is being copied.
	stopAll := func(reason string) {
		all := union(old.members, next.members)
		slices.Reverse(all)
		act(StopUnits, old, reason, services(all)...)
	}
	to := "update to " + d.Update.To.Version
	switch d.Update.Phase {
	case state.Staged:
		act(Prepare, next, to)
		if down, _ := p.broken(d, old); len(d.Manifest.Hooks.PreUpdate) > 0 && len(down) == 0 && d.Goal == state.Running {
			act(PreUpdate, old, to)
		}
		stopAll(to)
		act(Copy, old, to)
		act(Switch, next, to)
		fallthrough
	case state.Switched:
		if down, stale := p.broken(d, next); d.Update.Phase == state.Switched && len(down)+len(stale) > 0 {
			stopAll(to) // what boot may have started from the old units
		}
		if !current(next.Files, p.Observed.Files, p.files[d.App]) || d.Update.Phase == state.Staged {
			act(WriteUnits, next, to)
		}
		act(Start, next, to, next.services...)
		if len(d.Update.To.Hooks.PostUpdate) > 0 {
			act(PostUpdate, next, to)
		}
		act(Commit, next, to)
	case state.RollingBack:
		to = "roll back: " + d.Update.Error
		stopAll(to)
		if !current(old.Files, p.Observed.Files, p.files[d.App]) {
			act(WriteUnits, old, to)
		}
		act(PutBack, old, to)
		act(Start, old, to, old.services...)
		act(RolledBack, old, to)
	default:
		return refuse(d.App, "its update is in the unknown phase %q", d.Update.Phase)
	}
	return out
}

func union(a, b []string) []string {
	out := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// absent plans an application that is to go.
func (p *planning) absent(d *state.Desired) []Action {
	var out []Action
	act := func(v Verb, reason string, units ...string) {
		out = append(out, Action{App: d.App, Verb: v, Units: units, Reason: reason, Manifest: d.Manifest})
	}
	own := slices.Clone(p.containers[d.App])
	for _, f := range p.files[d.App] {
		if name, ok := containerOf(f); ok && !slices.Contains(own, name) {
			own = append(own, name)
		}
	}
	slices.Sort(own)
	if len(own) > 0 {
		act(StopUnits, "it is to be removed", services(own)...) // up or not: a start may be queued
	}
	act(RemoveAll, "it is to be removed", own...)
	if d.Purge || fault.Planted(fault.VolumeDeleted) {
		act(Purge, "its data is to be deleted")
	}
	act(Forget, "nothing of it is left")
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
