package matrix

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// What a container has with its owner's consent, and what limits it: in a unit file, in
// Podman's arguments, and as the witnesses see it.

// bit is a capability's place in a set of the kernel's (linux/capability.h).
var bit = map[string]uint{
	"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "KILL": 5, "SETGID": 6, "SETUID": 7,
	"NET_BIND_SERVICE": 10, "NET_ADMIN": 12, "NET_RAW": 13, "SYS_NICE": 23,
}

// DeviceMeant is a device of the node in a container.
type DeviceMeant struct {
	Node   string // its path on the node, which may be a link
	Target string // in the container; empty: where the link leads to
	Group  bool   // the node gives it to a group
}

// places are where a node has devices, by class; %s is which.
var places = map[string]string{
	"serial": "/dev/serial/by-id/%s", "video": "/dev/v4l/by-id/%s", "usb": "/dev/archipelago/usb-%s", "gpu": "/dev/dri/renderD128", "tun": "/dev/net/tun",
}

func pathOf(d manifest.Device) string {
	if place := places[d.Class]; !strings.Contains(place, "%s") {
		return place
	}
	return fmt.Sprintf(places[d.Class], strings.ReplaceAll(d.ID, ":", "-"))
}

// devicesOf are the paths on the node of an application's devices. Its settings must be
// filled in.
func devicesOf(m *manifest.Manifest) (paths []string) {
	for _, c := range m.Containers {
		for _, d := range c.Devices {
			if p := pathOf(d); !slices.Contains(paths, p) {
				paths = append(paths, p)
			}
		}
	}
	return paths
}

// grant fills in what a manifest gives a container beyond what all have, and its limits.
func (c *Meant) grant(m *manifest.Manifest, from manifest.Container) {
	c.Capabilities, c.Pids = from.Capabilities, from.Pids
	c.CPU = time.Duration(from.CPUs*100+0.5) * time.Second / 100
	for _, d := range from.Devices {
		meant := DeviceMeant{Node: pathOf(d), Target: d.Path, Group: d.Class != "tun"}
		if d.Path == "" && (d.Class == "gpu" || d.Class == "tun") {
			meant.Target = meant.Node
		}
		c.Devices = append(c.Devices, meant)
	}
	for _, member := range m.Containers {
		for name, of := range member.ExtraHosts {
			if of == c.Name && !slices.Contains(c.Aliases, name) {
				c.Aliases = append(c.Aliases, name)
			}
		}
	}
	slices.Sort(c.Aliases)
}

// grantFlags are the arguments of podman-run(1) that the generator makes of directives.
var grantFlags = map[string]string{"AddCapability": "--cap-add", "AddDevice": "--device", "GroupAdd": "--group-add"}

// saysGrants gives the directives that a container has only where its manifest says so; of
// some there may be several.
func (c *Meant) saysGrants(add func(name, value string)) {
	for _, name := range c.Capabilities {
		add("AddCapability", name)
	}
	for _, d := range c.Devices {
		argument := d.Node
		if d.Target != "" && d.Target != d.Node {
			argument += ":" + d.Target
		}
		add("AddDevice", argument)
	}
	if c.keepsGroups() {
		add("GroupAdd", "keep-groups")
	}
}

func (c *Meant) keepsGroups() bool {
	return len(c.Marks) > 0 || slices.ContainsFunc(c.Devices, func(d DeviceMeant) bool { return d.Group })
}

// quota is the limit of processor time as a unit has it.
func (c *Meant) quota() string { return fmt.Sprintf("%d%%", c.CPU/(time.Second/100)) }

// cpu is the same as systemd shows it.
func (c *Meant) cpu() string {
	if c.CPU == 0 {
		return "infinity"
	}
	return c.CPU.String()
}

// quotaOf reads what systemd shows: "1.500000s", "200ms", "infinity".
func quotaOf(value string) string {
	if d, err := time.ParseDuration(value); err == nil {
		return d.String()
	}
	return value
}

// namesIn are the container's further names in a network.
func (c *Meant) namesIn(network string) []string {
	if network == networkOf(c.App) {
		return c.Aliases
	}
	return nil
}

// joins says with which options a container joins a network.
func (c *Meant) joins(network string) string {
	if names := c.namesIn(network); len(names) > 0 {
		return "alias=" + strings.Join(names, ",alias=")
	}
	return "set"
}

// joined reads "NETWORK[:OPTION,…]".
func joined(value string) (network, options string, ok bool) {
	network, options, ok = strings.Cut(value, ":")
	if !ok {
		options = "set"
	}
	return network, options, true
}

// granted is the set of the container's capabilities.
func (c *Meant) granted() uint64 { return setOf(c.Capabilities) }

// grantedTo is that of a member; nothing where it is none.
func grantedTo(m *manifest.Manifest, member string) uint64 {
	if c, ok := m.Container(member); ok {
		return setOf(c.Capabilities)
	}
	return 0
}

func setOf(names []string) (set uint64) {
	for _, name := range names {
		set |= 1 << bit[name]
	}
	return set
}

// beyond is what of a set of a process's capabilities is to be compared. The bounding set is
// what is given, all of it: no process can make it less without SETPCAP, which none has. Of
// the others a program gives up what it likes, so that only more than is given is of account.
func (c *Meant) beyond(set string, have uint64) uint64 {
	if set == "bounding" {
		return have
	}
	return have &^ c.granted()
}

// has tells whether the container has a capability.
func (c *Meant) has(name string) bool { return slices.Contains(c.Capabilities, name) }

// addGroups adds the groups of a process beside its own one. A program with SETGID chooses
// them; where a device is given to a group, they are those of the node's user.
func (s *Snapshot) addGroups(p properties, q Process, m *Meant) {
	for _, g := range q.Groups {
		switch as := s.inside(g, s.SubGID); {
		case g == q.GID || m.User == "" || m.has("SETGID"):
		case m.keepsGroups() && (as == "0" || strings.HasSuffix(as, " of the node")):
			p.add("groups of the node's user", "held")
		default:
			p.add("group "+as+" of its processes", "held")
		}
	}
}

// wantGrants adds what the container must be given, and no more.
func (c *Meant) wantGrants(w wanted, s *Snapshot) {
	if c.has("SETUID") || c.has("SETGID") {
		w.may("user of its processes")
	}
	for _, name := range c.Capabilities {
		w.may("capability CAP_" + name) // Podman shows those that it would not give by itself
	}
	if c.keepsGroups() {
		w.must("additional group keep-groups", "set")
		w.may("groups of the node's user") // who may have none but its own
	}
	for _, d := range c.Devices {
		target := d.Target
		if target == "" {
			target = s.Devices[d.Node]
		}
		if target == "" {
			w.must("device "+d.Node, "on the node")
			continue
		}
		w.must("mount "+target, d.Node+", writable")
	}
}

// podmanTasks are the processes and threads that a unit may have beside its container's.
const podmanTasks = 64

// tasks is how many processes and threads the container's unit may have.
func (c *Meant) tasks() string { return fmt.Sprint(c.Pids + podmanTasks) }

// wantTasks adds the limit of them, which the node's settings say where the manifest does not.
func (c *Meant) wantTasks(w wanted, s *Snapshot) {
	const told, kept = "its unit's TasksMax", "pids.max of its unit's cgroup"
	if c.Pids == 0 {
		w[told] = want{any: true}
		w.may(kept)
		return
	}
	w.must(told, c.tasks())
	if _, limits := s.TasksMax[c.Name+".service"]; limits { // where the node can limit them
		w.must(kept, c.tasks())
	}
}

// addGrants adds what is given beyond what all have, and is not told by the kernel alone.
func addGrants(p properties, r *Details) {
	for _, g := range r.HostConfig.GroupAdd {
		p.add("additional group "+g, "set")
	}
	for _, g := range r.given("--group-add") { // which shows also what Podman does not count among groups
		p.add("additional group "+g, "set")
	}
	for _, n := range r.given("--pids-limit") { // with which it would not start everywhere
		p.add("Podman's limit of processes", n)
	}
}

// deviceAt is the device that is meant to be at a place in a container; nil for none.
func (s *Snapshot) deviceAt(m *Meant, target string) *DeviceMeant {
	i := slices.IndexFunc(m.Devices, func(d DeviceMeant) bool {
		return d.Target == target || d.Target == "" && s.Devices[d.Node] == target
	})
	if i < 0 {
		return nil
	}
	return &m.Devices[i]
}

// device tells which device of the node is mounted: the one to which its path leads.
func (s *Snapshot) device(d *DeviceMeant, mount Mount) string {
	which, leads := d.Node, s.Devices[d.Node]
	root := cmp.Or(s.Elsewhere[leads], strings.TrimPrefix(leads, "/dev"))
	if leads == "" || mount.Root != root || !slices.Contains([]string{"tmpfs", "devtmpfs"}, mount.Type) {
		which = fmt.Sprintf("another device, %s of a %s", mount.Root, mount.Type)
	}
	return which + ", " + access(mount.Options)
}
