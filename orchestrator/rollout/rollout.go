// Package rollout has updates begin by themselves while they are allowed: one at a
// time, of applications that run, no version twice that did not come up, none that the owner
// has gone back from, none that needs the owner's consent, and none that is no step forward.
package rollout

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// every is how often it is looked whether an update may begin.
const every = time.Minute

// Node is what is asked of the node.
type Node interface {
	// Apps gives the applications, and why what is known of them is not of now.
	Apps() (views []view.View, at time.Time, stale string)
	Request(request.Request) (generation uint64, err error)
}

// Rollout looks for updates that may begin.
type Rollout struct {
	node Node
	log  *slog.Logger
	due  chan struct{}
	said map[string]string // by application: the digest of a version that waits for consent, once that is logged
}

// New prepares a rollout; Run makes it work.
func New(node Node, log *slog.Logger) *Rollout {
	return &Rollout{node: node, log: log, due: make(chan struct{}, 1), said: map[string]string{}}
}

// Due has Run look soon: there is a new offer, or an update has ended.
func (r *Rollout) Due() {
	select {
	case r.due <- struct{}{}:
	default:
	}
}

// Run begins updates that are due, at times that are allowed, until the context ends.
func (r *Rollout) Run(ctx context.Context, allowed func(time.Time) bool) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if allowed(time.Now()) {
			r.next()
		}
		select {
		case <-tick.C:
		case <-r.due:
		case <-ctx.Done():
			return
		}
	}
}

// next begins the update that is due next, where none is under way.
func (r *Rollout) next() {
	views, _, stale := r.node.Apps()
	if stale != "" || slices.ContainsFunc(views, func(v view.View) bool { return v.State == view.Updating }) {
		return
	}
	for _, v := range views {
		if v.Available == nil || v.Goal != state.Running || v.Declined || v.Held || v.Backward {
			continue
		}
		if len(v.NewPrivileges) > 0 {
			if digest := v.Available.Digest(); r.said[v.Manifest.ID] != digest {
				r.said[v.Manifest.ID] = digest
				r.log.Warn("no automatic update without the owner's consent", "app", v.Manifest.ID, "version", v.Available.Version, "new privileges", v.NewPrivileges)
			}
			continue
		}
		_, err := r.node.Request(request.Request{App: v.Manifest.ID, Verb: request.Update, Automatic: true, Who: "automatic update"})
		if err == nil {
			return
		}
		if !errors.Is(err, request.ErrRefused) {
			r.log.Error("automatic update", "app", v.Manifest.ID, "error", err)
		}
	}
}
