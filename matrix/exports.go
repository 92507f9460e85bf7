package matrix

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// What applications reach of each other: the containers that serve what one exports and the
// other uses, its volumes, its credentials, and nothing else.

// Requirer is an application that may require another one, with the exports of that which it
// uses; nil: its main container, as far as it has no exports.
type Requirer struct {
	App  string   `json:"app"`
	Uses []string `json:"uses,omitzero"`
}

// reachedOf are the containers of an application that serve what another one uses.
func reachedOf(m *manifest.Manifest, uses []string) (containers []string) {
	if uses == nil && len(m.Exports) == 0 {
		return []string{m.ID}
	}
	for _, name := range uses {
		if e, there := m.Exports[name]; there && e.Volume == "" {
			containers = append(containers, cmp.Or(e.Container, m.ID))
		}
	}
	return containers
}

// serves tells whether a container of the application serves anything that others may use.
func serves(m *manifest.Manifest, container string) bool {
	if len(m.Exports) == 0 {
		return container == m.ID
	}
	for name := range m.Exports {
		if slices.Contains(reachedOf(m, []string{name}), container) {
			return true
		}
	}
	return false
}

// links tells whether an application shares a network with one that it requires, which is
// among others where it is known.
func links(r manifest.Requirement, others map[string]*manifest.Manifest) bool {
	if by := others[r.App]; by != nil {
		return len(reachedOf(by, r.Uses)) > 0
	}
	return r.Uses == nil
}

// checkReached requires the containers of others that an application uses to be on the network
// that it shares with them, where they run and are healthy.
func checkReached(m *manifest.Manifest, s *Snapshot) (wrong []string) {
	for _, r := range m.Requires {
		reaches := r.Reaches
		if reaches == nil && r.Linked() {
			reaches = []string{r.App}
		}
		for _, c := range s.Containers {
			up := c.State == "running" && (c.Health == "" || c.Health == "healthy")
			if up && c.App == r.App && slices.Contains(reaches, c.Name) && !slices.Contains(c.Networks, linkOf(m.ID, r.App)) {
				wrong = append(wrong, fmt.Sprintf("container %s, which it uses, is not on network %s", c.Name, linkOf(m.ID, r.App)))
			}
		}
	}
	return wrong
}

// imported adds what a container has of other applications.
func (m *Meant) imported(c manifest.Container, dataDir string) {
	uid, gid := c.IDs()
	for _, in := range c.Imports {
		switch {
		case in.Mounts():
			m.Volumes[in.Path] = VolumeMeant{manifest.VolumeDir(dataDir, in.Of, in.Name), in.ReadOnly}
		case in.Env != "" && in.Credential():
			m.Secrets = append(m.Secrets, SecretMeant{Name: in.Of + "." + in.Name, Variable: in.Env})
		case in.Credential():
			m.Secrets = append(m.Secrets, SecretMeant{Name: in.Of + "." + in.Name, Target: in.Path, UID: uid, GID: gid})
		}
	}
}

// imports tells whether a member has a directory as the volume of another application.
func imports(m *manifest.Manifest, member, dir string) bool {
	c, ok := m.Container(member)
	return ok && slices.ContainsFunc(c.Imports, func(in manifest.Import) bool {
		return in.Mounts() && manifest.VolumeDir(nodes.DataDir, in.Of, in.Name) == dir
	})
}

// settle has the shard's manifests be as they are on the node: of alternatives the one that is
// there, of optional requirements those that are.
func (s *Shard) settle() error {
	s.there = map[string]*manifest.Manifest{}
	for _, m := range slices.Concat(s.Apps, s.Fixtures) {
		s.there[m.ID] = m
	}
	for _, list := range [][]*manifest.Manifest{s.Apps, s.Fixtures, s.Absent} {
		for i, m := range list {
			on, err := m.On(s.there)
			if err != nil {
				return err
			}
			list[i] = on
		}
	}
	for app, m := range s.Previous {
		on, err := m.On(s.there)
		if err != nil {
			return fmt.Errorf("the release before: %w", err)
		}
		s.Previous[app] = on
	}
	return nil
}
