package manifest

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// What a container may have beyond its own files and its own network, with its owner's
// consent: capabilities, devices, the owner's folders, and what it reaches or sets of other
// applications. There is no field for a privileged container, for the
// host's network or for the engine's socket.

// capabilities are those that a container may ask for (capabilities(7)), with what they are
// for. They count in the container's own namespaces: of the node they let it touch what its
// user may touch anyway.
var capabilities = map[string]string{
	"CHOWN":            "change the owner of its files",
	"DAC_OVERRIDE":     "read and write its files whoever owns them",
	"FOWNER":           "change the modes of its files whoever owns them",
	"KILL":             "end any of its processes",
	"NET_ADMIN":        "change the addresses, routes and filters of its own networks",
	"NET_BIND_SERVICE": "listen on ports below 1024 of its own address",
	"NET_RAW":          "send and read any packets in its own networks",
	"SETGID":           "become any group",
	"SETUID":           "become any user",
	"SYS_NICE":         "choose when and where its processes run",
}

// Device is a device of the node in a container, by its class. Of a kind of which a node may
// have several, ID says which: for serial and video the name that udev gives it below
// /dev/serial/by-id and /dev/v4l/by-id, for usb VENDOR:PRODUCT. {{setting:NAME}} in its
// place leaves that to the owner.
type Device struct {
	Class string `json:"class"` // serial, video, usb, gpu or tun
	ID    string `json:"id,omitempty"`
	Path  string `json:"path,omitempty"` // in the container, of serial and video; the others are where the node has them
}

// class is a class of devices: which there are, and where a node has them.
type class struct {
	node  string         // its path on the node, or where the ID is put
	id    *regexp.Regexp // nil: a node has only one
	words string         // for the owner; %s is which
	rule  bool           // a rule of udev makes the path
}

// The IDs hold nothing that ends a path or an argument of Podman (podman-run(1), --device).
var (
	byID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+@#-]{0,199}$`)
	usb  = regexp.MustCompile(`^[0-9a-f]{4}:[0-9a-f]{4}$`)
)

var classes = map[string]class{
	"serial": {node: "/dev/serial/by-id/%s", id: byID, words: "uses the node's serial device %s"},
	"video":  {node: "/dev/v4l/by-id/%s", id: byID, words: "uses the node's camera or video device %s"},
	"usb":    {node: "/dev/archipelago/usb-%s", id: usb, words: "uses the node's USB device %s", rule: true},
	"gpu":    {node: "/dev/dri/renderD128", words: "uses the node's graphics processor"},
	"tun":    {node: "/dev/net/tun", words: "makes network tunnels"},
}

// deviceTarget is where a container may have a device: not in the place of one of those
// that every container has.
var (
	deviceTarget   = regexp.MustCompile(`^/dev/[A-Za-z][A-Za-z0-9_-]{0,31}$`)
	engineDevices  = []string{"console", "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero"}
	usbSeparator   = strings.NewReplacer(":", "-")
	whollyASetting = regexp.MustCompile(`^\{\{setting:([a-z0-9-]+)\}\}$`)
)

// DevicePlaces are where a node has devices that an application may ask for: directories
// that hold them, and single ones.
func DevicePlaces() (dirs, single []string) {
	for _, name := range slices.Sorted(maps.Keys(classes)) {
		if c := classes[name]; c.id != nil {
			dirs = append(dirs, path.Dir(c.node))
		} else {
			single = append(single, c.node)
		}
	}
	return dirs, single
}

// Node is the device's path on the node.
func (d Device) Node() string {
	c := classes[d.Class]
	if c.id == nil {
		return c.node
	}
	return fmt.Sprintf(c.node, usbSeparator.Replace(d.ID))
}

// Argument is the device as Podman takes it: its path on the node, and where the container
// has it, if not there.
func (d Device) Argument() string {
	if d.Path == "" {
		return d.Node()
	}
	return d.Node() + ":" + d.Path
}

// Grouped tells whether the node gives the device to members of a group, as which the
// container's processes must count. Everybody may make tunnels in networks of their own.
func (d Device) Grouped() bool { return d.Class != "tun" }

// Exclusive tells whether no other application can use the device at the same time.
func (d Device) Exclusive() bool { return classes[d.Class].id != nil }

// Setting is the setting that says which device it is, where one does.
func (d Device) Setting() (name string, ok bool) {
	m := whollyASetting.FindStringSubmatch(d.ID)
	if m == nil {
		return "", false
	}
	return m[1], true
}

// Rule is the rule of udev that makes the device's path, and gives it to a group; empty where
// the system's own rules make it.
func (d Device) Rule(group string) string {
	if !classes[d.Class].rule {
		return ""
	}
	vendor, product, _ := strings.Cut(d.ID, ":")
	return fmt.Sprintf(`SUBSYSTEM=="usb", ATTR{idVendor}=="%s", ATTR{idProduct}=="%s", SYMLINK+="%s", GROUP="%s", MODE="0660"`,
		vendor, product, strings.TrimPrefix(d.Node(), "/dev/"), group)
}

// Devices are those of all members.
func (m *Manifest) Devices() (all []Device) {
	for _, c := range m.Containers {
		all = append(all, c.Devices...)
	}
	return all
}

// KeepsGroups tells whether the container's processes keep the groups of the node's user: by
// those it has devices, and folders of the owner's.
func (c Container) KeepsGroups() bool {
	return len(c.Storage) > 0 || slices.ContainsFunc(c.Devices, Device.Grouped)
}

// Grants are the privileges that need the owner's consent before the application is
// installed, in the words of Privileges.
func (m *Manifest) Grants() []string {
	all := m.reaches()
	for _, c := range m.Containers {
		for _, name := range c.Capabilities {
			all = append(all, fmt.Sprintf("may %s (%s) in its container %s", capabilities[name], name, c.Name))
		}
		for _, d := range c.Devices {
			all = append(all, fmt.Sprintf("%s in its container %s", d.words(), c.Name))
		}
		for _, s := range c.Storage {
			all = append(all, fmt.Sprintf("%s in its container %s", s.words(), c.Name))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (d Device) words() string {
	c := classes[d.Class]
	switch setting, ok := d.Setting(); {
	case c.id == nil:
		return c.words
	case ok:
		return fmt.Sprintf(c.words, "that its setting "+setting+" names")
	}
	return fmt.Sprintf(c.words, d.ID)
}

// takesID says what is wrong with an ID whose setting is filled in.
func (d Device) takesID() error {
	if c := classes[d.Class]; c.id != nil && !c.id.MatchString(d.ID) {
		return fmt.Errorf("%q names no %s device; expected %s", short(d.ID), d.Class, idForm(d.Class))
	}
	return nil
}

func idForm(class string) string {
	if class == "usb" {
		return "VENDOR:PRODUCT, as lsusb shows it, such as 1a6e:089a"
	}
	return "a name as in " + path.Dir(classes[class].node)
}

// checkPrivileges is about capabilities and devices.
func (d *document) checkPrivileges(m *Manifest, i int, c Container) {
	if len(c.Capabilities) > 0 && c.User == "" {
		d.report(at("containers", i, "capabilities"), true, "say also which user has them, with 'user': an image's may change")
	}
	for j, name := range c.Capabilities {
		if _, ok := capabilities[name]; !ok {
			d.report(at("containers", i, "capabilities", j), false, "not a capability that a container may have; expected one of %s", strings.Join(slices.Sorted(maps.Keys(capabilities)), ", "))
		}
		// Either can send packets by a way of its own, past what keeps the others in.
		if (name == "NET_ADMIN" || name == "NET_RAW") && !m.Internet() {
			d.report(at("containers", i, "capabilities", j), false, "excludes network: {internet: false}: with it, the container could make itself a way out")
		}
	}
	targets := map[string]int{}
	for j, dev := range c.Devices {
		where := func(field string) []string { return at("containers", i, "devices", j, field) }
		kind, known := classes[dev.Class]
		if !known {
			continue // the schema says so
		}
		switch {
		case kind.id == nil && dev.ID != "":
			d.report(where("id"), false, "a node has one %s device", dev.Class)
		case kind.id != nil && dev.ID == "":
			d.report(at("containers", i, "devices", j), false, "missing property 'id': which %s device; expected %s, or {{setting:NAME}}", dev.Class, idForm(dev.Class))
		case whollyASetting.MatchString(dev.ID):
			name, _ := dev.Setting()
			k := slices.IndexFunc(m.Settings, func(s Setting) bool { return s.Name == name && !s.Secret })
			if k < 0 {
				break // checkSettings says so
			}
			if err := (Device{Class: dev.Class, ID: m.Settings[k].Default}).takesID(); err != nil {
				d.report(at("settings", k, "default"), false, "%v", err)
			}
		case kind.id != nil:
			if err := dev.takesID(); err != nil {
				d.report(where("id"), false, "%v, or {{setting:NAME}}", err)
			}
		}
		switch named := kind.id == byID; {
		case named && dev.Path == "":
			d.report(at("containers", i, "devices", j), false, "missing property 'path': where the container has it, such as /dev/ttyUSB0")
		case !named && dev.Path != "":
			d.report(where("path"), false, "a %s device is where the node has it", dev.Class)
		case named && (!deviceTarget.MatchString(dev.Path) || slices.Contains(engineDevices, strings.TrimPrefix(dev.Path, "/dev/"))):
			d.report(where("path"), false, "expected a name of its own in /dev, such as /dev/ttyUSB0")
		}
		// What is where the node has it is the same device twice.
		target := dev.Path
		if target == "" {
			target = dev.Node()
		}
		if first, dup := targets[target]; dup {
			d.report(at("containers", i, "devices", j), false, "%q is already used by containers[%d].devices[%d]", target, i, first)
		}
		targets[target] = j
		if dev.Class == "tun" && !slices.Contains(c.Capabilities, "NET_ADMIN") {
			d.report(where("class"), false, "a tunnel needs the capability NET_ADMIN, too")
		}
	}
}
