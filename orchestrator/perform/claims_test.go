package perform_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/plan"
)

// TestAPullMayTakeLongerThanAStart wants the time that images take to be none of the start's
// (https://github.com/containers/podman/issues/18353), and a start to pull nothing.
func TestAPullMayTakeLongerThanAStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := w.record(t)
		budget := pair("1").StartBudget()
		w.pulling = func(ctx context.Context) error {
			select {
			case <-time.After(10 * budget):
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if out := w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.Prepare, Manifest: pair("1")}); out.Err != nil {
			t.Fatalf("a pull of %s, with a start budget of %s: %v", 20*budget, budget, out.Err)
		}
		w.took()
		w.pulling = func(context.Context) error { return errPlanted }
		w.starting = func(context.Context) error { time.Sleep(budget - time.Second); return nil }
		if out := w.Do(t.Context(), d, start()); out.Err != nil {
			t.Errorf("with its images there, it starts within its budget: %v", out.Err)
		}
	})
}
