package perform

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/fault"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

type copyEngine interface {
	CopyVolumes(ctx context.Context, dirs []string, dir string) error
	PutBack(ctx context.Context, dir, home string) error
	Refill(ctx context.Context, copy, dir string) error
}

type observeEngine interface {
	Observe(context.Context) (host.Observation, error)
}

// copy copies the volumes, so that an update that fails loses nothing.
func (p *Performer) copy(ctx context.Context, d state.Desired) error {
	over := p.copyOver
	if d.Update.Back {
		over = p.beginExchange
	}
	if err := Long(p.observer, d.App, "copying volumes", func() error { return over(ctx, d) }); err != nil {
		return err
	}
	if fault.Planted(fault.UpdateLosesData) {
		return p.lose(ctx, d.App)
	}
	return nil
}

// lose is a fault: the volumes are made anew, empty.
func (p *Performer) lose(ctx context.Context, app string) error {
	d, err := p.store.Get(app)
	if err != nil {
		return err
	}
	var lost []string // deleted last: a new directory must not get the number of the one before
	for _, dir := range p.volumeDirs(app) {
		if err := os.Rename(dir, dir+".lost"); err != nil {
			return err
		}
		lost = append(lost, dir+".lost")
	}
	err = p.engine.EnsureVolumes(ctx, p.volumeOwners(d.Manifest))
	for _, dir := range lost {
		err = errors.Join(err, p.engine.DeleteTree(ctx, dir))
	}
	return err
}

// switched records that the copy is complete: from now on the new version is in force, or, on
// the way back, once its data is in place, too.
func (p *Performer) switched(d state.Desired) error {
	return p.updating(d.App, func(now *state.Desired) {
		u := *now.Update
		if u.Phase == state.Staged {
			u.Taken = time.Now().UTC()
		}
		if u.Back && u.Phase == state.Staged {
			u.Phase = state.Returning
		} else {
			u.Phase = state.Switched
		}
		now.Update = &u
	})
}

// commit makes the new version the one installed, once it is seen to run: a unit that
// was active already would have been left as it was. The version before, and the copy of its
// data, are the way back from then on, in place of those that were.
func (p *Performer) commit(ctx context.Context, d state.Desired, m *manifest.Manifest, specs map[string]string) error {
	obs, err := p.engine.Observe(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", host.ErrUnavailable, err)
	}
	for name, spec := range specs {
		if c := obs.Containers[name]; c.State != "running" || c.Spec != spec {
			return fmt.Errorf("%s does not run as version %s", name, d.Update.To.Version)
		}
	}
	to := d.Update.To
	data := p.store.Data(d.App)
	data.App, data.Version, data.Migration = d.App, to.Version, max(data.Migration, to.Migration)
	if err := p.store.PutData(data); err != nil {
		return err
	}
	if err := p.record(d.App, func(now *state.Desired) {
		if u := now.Update; u != nil {
			since := time.Now().UTC()
			now.Previous = &state.Previous{Manifest: now.Manifest, Source: now.Source, Copy: u.Copy, Volumes: u.Had, Taken: u.Taken, Since: since}
			if u.Taken.IsZero() { // a daemon that did not record it has begun the update
				now.Previous.Taken = since
			}
			now.Source, now.Held = u.Source, ""
			if u.Back {
				now.Held = now.Manifest.Digest()
			}
		}
		now.Manifest, now.Update, now.Note, now.Declined = to, nil, "", ""
	}); err != nil {
		return err
	}
	// The update is done, whatever becomes of the copy before, and of files of the old version.
	if err := p.sweepFiles(m); err != nil {
		p.log.Error("deleting files of the version before", "app", d.App, "error", err)
	}
	if d.Previous == nil || d.Update.Back { // whose copy has become the data
		return nil
	}
	older := p.copyOf(d.App, d.Previous.Copy)
	if err := p.engine.DeleteTree(ctx, older); err != nil {
		p.log.Error("deleting the copy kept of an earlier update", "app", d.App, "error", err)
		return p.record(d.App, func(now *state.Desired) {
			now.Note = fmt.Sprintf("updated to %s; the copy of its data from the update before, %s, could not be deleted (%v): the daemon tries again when it next starts", to.Version, older, err)
		})
	}
	return nil
}

// putBack has the copy take the place of the data, and forgets volumes that only
// the new version had, and its format, which a commit that was cut has recorded. On the way
// back, data and copy change places.
func (p *Performer) putBack(ctx context.Context, planned state.Desired) error {
	d, err := p.store.Get(planned.App) // the phase may have moved on since the plan was made
	if err != nil {
		return err
	}
	if d.Update == nil {
		return fmt.Errorf("the update of %s has ended already", d.App)
	}
	replace := p.replace
	if d.Update.Back {
		replace = p.exchange
	}
	err = Long(p.observer, d.App, "putting the data back", func() error { return replace(ctx, d) })
	if errors.Is(err, host.ErrNoRoom) {
		err = fmt.Errorf("%w; until then the copy of its data is kept whole: it is tried again every few minutes, or at once with 'archy start %s'", err, d.App)
	}
	if err != nil || d.Update.Back {
		return err
	}
	data := p.store.Data(d.App)
	data.Version, data.Migration = d.Manifest.Version, d.Manifest.Migration
	old := d.Manifest.Volumes()
	for _, v := range d.Update.To.Volumes() {
		if slices.Contains(old, v) || slices.Contains(d.Update.Had, v) || !slices.Contains(data.Volumes, v) {
			continue
		}
		if err := p.engine.DeleteTree(ctx, manifest.VolumeDir(p.dataDir, d.App, v)); err != nil {
			return err
		}
		data.Volumes = slices.DeleteFunc(slices.Clone(data.Volumes), func(have string) bool { return have == v })
	}
	return p.store.PutData(data)
}

// replace has the copies be where the data is.
func (p *Performer) replace(ctx context.Context, d state.Desired) error {
	for v, place := range p.store.Data(d.App).Places { // first: PutBack knows the application's own directory alone
		if place.Dir == "" {
			continue
		}
		if err := p.engine.Refill(ctx, filepath.Join(p.copyOf(d.App, d.Update.Copy), v), place.Dir); err != nil {
			return err
		}
	}
	return p.engine.PutBack(ctx, p.copyOf(d.App, d.Update.Copy), p.home(d.App))
}

// rolledBack ends an update that failed: the old version is up again, on its data.
func (p *Performer) rolledBack(d state.Desired) (why string, err error) {
	if err := p.updating(d.App, func(now *state.Desired) {
		if !now.Update.Back {
			now.Declined = now.Update.To.Digest()
		}
		now.Update, now.Note = nil, fmt.Sprintf("%s; rolled back to %s on %s", d.Update.Error, now.Manifest.Version, time.Now().UTC().Format("2006-01-02 15:04"))
	}); err != nil {
		return "", err
	}
	return d.Update.Error + "; rolled back to " + d.Manifest.Version, nil
}

// updating changes the record of an application whose update is under way; an error
// where it has ended.
func (p *Performer) updating(app string, change func(*state.Desired)) error {
	ended := false
	err := p.record(app, func(now *state.Desired) {
		if ended = now.Update == nil; !ended {
			change(now)
		}
	})
	if ended && err == nil {
		return fmt.Errorf("the update of %s has ended already", app)
	}
	return err
}
