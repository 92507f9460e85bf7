package orchestrator

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/notify"
	"github.com/archipelago-cloud/archipelago/orchestrator/perform"
	"github.com/archipelago-cloud/archipelago/orchestrator/repository"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

const (
	previousEvery = time.Minute // how often it is looked whether a way back ends
	previousHold  = time.Second // how long that waits for work under way
)

// keepPrevious ends ways back from updates whose time has come, and, while the disk fills, the
// oldest first; until the context ends.
func (r *Reconciler) keepPrevious(ctx context.Context) {
	tick := time.NewTicker(previousEvery)
	defer tick.Stop()
	for {
		r.endPrevious(ctx, time.Now())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (r *Reconciler) endPrevious(ctx context.Context, now time.Time) {
	var kept []state.Desired
	for _, d := range r.store.All() {
		if d.Previous != nil && d.Update == nil && d.Goal != state.Absent {
			kept = append(kept, d)
		}
	}
	slices.SortFunc(kept, func(a, b state.Desired) int { return a.Previous.Since.Compare(b.Previous.Since) })
	for _, d := range kept {
		full := false
		if space, err := r.space(r.dataDir); err == nil {
			full = space.Used() >= notify.NearlyFull
		}
		switch {
		case repository.Ahead(d.Previous.Since, now): // by a clock that was wrong: it would stay for as long
			r.countPrevious(d, now)
		case !now.Before(d.Previous.Until()):
			r.endWayBack(ctx, d, "it is kept for a week", "")
		case full:
			why := "the disk was filling"
			r.endWayBack(ctx, d, why, perform.WayBackEnded(d.Previous, why))
		}
	}
}

// countPrevious has the time of a way back begin now.
func (r *Reconciler) countPrevious(d state.Desired, now time.Time) {
	if _, err := r.store.Update(d.App, func(rec *state.Desired) {
		if rec.Previous == d.Previous {
			p := *rec.Previous
			p.Since = now.UTC()
			rec.Previous = &p
		}
	}); err != nil {
		r.log.Error("the copy kept of an update", "app", d.App, "error", err)
	}
}

// endWayBack forgets a way back, and deletes its copy; note, if not empty, is for the owner.
// Where work is under way, it is tried again at the next look.
func (r *Reconciler) endWayBack(ctx context.Context, d state.Desired, why, note string) {
	short, cancel := context.WithTimeout(ctx, previousHold)
	defer cancel()
	release, err := r.operations.Hold(short, d.App, "the copy kept of an update is being deleted")
	if err != nil {
		return
	}
	doomed, err := r.forgetPrevious(d, note)
	release()
	r.Wake()
	if err == nil && doomed != "" {
		r.audit(perform.Who, d.App, perform.WayBackEnded(d.Previous, why), nil)
		r.swept.Store(false) // what is being deleted is no leftover
		err = r.engine.DeleteTree(ctx, doomed)
		r.swept.Store(true)
	}
	if err != nil && ctx.Err() == nil {
		r.log.Error("the copy kept of an update", "app", d.App, "error", err)
	}
}

// forgetPrevious takes a way back off the record, and gives its copy a name that nothing
// reads, in this order: a cut between the two leaves a copy that the next start deletes. There
// is none where a request was faster. The caller holds the application.
func (r *Reconciler) forgetPrevious(d state.Desired, note string) (doomed string, err error) {
	gone := false
	if _, err := r.store.Update(d.App, func(now *state.Desired) {
		if gone = now.Previous == d.Previous && now.Update == nil; !gone {
			return
		}
		now.Previous = nil
		if note != "" {
			now.Note = note
		}
	}); err != nil || !gone {
		return "", err
	}
	if name := d.App + d.Previous.Copy; there(filepath.Join(perform.Snapshots(r.dataDir), name)) {
		return r.doom(name)
	}
	return "", nil
}
