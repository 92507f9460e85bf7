package quadlet

import (
	"fmt"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// Isolate is the option of every network, and its value: nothing passes between it and
// any other one, not even between containers that know each other's addresses.
const (
	Isolate = "isolate"
	Strict  = "strict"
)

const networkPrefix = "archipelago-"

// Bridge is a network of an application.
type Bridge struct {
	Name     string
	App      string // whose it is: the value of its label manifest.LabelApp
	Internal bool   // nothing outside it can be reached from it
}

// Network is the name of an application's own network, which all its members are on.
func Network(app string) string { return networkPrefix + app }

// NetworkService is the systemd unit that Quadlet makes of a network's file.
func NetworkService(network string) string { return network + "-network.service" }

// Requirer is an application that requires another one, and the containers of that which it
// reaches.
type Requirer struct {
	App     string
	Reaches []string
}

// Link is the network that an application shares with one that it requires: on it are the
// container with the application's name, and those of the other that it reaches. No id holds
// a dot.
func Link(app, required string) Bridge {
	return Bridge{Name: networkPrefix + app + "." + required, App: app, Internal: true}
}

// RequirerOn gives the application that a network links to the one that it requires; ok
// is false for any other network.
func RequirerOn(network, required string) (app string, ok bool) {
	app, is := strings.CutPrefix(network, networkPrefix)
	if !is {
		return "", false
	}
	return strings.CutSuffix(app, "."+required)
}

// Bridges are the networks of an application: its own, and one for each requirement of which
// it reaches a container.
func Bridges(m *manifest.Manifest) []Bridge {
	out := []Bridge{{Name: Network(m.ID), App: m.ID, Internal: !m.Internet()}}
	for _, r := range m.Requires {
		if r.Linked() {
			out = append(out, Link(m.ID, r.App))
		}
	}
	return out
}

// networkFile is where rootless Podman keeps a network that there is, with its own storage
// in its usual place. %h is the user's home (systemd.unit(5)).
func networkFile(network string) string {
	return "%h/.local/share/containers/storage/networks/" + network + ".json"
}

// network renders a network's file. Its unit makes one that has gone, at boot too and
// without the daemon; where there is one, it costs no process. Podman that keeps networks
// elsewhere is asked every time.
func network(m *manifest.Manifest, n Bridge) string {
	body := fmt.Sprintf("# Rendered by archipelago from the manifest of %s; changes are overwritten.\n[Unit]\nConditionPathExists=!%s\n\n[Network]\nNetworkName=%s\nOptions=%s=%s\n", m, networkFile(n.Name), n.Name, Isolate, Strict)
	if n.Internal {
		body += "Internal=true\n"
	}
	return body + "Label=" + quote(manifest.LabelApp+"="+n.App) + "\n"
}
