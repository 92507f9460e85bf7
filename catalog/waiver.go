package catalog

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Waiver lets an application be released although steps of it did not pass the gate.
// Somebody signs for it. It turns nothing green, is shown wherever the application is,
// and ends by itself.
type Waiver struct {
	Steps   []string  `json:"steps"` // of the gate, whose failures it excuses
	Reason  string    `json:"reason"`
	Tracker string    `json:"tracker"` // link to where the failure is worked on
	Until   time.Time `json:"until"`
	Renewed int       `json:"renewed,omitempty"` // how often an earlier one was renewed by it; at most once
}

// Renews tells whether a waiver excuses a step that an earlier one excused.
func (w *Waiver) Renews(earlier *Waiver) bool {
	return earlier != nil && slices.ContainsFunc(w.Steps, func(s string) bool { return slices.Contains(earlier.Steps, s) })
}

// Equal tells whether two waivers say the same.
func (w Waiver) Equal(o Waiver) bool {
	return slices.Equal(w.Steps, o.Steps) && w.Reason == o.Reason && w.Tracker == o.Tracker && w.Until.Equal(o.Until) && w.Renewed == o.Renewed
}

// MaxRenewals is how often a waiver can be renewed: whoever needs it longer repairs what it
// excuses.
const MaxRenewals = 1

// Ended says that a waiver has ended, and when; nil while it holds, and for no waiver.
func (w *Waiver) Ended(now time.Time) error {
	if w == nil || now.Before(w.Until) {
		return nil
	}
	return fmt.Errorf("the waiver for %s ended on %s (%s)", strings.Join(w.Steps, ", "), w.Until.Format(time.DateOnly), w.Tracker)
}

func (w *Waiver) String() string {
	until := w.Until.Format(time.DateOnly)
	if w.Renewed > 0 {
		until += ", renewed"
	}
	return fmt.Sprintf("released although it is not green at %s, until %s: %s (%s)", strings.Join(w.Steps, ", "), until, w.Reason, w.Tracker)
}
