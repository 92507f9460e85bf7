package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Privileges are what the application may do beyond its own containers and data, in
// words for its owner, sorted and each once. The words are the identifiers of consent,
// too: the same privilege always has the same.
func (m *Manifest) Privileges() []string {
	all := append(m.Grants(), m.offers()...)
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	webs := m.WebPorts()
	for _, c := range m.Containers {
		if uid, _ := c.IDs(); uid == 0 {
			add("may run as root in its container %s", c.Name)
		}
		for _, p := range c.Ports {
			if slices.Contains(webs, p) {
				add("serves its web interface at port %d of the node", p.Host+ProxyOffset)
				continue
			}
			protocol := "tcp"
			if p.Protocol == "udp" {
				protocol = "udp"
			}
			add("publishes port %d/%s of the node", p.Host, protocol)
		}
	}
	for _, r := range m.Requires {
		apps := strings.Join(r.Apps(), " or ")
		switch {
		case r.Optional:
		case r.App == "":
			add("requires %s, and installs the first that it can where they are missing", apps)
		case r.Uses != nil:
			add("requires %s, and installs it where it is missing", apps)
		default:
			add("requires %s, joins its network, and installs it where it is missing", apps)
		}
	}
	for _, a := range m.Adopts {
		add("takes over the container %q", a.Container)
	}
	if m.Internet() {
		add("may reach the internet")
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// NewPrivileges are those that one version has and the other, from which an update would
// come, has not; more memory is one.
func NewPrivileges(from, to *Manifest) []string {
	had := from.Privileges()
	more := slices.DeleteFunc(to.Privileges(), func(p string) bool { return slices.Contains(had, p) })
	limited := func(old, limit, where string) {
		switch {
		case old == "" || old == limit:
		case limit == "":
			more = append(more, "has no memory limit any more"+where)
		case memory(limit) > memory(old):
			more = append(more, fmt.Sprintf("may use %s of memory instead of %s%s", limit, old, where))
		}
	}
	limited(from.Resources.Memory, to.Resources.Memory, "")
	for _, c := range to.Containers {
		before, ok := from.Container(c.Name)
		if !ok {
			before = &Container{}
		}
		more = append(more, newLimits(*before, c)...)
		if c.Memory != "" || before.Memory != "" { // one of its own
			limited(from.MemoryOf(*before), to.MemoryOf(c), " in its container "+c.Name)
		}
	}
	return more
}

// MemoryOf is the limit of a container's memory: its own, or the application's; empty for
// none.
func (m *Manifest) MemoryOf(c Container) string { return cmp.Or(c.Memory, m.Resources.Memory) }

// Memory is the sum of the limits of all containers in bytes; those without one count as 0.
func (m *Manifest) Memory() (sum int64) {
	for _, c := range m.Containers {
		if limit := m.MemoryOf(c); limit != "" {
			sum += memory(limit)
		}
	}
	return sum
}

// memory is a limit in bytes: a number and one of K, M and G, as the schema admits it.
func memory(limit string) int64 {
	number, unit := limit[:len(limit)-1], limit[len(limit)-1:]
	n, _ := strconv.ParseInt(number, 10, 64)
	return n << (10 * (1 + strings.Index("KMG", unit)))
}
