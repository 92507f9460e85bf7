package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// snapshot is where the copy of an application's volumes is during an update.
func (r *Reconciler) snapshot(app string) string { return filepath.Join(r.snapshots, app) }

// giveUpUpdate turns a failed step of an update into what is done about it. Before
// the switch the old version just goes on; after it the data goes back too. A
// failure while rolling back is tried again.
func (r *Reconciler) giveUpUpdate(d state.Desired, cause error) error {
	// The phase may have moved on since the plan was made.
	now, err := r.store.Get(d.App)
	if err != nil || now.Update == nil {
		return errors.Join(cause, err)
	}
	why := fmt.Sprintf("the update to %s failed: %v", now.Update.To.Version, cause)
	switch now.Update.Phase {
	case state.Staged:
		err = r.update(d.App, func(now *state.Desired) {
			now.Note = why + "; version " + now.Manifest.Version + " goes on"
			now.Declined, now.Update = now.Update.To.Digest(), nil
		})
		if err == nil {
			r.finish(d.App, d.Generation, why)
		}
	case state.Switched:
		err = r.update(d.App, func(now *state.Desired) {
			u := *now.Update
			u.Phase, u.Error = state.RollingBack, why
			now.Update = &u
		})
	default:
		return cause
	}
	if err != nil {
		return errors.Join(cause, err)
	}
	return errOvertaken // by its own undoing, which the next pass plans
}

// finish reports an operation as failed while the application itself goes on.
func (r *Reconciler) finish(app string, generation uint64, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.state(app)
	a.undone, a.undoneWhy = generation, why
	a.notify()
}

// runsAs looks once more whether it is this version that runs: a unit that was
// active already would have been left as it was.
func (r *Reconciler) runsAs(ctx context.Context, d state.Desired, m *manifest.Manifest) error {
	obs, err := r.observe(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrEngine, err)
	}
	specs := quadlet.Render(m, r.renderer.DataDir, false).Specs
	for name, spec := range specs {
		if c := obs.Containers[name]; c.State != "running" || c.Spec != spec {
			return fmt.Errorf("%s does not run as version %s", name, d.Update.To.Version)
		}
	}
	return nil
}

// commit makes a version the one installed.
func (r *Reconciler) commit(ctx context.Context, d state.Desired, m *manifest.Manifest, note string) error {
	data := r.store.Data(d.App)
	data.App, data.Version, data.Migration = d.App, m.Version, max(data.Migration, m.Migration)
	if err := r.store.PutData(data); err != nil {
		return err
	}
	if err := r.update(d.App, func(now *state.Desired) {
		if now.Update != nil {
			now.Source = now.Update.Source
		}
		now.Manifest, now.Update, now.Note, now.Declined = m, nil, note, ""
	}); err != nil {
		return err
	}
	return r.engine.DeleteTree(ctx, r.snapshot(d.App))
}

// putBack has the copy take the place of the data, and forgets volumes that only
// the new version had.
func (r *Reconciler) putBack(ctx context.Context, d state.Desired) error {
	home := filepath.Join(r.renderer.DataDir, d.App)
	if err := r.engine.PutBack(ctx, r.snapshot(d.App), home); err != nil {
		return err
	}
	data := r.store.Data(d.App)
	old := d.Manifest.Volumes()
	for _, v := range d.Update.To.Volumes() {
		if slices.Contains(old, v) || !slices.Contains(data.Volumes, v) {
			continue
		}
		if err := r.engine.DeleteTree(ctx, filepath.Join(home, v)); err != nil {
			return err
		}
		data.Volumes = slices.DeleteFunc(slices.Clone(data.Volumes), func(have string) bool { return have == v })
	}
	return r.store.PutData(data)
}

// rolledBack ends an update that failed: the old version is up again, on its data.
func (r *Reconciler) rolledBack(_ context.Context, d state.Desired) error {
	why := d.Update.Error
	if err := r.update(d.App, func(now *state.Desired) {
		now.Declined = now.Update.To.Digest()
		now.Update, now.Note = nil, fmt.Sprintf("%s; rolled back to %s on %s", why, now.Manifest.Version, time.Now().UTC().Format("2006-01-02 15:04"))
	}); err != nil {
		return err
	}
	r.finish(d.App, d.Update.Generation, why+"; rolled back to "+d.Manifest.Version)
	return nil
}
