package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

const defaultHookTimeout = time.Minute

func (r *Reconciler) carryOut(ctx context.Context, d state.Desired, act Action) error {
	begin := time.Now()
	m := act.Manifest
	if act.Verb == Start {
		return r.start(ctx, d, m, act.Units)
	}
	defer func() { r.spent(d.App, time.Since(begin), 0) }()
	switch act.Verb {
	case Refuse:
		return errors.New(act.Reason)
	case Prepare:
		return r.prepare(ctx, d, m)
	case WriteUnits:
		r.say(d.App, "writing units")
		unit := quadlet.Render(m, r.renderer.DataDir, act.Boot)
		gone := slices.DeleteFunc(r.unitFiles(d.App), func(f string) bool { _, wanted := unit.Files[f]; return wanted })
		return r.engine.WriteUnits(ctx, unit.Files, gone)
	case StopUnits:
		ctx, cancel := context.WithTimeout(ctx, stopTimeout)
		defer cancel()
		for _, u := range act.Units {
			r.say(d.App, "stopping %s", u)
			if err := r.engine.StopUnit(ctx, u); err != nil {
				return err
			}
		}
		return nil
	case Restarted:
		return r.update(d.App, func(now *state.Desired) { now.Restarted = d.Restart })
	case Convert:
		return r.convert(ctx, d, m)
	case PostInst:
		if err := r.hooks(ctx, m, "post_install", m.Hooks.PostInstall); err != nil {
			return err
		}
		return r.update(d.App, func(now *state.Desired) { now.Installed = true })
	case PreUpdate:
		return r.hooks(ctx, m, "pre_update", m.Hooks.PreUpdate)
	case PostUpdate:
		return r.hooks(ctx, m, "post_update", m.Hooks.PostUpdate)
	case Copy:
		r.say(d.App, "copying volumes")
		var dirs []string
		for _, v := range r.store.Data(d.App).Volumes {
			dirs = append(dirs, filepath.Join(r.renderer.DataDir, d.App, v))
		}
		return r.engine.CopyVolumes(ctx, dirs, r.snapshot(d.App))
	case Switch:
		return r.update(d.App, func(now *state.Desired) {
			u := *d.Update
			u.Phase = state.Switched
			now.Update = &u
		})
	case Commit:
		if err := r.runsAs(ctx, d, m); err != nil {
			return err
		}
		return r.commit(ctx, d, d.Update.To, "")
	case PutBack:
		r.say(d.App, "putting the data back")
		return r.putBack(ctx, d)
	case RolledBack:
		return r.rolledBack(ctx, d)
	case RemoveAll:
		r.say(d.App, "removing containers and units")
		// The network's unit is a oneshot that stays active; without this a later
		// install would believe that the network exists.
		if err := r.engine.StopUnit(ctx, quadlet.Service(quadlet.Network(d.App)+"-network")); err != nil {
			return err
		}
		if err := r.engine.WriteUnits(ctx, nil, r.unitFiles(d.App)); err != nil {
			return err
		}
		return r.engine.Remove(ctx, d.App, act.Units)
	case Purge:
		r.say(d.App, "deleting data")
		if err := r.engine.DeleteTree(ctx, filepath.Join(r.renderer.DataDir, d.App)); err != nil {
			return err
		}
		if !d.Purge {
			return nil
		}
		if err := r.engine.DeleteTree(ctx, r.snapshot(d.App)); err != nil {
			return err
		}
		if err := r.secrets.Delete(d.App); err != nil {
			return err
		}
		return r.store.DeleteData(d.App)
	case Forget:
		r.mu.Lock()
		defer r.mu.Unlock()
		// A request may have come in meanwhile, to install it again.
		if now, err := r.store.Get(d.App); err == nil && now.Generation != d.Generation {
			return nil
		}
		return r.store.Delete(d.App)
	}
	return fmt.Errorf("unknown action %q", act.Verb)
}

// prepare has all that the units refer to: images, secrets, volumes; all of it
// for every member before the first is created.
func (r *Reconciler) prepare(ctx context.Context, d state.Desired, m *manifest.Manifest) error {
	overrides := map[string]string{}
	for _, c := range m.Containers {
		image := manifest.Override(m.ID, c.Name)
		if there, err := r.engine.HasImage(ctx, image); err != nil {
			return err
		} else if there {
			overrides[c.Name] = image
		}
	}
	if !maps.Equal(overrides, d.Overrides) {
		if err := r.update(d.App, func(now *state.Desired) { now.Overrides = overrides }); err != nil {
			return err
		}
		return errReplan
	}
	for _, c := range m.Containers {
		if overrides[c.Name] != "" {
			continue // the owner's own is never pulled or replaced
		}
		if err := r.engine.EnsureImage(ctx, c.Image.Pinned(), func(s string) { r.say(m.ID, "%s", s) }); err != nil {
			return err
		}
	}
	r.say(m.ID, "preparing secrets and volumes")
	owners := r.volumeOwners(m)
	data := r.store.Data(m.ID)
	hasData := len(data.Volumes) > 0 || slices.ContainsFunc(owners, func(v VolumeOwner) bool { return exists(v.Dir) })
	values, err := r.secrets.Ensure(m, hasData)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if err := r.engine.PutSecret(ctx, quadlet.SecretName(m.ID, name), m.ID, values[name]); err != nil {
			return err
		}
	}
	if err := r.engine.EnsureVolumes(ctx, owners); err != nil {
		return err
	}
	volumes := union(data.Volumes, m.Volumes())
	if data.App != "" && slices.Equal(volumes, data.Volumes) {
		return nil
	}
	if data.App == "" {
		data = state.Data{App: m.ID, Version: m.Version, Migration: m.Migration}
	}
	data.Volumes = volumes
	return r.store.PutData(data)
}

// start starts the units and waits until every member serves, within the budget
// of the application. Health checks are run at short intervals meanwhile: the
// engine's timers tick coarsely.
func (r *Reconciler) start(ctx context.Context, d state.Desired, m *manifest.Manifest, units []string) error {
	select {
	case r.starts <- struct{}{}: // forty applications that fail at once do not start at once
		defer func() { <-r.starts }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := r.portsFree(m); err != nil {
		return err
	}
	begin := time.Now()
	budget := m.StartBudget()
	ctx, cancelBudget := context.WithTimeoutCause(ctx, budget, fmt.Errorf("not healthy within its budget of %s", budget))
	defer cancelBudget()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if d.Update == nil {
		r.mu.Lock()
		r.state(m.ID).cancel = cancel
		r.mu.Unlock()
	}
	r.say(m.ID, "starting")
	var probing sync.WaitGroup
	done := make(chan struct{})
	probing.Go(func() { r.probe(ctx, m, done) })
	err := r.engine.StartUnits(ctx, units)
	close(done)
	probing.Wait()
	total := time.Since(begin)
	waiting := r.waited(context.WithoutCancel(ctx), m, begin)
	r.spent(m.ID, max(total-waiting, 0), min(waiting, total))
	if err != nil {
		if cause := context.Cause(ctx); ctx.Err() != nil && cause != nil {
			return fmt.Errorf("%w: %w", errStart, cause)
		}
		return fmt.Errorf("%w: %w", errStart, err)
	}
	return nil
}

// probe runs the health checks of an application that is starting until done is
// closed. Podman tells systemd once that a container is healthy, by a datagram from
// a process that then ends; where that is lost, systemd would wait out the start's
// budget for an application that serves, so the unit is restarted.
func (r *Reconciler) probe(ctx context.Context, m *manifest.Manifest, done <-chan struct{}) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	healthy := map[string]time.Time{} // since when, by container
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		for _, c := range m.Containers {
			if c.Health == nil {
				continue
			}
			// Fails while the container is not there.
			if ok, err := r.engine.Probe(ctx, c.Name); err != nil || !ok {
				delete(healthy, c.Name)
				continue
			}
			since, known := healthy[c.Name]
			if !known {
				healthy[c.Name] = time.Now()
				continue
			}
			if time.Since(since) < unheard {
				continue
			}
			delete(healthy, c.Name)
			if restarted, err := r.engine.RestartStarting(ctx, quadlet.Service(c.Name)); err != nil {
				r.log.Warn("restarting a unit that is not known to be healthy", "app", m.ID, "container", c.Name, "error", err)
			} else if restarted {
				r.log.Warn("healthy, and systemd was not told: the unit is restarted", "app", m.ID, "container", c.Name)
			}
		}
	}
}

// portsFree wants no one else to listen on the ports that the application is about
// to publish. Its own waiting page makes room first.
func (r *Reconciler) portsFree(m *manifest.Manifest) error {
	var ports []int
	r.mu.Lock()
	for _, c := range m.Containers {
		for _, p := range c.Ports {
			if page := r.waiters[p.Host]; page != nil {
				page()
				delete(r.waiters, p.Host)
			}
			if p.Protocol != "udp" && r.obs.Containers[c.Name].State != "running" {
				ports = append(ports, p.Host)
			}
		}
	}
	r.mu.Unlock()
	holders, err := r.engine.PortHolders(ports)
	if err != nil {
		return err
	}
	for _, p := range slices.Sorted(maps.Keys(holders)) {
		// Podman's forwarder of a container of ours that started since is no one else.
		if strings.Contains(holders[p], "(rootlessport)") || strings.Contains(holders[p], "(pasta") {
			continue
		}
		return fmt.Errorf("port %d of the node is taken by %s; stop it, and the application starts", p, holders[p])
	}
	return nil
}

// waited sums, over the members, the time between a container's start and its
// unit being active: the application's share of a start. Members that wait at the
// same time are counted once.
func (r *Reconciler) waited(ctx context.Context, m *manifest.Manifest, since time.Time) time.Duration {
	type span struct{ from, to time.Time }
	var spans []span
	for _, c := range m.Containers {
		seen, err := r.engine.Inspect(ctx, c.Name)
		if err != nil {
			continue
		}
		from := seen.StartedAt
		to, err := r.engine.ActiveSince(ctx, quadlet.Service(c.Name))
		if err != nil || to.Before(since) || to.Before(from) {
			continue
		}
		spans = append(spans, span{later(from, since), to})
	}
	slices.SortFunc(spans, func(a, b span) int { return a.from.Compare(b.from) })
	var sum time.Duration
	var end time.Time
	for _, s := range spans {
		s.from = later(s.from, end)
		if s.to.After(s.from) {
			sum += s.to.Sub(s.from)
			end = s.to
		}
	}
	return sum
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// hooks runs commands in containers of the application, one after the other.
func (r *Reconciler) hooks(ctx context.Context, m *manifest.Manifest, kind string, hooks []manifest.Hook) error {
	for _, h := range hooks {
		r.say(m.ID, "%s hook in %s", kind, h.Container)
		timeout := h.Timeout.Or(defaultHookTimeout)
		bounded, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("it took longer than %s", timeout))
		_, err := r.engine.Exec(bounded, h.Container, h.Command)
		cancel()
		if err != nil {
			return fmt.Errorf("%s hook: %w", kind, err)
		}
	}
	return nil
}
