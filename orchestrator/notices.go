package orchestrator

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/notify"
	"github.com/archipelago-cloud/archipelago/orchestrator/repository"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// noted is the reconciler as the notifier sees it.
type noted struct{ r *Reconciler }

func (n noted) Known(now time.Time) notify.Known {
	views, h := n.r.Installed()
	return n.r.wellness(views, h, now)
}

func (n noted) Changes() (uint64, <-chan struct{}) { return n.r.Changes() }
func (n noted) Changed()                           { n.r.operations.Changed("") }

// wellness is all that the daemon knows of how the node is.
func (r *Reconciler) wellness(views []view.View, h Hearing, now time.Time) notify.Known {
	o := r.Offer()
	k := notify.Known{Views: views, Stale: h.Stale, Revoked: o.Revoked, Frozen: o.Frozen(now)}
	k.Killed, k.HourKnown = r.killed.lately(now)
	k.Password, k.HoursKnown = r.suspects.lately(now)
	if all, err := r.Repositories(); err != nil {
		k.Repositories = []notify.Problem{{Name: "all", What: err.Error()}}
	} else {
		k.Repositories = r.troubled(all)
	}
	if r.followed != nil {
		if err := r.followed(); err != nil {
			k.Catalog = err.Error()
		}
	}
	k.Disk, _ = r.space(r.dataDir) // of one that cannot be looked at, nothing is known
	return k
}

// killedFor is how long an application counts as one that runs out of memory.
const killedFor = time.Hour

// kills are the units of which something was killed for want of memory, by application.
type kills struct {
	mu    sync.Mutex
	since time.Time // when the first look was
	last  map[string]kill
}

type kill struct {
	unit string
	at   time.Time
	n    int
}

// note adds one.
func (k *kills) note(app, unit string, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.last == nil {
		k.last = map[string]kill{}
	}
	was := k.last[app]
	if now.Sub(was.at) >= killedFor {
		was.n = 0
	}
	k.last[app] = kill{unit, now, was.n + 1}
}

// lately names what was killed within killedFor, by application, and tells whether all of that
// time is known of.
func (k *kills) lately(now time.Time) (what map[string]string, known bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.since.IsZero() {
		k.since = now
	}
	what = map[string]string{}
	for app, one := range k.last {
		if now.Sub(one.at) >= killedFor {
			delete(k.last, app)
			continue
		}
		name := strings.TrimSuffix(one.unit, ".service")
		what[app] = "a process of " + name + " was killed, as that may use no more"
		if one.n > 1 {
			what[app] = fmt.Sprintf("processes of %s were killed %d times, as that may use no more", name, one.n)
		}
	}
	return what, now.Sub(k.since) >= killedFor
}

// MemoryKilled tells that a process of a unit was killed for want of memory.
func (r *Reconciler) MemoryKilled(unit string) {
	app, ok := (*r.members.Load())[unit]
	if !ok {
		return
	}
	r.killed.note(app, unit, time.Now())
	r.log.Warn("killed for want of memory", "app", app, "unit", unit)
	r.operations.Changed("")
}

// troubled are the repositories that cannot be used, and why.
func (r *Reconciler) troubled(all []*repository.Repository) (out []notify.Problem) {
	for _, to := range all {
		if why := cmp.Or(to.Problem, r.backups.Health(to.Name).Problem); why != "" {
			out = append(out, notify.Problem{Name: to.Name, What: why})
		}
	}
	return out
}

// Follows says, before Run, whom to ask why no catalog can be followed; nil is an answer, too.
func (r *Reconciler) Follows(problem func() error) { r.followed = problem }

// Attention gives what is not well now, of what Installed gives; a notice goes out of what
// lasts.
func (r *Reconciler) Attention(views []view.View, h Hearing) []notify.Condition {
	return notify.Look(r.wellness(views, h, time.Now())).Conditions
}

// told tells whether it is known where notices go.
func (r *Reconciler) told() host.Finding {
	const name = "notices"
	all, err := r.notices.Targets()
	switch {
	case err != nil:
		return host.Finding{Name: name, Detail: err.Error()}
	case len(all) == 0:
		return host.Finding{Name: name, OK: true, Detail: "go nowhere; 'archy notify add' says where"}
	}
	return host.Finding{Name: name, OK: true, Detail: fmt.Sprintf("go to %d targets", len(all))}
}

// Notices are what wants the owner's attention, and go to where he is.
func (r *Reconciler) Notices() *notify.Notifier { return r.notices }

// RunNotices sends them, until the context ends.
func (r *Reconciler) RunNotices(ctx context.Context) {
	r.backups.Recall() // a problem that is not known yet is not over
	r.notices.Run(ctx)
}

// AddTarget has notices go to an address, which is not in the audit log: it holds a password.
func (r *Reconciler) AddTarget(name, address, who string) (notify.Target, error) {
	t, err := r.notices.Add(name, address)
	r.audit(who, "", "notify add "+notify.ShownName(name), err)
	return t, err
}

// RemoveTarget has none go there any more.
func (r *Reconciler) RemoveTarget(name, who string) error {
	err := r.notices.Remove(name)
	r.audit(who, "", "notify remove "+notify.ShownName(name), err)
	return err
}
