// Package plan decides what brings each application closer to its desired state. It
// is pure: no clock, disk or network, so that every failure mode is a row of a table
// in its test.
//
// The failure modes, as comments and tests name them:
//
//	FM1  the container is gone
//	FM2  it exited, or exits again and again
//	FM3  it runs and is not healthy
//	FM4  its unit is missing, stale or edited
//	FM5  something else holds its name, port or data
//	FM6  the engine is slow, stuck or down: then nothing is planned, and the last known state is kept
package plan

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/fault"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/render"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// Input is all that a plan depends on.
type Input struct {
	Desired  []state.Desired // sorted by application
	Data     map[string]state.Data
	Broken   map[string]error // applications whose records cannot be read
	Observed host.Observation
	Ready    map[string]host.Readiness // of applications that declare conditions
	Doing    map[string]Verb           // StopUnits or Start, which the work under way has come to, by application
	Renderer *render.Renderer
}

// Plan is what is to be done for one application.
type Plan struct {
	App     string
	Actions []Action // in this order
	Waiting string   // what it waits for after these; empty for nothing
	Blocked string   // why nothing can be done; then there are no actions
}

// planning is the making of plans for all applications of a node.
type planning struct {
	Input
	desired    map[string]*state.Desired
	files      map[string][]string   // unit files by application
	containers map[string][]string   // container names by application
	unmanaged  []host.Container      // running
	requirers  map[string][]requirer // of each application; nil for none at all
}

// Make gives the plan of each application, in the order of in.Desired.
func Make(in Input) []Plan {
	p := &planning{Input: in, desired: make(map[string]*state.Desired, len(in.Desired)), files: render.FilesByApp(in.Observed.Files), containers: make(map[string][]string, len(in.Desired))}
	for name, c := range in.Observed.Containers {
		if c.App != "" {
			p.containers[c.App] = append(p.containers[c.App], name)
		} else if c.State == "running" {
			p.unmanaged = append(p.unmanaged, c)
		}
	}
	slices.SortFunc(p.unmanaged, func(a, b host.Container) int { return strings.Compare(a.Name, b.Name) })
	for i := range in.Desired {
		p.desired[in.Desired[i].App] = &in.Desired[i]
	}
	for i := range in.Desired {
		p.requiredBy(&in.Desired[i])
	}
	out := make([]Plan, len(in.Desired))
	for i := range in.Desired {
		d := &in.Desired[i]
		if d.Goal == state.Absent {
			out[i] = p.absent(d)
		} else {
			out[i] = p.present(d)
		}
		out[i].App = d.App
	}
	return out
}

func blocked(format string, args ...any) Plan { return Plan{Blocked: fmt.Sprintf(format, args...)} }

// present plans an installed application.
func (p *planning) present(d *state.Desired) Plan {
	if err := p.Broken[d.App]; err != nil {
		return blocked("%v", err)
	}
	if d.Manifest == nil {
		return blocked("its record holds no manifest; install it again")
	}
	if data := p.Data[d.App]; data.Migration > d.Manifest.Migration && d.Update == nil {
		return blocked("its data has format %d, version %s knows only %d: install a newer version", data.Migration, d.Manifest.Version, d.Manifest.Migration)
	}
	// What runs on is left alone, as with a folder of the owner's.
	if why, _ := p.diskless(d.App); why != "" && (d.Goal == state.Running || d.Update != nil) {
		return Plan{Waiting: why}
	}
	// Of what is being adopted, volumes are on record before they are there.
	if gone := p.Observed.Missing[d.App]; len(gone) > 0 && len(d.Adopted) == 0 && (d.Update == nil || d.Update.Phase == state.Staged) {
		moved := func(volume string) bool { return p.Data[d.App].Places[volume].Dir != "" }
		i := slices.IndexFunc(gone, func(volume string) bool { return !moved(volume) })
		switch dir := func(i int) string { return p.Data[d.App].Dir(p.Renderer.DataDir, d.App, gone[i]) }; {
		case i >= 0:
			return blocked("its data is gone: %s is missing; put it back, restore a backup, or uninstall with --purge to begin anew", dir(i))
		case d.Goal == state.Running:
			return Plan{Waiting: fmt.Sprintf("waiting for the disk of its volume %s: %s is not there; connect and mount it", gone[0], dir(0))}
		}
	}
	r, err := p.render(d, d.Manifest, d.Goal == state.Running)
	if err != nil {
		return blocked("%v", err)
	}
	if len(d.Adopted) > 0 {
		return p.adopted(d, r)
	}
	if why := p.conflict(d.App, r); why != "" {
		return blocked("%s", why)
	}
	if d.Update != nil {
		return p.update(d)
	}
	var out Plan
	if !current(r.Files, p.Observed.Files, p.files[d.App]) {
		const why = "its units are missing or differ"
		switch {
		case d.Goal != state.Running:
			p.writeUnits(&out, d, r, why)
		case r.Manifest.Borrows() && p.waitsFor(d, d.Manifest) != "":
			// What it has of others may not be there yet: run waits for them.
		default:
			out.add(d, r, Prepare, why)
			p.writeUnits(&out, d, r, why)
		}
	}
	if d.Goal == state.Stopped {
		p.stop(&out, d, r)
		return out
	}
	p.run(&out, d, r)
	return out
}

// run plans an application that is to run.
func (p *planning) run(out *Plan, d *state.Desired, r *render.Rendering) {
	down, stale := p.broken(d, r)
	waits := p.waitsFor(d, d.Manifest)
	if d.Restart > d.Restarted && len(p.running(r.Members)) == 0 && waits != "" {
		out.Waiting = waits // it has been stopped for its restart
		return
	}
	if d.Restart > d.Restarted && len(out.Actions) == 0 {
		out.add(d, r, Prepare, stale) // an image of the owner's own may have come
	}
	if stale == older {
		if out.Waiting = cmp.Or(p.startedOn(d), p.away(d, d.Manifest)); out.Waiting != "" {
			return
		}
	}
	if len(stale) > 0 {
		out.stop(d, r, stale, reversed(r.Services))
		if stale == older {
			out.Actions[len(out.Actions)-1].Beside = p.dependent(d.App)
		}
		down = r.Members
	}
	switch {
	case len(down) > 0:
		for i, name := range r.Members {
			// To start it now would cancel the stop under way, whoever asked for that.
			if p.Observed.Units[r.Services[i]].Active == "deactivating" && len(stale) == 0 {
				out.Waiting = "waiting for " + name + " to end"
				return
			}
		}
		// A start by hand or by systemd is not undone, but the daemon itself starts
		// nothing before what it needs.
		if waits != "" {
			if up := p.running(r.Members); len(up) > 0 && len(stale) == 0 && p.stopping(d) {
				p.follow(out, d, r, waits)
				return
			}
			out.Waiting = waits
			return
		}
		p.start(out, d, r, "not running: "+fmt.Sprint(down), p.freePorts(r, len(stale) > 0))
	case p.stopping(d):
		p.follow(out, d, r, waits)
		return
	default:
		p.link(out, d, r)
	}
	if d.Restart > d.Restarted {
		out.add(d, r, Restarted, "the restart is done")
	}
	if !d.Installed && len(d.Manifest.Hooks.PostInstall) > 0 {
		out.add(d, r, PostInst, "it has been started for the first time")
	}
}

func (out *Plan) add(d *state.Desired, r *render.Rendering, v Verb, reason string) *Action {
	out.Actions = append(out.Actions, Action{App: d.App, Verb: v, Reason: reason, Manifest: r.Manifest})
	return &out.Actions[len(out.Actions)-1]
}

func (out *Plan) stop(d *state.Desired, r *render.Rendering, reason string, units []string) {
	out.add(d, r, StopUnits, reason).Units = units
}

func (p *planning) start(out *Plan, d *state.Desired, r *render.Rendering, reason string, ports []manifest.NodePort) {
	a := out.add(d, r, Start, reason)
	a.Units, a.Ports, a.Beside = r.Services, ports, p.needed(d, r.Manifest)
}

// writeUnits has the unit files be as rendered, and none of an earlier manifest's.
func (p *planning) writeUnits(out *Plan, d *state.Desired, r *render.Rendering, reason string) {
	a := out.add(d, r, WriteUnits, reason)
	a.Files, a.Gone = r.Files, leftover(r.Files, p.files[d.App])
}

// older says why an application starts again whose unit has changed, as it does where another
// one's installation changes a setting of it.
const older = "it runs from an older unit"

// startedOn says which application is just starting that requires this one, and would fail if
// this one stopped now; empty where none is. One that systemd starts again and again is not
// waited for.
func (p *planning) startedOn(d *state.Desired) string {
	for _, other := range p.dependent(d.App) {
		if p.Doing[other] == Start || slices.ContainsFunc(p.desired[other].Manifest.Containers, func(c manifest.Container) bool {
			u := p.Observed.Units[quadlet.Service(c.Name)]
			return u.Active == "activating" && u.Sub != "auto-restart"
		}) {
			return "waiting for " + other + " to start, which requires it"
		}
	}
	return ""
}

// requiring are the applications that are to run and cannot without this one.
func (p *planning) requiring(app string) (all []string) {
	for i := range p.Desired {
		other := &p.Desired[i]
		if other.Manifest == nil || other.Goal != state.Running {
			continue
		}
		if _, needs := other.Manifest.Need(app, other.Chosen); needs {
			all = append(all, other.App)
		}
	}
	return all
}

// dependent are the applications that are to run and, as they are or will be once updated,
// cannot do without this one, directly or through others.
func (p *planning) dependent(app string) (all []string) {
	for i := range p.Desired {
		other := &p.Desired[i]
		if other.Manifest == nil || other.Goal != state.Running {
			continue
		}
		if slices.Contains(p.needed(other, other.Manifest), app) || other.Update != nil && slices.Contains(p.needed(other, other.Update.To), app) {
			all = append(all, other.App)
		}
	}
	return all
}

// needed are the applications that a version of an application cannot do without, directly or
// through others. What is optional is not among them: whoever uses it starts without it, too.
func (p *planning) needed(d *state.Desired, m *manifest.Manifest) (all []string) {
	met, open := map[string]bool{}, m.Needs(d.Chosen)
	for len(open) > 0 {
		app := open[0].App
		open = open[1:]
		if met[app] {
			continue
		}
		met[app], all = true, append(all, app)
		if dep := p.desired[app]; dep != nil && dep.Manifest != nil && p.Broken[app] == nil {
			open = append(open, dep.Manifest.Needs(dep.Chosen)...)
		}
	}
	return all
}

// freePorts are the ports that a start publishes: of all members where they have
// been stopped before it, otherwise of those that do not run.
func (p *planning) freePorts(r *render.Rendering, stopped bool) (ports []manifest.NodePort) {
	for _, c := range r.Manifest.Containers {
		if !stopped && p.Observed.Containers[c.Name].State == "running" {
			continue
		}
		for _, port := range c.Ports {
			ports = append(ports, port.Node())
		}
	}
	return ports
}

// broken gives the members that do not run, and why all are to be stopped before
// they are started, if they are.
func (p *planning) broken(d *state.Desired, r *render.Rendering) (down []string, stale string) {
	for i, name := range r.Members {
		c, u := p.Observed.Containers[name], p.Observed.Units[r.Services[i]]
		switch {
		case d.Restart > d.Restarted:
			stale = "it is to be restarted"
		case c.State == "running" && c.Spec != r.Specs[name]:
			stale = older
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
func (p *planning) stop(out *Plan, d *state.Desired, r *render.Rendering) {
	up := p.running(r.Members)
	if len(up) == 0 {
		return
	}
	if out.Waiting = p.inUse(d); out.Waiting != "" {
		return
	}
	slices.Reverse(up)
	if fault.Planted(fault.StopLeavesOne) {
		up = up[:len(up)-1]
	}
	if len(up) > 0 {
		out.stop(d, r, "it is to be stopped", render.Services(up))
	}
}

func (p *planning) anyRunning(m *manifest.Manifest) bool {
	return slices.ContainsFunc(m.Containers, func(c manifest.Container) bool { return len(p.running([]string{c.Name})) > 0 })
}

// follow stops an application that follows what it requires: after those that require it.
func (p *planning) follow(out *Plan, d *state.Desired, r *render.Rendering, waits string) {
	if out.Waiting = p.inUse(d); out.Waiting != "" {
		return
	}
	out.stop(d, r, waits, reversed(render.Services(p.running(r.Members))))
	out.Waiting = waits
}

// inUse says which application must stop first, because it requires this one and runs;
// empty where none does.
func (p *planning) inUse(d *state.Desired) string {
	for _, other := range p.requiring(d.App) {
		if p.anyRunning(p.desired[other].Manifest) {
			return "waiting for " + other + " to stop, which requires it"
		}
	}
	return ""
}

// mounted says which application must stop first, because it has a volume of this one and
// runs; empty where none does. What runs from another unit than the one on the disk may have
// had one in that.
func (p *planning) mounted(app string) string {
	for i := range p.Desired {
		other := &p.Desired[i]
		uses := func(m *manifest.Manifest) bool {
			r, may := manifest.Requirement{}, false
			if m != nil && other.App != app {
				r, may = m.Requirement(app)
			}
			return may && m.Mounts(r)
		}
		c, file := p.Observed.Containers[other.App], p.Observed.Files[other.App+".container"]
		if c.State != "running" || !uses(other.Manifest) && (other.Update == nil || !uses(other.Update.To)) {
			continue
		}
		if slices.ContainsFunc(p.homes(app), func(home string) bool {
			return strings.Contains(file, "\nVolume="+home+"/") || strings.Contains(file, "\nVolume="+home+":")
		}) || !strings.Contains(file, manifest.LabelSpec+"="+c.Spec) {
			return "waiting for " + other.App + " to stop, which has data of it"
		}
	}
	return ""
}

// stopping tells whether something that the application requires, directly or through
// others, is to be stopped. What cannot be read is no wish of the owner's.
func (p *planning) stopping(d *state.Desired) bool {
	for app, r := range p.met(d, d.Manifest) {
		if dep := p.desired[app]; dep != nil && dep.Update != nil && d.Manifest.Mounts(r) {
			return true // its volumes are copied, and may be replaced
		}
	}
	return slices.ContainsFunc(p.needed(d, d.Manifest), func(app string) bool {
		dep := p.desired[app]
		return p.Broken[app] == nil && (dep == nil || dep.Goal != state.Running)
	})
}

// away says what a version of an application cannot do without and is down for a moment,
// whoever asked for that; empty where nothing is.
func (p *planning) away(d *state.Desired, m *manifest.Manifest) string {
	for _, app := range p.needed(d, m) {
		dep := p.desired[app]
		switch {
		case dep != nil && dep.Update != nil && dep.Update.Phase != state.Staged:
			return fmt.Sprintf("waiting for %s, which is being updated", app)
		case p.Doing[app] == StopUnits:
			return fmt.Sprintf("waiting for %s, which is being stopped", app)
		}
	}
	return ""
}

// waitsFor says what a version of an application that is to be started waits for; empty
// where all it requires is ready, and its folders are there. It never waits for what is
// optional.
func (p *planning) waitsFor(d *state.Desired, m *manifest.Manifest) string {
	met := p.met(d, m)
	for _, app := range slices.Sorted(maps.Keys(met)) {
		if dep := p.desired[app]; dep != nil && dep.Update != nil && m.Mounts(met[app]) && !p.goesFirst(d, dep) {
			return fmt.Sprintf("waiting for %s, which is being updated with the data that it has of it", app)
		}
	}
	if why := p.away(d, m); why != "" {
		return why
	}
	for _, r := range m.Needs(d.Chosen) {
		dep := p.desired[r.App]
		switch {
		case p.Broken[r.App] != nil:
			return fmt.Sprintf("waiting for %s, whose record cannot be read", r.App)
		case dep == nil || dep.Goal == state.Absent:
			return fmt.Sprintf("waiting for %s, which is not installed", r.App)
		case dep.Goal == state.Stopped:
			return fmt.Sprintf("waiting for %s, which is stopped", r.App)
		case dep.Manifest != nil && p.stopping(dep):
			return fmt.Sprintf("waiting for %s, which stops with what it requires", r.App)
		}
		if why := p.notReady(dep); why != "" {
			return fmt.Sprintf("waiting for %s: %s", r.App, why)
		}
		if !p.linked(d.App, r, dep) {
			return fmt.Sprintf("waiting for %s: it is not on their network yet", r.App)
		}
	}
	for _, name := range m.Storage() {
		if why := p.Observed.Folders[name]; why != "" {
			return fmt.Sprintf("waiting for its folder %s: %s", name, why)
		}
	}
	return ""
}

// goesFirst tells whether an application is updated before another one whose data it has: of two
// that are to be, each would wait for the other, whose update begins once nobody has its data.
func (p *planning) goesFirst(d, dep *state.Desired) bool {
	return d.Update != nil && dep.Update.Phase == state.Staged && p.anyRunning(d.Manifest) && slices.Contains(p.needed(d, d.Update.To), dep.App)
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

// homes are the directories that hold an application's data: its own, and those of volumes
// that were moved.
func (p *planning) homes(app string) []string {
	all := []string{p.Renderer.DataDir + "/" + app}
	for _, volume := range slices.Sorted(maps.Keys(p.Data[app].Places)) {
		if dir := p.Data[app].Places[volume].Dir; dir != "" {
			all = append(all, dir)
		}
	}
	return all
}

// diskless says which disk an application waits for that a volume of it is on, in dir; empty where
// none is known to be absent.
func (p *planning) diskless(app string) (why, dir string) {
	places := p.Data[app].Places
	for _, volume := range slices.Sorted(maps.Keys(places)) {
		for _, dir := range []string{places[volume].Dir, places[volume].Left} {
			if why := p.Observed.Disks[dir]; why != "" && (dir == places[volume].Dir || p.desired[app].Purge) {
				return "waiting for " + why, dir
			}
		}
	}
	for _, volume := range p.Data[app].Volumes {
		dir := p.Data[app].Dir(p.Renderer.DataDir, app, volume)
		if why := p.Observed.Disks[dir]; why != "" {
			return "waiting for " + why, dir
		}
	}
	return "", ""
}

// conflict says what of somebody else's stands in the way: FM5.
func (p *planning) conflict(app string, r *render.Rendering) string {
	for _, name := range r.Members {
		if c, ok := p.Observed.Containers[name]; ok && c.App != app {
			return fmt.Sprintf("a container named %q exists that archipelago does not manage (id %.12s); remove or rename it, or take it over with 'archy adopt'", name, c.ID)
		}
	}
	for _, unit := range r.Services {
		if file := p.Observed.UnitFiles[unit]; file != "" {
			return fmt.Sprintf("the unit file %s has the name of one of the application's, and is not archipelago's; rename or remove it", file)
		}
	}
	homes := p.homes(app)
	for _, c := range p.unmanaged {
		for _, m := range c.Mounts {
			if slices.ContainsFunc(homes, func(home string) bool {
				return m == home || strings.HasPrefix(m, home+"/") || strings.HasPrefix(home+"/", strings.TrimSuffix(m, "/")+"/")
			}) {
				return fmt.Sprintf("the unmanaged container %q (id %.12s) uses the application's data at %s; stop it first", c.Name, c.ID, m)
			}
		}
		for _, m := range r.Manifest.Containers {
			for _, port := range m.Ports {
				if slices.Contains(c.Ports, port.Node()) {
					return fmt.Sprintf("port %s of the node is taken by the unmanaged container %q (id %.12s); stop it first", port.Node(), c.Name, c.ID)
				}
			}
		}
	}
	return ""
}

// absent plans an application that is to go.
func (p *planning) absent(d *state.Desired) Plan {
	if err := p.Broken[d.App]; err != nil {
		return blocked("%v", err)
	}
	const why = "it is to be removed"
	var out Plan
	if out.Waiting = p.mounted(d.App); out.Waiting != "" {
		return out
	}
	own := slices.Clone(p.containers[d.App])
	for _, f := range p.files[d.App] {
		if name, ok := render.ContainerOf(f); ok && !slices.Contains(own, name) {
			own = append(own, name)
		}
	}
	slices.Sort(own)
	add := func(a Action) { a.App, a.Manifest = d.App, d.Manifest; out.Actions = append(out.Actions, a) }
	if len(own) > 0 {
		add(Action{Verb: StopUnits, Reason: why, Units: render.Services(own)}) // up or not: a start may be queued
	}
	if d.Purge {
		// Its data is on record until all of it is deleted, and on no other disk is anything deleted.
		if why, dir := p.diskless(d.App); why != "" {
			lost := "make the directory " + path.Dir(dir)
			if path.Dir(dir) == p.homes(d.App)[0] { // where its owner has mounted it
				lost = "remove the directory " + dir
			}
			out.Waiting = why + "; or, if that is lost, " + lost
			if len(own) == 0 && len(p.files[d.App]) == 0 {
				return out
			}
		}
	}
	add(Action{Verb: RemoveAll, Reason: why, Units: own, Gone: p.files[d.App]})
	if out.Waiting != "" {
		return out
	}
	if d.Purge || fault.Planted(fault.VolumeDeleted) {
		add(Action{Verb: Purge, Reason: "its data is to be deleted"})
	}
	add(Action{Verb: Forget, Reason: "nothing of it is left"})
	return out
}

func (p *planning) running(members []string) []string {
	var up []string
	for _, name := range members {
		if p.Observed.Running(name, quadlet.Service(name)) {
			up = append(up, name)
		}
	}
	return up
}

func reversed(s []string) []string {
	out := slices.Clone(s)
	slices.Reverse(out)
	return out
}

// current tells whether the unit files are exactly as rendered, with none left
// over from an earlier manifest; owned are the application's among have.
func current(want, have map[string]string, owned []string) bool {
	for f, body := range want {
		if have[f] != body {
			return false
		}
	}
	return len(leftover(want, owned)) == 0
}

// leftover are the application's unit files that are not wanted any more.
func leftover(want map[string]string, owned []string) (gone []string) {
	for _, f := range owned {
		if _, wanted := want[f]; !wanted {
			gone = append(gone, f)
		}
	}
	return gone
}

// Starts tells whether a start is among the actions.
func (p Plan) Starts() bool {
	return slices.ContainsFunc(p.Actions, func(a Action) bool { return a.Verb == Start })
}
