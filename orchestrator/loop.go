package orchestrator

import (
	"context"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/dist"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/operation"
	"github.com/archipelago-cloud/archipelago/orchestrator/plan"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// pass observes, plans and hands each application's actions to a worker of its
// own. It gives the time until the next pass that is due without an event.
func (r *Reconciler) pass(ctx context.Context) time.Duration {
	begin := time.Now()
	turns := r.operations.All()
	before := r.store.All()
	r.webs.note(before)
	obs, err := r.observe(ctx, before)
	if err != nil {
		return engineRetry
	}
	r.ensureProber(ctx, obs)
	records := r.store.Records()
	r.renderer.SetMoved(records.Moved())
	doing := map[string]plan.Verb{}
	for app, t := range turns {
		doing[app] = plan.Verb(t.Doing)
	}
	plans := plan.Make(plan.Input{Desired: records.All, Doing: doing, Data: records.Data, Broken: records.Broken, Observed: obs, Ready: r.readiness.Answers(), Renderer: r.renderer})
	r.metrics.pass.Observe(time.Since(begin).Seconds())
	asked := generations(before)
	next := passInterval
	for i, d := range records.All {
		// What was asked for since the look began, or ended since, may rest on what has
		// changed since: a start must not overlook who came to the data in between, nor
		// repeat one that has ended meanwhile.
		if asked[d.App] != d.Generation {
			r.Wake()
			continue
		}
		if again := r.propose(ctx, d, turns[d.App].Turns, plans[i], obs); again > 0 {
			next = min(next, again)
		}
	}
	r.operations.Changed("")
	return next
}

// ensureProber has the prober run: once with the unit of this daemon's release, and then
// whenever it has ended. systemd restarts it sooner, unless somebody has stopped it.
func (r *Reconciler) ensureProber(ctx context.Context, obs host.Observation) {
	if r.prober && obs.Probing() {
		return
	}
	if err := r.engine.EnsureProber(ctx); err != nil {
		r.log.Error("health is not being checked", "unit", dist.ProberUnit, "error", err)
		return
	}
	r.prober = true
	if !obs.Probing() {
		r.Wake() // to see that it runs
	}
}

func generations(records []state.Desired) map[string]uint64 {
	out := make(map[string]uint64, len(records))
	for _, d := range records {
		out[d.App] = d.Generation
	}
	return out
}

// observe asks the engine, and the disk for volumes that should be there.
func (r *Reconciler) observe(ctx context.Context, records []state.Desired) (host.Observation, error) {
	r.know(func(k *host.Known) { k.Asked = time.Now() })
	silent := time.AfterFunc(host.Silence+settle, func() { r.operations.Changed("") }) // who looks is to see that
	defer silent.Stop()
	members := map[string]string{}
	for _, d := range records {
		if d.Manifest != nil {
			for _, c := range d.Manifest.Containers {
				members[quadlet.Service(c.Name)] = d.App
			}
		}
	}
	r.members.Store(&members)
	if err := r.engine.Follow(slices.Sorted(maps.Keys(members))); err != nil {
		r.log.Warn("following units", "error", err) // passes go on at their interval
	}
	obs, err := r.engine.Observe(ctx)
	if err != nil {
		// FM6, the engine does not answer: the last known state stays, with its age;
		// nothing is torn down.
		r.know(func(k *host.Known) { k.Asked, k.Stale = time.Time{}, err.Error() })
		r.operations.Changed("")
		r.log.Warn("observing", "error", err)
		return obs, err
	}
	obs.Missing = r.missingVolumes()
	now := r.store.Records()
	obs.Folders = r.folders.Look(now.Folders)
	r.lookAtDisks(&obs, now)
	if !r.known.Load().SameContainers(obs) {
		kept := obs
		kept.Files, kept.Units = nil, nil // what the page shows needs neither
		if err := r.store.Remember(observedFile, kept); err != nil {
			r.log.Warn("keeping the last known state", "error", err)
		}
	}
	r.known.Store(&host.Known{Observation: obs})
	select {
	case <-r.observed:
	default:
		close(r.observed)
	}
	return obs, nil
}

// know changes what is known of the node.
func (r *Reconciler) know(change func(*host.Known)) {
	for {
		old := r.known.Load()
		k := *old
		change(&k)
		if r.known.CompareAndSwap(old, &k) {
			return
		}
	}
}

// missingVolumes are those that were initialised and are not there, by application.
func (r *Reconciler) missingVolumes() map[string][]string {
	missing := map[string][]string{}
	for _, d := range r.store.All() {
		for _, v := range r.store.Data(d.App).Volumes {
			if _, err := os.Stat(r.store.Data(d.App).Dir(r.dataDir, d.App, v)); err != nil {
				missing[d.App] = append(missing[d.App], v)
			}
		}
	}
	return missing
}

// propose has a plan carried out where its time has come, and gives the time until
// it is worth proposing again.
func (r *Reconciler) propose(ctx context.Context, d state.Desired, turns uint64, p plan.Plan, obs host.Observation) time.Duration {
	proposal := operation.Proposal{App: d.App, Generation: d.Generation, Turns: turns, Waiting: p.Waiting, Blocked: p.Blocked, Actions: len(p.Actions) > 0, Starts: p.Starts()}
	if p.Blocked != "" && d.Update != nil {
		proposal.Blocked, proposal.Actions = "", true // to be given up, which is work
	}
	turn := r.operations.TryBegin(proposal)
	if turn.Busy {
		return 0
	}
	if turn.Repair {
		r.metrics.repairs.WithLabelValues(d.App).Inc()
	}
	if turn.Blocked {
		r.log.Error("blocked", "app", d.App, "generation", d.Generation, "reason", p.Blocked)
	}
	r.offerPage(d, p.Waiting != "" && resting(d, obs))
	switch {
	case turn.GiveUp != "":
		r.workers.Go(func() { r.rest(d, turn.GiveUp) })
	case turn.Begin:
		r.workers.Go(func() { r.work(ctx, d, p) })
	}
	return turn.Again
}

// resting tells whether no member of an application runs, or is about to: systemd starts them at
// a boot whatever the daemon waits for, and whoever has a port of theirs keeps them from it.
func resting(d state.Desired, obs host.Observation) bool {
	return d.Manifest != nil && !slices.ContainsFunc(d.Manifest.Containers, func(c manifest.Container) bool {
		return obs.Containers[c.Name].State == "running" || !obs.Units[quadlet.Service(c.Name)].Rests()
	})
}

// offerPage has the waiting page on the application's own port, as the proxy has on its,
// while what it requires is not ready, and takes it away again.
func (r *Reconciler) offerPage(d state.Desired, waits bool) {
	if d.Manifest == nil {
		return
	}
	if _, port, ok := d.Manifest.Web(); ok {
		if err := r.pages.Want(d.App, port.Host, waits && d.Goal == state.Running); err != nil {
			r.log.Warn("waiting page", "app", d.App, "error", err)
		}
	}
}
