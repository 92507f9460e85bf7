package manifest

import (
	"cmp"
	"slices"
)

// Moved are the directories of volumes that their owner has moved out of applications' own
// directories, by application and volume.
type Moved map[string]map[string]string

// WithMoved is the manifest on a node where volumes were moved.
func (m *Manifest) WithMoved(moved Moved) *Manifest {
	if !slices.ContainsFunc(m.Containers, func(c Container) bool {
		return slices.ContainsFunc(c.Volumes, func(v Volume) bool { return moved[m.ID][v.Name] != "" }) ||
			slices.ContainsFunc(c.Imports, func(in Import) bool { return in.Mounts() && moved[in.Of][in.Name] != "" })
	}) {
		return m
	}
	out := *m
	out.Containers = slices.Clone(m.Containers)
	for i := range out.Containers {
		c := &out.Containers[i]
		c.Volumes, c.Imports = slices.Clone(c.Volumes), slices.Clone(c.Imports)
		for j := range c.Volumes {
			c.Volumes[j].At = moved[m.ID][c.Volumes[j].Name]
		}
		for j, in := range c.Imports {
			if in.Mounts() {
				c.Imports[j].At = moved[in.Of][in.Name]
			}
		}
	}
	return &out
}

// Dir is the directory on the node of a volume of this application.
func (v Volume) Dir(dataDir, app string) string {
	return cmp.Or(v.At, VolumeDir(dataDir, app, v.Name))
}

// Dir is the directory on the node of the volume that is imported.
func (in Import) Dir(dataDir string) string { return cmp.Or(in.At, VolumeDir(dataDir, in.Of, in.Name)) }
