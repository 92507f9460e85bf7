//go:build faults

package fault

import (
	"os"
	"path/filepath"
	"syscall"
)

// Planted tells whether this build commits the fault.
func Planted(name string) bool { return os.Getenv("ARCHIPELAGO_FAULT") == name }

// Cut kills the daemon at this point where that is the fault: once, which a file
// in the run-time directory remembers.
func Cut(point, verb string) {
	name := "cut:" + point + ":" + verb
	if !Planted(name) {
		return
	}
	mark := filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "archipelago-"+point+"-"+verb)
	if f, err := os.OpenFile(mark, os.O_CREATE|os.O_EXCL, 0o600); err == nil {
		f.Close()
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
}
