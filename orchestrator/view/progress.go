package view

import (
	"cmp"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/operation"
)

// Progress of an operation.
type Progress struct {
	Message     string
	Done        bool
	Err         string
	Engine, App time.Duration // where its time went, once it is done
}

// ProgressOf says how far a generation of an application has come. recorded is the
// generation on record, 0 for none; unknown says that there never was such an
// operation.
func ProgressOf(op operation.Status, generation, recorded uint64) (p Progress, unknown bool) {
	done := Progress{Done: true, Engine: op.Engine, App: op.App}
	switch {
	case op.Undone == generation:
		done.Err = op.UndoneWhy
		return done, false
	case op.Observed >= generation:
		return done, false
	case op.Failed >= generation && op.Error != "" && !op.Busy:
		done.Err = op.Error
		return done, false
	case recorded == 0 && !op.Busy:
		return Progress{Done: true}, false // removed before this daemon started
	case recorded > 0 && recorded < generation:
		return Progress{}, true
	}
	return Progress{Message: cmp.Or(op.Message, op.Held)}, false
}
