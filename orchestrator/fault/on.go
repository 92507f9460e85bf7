//go:build faults

package fault

import "os"

// Planted tells whether this build commits the fault.
func Planted(name string) bool { return os.Getenv("ARCHIPELAGO_FAULT") == name }
