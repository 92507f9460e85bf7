//go:build !faults

package fault

// Planted tells whether this build commits the fault; an ordinary one never does.
func Planted(string) bool { return false }
