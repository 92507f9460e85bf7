package orchestrator

import (
	"maps"
	"slices"
	"sync"

	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// webs are the published ports of installed applications' web interfaces.
type webs struct {
	mu      sync.Mutex
	ports   map[string][]int // by application; replaced, never changed
	changed chan struct{}    // closed at every change, and replaced
}

func (w *webs) get() (map[string][]int, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ports, w.changed
}

// note looks at what is installed now.
func (w *webs) note(records []state.Desired) {
	ports := map[string][]int{}
	for _, d := range records {
		if d.Manifest == nil || d.Goal == state.Absent {
			continue
		}
		for _, port := range d.Manifest.WebPorts() {
			ports[d.App] = append(ports[d.App], port.Host)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !maps.EqualFunc(ports, w.ports, slices.Equal) {
		w.ports = ports
		close(w.changed)
		w.changed = make(chan struct{})
	}
}
