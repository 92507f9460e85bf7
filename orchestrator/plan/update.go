package plan

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/archipelago-cloud/archipelago/orchestrator/render"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// update plans the steps of an update that are left.
func (p *planning) update(d *state.Desired) (out Plan) {
	old, err := p.render(d, d.Manifest, false)
	if err != nil {
		return blocked("%v", err)
	}
	next, err := p.render(d, d.Update.To, false)
	if err != nil {
		return blocked("%v", err)
	}
	// Nobody else may have the data open that is copied, or replaced.
	if out.Waiting = p.mounted(d.App); out.Waiting != "" && d.Update.Phase != state.Switched {
		return out
	}
	if out.Waiting = p.heldUp(d); out.Waiting != "" {
		return out
	}
	// Stopped whether they are up or not: at boot a start may be queued that an
	// observation does not show, and nothing may write to data that is being copied.
	stopped := false
	stopAll := func(reason string) {
		stopped = true
		out.stop(d, old, reason, reversed(render.Services(Union(old.Members, next.Members))))
	}
	to := "update to " + d.Update.To.Version
	if d.Update.Back {
		to = "go back to " + d.Update.To.Version
	}
	// The data of a way back changes places with its copy, once nothing has it open. By then
	// the units are those of the version before, which no boot starts: after a power cut, one
	// would have the version that is left write to the other's data.
	exchange := func() {
		out.add(d, next, PutBack, to)
		out.add(d, next, Switch, to)
	}
	switch d.Update.Phase {
	case state.Staged:
		// What it brings along is still to be made.
		if out.Waiting = p.waitsFor(d, d.Update.To); out.Waiting != "" && next.Manifest.Borrows() && d.Goal == state.Running {
			return out
		}
		out.Waiting = ""
		out.add(d, next, Prepare, to)
		if down, _ := p.broken(d, old); !d.Update.Back && len(d.Manifest.Hooks.PreUpdate) > 0 && len(down) == 0 && d.Goal == state.Running {
			out.add(d, old, PreUpdate, to)
		}
		stopAll(to)
		out.Actions[len(out.Actions)-1].Beside = p.dependent(d.App)
		if d.Update.Back {
			p.writeUnits(&out, d, next, to)
		}
		out.add(d, old, Copy, to)
		out.add(d, next, Switch, to)
		if d.Update.Back {
			exchange()
		} else {
			p.writeUnits(&out, d, next, to)
		}
		p.toNew(&out, d, next, to, stopped)
	case state.Returning:
		stopAll(to)
		p.writeUnits(&out, d, next, to)
		exchange()
		p.toNew(&out, d, next, to, stopped)
	case state.Switched:
		if down, stale := p.broken(d, next); len(down)+len(stale) > 0 {
			stopAll(to) // what boot may have started from the old units
		}
		if !current(next.Files, p.Observed.Files, p.files[d.App]) {
			p.writeUnits(&out, d, next, to)
		}
		p.toNew(&out, d, next, to, stopped)
	case state.RollingBack:
		to = "roll back: " + d.Update.Error
		stopAll(to)
		if !current(old.Files, p.Observed.Files, p.files[d.App]) {
			p.writeUnits(&out, d, old, to)
		}
		out.add(d, old, PutBack, to)
		p.start(&out, d, old, to, p.freePorts(old, stopped))
		out.add(d, old, RolledBack, to)
	default:
		return blocked("its update is in the unknown phase %q", d.Update.Phase)
	}
	return out
}

// heldUp says what an update waits for: before it has begun, for a start that it would disturb,
// and at any time for what its own start needs and is down for a moment; empty for nothing.
func (p *planning) heldUp(d *state.Desired) string {
	switch {
	case d.Update.Phase == state.Staged:
		return cmp.Or(p.startedOn(d), p.away(d, d.Update.To))
	case p.anyRunning(d.Manifest), p.anyRunning(d.Update.To):
		return "" // boot may have started it from the old units: it is stopped at once
	case d.Update.Phase == state.RollingBack:
		return p.away(d, d.Manifest)
	}
	return p.away(d, d.Update.To)
}

// toNew plans what is left once the new version is in force, with its units. The data of a way back is as its
// version left it: no hook has anything to bring up to date.
func (p *planning) toNew(out *Plan, d *state.Desired, next *render.Rendering, to string, stopped bool) {
	p.start(out, d, next, to, p.freePorts(next, stopped))
	if len(d.Update.To.Hooks.PostUpdate) > 0 && !d.Update.Back {
		out.add(d, next, PostUpdate, to)
	}
	out.add(d, next, Commit, to).Specs = next.Specs
}

// GiveUp turns a failed step of an update into what is done about it. Before the
// switch the old version just goes on: the update has ended. After it the data goes
// back too, which the next plan does. A failure while rolling back, or while data and copy
// change places, is tried again: then the record stays as it is, and ok is false.
func GiveUp(d state.Desired, cause string) (next state.Desired, ended, ok bool) {
	if d.Update == nil {
		return d, false, false
	}
	switch d.Update.Phase {
	case state.Staged:
		d.Note = GaveUp(d.Update, cause) + "; version " + d.Manifest.Version + " goes on"
		if !d.Update.Back {
			d.Declined = d.Update.To.Digest()
		}
		d.Update = nil
		return d, true, true
	case state.Switched:
		u := *d.Update
		u.Phase, u.Error = state.RollingBack, GaveUp(d.Update, cause)
		d.Update = &u
		return d, false, true
	}
	return d, false, false
}

// GaveUp says of an update that it failed, and why.
func GaveUp(u *state.Update, cause string) string {
	what := "the update"
	if u.Back {
		what = "going back"
	}
	return fmt.Sprintf("%s to %s failed: %s", what, u.To.Version, cause)
}

// Union is a with those of b that it lacks.
func Union(a, b []string) []string {
	out := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
