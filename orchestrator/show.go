package orchestrator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// Apps gives every application of the catalog and every one that is installed,
// sorted by id, when the engine was last heard, and why that is not now (empty
// where it is). It never waits for the engine, nor for the disk.
func (r *Reconciler) Apps() (views []view.View, at time.Time, stale string) {
	known := r.known.Load()
	in := r.input(known)
	return view.All(in), known.At, known.Why(in.Now)
}

// Installed gives every application that is on record, sorted by id, and how far what is
// known of the engine holds. However large the catalog, it costs what is installed.
func (r *Reconciler) Installed() ([]view.View, Hearing) {
	known := r.known.Load()
	in := r.input(known)
	return view.Installed(in), heard(known, in.Now)
}

// Hearing is how far what is known of the engine holds.
type Hearing struct {
	At     time.Time // when it was last heard
	Stale  string    // why that is not now; empty where it is
	Silent time.Time // since when it has not answered a question; zero where it has
}

// Heard gives how far what is known of the engine holds.
func (r *Reconciler) Heard() Hearing { return heard(r.known.Load(), time.Now()) }

func heard(k *host.Known, now time.Time) Hearing {
	h := Hearing{At: k.At, Stale: k.Why(now)}
	if h.Stale != "" && k.Stale == "" {
		h.Silent = k.Asked
	}
	return h
}

// Changes gives a number that grows whenever what is shown of applications may have changed,
// and a channel that is closed at the next time. What changes with the hour alone, such as a
// backup's age, is not told of.
func (r *Reconciler) Changes() (n uint64, changed <-chan struct{}) { return r.operations.WatchAny() }

// Preview gives the records that a request would have written, its own last, or why it
// would be refused. Nothing is written, and nothing is done.
func (r *Reconciler) Preview(req request.Request) ([]state.Desired, error) {
	return request.Decide(r.store.Records(), r.Offer(), r.known.Load().Observation, time.Now(), req)
}

// History gives what was asked of an application, or refused, the newest first; of the
// node where app is empty.
func (r *Reconciler) History(app string, most int) ([]state.Asked, error) {
	return r.store.Asked(app, most)
}

// App gives one application.
func (r *Reconciler) App(id string) (view.View, error) {
	v, ok := view.Of(r.input(r.known.Load()), id)
	if !ok {
		return v, fmt.Errorf("%w %q", request.ErrUnknownApp, id)
	}
	return v, nil
}

// AppsOf gives applications in the order of their ids; those that nobody knows are left out.
func (r *Reconciler) AppsOf(ids []string) []view.View {
	in := r.input(r.known.Load())
	views := make([]view.View, 0, len(ids))
	for _, id := range ids {
		if v, ok := view.Of(in, id); ok {
			views = append(views, v)
		}
	}
	return views
}

func (r *Reconciler) input(known *host.Known) view.Input {
	return view.Input{
		Operations: r.operations.All(), Records: r.store.Records(), Observed: known.Observation,
		Ready: r.readiness.Answers(), Offer: r.Offer(), Backups: r.backups.Backups(time.Now()), Now: time.Now(),
	}
}

// Watch calls emit at every change until the generation has been carried out, has
// failed, or has been overtaken by a later request.
func (r *Reconciler) Watch(ctx context.Context, app string, generation uint64, emit func(view.Progress) error) error {
	if r.manifest(app) == nil && (generation == 0 || r.operations.Status(app).Observed < generation) { // what is not on offer may just be gone
		if _, err := r.store.Get(app); errors.Is(err, state.ErrNotFound) {
			return fmt.Errorf("%w %q", request.ErrUnknownApp, app)
		}
	}
	last := view.Progress{Message: "-"}
	for {
		op, changed := r.operations.Watch(app)
		d, err := r.store.Get(app)
		if err != nil && !errors.Is(err, state.ErrNotFound) {
			d.Generation = generation // on record, though it cannot be read
		}
		p, unknown := view.ProgressOf(op, generation, d.Generation)
		if unknown {
			return fmt.Errorf("%s has no operation %d", app, generation)
		}
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

// manifest is the one installed, or the catalog's; nil where there is neither.
func (r *Reconciler) manifest(app string) *manifest.Manifest {
	if d, err := r.store.Get(app); err == nil && d.Manifest != nil {
		return d.Manifest
	}
	m, _ := r.Offer().Manifest(app)
	return m
}

// Credentials gives the secrets that the manifest declares as shown.
func (r *Reconciler) Credentials(app string) (map[string]string, error) {
	m := r.manifest(app)
	if m == nil {
		return nil, fmt.Errorf("%w %q", request.ErrUnknownApp, app)
	}
	return r.secrets.Shown(m)
}

// wanted gives the record of an application that its owner wants to run.
func (r *Reconciler) wanted(app string) (d state.Desired, ok bool) {
	d, err := r.store.Get(app)
	return d, err == nil && d.Manifest != nil && d.Goal == state.Running
}

// Waiting says what an application that its owner wants to run still waits for,
// and its name; empty where it is ready.
func (r *Reconciler) Waiting(app string) (name, reason string) {
	d, ok := r.wanted(app)
	if !ok {
		return app, ""
	}
	op := r.operations.Status(app)
	if op.Waiting = cmp.Or(op.Waiting, op.Held); r.runs(d) {
		op.Waiting = "" // only what is to be changed of it waits
	}
	return d.Manifest.Name, view.WaitingFor(d, op, r.readiness.Answer(app))
}

// runs tells whether every member of an application ran when it was last looked.
func (r *Reconciler) runs(d state.Desired) bool {
	k := r.known.Load()
	return k != nil && !slices.ContainsFunc(d.Manifest.Containers, func(c manifest.Container) bool { return k.Containers[c.Name].State != "running" })
}

// Scripts are those that an installed application's manifest has the proxy serve.
func (r *Reconciler) Scripts(app string) []manifest.ProviderScript {
	if d, ok := r.wanted(app); ok {
		return d.Manifest.Scripts
	}
	return nil
}

// Webs gives the published ports of the web interfaces of each installed application that
// has any, the one that My Apps links to first, and a channel that is closed when that
// has changed.
func (r *Reconciler) Webs() (map[string][]int, <-chan struct{}) { return r.webs.get() }

// Picture gives a picture of an application's manifest from the node's own disk, and its
// media type. catalog.ErrNoPicture is wrapped where it is not there.
func (r *Reconciler) Picture(app string, of *manifest.Listing, digest string) (b []byte, mediaType string, err error) {
	e := r.disk[app]
	if e == nil {
		return nil, "", fmt.Errorf("%w: %s is not on this disk", catalog.ErrNoPicture, app)
	}
	return e.Picture(of, digest)
}
