package orchestrator

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// maxRenderings bounds what a Renderer remembers; a node has some forty applications.
const maxRenderings = 4096

// Renderer renders manifests and remembers the outcome: a pass over applications
// that have not changed renders nothing. The same manifest, settings and flag give
// the same units whatever was rendered before.
type Renderer struct {
	DataDir string

	mu   sync.Mutex
	done map[renderKey]*rendering
}

type renderKey struct {
	manifest *manifest.Manifest
	config   string
	override string
	boot     bool
}

type rendering struct {
	quadlet.Unit
	manifest *manifest.Manifest // with its settings filled in
	members  []string           // that have a unit, each after those it depends on
	services []string           // of the members
}

func (r *Renderer) render(m *manifest.Manifest, d *state.Desired, boot bool) (*rendering, error) {
	key := renderKey{m, mapKey(d.Config), mapKey(d.Overrides), boot}
	r.mu.Lock()
	defer r.mu.Unlock()
	if out, ok := r.done[key]; ok {
		return out, nil
	}
	filled, err := m.With(d.Config)
	if err != nil {
		return nil, err
	}
	if len(d.Overrides) > 0 {
		own := *filled
		own.Containers = slices.Clone(filled.Containers)
		for i, c := range own.Containers {
			if image := d.Overrides[c.Name]; image != "" {
				own.Containers[i].Image = manifest.Image{Ref: image}
			}
		}
		filled = &own
	}
	out := &rendering{Unit: quadlet.Render(filled, r.DataDir, boot), manifest: filled}
	for _, c := range filled.Ordered() {
		if _, ok := out.Specs[c.Name]; ok {
			out.members = append(out.members, c.Name)
		}
	}
	out.services = services(out.members)
	if r.done == nil || len(r.done) >= maxRenderings {
		r.done = map[renderKey]*rendering{}
	}
	r.done[key] = out
	return out, nil
}

func mapKey(m map[string]string) string {
	if len(m) == 0 {
		return ""
	}
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(m)) {
		b.WriteString(k + "\x00" + m[k] + "\x00")
	}
	return b.String()
}

func services(members []string) []string {
	out := make([]string, len(members))
	for i, m := range members {
		out[i] = quadlet.Service(m)
	}
	return out
}
