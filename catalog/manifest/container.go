package manifest

import (
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strings"
)

// Tmpfs is an empty file system in memory, for everybody in the container (mode 1777). In
// the file it may be its path alone.
type Tmpfs struct {
	Path string `json:"path"`
	Size string `json:"size,omitempty"` // such as 64M; without it the kernel's default, half of the memory
}

// UnmarshalJSON reads a path or the whole form.
func (t *Tmpfs) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &t.Path)
	}
	type whole Tmpfs
	return json.Unmarshal(b, (*whole)(t))
}

// MarshalJSON writes a path alone as it was read, so that a manifest keeps its digest.
func (t Tmpfs) MarshalJSON() ([]byte, error) {
	if t.Size == "" {
		return json.Marshal(t.Path)
	}
	type whole Tmpfs
	return json.Marshal(whole(t))
}

// StopSignals are the signals that may end a container, with their numbers (signal(7)). A
// program that one of them ends by its default has the status 128 and the number.
var StopSignals = map[string]int{"SIGHUP": 1, "SIGINT": 2, "SIGQUIT": 3, "SIGUSR1": 10, "SIGUSR2": 12, "SIGTERM": 15, "SIGWINCH": 28}

// span are the values that a limit or a parameter may have.
type span struct{ least, most int }

// ulimits are the limits of setrlimit(2) that a container may set, both soft and hard, to
// what a user of systemd may have.
var ulimits = map[string]span{"nofile": {64, 524288}, "nproc": {16, 32768}}

// sysctls are parameters of the kernel that a container has for itself, in the namespace
// of its network (ip-sysctl in the kernel's documentation), and that need no privilege.
var sysctls = map[string]span{
	"net.core.somaxconn":                  {1, 65535},
	"net.ipv4.ip_unprivileged_port_start": {0, 65535},
	"net.ipv4.tcp_fin_timeout":            {1, 3600},
	"net.ipv4.tcp_keepalive_intvl":        {1, 32767},
	"net.ipv4.tcp_keepalive_probes":       {1, 127},
	"net.ipv4.tcp_keepalive_time":         {1, 32767},
	"net.ipv4.tcp_max_syn_backlog":        {1, 65535},
	"net.ipv4.tcp_syncookies":             {0, 1},
	"net.unix.max_dgram_qlen":             {1, 65535},
}

// checkProcess is about how a container's program runs.
func (d *document) checkProcess(m *Manifest, i int, c Container) {
	if p := c.WorkingDir; p != "" && path.Clean(p) != p {
		d.report(at("containers", i, "working_dir"), false, "%q is not a clean absolute path", p)
	}
	if _, ok := StopSignals[c.StopSignal]; c.StopSignal != "" && !ok {
		d.report(at("containers", i, "stop_signal"), false, "expected one of %s", strings.Join(slices.Sorted(maps.Keys(StopSignals)), ", "))
	}
	d.checkSpans(ulimits, c.Ulimits, "limit", "containers", i, "ulimits")
	d.checkSpans(sysctls, c.Sysctls, "parameter of a network namespace", "containers", i, "sysctls")
	// A container answers to its host name in every network that it is on, also where
	// another application is: it must be no name that this means to find on the internet.
	if h := c.Hostname; h != "" && h != c.Name && h != c.Name+".internal" {
		d.report(at("containers", i, "hostname"), false, "expected %q or %q: others reach the container by it", c.Name, c.Name+".internal")
	}
	if c.ReadOnly && c.ShmSize != "" {
		d.report(at("containers", i, "shm_size"), false, "with read_only, /dev/shm is read-only, too")
	}
}

func (d *document) checkSpans(known map[string]span, have map[string]int, what string, where ...any) {
	for name, n := range have {
		s, ok := known[name]
		switch {
		case !ok:
			d.report(at(append(slices.Clone(where), name)...), true, "not a %s that a container may set; expected one of %s", what, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		case n < s.least || n > s.most:
			d.report(at(append(slices.Clone(where), name)...), false, "%d is not between %d and %d", n, s.least, s.most)
		}
	}
}

// checkVolumes wants whoever has a volume together with others to say so, and to agree on
// its owner; and somebody to be able to write to it.
func (d *document) checkVolumes(m *Manifest) {
	type use struct {
		container, at int
		volume        Volume
	}
	uses := map[string][]use{}
	for i, c := range m.Containers {
		for j, v := range c.Volumes {
			where := at("containers", i, "volumes", j, "name")
			for _, first := range uses[v.Name] {
				switch {
				case first.container == i:
					d.report(where, false, "the container has the volume %q already", v.Name)
				case !first.volume.Shared || !v.Shared:
					d.report(where, false, "a volume named %q already belongs to a container; no two may share one unless both say shared: true", v.Name)
				case first.volume.UID != v.UID || first.volume.GID != v.GID:
					d.report(where, false, "the volume %q is shared, and owned by %d:%d for %s", v.Name, first.volume.UID, first.volume.GID, m.Containers[first.container].Name)
				}
			}
			uses[v.Name] = append(uses[v.Name], use{i, j, v})
		}
	}
	for name, all := range uses {
		where := at("containers", all[0].container, "volumes", all[0].at)
		if len(all) == 1 && all[0].volume.Shared {
			d.report(append(where, "shared"), false, "no other container has the volume %q", name)
		}
		if !slices.ContainsFunc(all, func(u use) bool { return !u.volume.ReadOnly }) {
			d.report(append(where, "read_only"), false, "no container can write to the volume %q", name)
		}
	}
}
