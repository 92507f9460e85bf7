//go:build !faults

package fault

// Planted tells whether this build commits the fault; an ordinary one never does.
func Planted(string) bool { return false }

// Cut kills the daemon at this point where that is the fault; an ordinary build
// does nothing.
func Cut(point, verb string) {}

// Rendering gives a text of the unit files that is replaced, and by what; an ordinary
// build replaces none.
func Rendering() (old, by string, planted bool) { return "", "", false }

// Order gives the actions of a plan in the order in which they are done: an ordinary build's
// is the plan's.
func Order[T any](actions []T) []T { return actions }

// Skipped tells whether actions of a kind are taken for done; an ordinary build does them.
func Skipped(string) bool { return false }

// Operate is called before each action: an ordinary build only acts.
func Operate(verb string) {}
