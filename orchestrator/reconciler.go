package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/secrets"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

const (
	passInterval = 30 * time.Second       // the safety net below events
	settle       = 50 * time.Millisecond  // events come in bursts
	probeEvery   = 300 * time.Millisecond // health of what is starting
	firstBackoff = 2 * time.Second
	maxBackoff   = 5 * time.Minute
	stopTimeout  = 3 * time.Minute
)

var (
	// ErrUnknownApp is returned for an id that the catalog does not have.
	ErrUnknownApp = catalog.ErrUnknownApp
	// ErrEngine is wrapped where the engine could not be reached: nothing is known to
	// have failed, and what was asked for stays pending.
	ErrEngine = errors.New("the engine does not answer")
	// ErrNotInstalled is returned where an operation needs an installed application.
	ErrNotInstalled = errors.New("not installed")
)

// VolumeOwner is a volume's directory and its owner as seen in the container.
type VolumeOwner struct {
	Dir      string
	UID, GID int
}

// Engine is what the reconciler needs of the host.
type Engine interface {
	Observe(context.Context) (Observed, error)
	EnsureImage(ctx context.Context, pinned string, progress func(string)) error
	EnsureVolumes(context.Context, []VolumeOwner) error
	PutSecret(ctx context.Context, name, app, value string) error
	WriteUnits(ctx context.Context, files map[string]string, gone []string) error
	StartUnits(ctx context.Context, units []string) error
	StopUnit(ctx context.Context, unit string) error
	Probe(ctx context.Context, container string) error
	StartedAt(ctx context.Context, container string) (time.Time, error)
	ActiveSince(ctx context.Context, unit string) (time.Time, error)
	Remove(ctx context.Context, app string, containers []string) error
	DeleteTree(ctx context.Context, dir string) error
}

// Reconciler owns the applications of one node.
type Reconciler struct {
	engine  Engine
	store   *state.Store
	secrets *secrets.Store
	catalog catalog.Catalog
	dataDir string
	log     *slog.Logger
	wake    chan struct{}

	mu      sync.Mutex
	obs     Observed
	stale   string // why obs is not of now
	apps    map[string]*appState
	workers sync.WaitGroup
}

// appState is what the daemon remembers of an application between passes.
type appState struct {
	busy      bool
	settled   uint64 // generation that has been carried out
	failed    uint64 // generation whose carrying out failed last
	err       string
	failures  int
	notBefore time.Time
	message   string
	engine    time.Duration // of the operation under way
	app       time.Duration
	changed   chan struct{} // closed at every change, and replaced
}

// New prepares a reconciler; Run makes it work.
func New(engine Engine, store *state.Store, sec *secrets.Store, cat catalog.Catalog, dataDir string, log *slog.Logger) *Reconciler {
	return &Reconciler{
		engine: engine, store: store, secrets: sec, catalog: cat, dataDir: dataDir, log: log,
		wake: make(chan struct{}, 1), apps: map[string]*appState{},
		stale: "the engine has not answered yet",
	}
}

// Wake has a pass run soon.
func (r *Reconciler) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run makes passes until the context ends, then waits for the work under way.
func (r *Reconciler) Run(ctx context.Context) {
	defer r.workers.Wait()
	for ctx.Err() == nil {
		next := r.pass(ctx)
		timer := time.NewTimer(next)
		select {
		case <-r.wake:
			timer.Reset(settle)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

func (r *Reconciler) state(app string) *appState {
	a, ok := r.apps[app]
	if !ok {
		a = &appState{changed: make(chan struct{})}
		r.apps[app] = a
	}
	return a
}

func (a *appState) notify() {
	close(a.changed)
	a.changed = make(chan struct{})
}

// pass observes, plans and hands each application's actions to a worker of its
// own. It gives the time until the next pass that is due without an event.
func (r *Reconciler) pass(ctx context.Context) time.Duration {
	obs, err := r.engine.Observe(ctx)
	desired, readErr := r.store.All()
	if readErr != nil {
		r.log.Error("reading desired states", "error", readErr)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		// FM6: the last known state stays, with its age; nothing is torn down.
		r.stale = err.Error()
		r.log.Warn("observing", "error", err)
		return firstBackoff
	}
	r.obs, r.stale = obs, ""
	actions := map[string][]Action{}
	for _, a := range Plan(desired, obs, r.catalog, r.dataDir) {
		actions[a.App] = append(actions[a.App], a)
	}
	next := passInterval
	now := time.Now()
	for _, d := range desired {
		a := r.state(d.App)
		if a.busy {
			continue
		}
		todo := actions[d.App]
		if len(todo) == 0 {
			if a.settled < d.Generation || a.err != "" {
				a.settled, a.err, a.failures, a.message = d.Generation, "", 0, ""
				a.notify()
			}
			continue
		}
		if wait := a.notBefore.Sub(now); wait > 0 && a.failed == d.Generation {
			next = min(next, wait)
			continue
		}
		a.busy = true
		if a.settled < d.Generation && a.failed < d.Generation {
			a.err = ""
		}
		a.engine, a.app = 0, 0
		r.workers.Add(1)
		go r.work(ctx, d, todo)
	}
	for _, a := range r.apps {
		a.notify()
	}
	return next
}

// work carries out one application's actions, in order, until one fails.
func (r *Reconciler) work(ctx context.Context, d state.Desired, todo []Action) {
	defer r.workers.Done()
	defer r.Wake()
	var err error
	for _, act := range todo {
		r.log.Info("action", "app", d.App, "generation", d.Generation, "verb", act.Verb, "reason", act.Reason, "units", act.Units)
		if err = r.carryOut(ctx, d, act); err != nil {
			r.log.Error("action failed", "app", d.App, "generation", d.Generation, "verb", act.Verb, "error", err)
			break
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.state(d.App)
	a.busy = false
	if errors.Is(err, ErrEngine) {
		// FM6: the operation is not over, it waits for the engine.
		a.message = err.Error()
		r.stale = err.Error()
	} else if err != nil && ctx.Err() == nil {
		a.failed, a.err = d.Generation, err.Error()
		a.notBefore = time.Now().Add(min(firstBackoff<<min(a.failures, 16), maxBackoff))
		a.failures++
	} else if err == nil {
		a.failures = 0
		if d.Goal == state.Absent {
			a.settled, a.err = d.Generation, ""
		}
	}
	a.notify()
}

func (r *Reconciler) say(app, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.state(app)
	a.message = fmt.Sprintf(format, args...)
	a.notify()
}

func (r *Reconciler) spent(app string, engine, waiting time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.state(app)
	a.engine += engine
	a.app += waiting
}

func (r *Reconciler) carryOut(ctx context.Context, d state.Desired, act Action) error {
	begin := time.Now()
	m := r.catalog.Manifest(d.App)
	switch act.Verb {
	case Start:
		return r.start(ctx, m, act.Units)
	case Restarted:
		// Under the lock: a request may be writing the same record.
		return r.update(d.App, func(now *state.Desired) { now.Restarted = d.Restart })
	}
	defer func() { r.spent(d.App, time.Since(begin), 0) }()
	switch act.Verb {
	case Refuse:
		return errors.New(act.Reason)
	case Prepare:
		return r.prepare(ctx, m)
	case WriteUnits:
		r.say(d.App, "writing units")
		unit := quadlet.Render(m, r.dataDir, d.Goal == state.Running)
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
		if err := r.engine.DeleteTree(ctx, filepath.Join(r.dataDir, d.App)); err != nil {
			return err
		}
		if !d.Purge {
			return nil
		}
		return r.secrets.Delete(d.App)
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

// unitFiles are the names of an application's unit files, as last observed.
func (r *Reconciler) unitFiles(app string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return byOwner(r.obs.Files)[app]
}

func (r *Reconciler) update(app string, change func(*state.Desired)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	d, err := r.store.Get(app)
	if err != nil {
		return err
	}
	change(&d)
	return r.store.Put(d)
}

// prepare has all that the units refer to: images, secrets, volumes; all of it
// for every member before the first is created.
func (r *Reconciler) prepare(ctx context.Context, m *manifest.Manifest) error {
	for _, c := range m.Containers {
		if err := r.engine.EnsureImage(ctx, c.Image.Pinned(), func(s string) { r.say(m.ID, "%s", s) }); err != nil {
			return err
		}
	}
	r.say(m.ID, "preparing secrets and volumes")
	var volumes []VolumeOwner
	hasData := false
	for _, c := range m.Containers {
		for _, v := range c.Volumes {
			dir := quadlet.VolumeDir(r.dataDir, m.ID, v.Name)
			volumes = append(volumes, VolumeOwner{dir, v.UID, v.GID})
			hasData = hasData || exists(dir)
		}
	}
	values, err := r.secrets.Ensure(m, hasData)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if err := r.engine.PutSecret(ctx, quadlet.SecretName(m.ID, name), m.ID, values[name]); err != nil {
			return err
		}
	}
	return r.engine.EnsureVolumes(ctx, volumes)
}

// start starts the units and waits until every member serves, within the budget
// of the application. Health checks are run at short intervals meanwhile: the
// engine's timers tick coarsely.
func (r *Reconciler) start(ctx context.Context, m *manifest.Manifest, units []string) error {
	begin := time.Now()
	budget := m.StartBudget()
	ctx, cancel := context.WithTimeoutCause(ctx, budget, fmt.Errorf("not healthy within its budget of %s", budget))
	defer cancel()
	r.say(m.ID, "starting")
	var probing sync.WaitGroup
	probing.Add(1)
	done := make(chan struct{})
	go func() {
		defer probing.Done()
		tick := time.NewTicker(probeEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			for _, c := range m.Containers {
				if c.Health != nil {
					// Fails while the container is not there or not healthy.
					r.engine.Probe(ctx, c.Name)
				}
			}
		}
	}()
	err := r.engine.StartUnits(ctx, units)
	close(done)
	probing.Wait()
	total := time.Since(begin)
	waiting := r.waited(ctx, m, begin)
	r.spent(m.ID, max(total-waiting, 0), min(waiting, total))
	if err != nil {
		if cause := context.Cause(ctx); ctx.Err() != nil && cause != nil {
			return fmt.Errorf("starting: %w", cause)
		}
		return fmt.Errorf("starting: %w", err)
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
		from, err := r.engine.StartedAt(ctx, c.Name)
		if err != nil {
			continue
		}
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
