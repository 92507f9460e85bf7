package view_test

import (
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/operation"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

func TestProgressOf(t *testing.T) {
	const spent = 3 * time.Second
	done := view.Progress{Done: true}
	for _, c := range []struct {
		name                 string
		op                   operation.Status
		generation, recorded uint64
		want                 view.Progress
		unknown              bool
	}{
		{"not begun", operation.Status{}, 2, 2, view.Progress{}, false},
		{"under way", operation.Status{Busy: true, Message: "pulling", Observed: 1, Engine: spent}, 2, 2, view.Progress{Message: "pulling"}, false},
		{"it waits", operation.Status{Message: "waiting for b", Observed: 1}, 2, 2, view.Progress{Message: "waiting for b"}, false},
		{"it is kept from beginning", operation.Status{Held: "a backup is being made", Observed: 1}, 2, 2, view.Progress{Message: "a backup is being made"}, false},
		{"carried out", operation.Status{Observed: 2, Engine: spent, App: 1}, 2, 2, view.Progress{Done: true, Engine: spent, App: 1}, false},
		{"a later one is carried out", operation.Status{Observed: 3}, 2, 3, done, false},
		{"a later one is under way", operation.Status{Observed: 1, Busy: true, Message: "stopping"}, 2, 3, view.Progress{Message: "stopping"}, false},
		{"failed", operation.Status{Failed: 2, Error: "no", Engine: spent}, 2, 2, view.Progress{Done: true, Err: "no", Engine: spent}, false},
		{"failed, and tried again", operation.Status{Failed: 2, Error: "no", Busy: true, Message: "pulling"}, 2, 2, view.Progress{Message: "pulling"}, false},
		{"an earlier one failed", operation.Status{Failed: 1, Error: "no"}, 2, 2, view.Progress{}, false},
		{"a later one failed", operation.Status{Failed: 3, Error: "no"}, 2, 3, view.Progress{Done: true, Err: "no"}, false},
		{"carried out, and it ended by itself since", operation.Status{Observed: 2, Failed: 2, Error: "crash-loop back-off"}, 2, 2, done, false},
		{"undone", operation.Status{Observed: 2, Undone: 2, UndoneWhy: "rolled back"}, 2, 2, view.Progress{Done: true, Err: "rolled back"}, false},
		{"undone, and the old version starts yet", operation.Status{Busy: true, Undone: 2, UndoneWhy: "rolled back"}, 2, 2, view.Progress{Done: true, Err: "rolled back"}, false},
		{"an earlier one was undone", operation.Status{Observed: 2, Undone: 1, UndoneWhy: "rolled back"}, 2, 2, done, false},
		{"removed before this daemon started", operation.Status{}, 2, 0, done, false},
		{"being removed", operation.Status{Busy: true, Message: "removing"}, 2, 0, view.Progress{Message: "removing"}, false},
		{"there never was such an operation", operation.Status{Observed: 2}, 3, 2, view.Progress{}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, unknown := view.ProgressOf(c.op, c.generation, c.recorded)
			if got != c.want || unknown != c.unknown {
				t.Errorf("%+v, %v; expected %+v, %v", got, unknown, c.want, c.unknown)
			}
		})
	}
}
