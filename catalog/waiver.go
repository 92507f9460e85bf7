package catalog

import (
	"crypto/sha256"
	"encoding/json"
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
	Given   time.Time `json:"given,omitzero"`
	Until   time.Time `json:"until"`
	Renewed int       `json:"renewed,omitempty"` // how often an earlier one was renewed by it; at most once
	Renews  string    `json:"renews,omitempty"`  // Digest of the one that it renews
}

// Digest is the SHA-256, in hex, of all that a waiver for an application says.
func (w Waiver) Digest(app string) string {
	b, err := json.Marshal(struct {
		App string `json:"app"`
		Waiver
	}{app, w})
	if err != nil {
		panic(err) // it is text and times
	}
	return fmt.Sprintf("%x", sha256.Sum256(b))
}

// Overlaps tells whether a waiver excuses a step that an earlier one excused.
func (w *Waiver) Overlaps(earlier *Waiver) bool {
	return earlier != nil && slices.ContainsFunc(w.Steps, func(s string) bool { return slices.Contains(earlier.Steps, s) })
}

// Equal tells whether two waivers say the same.
func (w Waiver) Equal(o Waiver) bool {
	return slices.Equal(w.Steps, o.Steps) && w.Reason == o.Reason && w.Tracker == o.Tracker && w.Given.Equal(o.Given) && w.Until.Equal(o.Until) && w.Renewed == o.Renewed && w.Renews == o.Renews
}

// MaxRenewals is how often a waiver can be renewed: whoever needs it longer repairs what it
// excuses.
const MaxRenewals = 1

// MaxLife is how long a waiver lasts at most.
const MaxLife = 90 * 24 * time.Hour

// Check refuses a waiver that lasts longer than MaxLife, or was renewed more often than
// MaxRenewals, and one that does not say so much of itself; nil for no waiver.
func (w *Waiver) Check() error {
	switch {
	case w == nil:
		return nil
	case w.Given.IsZero():
		return fmt.Errorf("the waiver for %s does not say when it was given; give it again: 'gate waive'", strings.Join(w.Steps, ", "))
	case w.Until.After(w.Given.Add(MaxLife)):
		return fmt.Errorf("the waiver for %s is for longer than %d days, from %s to %s; end it by %s, and renew it once if it is still needed then",
			strings.Join(w.Steps, ", "), MaxLife/(24*time.Hour), w.Given.Format(time.DateOnly), w.Until.Format(time.DateOnly), w.Given.Add(MaxLife).Format(time.DateOnly))
	case w.Renewed < 0 || w.Renewed > MaxRenewals:
		return fmt.Errorf("the waiver for %s has been renewed %d times, and can be once; repair what it excuses", strings.Join(w.Steps, ", "), w.Renewed)
	case (w.Renewed > 0) != (w.Renews != ""):
		return fmt.Errorf("the waiver for %s has been renewed %d times, and the one that it renews is %q; give it again: 'gate waive --renews'", strings.Join(w.Steps, ", "), w.Renewed, w.Renews)
	}
	return nil
}

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
