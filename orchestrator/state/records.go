package state

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// Records are all records of a store at one time. They are never changed.
type Records struct {
	All    []Desired        // that can be read, sorted by application; of one in Broken nothing is carried out
	Data   map[string]Data  // of all applications that have data here
	Broken map[string]error // applications of which a record cannot be used

	Folders map[string]manifest.Folder // the owner's, by name
}

// Get gives an application's record, or ErrNotFound.
func (r Records) Get(app string) (Desired, error) {
	if err := r.Broken[app]; err != nil {
		return Desired{}, err
	}
	i, ok := slices.BinarySearchFunc(r.All, app, func(d Desired, app string) int { return strings.Compare(d.App, app) })
	if !ok {
		return Desired{}, fmt.Errorf("app %s: %w", app, ErrNotFound)
	}
	return r.All[i], nil
}

// Installed tells whether an application is on record, readable, and is not to go.
func (r Records) Installed(app string) bool {
	d, err := r.Get(app)
	return err == nil && d.Goal != Absent
}

// On is a manifest with the owner's folders filled in.
func (r Records) On(m *manifest.Manifest) *manifest.Manifest { return m.WithFolders(r.Folders) }

// Records gives all records as they are now.
func (s *Store) Records() Records {
	s.mu.RLock()
	r := s.snapshot
	s.mu.RUnlock()
	if r != nil {
		return *r
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.snapshot == nil {
		all := make([]Desired, 0, len(s.byApp))
		for _, app := range slices.Sorted(maps.Keys(s.byApp)) {
			all = append(all, s.byApp[app])
		}
		s.snapshot = &Records{All: all, Data: maps.Clone(s.dataOf), Broken: s.broken, Folders: s.folders}
	}
	return *s.snapshot
}
