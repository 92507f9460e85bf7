package lab

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// A node has a user namespace of its own: its root is an ordinary user of this machine, with
// capabilities over nothing but the node. The engine takes the ids from those of the user
// "containers", as podman-run(1) has it for --userns=auto.
const (
	nodeIDs    = 262144 // of a node: root, its users, and the subordinate ids of one of them (100000-165535)
	idsOwner   = "containers"
	idsEntry   = idsOwner + ":2000000000:2097152" // above what useradd and systemd hand out, below 2^31
	usernsMode = "auto:size="
)

// SubordinateIDs are the files in which the engine looks for the nodes' ids.
var SubordinateIDs = []string{"/etc/subuid", "/etc/subgid"}

// IDsToAdd is the shell command, for root, that gives the nodes their user and group ids;
// empty where they have them.
func IDsToAdd() string {
	var add []string
	for _, file := range SubordinateIDs {
		if idsIn(file) < nodeIDs*len(Nodes) {
			add = append(add, fmt.Sprintf("echo %s >> %s", idsEntry, file))
		}
	}
	return strings.Join(add, " && ")
}

// idsIn counts the ids that the nodes may have, by subuid(5).
func idsIn(file string) (n int) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 3 || f[0] != idsOwner {
			continue
		}
		if count, err := strconv.Atoi(f[2]); err == nil {
			n += count
		}
	}
	return n
}
