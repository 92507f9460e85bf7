package manifest

import (
	"fmt"
	"maps"
	"math"
	"slices"
)

// Aliases are the further names by which the application's containers reach one of them,
// sorted.
func (m *Manifest) Aliases(member string) (names []string) {
	for _, c := range m.Containers {
		for name, of := range c.ExtraHosts {
			if of == member && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// Ambiguous gives a further name of a container of one of two applications that is the name
// of a container of the other's, where they share a network because one requires the other:
// what is meant for the one could reach the other. It is empty where there is none.
func Ambiguous(a, b *Manifest) string {
	_, one := a.Requirement(b.ID)
	_, other := b.Requirement(a.ID)
	if !one && !other {
		return ""
	}
	for _, m := range [][2]*Manifest{{a, b}, {b, a}} {
		for _, c := range m[0].Containers {
			for _, name := range m[0].Aliases(c.Name) {
				if _, taken := m[1].Container(name); taken {
					return name
				}
			}
		}
	}
	return ""
}

// checkExtraHosts wants each further name to lead to one member, and to be nobody else's:
// the main container sees it beside the names of what is required.
func (d *document) checkExtraHosts(m *Manifest, names map[string]int) {
	leads := map[string]string{}
	for i, c := range m.Containers {
		for name, member := range c.ExtraHosts {
			where := at("containers", i, "extra_hosts", name)
			if _, ok := names[member]; !ok {
				d.report(where, false, "no container is named %q; a further name leads to a container of the application", member)
			}
			_, taken := names[name]
			_, required := m.requirement(name)
			switch {
			case taken:
				d.report(where, true, "%q is the name of a container already", name)
			case required:
				d.report(where, true, "%q is the name of what the application requires", name)
			case name == "localhost":
				d.report(where, true, "localhost is the container itself")
			}
		}
	}
	// In the order of the file, so that the second is the one that is told.
	for i, c := range m.Containers {
		for _, name := range slices.Sorted(maps.Keys(c.ExtraHosts)) {
			if first, dup := leads[name]; dup && first != c.ExtraHosts[name] {
				d.report(at("containers", i, "extra_hosts", name), false, "%q already leads to %s for another container, and all of them share their names", name, first)
			} else if !dup {
				leads[name] = c.ExtraHosts[name]
			}
		}
	}
}

// CPUPercent is how much processor time the container may use, as systemd takes it
// (CPUQuota= in systemd.resource-control(5)): 100 is one processor. 0: as much as there is.
func (c Container) CPUPercent() int { return int(math.Round(c.CPUs * 100)) }

// ownTasks are how many processes and threads a unit needs to start and stop its container.
const ownTasks = 64

// Tasks is how many processes and threads the container's unit may have, as systemd counts
// them (TasksMax= in systemd.resource-control(5)): those of the container, and Podman's own
// that start, watch and stop it. 0: as the node's settings say.
func (c Container) Tasks() int {
	if c.Pids == 0 {
		return 0
	}
	return c.Pids + ownTasks
}

// newLimits says which limits of a container's processors and processes one version widens.
func newLimits(from, to Container) (more []string) {
	widened := func(format string, old, limit float64) {
		switch {
		case old == 0 || limit == old || limit > 0 && limit < old:
		case limit == 0:
			more = append(more, fmt.Sprintf(format, "any number of", old)+" in its container "+to.Name)
		default:
			more = append(more, fmt.Sprintf(format, fmt.Sprint(limit), old)+" in its container "+to.Name)
		}
	}
	widened("may use %s processors instead of %v", from.CPUs, to.CPUs)
	widened("may have %s processes instead of %v", float64(from.Pids), float64(to.Pids))
	return more
}
