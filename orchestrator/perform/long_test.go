package perform_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/perform"
	"github.com/archipelago-cloud/archipelago/orchestrator/plan"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// told is an observer that keeps what it is told.
type told struct {
	mu   sync.Mutex
	said []string
}

func (o *told) Say(app, message string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.said = append(o.said, app+": "+message)
}

func TestLongWorkSaysThatItGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &told{}
		err := perform.Long(o, "pair", "copying volumes", func() error { time.Sleep(40 * time.Second); return errPlanted })
		time.Sleep(time.Hour)
		if want := []string{"pair: copying volumes", "pair: copying volumes, for 15s so far", "pair: copying volumes, for 30s so far"}; !errors.Is(err, errPlanted) || !slices.Equal(o.said, want) {
			t.Errorf("%v: %q", err, o.said)
		}
	})
}

// TestCopyingDeletingAndPuttingBackAreLongWork, whose end is the engine's to say.
func TestCopyingDeletingAndPuttingBackAreLongWork(t *testing.T) {
	for verb, want := range map[plan.Verb]string{plan.Copy: "copying volumes", plan.PutBack: "putting the data back", plan.Purge: "deleting data"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.takes = 20 * time.Second
			d := w.record(t, updating(state.RollingBack))
			w.putData(t, "db")
			if out := w.Do(t.Context(), d, plan.Action{App: "pair", Verb: verb}); out.Err != nil {
				t.Error(out.Err)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if !slices.Contains(w.said, want) || !slices.Contains(w.said, want+", for 15s so far") {
				t.Errorf("%s: %q", verb, w.said)
			}
		})
	}
}
