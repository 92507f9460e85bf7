//go:build faults

package fault

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
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

// Rendering gives a text of the unit files that is replaced, and by what.
func Rendering() (old, by string, planted bool) {
	edit, ok := strings.CutPrefix(os.Getenv("ARCHIPELAGO_FAULT"), "render:")
	if !ok {
		return "", "", false
	}
	return strings.Cut(edit, "=>")
}

// Order gives the actions of a plan in the order in which they are done.
func Order[T any](actions []T) []T {
	if Planted("reversed") {
		slices.Reverse(actions)
	}
	return actions
}

// Skipped tells whether actions of a kind are taken for done.
func Skipped(verb string) bool { return Planted("skip:" + verb) }

var (
	operations atomic.Int64
	kept       sync.Map
)

// Operate is called before each action: a daemon that grows keeps some memory, and one that
// slows waits before a start.
func Operate(verb string) {
	switch n := operations.Add(1); {
	case Planted(Grows):
		b := make([]byte, 2<<20)
		for i := range b {
			b[i] = byte(n) // so that it is really there
		}
		kept.Store(n, b)
	case Planted(Slows) && verb == "start":
		time.Sleep(time.Duration(n) * 30 * time.Millisecond)
	}
}
