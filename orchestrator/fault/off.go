//go:build !faults

package fault

// Planted tells whether this build commits the fault; an ordinary one never does.
func Planted(string) bool { return false }

// Cut kills the daemon at this point where that is the fault; an ordinary build
// does nothing.
func Cut(point, verb string) {}
