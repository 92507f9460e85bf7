// Package prober looks at the health of the applications' containers, in a program of its
// own that a restart of the daemon does not touch. It probes natively, without a process,
// from inside a container's network; what it finds it never writes down itself: Podman
// keeps a container's health, by Podman's check, and the prober says when that is run.
package prober

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/fault"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
)

const (
	eventsRetry   = time.Second      // until a broken stream of events is asked for again
	listInterval  = 30 * time.Second // the safety net below events
	namespaceLast = time.Minute      // a user namespace that is refused after so long is an old one
)

// Engine is the Podman whose containers are probed.
type Engine interface {
	// Probed names the running containers that have a probe.
	Probed(ctx context.Context) ([]string, error)
	Inspect(ctx context.Context, container string) (host.Inspection, error)
	// Check has Podman run its check, and note the outcome in the container's health.
	Check(ctx context.Context, container string, limit time.Duration) (passed bool, err error)
	Events(ctx context.Context, changed func(container, health string)) error
}

// Prober looks at the health of all containers that have a probe, until its Run ends.
type Prober struct {
	Engine Engine
	Enter  func(pid int, id string) (Inside, error) // the network of a container
	Log    *slog.Logger

	begun     time.Time
	end       context.CancelCauseFunc
	listens   chan struct{} // a stream of events begins
	following sync.WaitGroup
	mu        sync.Mutex           // one look at a time
	followed  map[string]*followed // by container
}

// followed is a container while it runs once.
type followed struct {
	name, id  string
	pid       int
	startedAt time.Time
	probe     quadlet.Probe
	stop      context.CancelFunc
}

// Run probes until the context ends. It gives ErrNamespace if it has to be started anew.
func (p *Prober) Run(ctx context.Context) error {
	ctx, end := context.WithCancelCause(ctx)
	p.begun, p.end, p.listens, p.followed = time.Now(), end, make(chan struct{}, 1), map[string]*followed{}
	var listening sync.WaitGroup
	defer p.following.Wait()
	defer listening.Wait()
	defer end(nil)
	listening.Go(func() { p.listen(ctx) })
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-next.C:
			p.list(ctx)
			next.Reset(listInterval)
		case <-p.listens: // what happened before it did
			next.Reset(eventsRetry)
		case <-ctx.Done():
			if err := context.Cause(ctx); errors.Is(err, ErrNamespace) {
				return err
			}
			return nil
		}
	}
}

// listen follows Podman's events.
func (p *Prober) listen(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case p.listens <- struct{}{}:
		default:
		}
		err := p.Engine.Events(ctx, func(name, health string) {
			if health == "" { // not one of the checks that were asked for here
				p.look(ctx, name)
			}
		})
		if err != nil && ctx.Err() == nil {
			p.Log.Warn("podman's events", "error", err)
		}
		wait(ctx, eventsRetry)
	}
}

// list looks at all containers that have a probe, and at those that had one.
func (p *Prober) list(ctx context.Context) {
	names, err := p.Engine.Probed(ctx)
	if err != nil {
		if ctx.Err() == nil {
			p.Log.Warn("looking for containers", "error", err)
		}
		return
	}
	here := map[string]bool{}
	for _, name := range names {
		here[name] = true
		p.look(ctx, name)
	}
	p.mu.Lock()
	var gone []string
	for name := range p.followed {
		if !here[name] {
			gone = append(gone, name)
		}
	}
	p.mu.Unlock()
	for _, name := range gone {
		p.look(ctx, name)
	}
}

// look has a container be probed if it runs, and no longer if it does not.
func (p *Prober) look(ctx context.Context, name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen, err := p.Engine.Inspect(ctx, name)
	if err != nil && !errors.Is(err, host.ErrGone) {
		return // nothing is known to have changed
	}
	label, probed := seen.Labels[manifest.LabelHealth]
	running := seen.State == "running" && probed
	if was := p.followed[name]; was != nil {
		if running && was.id == seen.ID && was.startedAt.Equal(seen.StartedAt) {
			return
		}
		was.stop()
		delete(p.followed, name)
	}
	if !running || ctx.Err() != nil || fault.Planted(fault.ProberDead) {
		return
	}
	probe, err := quadlet.ParseProbe(label)
	if err != nil {
		p.Log.Error("its health cannot be looked at", "container", name, "error", err)
		return
	}
	f := &followed{name: name, id: seen.ID, pid: seen.PID, startedAt: seen.StartedAt, probe: probe}
	if fault.Planted(fault.ProberWrongMember) {
		for _, other := range p.followed {
			f.pid, f.id = other.pid, other.id
		}
	}
	inside, err := p.Enter(f.pid, f.id)
	if err != nil {
		p.Log.Warn("Podman's check alone tells its health", "container", name, "error", err)
		inside = nil
	}
	ctx, f.stop = context.WithCancel(ctx)
	p.followed[name] = f
	p.following.Go(func() {
		defer f.stop()
		if inside != nil {
			defer inside.Close()
		}
		p.follow(ctx, f, inside, seen.Health)
	})
}

// answer is what a native probe found.
type answer int

const (
	unknown answer = iota // there is no native probe, or it could not be made
	serves
	fails
)

// ask probes a container natively.
func (p *Prober) ask(ctx context.Context, f *followed, inside Inside) answer {
	if f.probe.Port == 0 || inside == nil {
		return unknown
	}
	err := ask(ctx, inside, f.probe)
	switch {
	case err == nil:
		return serves
	case errors.Is(err, unix.EPERM):
		if time.Since(p.begun) > namespaceLast {
			p.end(errors.Join(ErrNamespace, err))
		}
		return unknown
	}
	return fails
}

// wait gives false if the context ended before.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
