package manifest

import (
	"fmt"
	"maps"
	"slices"
)

// StorageMount is a folder of the owner's in a container, by the name that the owner gives
// it. Several applications may have the same. It is no part of the application's data: no
// uninstallation, purge, update or backup of the application touches it.
type StorageMount struct {
	Name   string `json:"name"`
	Path   string `json:"path"`
	Access string `json:"access"` // ReadWrite or ReadOnly

	Dir string `json:"-"` // on the node; WithFolders fills it in
}

// What a container may do with a folder of the owner's.
const (
	ReadWrite = "read_write"
	ReadOnly  = "read_only"
)

// Folder is a directory of the node's owner that applications may share.
type Folder struct {
	Dir string `json:"dir"` // absolute, without a symbolic link on the way
	ID  string `json:"id"`  // what its mark holds
}

// Mark is the name of the file in a folder by which it is known again: an empty mount point
// has none.
func Mark(name string) string { return ".archipelago-" + name }

// Place is the folder on the node; on one that nobody has named, an example.
func (s StorageMount) Place() string {
	if s.Dir == "" {
		return "/srv/" + s.Name
	}
	return s.Dir
}

// Storage are the names of the owner's folders that members have, sorted, each once.
func (m *Manifest) Storage() []string {
	names := map[string]bool{}
	for _, c := range m.Containers {
		for _, s := range c.Storage {
			names[s.Name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// WithFolders is the manifest on a node that has these folders. Those of them that the node
// lacks stay without a place.
func (m *Manifest) WithFolders(folders map[string]Folder) *Manifest {
	if len(m.Storage()) == 0 {
		return m
	}
	out := *m
	out.Containers = slices.Clone(m.Containers)
	for i := range out.Containers {
		c := &out.Containers[i]
		c.Storage = slices.Clone(c.Storage)
		for j := range c.Storage {
			c.Storage[j].Dir = folders[c.Storage[j].Name].Dir
		}
	}
	return &out
}

// words say what it gives, for the owner.
func (s StorageMount) words() string {
	does := "reads and writes"
	if s.Access == ReadOnly {
		does = "reads"
	}
	if s.Dir != "" {
		return fmt.Sprintf("%s your folder %s (%s)", does, s.Name, s.Dir)
	}
	return fmt.Sprintf("%s your folder %s", does, s.Name)
}

// checkStorage is about the owner's folders in a container.
func (d *document) checkStorage(i int, c Container, target func(path string, where ...any)) {
	seen := map[string]int{}
	for j, s := range c.Storage {
		if first, dup := seen[s.Name]; dup {
			d.report(at("containers", i, "storage", j, "name"), false, "the container has the folder %q already, as storage[%d]", s.Name, first)
		}
		seen[s.Name] = j
		target(s.Path, "containers", i, "storage", j, "path")
	}
}
