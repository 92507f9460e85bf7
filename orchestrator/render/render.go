// Package render turns manifests, with a node's settings filled in, into what
// quadlet writes, and remembers the outcome.
package render

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/disk"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
)

// maxRenderings bounds what a Renderer remembers; a node has some forty applications.
const maxRenderings = 4096

// Renderer renders manifests and remembers the outcome: a pass over applications
// that have not changed renders nothing. The same input gives the same units whatever
// was rendered before.
type Renderer struct {
	DataDir string        // where applications' folders are
	Node    manifest.Node // that they run on

	mu      sync.Mutex
	folders map[string]manifest.Folder // the owner's; nil: nobody has said, and examples stand for them
	moved   manifest.Moved
	disks   map[string]disk.Disk // that directories are on; replaced, never changed
	done    map[key]*Rendering
}

// SetFolders says which folders the node's owner has named. What is rendered from now on is
// in them, or is not rendered.
func (r *Renderer) SetFolders(folders map[string]manifest.Folder) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.folders == nil || !maps.Equal(r.folders, folders) {
		r.folders, r.done = folders, nil
	}
}

// SetMoved says which volumes the node's owner has moved.
func (r *Renderer) SetMoved(moved manifest.Moved) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !maps.EqualFunc(r.moved, moved, maps.Equal[map[string]string, map[string]string]) {
		r.moved, r.done = moved, nil
	}
}

// SetDisks says which disks directories are on that the node's owner has named.
func (r *Renderer) SetDisks(disks map[string]disk.Disk) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !maps.Equal(r.disks, disks) {
		r.disks, r.done = disks, nil
	}
}

// disksOf are the disks that an application needs, by the directories that it has there.
func (r *Renderer) disksOf(m *manifest.Manifest) map[string]disk.Disk {
	out := map[string]disk.Disk{}
	add := func(dir string) {
		if d, known := r.disks[dir]; known {
			out[dir] = d
		}
	}
	for _, c := range m.Containers {
		for _, v := range c.Volumes {
			add(v.Dir(r.DataDir, m.ID))
		}
		for _, in := range c.Imports {
			if in.Mounts() {
				add(in.Dir(r.DataDir))
			}
		}
		for _, s := range c.Storage {
			add(s.Dir)
		}
	}
	return out
}

type key struct {
	manifest  *manifest.Manifest
	config    string
	override  string
	boot      bool
	requirers string
	apps      string
}

// Rendering is one application as units.
type Rendering struct {
	quadlet.Unit
	Manifest *manifest.Manifest // with its settings filled in
	Members  []string           // containers that have a unit, each after those it depends on
	Services []string           // of the members
}

// Render fills in settings (config) and the owner's own images (overrides, by
// member), and renders. Where boot is true, the members start with the machine;
// requirers are the applications that require this one; apps are those that it requires
// and has. The error is that of a setting that the manifest does not take, of something that
// another application does not offer, or of a folder that the node does not know.
func (r *Renderer) Render(m *manifest.Manifest, config, overrides map[string]string, boot bool, requirers []quadlet.Requirer, apps map[string]*manifest.Manifest) (*Rendering, error) {
	k := key{m, mapKey(config), mapKey(overrides), boot, fmt.Sprint(requirers), exportsKey(apps)}
	r.mu.Lock()
	defer r.mu.Unlock()
	if out, ok := r.done[k]; ok {
		return out, nil
	}
	node := r.Node
	node.Apps = apps
	filled, err := m.With(config, node)
	if err != nil {
		return nil, err
	}
	if len(overrides) > 0 {
		own := *filled
		own.Containers = slices.Clone(filled.Containers)
		for i, c := range own.Containers {
			if image := overrides[c.Name]; image != "" {
				own.Containers[i].Image = manifest.Image{Ref: image}
			}
		}
		filled = &own
	}
	if r.folders != nil {
		filled = filled.WithFolders(r.folders)
		for _, name := range filled.Storage() {
			if r.folders[name].Dir == "" {
				return nil, fmt.Errorf("its folder %s is not known any more; 'archy storage add %s DIR' says where it is", name, name)
			}
		}
	}
	filled = filled.WithMoved(r.moved)
	out := &Rendering{Unit: quadlet.Render(filled, r.DataDir, boot, requirers...), Manifest: filled}
	out.Await(r.disksOf(filled))
	for _, c := range filled.Ordered() {
		if _, ok := out.Specs[c.Name]; ok {
			out.Members = append(out.Members, c.Name)
		}
	}
	out.Services = Services(out.Members)
	if r.done == nil || len(r.done) >= maxRenderings {
		r.done = map[key]*Rendering{}
	}
	r.done[k] = out
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

// exportsKey is what of other applications the units of one that requires them rest on.
func exportsKey(apps map[string]*manifest.Manifest) string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(apps)) {
		fmt.Fprintf(&b, "%s %s %v\x00", id, apps[id].Version, apps[id].Exports) // fmt sorts maps
	}
	return b.String()
}

// Services are the systemd units of containers.
func Services(members []string) []string {
	out := make([]string, len(members))
	for i, m := range members {
		out[i] = quadlet.Service(m)
	}
	return out
}
