package matrix

import (
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/reports"
)

// kinded is an error that says what kind of failure it is.
type kinded struct {
	error
	kind reports.Failure
}

func (k kinded) Unwrap() error { return k.error }

// ofKind says what kind of failure an error is, if it is one.
func ofKind(kind reports.Failure, err error) error {
	if err == nil {
		return nil
	}
	return kinded{err, kind}
}

// KindOf is the worst kind among those of an error and what it wraps; empty for one that is
// of no kind.
func KindOf(err error) (kind reports.Failure) {
	if k, ok := err.(kinded); ok {
		kind = k.kind
	}
	switch wraps := err.(type) {
	case interface{ Unwrap() error }:
		kind = kind.Worse(KindOf(wraps.Unwrap()))
	case interface{ Unwrap() []error }:
		for _, e := range wraps.Unwrap() {
			kind = kind.Worse(KindOf(e))
		}
	}
	return kind
}

// dataGone begins a fault that the checks find in an application's data.
const dataGone = "the data is gone: "

// speaksOfData tells whether a fault of the checks is about data or secrets that are gone, or
// are others than before.
func speaksOfData(fault string) bool {
	if strings.HasPrefix(fault, dataGone) {
		return true
	}
	return strings.HasPrefix(fault, "secret ") && slices.ContainsFunc([]string{" does not exist", " is gone", " has another value than before"}, func(end string) bool { return strings.HasSuffix(fault, end) })
}
