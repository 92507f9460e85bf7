package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// lookTimeout bounds a look at all folders: a network's file system may be silent for ever.
const lookTimeout = 2 * time.Second

// maxID is how many bytes of a mark are read.
const maxID = 64

// Look says why a folder cannot be used now, and what to do; empty where it can.
func Look(name string, f manifest.Folder) string {
	at, err := filepath.EvalSymlinks(f.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("%s is not there; if it is on a disk, connect and mount it", f.Dir)
	case err != nil:
		return fmt.Sprintf("it cannot be looked at: %v", err)
	case at != f.Dir:
		return fmt.Sprintf("%s leads to %s now; put back what was there, or 'archy storage add %s %s'", f.Dir, at, name, at)
	}
	id, err := ReadMark(f.Dir, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("%s is not what was added: %s is missing in it; if a disk belongs there, mount it; if this is the folder all the same, 'archy storage add %s %s'", f.Dir, manifest.Mark(name), name, f.Dir)
	case err != nil:
		return fmt.Sprintf("it cannot be looked at: %v", err)
	case id != f.ID:
		return fmt.Sprintf("%s is another folder than the one that was added, by its %s; if a disk belongs there, mount it; to use this one from now on, 'archy storage add %s %s'", f.Dir, manifest.Mark(name), name, f.Dir)
	}
	return ""
}

// ReadMark gives what a folder's mark holds. Whoever may write to the folder may have put
// anything there.
func ReadMark(dir, name string) (id string, err error) {
	file := filepath.Join(dir, manifest.Mark(name))
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s: no regular file", file)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxID))
	return strings.TrimSpace(string(b)), err
}

// Watcher looks at folders, and is never kept waiting by one.
type Watcher struct {
	mu   sync.Mutex
	busy map[string]bool // directories that have not answered yet
}

// Look says of each folder why it cannot be used now; empty where it can. One that does not
// answer is left to answer in its own time, and not asked again before.
func (w *Watcher) Look(folders map[string]manifest.Folder) map[string]string {
	type answer struct{ name, why string }
	answers := make(chan answer, len(folders))
	out := make(map[string]string, len(folders))
	asked := 0
	for name, f := range folders {
		out[name] = f.Dir + " does not answer; see to the disk, or the server, that it is on"
		w.mu.Lock()
		waiting := w.busy[f.Dir]
		if w.busy == nil {
			w.busy = map[string]bool{}
		}
		w.busy[f.Dir] = true
		w.mu.Unlock()
		if waiting {
			continue
		}
		asked++
		go func() { // nobody can end a system call that hangs, and nobody waits for it
			why := Look(name, f)
			w.mu.Lock()
			delete(w.busy, f.Dir)
			w.mu.Unlock()
			answers <- answer{name, why}
		}()
	}
	timeout := time.NewTimer(lookTimeout)
	defer timeout.Stop()
	for range asked {
		select {
		case a := <-answers:
			out[a.name] = a.why
		case <-timeout.C:
			return out
		}
	}
	return out
}
