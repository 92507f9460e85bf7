package manifest

import "strings"

// A container's unit is NAME.service of the user's systemd, and a generated unit takes
// the place of one that a package installed: an application named "podman" would end the
// engine. The names of units that every node has are therefore reserved. Units get no
// prefix instead, because applications that run would have to be made anew.

// reservedFamilies begin the names of reserved units: a word, alone or followed by "-".
var reservedFamilies = map[string]string{
	// units/user of systemd: systemd-exit, systemd-tmpfiles-clean, … (systemd.special(7)).
	"systemd": "systemd's own units",
	// contrib/systemd/user of Podman: podman, podman-auto-update, podman-restart, ….
	"podman": "Podman's own units",
	// The user's bus: dbus.service, dbus-broker.service, dbus-org.… aliases.
	"dbus": "the user's message bus",
	// The daemon, its helpers, and archipelago-ID-network.service, which Quadlet makes
	// of an application's network.
	"archipelago": "archipelago's own units",
}

// reservedUnits are those that Debian's packages install for every user on a machine
// that has what a node needs: GnuPG's and OpenSSH's agents, and the bus's companions.
var reservedUnits = []string{"at-spi-dbus-bus", "dconf", "dirmngr", "gpg-agent", "keyboxd", "pk-debconf-helper", "ssh-agent"}

// reserved says whose the unit of that name is; empty where a container may have it.
func reserved(name string) string {
	family, _, _ := strings.Cut(name, "-")
	if strings.HasPrefix(family, "systemd") {
		family = "systemd"
	}
	if whose, ok := reservedFamilies[family]; ok {
		return whose
	}
	for _, unit := range reservedUnits {
		if name == unit {
			return "a unit of the operating system"
		}
	}
	return ""
}
