package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// rolloutEvery is how often it is looked whether an update may begin by itself.
const rolloutEvery = time.Minute

// Offer is what can be installed on a node at one time: the signed catalog that it
// follows, merged with the manifests on its disk. It is never changed, only replaced.
type Offer struct {
	catalog catalog.Catalog
	refused map[string]error   // entries that must not be used, by name
	signed  *document.Document // its head and revocations; nil where none is followed
}

// NewOffer merges a signed catalog, nil for none, with the disk's. What the offer
// before it has with the same digest is not looked at again.
func NewOffer(signed *document.Document, disk catalog.Catalog, before *Offer, now time.Time) *Offer {
	if signed == nil {
		return &Offer{catalog: disk}
	}
	o := &Offer{}
	var known catalog.Catalog
	if before != nil {
		known = before.catalog
	}
	o.catalog, o.refused = signed.Merge(disk, known, now)
	head := *signed
	head.Entries = nil // 10,000 applications twice in memory are too many
	o.signed = &head
	return o
}

// ids are those of all applications that are offered or refused.
func (o *Offer) ids() []string {
	all := slices.Collect(maps.Keys(o.catalog))
	for id := range o.refused {
		if o.catalog[id] == nil {
			all = append(all, id)
		}
	}
	return all
}

// Refused are the entries that must not be used, by name, and why.
func (o *Offer) Refused() map[string]string {
	out := make(map[string]string, len(o.refused))
	for id, err := range o.refused {
		out[id] = err.Error()
	}
	return out
}

// Frozen says that the signed catalog has expired, and how long ago; empty where it
// has not, or where none is followed.
func (o *Offer) Frozen(now time.Time) string {
	if o.signed == nil || now.Before(o.signed.Expires) {
		return ""
	}
	return fmt.Sprintf("the catalog %s expired %s ago, on %s: what is installed runs on, nothing new is taken from it until a newer one is there",
		o.signed.Head(), now.Sub(o.signed.Expires).Truncate(time.Second), o.signed.Expires.Format(time.RFC3339))
}

// entry gives what may be installed now under an id, or why nothing may.
func (o *Offer) entry(id string, now time.Time) (*catalog.Entry, error) {
	if err := o.refused[id]; err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	e := o.catalog[id]
	switch {
	case e == nil:
		return nil, fmt.Errorf("%w: %s is not in the catalog any more", ErrRefused, id)
	case e.Waiver != nil && !now.Before(e.Waiver.Until):
		return nil, fmt.Errorf("%w: the waiver for the %s of %s ended on %s (%s)", ErrRefused, strings.Join(e.Waiver.Steps, ", "), id, e.Waiver.Until.Format(time.DateOnly), e.Waiver.Tracker)
	case e.Source.From != catalog.FromDisk && o.Frozen(now) != "":
		return nil, fmt.Errorf("%w: %s", ErrRefused, o.Frozen(now))
	}
	return e, nil
}

// revoked says why a version must not be installed any more; empty where it may.
func (o *Offer) revoked(id, version string) string {
	if o.signed == nil {
		return ""
	}
	r := o.signed.Revocation(id, version)
	if r == nil {
		return ""
	}
	return fmt.Sprintf("version %s was revoked on %s: %s", version, r.Since.Format(time.DateOnly), r.Reason)
}

// Offer is what can be installed now.
func (r *Reconciler) Offer() *Offer { return r.offer.Load() }

// SetOffer replaces what can be installed. What is installed is not touched.
func (r *Reconciler) SetOffer(o *Offer) {
	for id, err := range o.refused {
		r.log.Error("catalog entry refused", "app", id, "error", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.offer.Store(o)
	r.digests = nil
	r.lookForUpdates()
	for _, a := range r.apps {
		a.notify()
	}
}

// offered gives the manifest of the catalog under an id, whether or not it may be
// installed now; nil where there is none.
func (r *Reconciler) offered(id string) *manifest.Manifest { return r.Offer().catalog.Manifest(id) }

// Rollout has updates begin by themselves while they are allowed: one at a time, of
// applications that run, and no version twice that did not come up.
func (r *Reconciler) Rollout(ctx context.Context, allowed func(time.Time) bool) {
	tick := time.NewTicker(rolloutEvery)
	defer tick.Stop()
	for {
		if now := time.Now(); allowed(now) {
			r.updateNext()
		}
		select {
		case <-tick.C:
		case <-r.updatesDue:
		case <-ctx.Done():
			return
		}
	}
}

// lookForUpdates has Rollout look soon: there is a new offer, or an update has ended.
func (r *Reconciler) lookForUpdates() {
	select {
	case r.updatesDue <- struct{}{}:
	default:
	}
}

// updateNext begins the update that is due next, where none is under way.
func (r *Reconciler) updateNext() {
	views, _, stale := r.Apps()
	if stale != "" || slices.ContainsFunc(views, func(v View) bool { return v.State == Updating }) {
		return
	}
	for _, v := range views {
		if v.Available == nil || v.Goal != state.Running || v.Declined {
			continue
		}
		_, err := r.Request(Ask{App: v.Manifest.ID, Verb: "update", Who: "automatic update"})
		if err == nil {
			return
		}
		if !errors.Is(err, ErrRefused) {
			r.log.Error("automatic update", "app", v.Manifest.ID, "error", err)
		}
	}
}
