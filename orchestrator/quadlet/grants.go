package quadlet

import (
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// grants writes what a container has with its owner's consent: capabilities, after all have
// been dropped, and devices. Podman mounts a device from the node as it is there, with its
// owner and mode; the group to which the node gives it is the node's own user's, which the
// container's processes keep (podman-run(1), --group-add keep-groups).
func grants(c manifest.Container, line func(key, value string)) {
	for _, name := range c.Capabilities {
		line("AddCapability", name)
	}
	for _, d := range c.Devices {
		line("AddDevice", escape(d.Argument()))
	}
	if c.KeepsGroups() {
		line("GroupAdd", "keep-groups")
	}
}

// aliases are the options with which a container joins a network: its further names, in the
// application's own network alone, where there is nobody but its other containers.
func aliases(m *manifest.Manifest, c manifest.Container, n Bridge) string {
	names := m.Aliases(c.Name)
	if n.Name != Network(m.ID) || len(names) == 0 {
		return ""
	}
	return ":alias=" + strings.Join(names, ",alias=")
}
