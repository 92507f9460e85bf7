package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/archipelago-cloud/archipelago/orchestrator/fault"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/operation"
	"github.com/archipelago-cloud/archipelago/orchestrator/perform"
	"github.com/archipelago-cloud/archipelago/orchestrator/plan"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// work carries out one application's plan and records how that ended.
func (r *Reconciler) work(ctx context.Context, d state.Desired, p plan.Plan) {
	defer r.Wake()
	if d.Update != nil {
		defer r.rollout.Due()
	}
	err := r.carryOut(ctx, d, p)
	away, again := errors.Is(err, host.ErrUnavailable), errors.Is(err, perform.ErrReplan)
	if err != nil && ctx.Err() == nil && !away && !again && d.Update != nil {
		err = r.giveUpUpdate(d, err)
	}
	switch {
	case err == nil:
		if d.Purge && p.Waiting == "" {
			r.forgetDisks() // whoever installs it again may do without
		}
		r.operations.Done(d.App, d.Generation, d.Goal == state.Absent && p.Waiting == "")
	case away:
		// FM6, the engine does not answer: the operation is not over, it waits for it.
		r.know(func(k *host.Known) { k.Stale = err.Error() })
		r.operations.Pending(d.App, err.Error())
	case again, errors.Is(err, operation.ErrOvertaken), ctx.Err() != nil:
		r.operations.Pending(d.App, "")
	default:
		if why := r.operations.Fail(d.App, d.Generation, err.Error(), errors.Is(err, perform.ErrStart)); why != "" {
			r.rest(d, why)
		}
	}
}

// carryOut does a plan's actions, in order, until one fails.
func (r *Reconciler) carryOut(ctx context.Context, d state.Desired, p plan.Plan) error {
	log := r.log.With("app", d.App, "op", fmt.Sprintf("%s/%d", d.App, d.Generation))
	if p.Blocked != "" {
		log.Error("blocked", "reason", p.Blocked)
		return errors.New(p.Blocked)
	}
	var full error
	for _, a := range fault.Order(p.Actions) {
		if not, has := opposite[a.Verb]; has {
			if other := r.operations.Do(d.App, string(a.Verb), a.Beside, string(not)); other != "" {
				log.Info("put off", "verb", a.Verb, "beside", other)
				return perform.ErrReplan // the next plan waits for it
			}
		}
		log.Info("action", "verb", a.Verb, "reason", a.Reason, "units", a.Units)
		fault.Cut("before", string(a.Verb))
		fault.Operate(string(a.Verb))
		begin := time.Now()
		out := r.do(ctx, d, a)
		if errors.Is(out.Err, perform.ErrReplan) {
			return out.Err
		}
		fault.Cut("after", string(a.Verb))
		r.metrics.acted(a.Verb, time.Since(begin), out.Err)
		if out.Err != nil {
			log.Error("action failed", "verb", a.Verb, "error", out.Err)
			if a.Verb == plan.WriteUnits && d.Goal == state.Stopped && errors.Is(out.Err, unix.ENOSPC) {
				full = out.Err // all the more is it stopped
				continue
			}
			return out.Err
		}
		if a.Verb == plan.Start {
			r.Wake() // for those that require it: hooks may follow, and take long
		}
	}
	return full
}

// opposite is what the work on what an application requires, or on what requires it, must not
// have come to: from a stop to the start after it the one is not there, and from a start to the
// end of the work, with its hooks, the other needs it.
var opposite = map[plan.Verb]plan.Verb{plan.Start: plan.StopUnits, plan.StopUnits: plan.Start}

// do has one action performed. A start that is not part of an update is cancelled by
// the next request.
func (r *Reconciler) do(ctx context.Context, d state.Desired, a plan.Action) perform.Outcome {
	if a.Verb == plan.Start && d.Update == nil {
		cancelable, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		r.operations.Cancelable(d.App, cancel)
		ctx = cancelable
	}
	if fault.Skipped(string(a.Verb)) {
		return perform.Outcome{}
	}
	out := r.performer.Do(ctx, d, a)
	r.operations.Spent(d.App, out.Engine, out.App)
	if out.RolledBack != "" {
		r.operations.Undo(d.App, d.Update.Generation, out.RolledBack)
	}
	return out
}

// giveUpUpdate has a failed step of an update undone; the error is ErrOvertaken, by
// its own undoing, which the next pass plans.
func (r *Reconciler) giveUpUpdate(d state.Desired, cause error) error {
	// The phase may have moved on since the plan was made.
	now, err := r.store.Get(d.App)
	if err != nil {
		return errors.Join(cause, err)
	}
	_, ended, ok := plan.GiveUp(now, cause.Error())
	if !ok {
		return cause
	}
	if _, err := r.store.Update(d.App, func(rec *state.Desired) { *rec, _, _ = plan.GiveUp(*rec, cause.Error()) }); err != nil {
		return errors.Join(cause, err)
	}
	if ended {
		r.operations.Undo(d.App, d.Generation, plan.GaveUp(now.Update, cause.Error()))
	}
	return operation.ErrOvertaken
}

// rest stops an application that goes into crash-loop back-off: the daemon stops
// trying, and systemd too.
func (r *Reconciler) rest(d state.Desired, why string) {
	defer r.Wake()
	defer r.operations.Rest(d.App)
	r.log.Error("crash-loop back-off", "app", d.App, "generation", d.Generation, "reason", why)
	ctx, cancel := context.WithTimeout(context.Background(), perform.StopTimeout) // also while the daemon ends
	defer cancel()
	out, err := r.renderer.Render(d.Manifest, d.Config, d.Overrides, false, nil, nil)
	if err != nil {
		return // it has no units then
	}
	for _, u := range slices.Backward(out.Services) {
		if err := r.engine.StopUnit(ctx, u); err != nil {
			r.log.Error("stopping", "app", d.App, "unit", u, "error", err)
		}
	}
}
