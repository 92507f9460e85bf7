package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// View is one application as people and programs see it.
type View struct {
	Manifest   *manifest.Manifest
	Goal       state.Goal // empty where it is not installed
	Generation uint64
	State      State
	Error      string
	Containers []Container // one per member; State is empty where there is none
}

// State of an application.
type State string

// The states; the RPC's enumeration mirrors them.
const (
	NotInstalled State = "not installed"
	Starting     State = "starting"
	Up           State = "running"
	Unhealthy    State = "unhealthy"
	Stopping     State = "stopping"
	Down         State = "stopped"
	Removing     State = "removing"
	Failed       State = "failed"
)

// Apps gives every application of the catalog, sorted by id, when the engine was
// last heard, and why that is not now (empty where it is).
func (r *Reconciler) Apps() (views []View, at time.Time, stale string, err error) {
	desired, err := r.store.All()
	if err != nil {
		return nil, time.Time{}, "", err
	}
	byApp := map[string]state.Desired{}
	for _, d := range desired {
		byApp[d.App] = d
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range r.catalog.IDs() {
		views = append(views, r.view(r.catalog[id].Manifest, byApp[id]))
	}
	return views, r.obs.At, r.stale, nil
}

// App gives one application.
func (r *Reconciler) App(id string) (View, error) {
	m, ok := r.catalog[id]
	if !ok {
		return View{}, fmt.Errorf("%w %q", ErrUnknownApp, id)
	}
	d, err := r.store.Get(id)
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		return View{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.view(m.Manifest, d), nil
}

func (r *Reconciler) view(m *manifest.Manifest, d state.Desired) View {
	v := View{Manifest: m, Goal: d.Goal, Generation: d.Generation}
	rendered := quadlet.Render(m, r.dataDir, true)
	up, healthy := 0, true
	for _, name := range names(m, rendered) {
		c := r.obs.Containers[name]
		c.Name = name
		v.Containers = append(v.Containers, c)
		if c.State == "running" {
			up++
			healthy = healthy && (c.Health == "" || c.Health == "healthy")
		}
	}
	a := r.state(m.ID)
	v.Error = a.err
	switch {
	case d.Goal == "":
		v.State, v.Error = NotInstalled, ""
	case d.Goal == state.Absent:
		v.State = Removing
	case a.err != "" && a.failed == d.Generation:
		v.State = Failed
	case d.Goal == state.Stopped && up > 0:
		v.State = Stopping
	case d.Goal == state.Stopped:
		v.State = Down
	case a.busy || up < len(v.Containers) || a.settled < d.Generation && d.Restart > d.Restarted:
		v.State = Starting
	case !healthy:
		v.State = Unhealthy
	default:
		v.State = Up
	}
	return v
}

// Request records what is wanted of an application, durably, wakes the reconciler,
// and gives the generation to watch.
func (r *Reconciler) Request(app string, verb string, purge bool) (uint64, error) {
	m, ok := r.catalog[app]
	if !ok {
		return 0, fmt.Errorf("%w %q", ErrUnknownApp, app)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	d, err := r.store.Get(app)
	installed := err == nil && d.Goal != state.Absent
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		return 0, err
	}
	if !installed && verb != "install" && verb != "uninstall" {
		return 0, fmt.Errorf("%s: %w: install it first", app, ErrNotInstalled)
	}
	if verb == "install" && d.Migration > m.Migration {
		return 0, fmt.Errorf("%s: its data has format %d, version %s knows only %d", app, d.Migration, m.Version, m.Migration)
	}
	a := r.state(app)
	d.App = app
	d.Generation = max(d.Generation, a.settled, a.failed) + 1
	d.AcceptedAt = time.Now().UTC()
	switch verb {
	case "install":
		d.Goal, d.Purge, d.Migration = state.Running, false, m.Migration
	case "start":
		d.Goal = state.Running
	case "stop":
		d.Goal = state.Stopped
	case "restart":
		d.Goal, d.Restart = state.Running, d.Generation
	case "uninstall":
		d.Goal, d.Purge, d.Restart, d.Restarted = state.Absent, purge, 0, 0
	default:
		return 0, fmt.Errorf("unknown operation %q", verb)
	}
	if err := r.store.Put(d); err != nil {
		return 0, err
	}
	a.notBefore, a.failures, a.message = time.Time{}, 0, ""
	a.notify()
	r.Wake()
	return d.Generation, nil
}

// Progress of an operation.
type Progress struct {
	Message     string
	Done        bool
	Err         string
	Engine, App time.Duration
}

// Watch calls emit at every change until the generation has been carried out, has
// failed, or has been overtaken by a later request.
func (r *Reconciler) Watch(ctx context.Context, app string, generation uint64, emit func(Progress) error) error {
	if _, ok := r.catalog[app]; !ok {
		return fmt.Errorf("%w %q", ErrUnknownApp, app)
	}
	last := Progress{Message: "-"}
	for {
		r.mu.Lock()
		a := r.state(app)
		p := Progress{Message: a.message}
		switch {
		case a.settled >= generation:
			p = Progress{Done: true, Engine: a.engine, App: a.app}
		case a.failed >= generation && a.err != "" && !a.busy:
			p = Progress{Done: true, Err: a.err, Engine: a.engine, App: a.app}
		default:
			if d, err := r.store.Get(app); errors.Is(err, state.ErrNotFound) && !a.busy {
				p = Progress{Done: true} // removed before this daemon started
			} else if err == nil && d.Generation < generation {
				r.mu.Unlock()
				return fmt.Errorf("%s has no operation %d", app, generation)
			}
		}
		changed := a.changed
		r.mu.Unlock()
		if p != last {
			if err := emit(p); err != nil {
				return err
			}
			last = p
		}
		if p.Done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Credentials gives the secrets that the manifest declares as shown.
func (r *Reconciler) Credentials(app string) (map[string]string, error) {
	m, ok := r.catalog[app]
	if !ok {
		return nil, fmt.Errorf("%w %q", ErrUnknownApp, app)
	}
	return r.secrets.Shown(m.Manifest)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
