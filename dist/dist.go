// Package dist owns what a node needs besides the daemon's program: the files that are
// installed with it, the installer for owners, and the prerequisites that a machine must
// meet. It is a leaf: of the project it imports only the manifest package.
package dist

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
)

// Unit is the user unit that runs the daemon.
const Unit = "archipelago.service"

// ProberUnit is the user unit that looks at the applications' health.
const ProberUnit = "archipelago-prober.service"

// UserUnits is where units are, below the user's home.
const UserUnits = ".config/systemd/user/"

// DropIn is the file of ours in the directory of a unit's drop-ins.
const DropIn = "archipelago.conf"

// Program is the daemon's program, below its user's home.
const Program = ".local/bin/archipelago"

//go:embed archipelago.sh archipelago.issue archipelago.service archipelago-prober.service podman-service.conf scopes.conf rollback.sh node.sh install.sh README.md
var files embed.FS

// Files returns what is installed with the program, by its path below the user's home.
// The gate installs exactly what owners install.
func Files() map[string][]byte {
	out := map[string][]byte{}
	for to, from := range map[string]string{
		UserUnits + Unit:                                "archipelago.service",
		UserUnits + ProberUnit:                          "archipelago-prober.service",
		UserUnits + "podman.service.d/" + DropIn:        "podman-service.conf",
		UserUnits + "podman-pause-.scope.d/" + DropIn:   "scopes.conf",
		UserUnits + "rootless-netns-.scope.d/" + DropIn: "scopes.conf",
		UserUnits + "run-.scope.d/" + DropIn:            "scopes.conf",
		UserUnits + "app.slice.d/" + DropIn:             "scopes.conf",
		UserUnits + "user.slice.d/" + DropIn:            "scopes.conf",
		Program + ".rollback":                           "rollback.sh",
	} {
		out[to] = read(from)
	}
	return out
}

// Release returns what a release has beside its programs, by file name: the installer,
// what it installs, and how to use it.
func Release() map[string][]byte {
	out := map[string][]byte{}
	for _, name := range []string{"install.sh", "node.sh", "rollback.sh", "archipelago.sh", "archipelago.issue", Unit, ProberUnit, "podman-service.conf", "scopes.conf", "README.md"} {
		out[name] = read(name)
	}
	return out
}

// NodeScript makes a Debian machine a node: 'node.sh packages' prints what it needs, and
// 'node.sh prepare USER' does what takes root.
func NodeScript() []byte { return read("node.sh") }

// Digests returns the SHA-256 of every file of Release, in hex, by file name.
func Digests() map[string]string {
	out := map[string]string{}
	for name, b := range Release() {
		sum := sha256.Sum256(b)
		out[name] = hex.EncodeToString(sum[:])
	}
	return out
}

func read(name string) []byte {
	b, err := files.ReadFile(name)
	if err != nil {
		panic(err) // every name is embedded above
	}
	return b
}
