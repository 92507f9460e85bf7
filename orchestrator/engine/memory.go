package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/fsnotify/fsnotify"
)

const (
	controlGroups = "/sys/fs/cgroup"
	memoryEvents  = "memory.events"
)

// memory follows what the kernel says of the memory of units: in the control group of each, how
// many processes were killed because all of them together were at the limit. It asks nothing:
// the kernel tells of a change, before the group of a unit that ends is gone.
type memory struct {
	groups  string // where the control groups of the user's units are
	watcher *fsnotify.Watcher

	mu    sync.Mutex
	units map[string]*counted // by file
}

// counted is a control group's file of events.
type counted struct {
	unit  string
	file  os.FileInfo
	kills int
}

// openMemory follows control groups beside the daemon's own.
func openMemory() (*memory, error) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(b)) {
		if own, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return followMemory(filepath.Join(controlGroups, path.Dir(own)))
		}
	}
	return nil, errors.New("there are no control groups of version 2")
}

func followMemory(groups string) (*memory, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("following the memory of units: %w", err)
	}
	return &memory{groups: groups, watcher: w, units: map[string]*counted{}}, nil
}

// follow has these units be followed, and no others. One that was started again has a new
// control group of the old name; of the old one's end, not every kernel tells.
func (m *memory) follow(units []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	wanted := map[string]bool{}
	for _, u := range units {
		file := filepath.Join(m.groups, u, memoryEvents)
		wanted[file] = true
		is, err := os.Stat(file)
		if err != nil {
			continue // it does not run
		}
		if known := m.units[file]; known != nil && os.SameFile(known.file, is) {
			continue
		}
		m.watcher.Remove(file) // of the group before
		delete(m.units, file)
		if m.watcher.Add(file) != nil {
			continue // it has ended meanwhile
		}
		m.units[file] = &counted{u, is, kills(file)}
	}
	for file := range m.units {
		if !wanted[file] {
			m.watcher.Remove(file)
			delete(m.units, file)
		}
	}
}

// run tells of each unit of which a process was killed, until the context ends.
func (m *memory) run(ctx context.Context, killed func(unit string)) {
	for {
		select {
		case e, ok := <-m.watcher.Events:
			if !ok {
				return
			}
			if unit := m.more(e.Name); unit != "" {
				killed(unit)
			}
		case <-m.watcher.Errors: // of a queue that was full; the next event has the count
		case <-ctx.Done():
			return
		}
	}
}

// more gives the unit of a file whose count has grown; empty for none.
func (m *memory) more(file string) (unit string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.units[file]
	if c == nil {
		return ""
	}
	n := kills(file)
	if n <= c.kills {
		return ""
	}
	c.kills = n
	return c.unit
}

// kills reads how many processes of a control group were killed; 0 where nobody knows.
func kills(file string) (n int) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if number, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, _ = strconv.Atoi(strings.TrimSpace(number))
		}
	}
	return n
}

// MemoryKills calls killed with the unit whenever a process of a followed unit was killed for
// want of memory, until the context ends. Where the kernel cannot tell, it says so and returns.
func (e *Engine) MemoryKills(ctx context.Context, killed func(unit string)) error {
	m, err := openMemory()
	if err != nil {
		return err
	}
	defer m.watcher.Close()
	e.memory.Store(m)
	defer e.memory.Store(nil)
	m.run(ctx, killed)
	return nil
}
