// Package dist owns what a node needs besides the daemon's program: the files that are
// installed with it, the installer for owners, and the prerequisites that a machine must
// meet. It is a leaf: of the project it imports only the manifest package.
package dist

import "embed"

// Unit is the user unit that runs the daemon.
const Unit = "archipelago.service"

// Program is the daemon's program, below its user's home.
const Program = ".local/bin/archipelago"

//go:embed archipelago.service podman.service.d/archipelago.conf rollback.sh
var files embed.FS

// Files returns what is installed with the program, by its path below the user's home.
// The gate installs exactly what owners install.
func Files() map[string][]byte {
	out := map[string][]byte{}
	for to, from := range map[string]string{
		".config/systemd/user/" + Unit:                           "archipelago.service",
		".config/systemd/user/podman.service.d/archipelago.conf": "podman.service.d/archipelago.conf",
		Program + ".rollback":                                    "rollback.sh",
	} {
		b, err := files.ReadFile(from)
		if err != nil {
			panic(err) // it is embedded under this name
		}
		out[to] = b
	}
	return out
}
