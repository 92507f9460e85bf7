package matrix

import (
	"time"

	"github.com/archipelago-cloud/archipelago/nodes"
)

// Snapshot is what the witnesses saw of one application on a node, all at about the
// same time. Nothing that it shows comes from the daemon.
type Snapshot struct {
	Boot       nodes.BootID
	Host       string               // the node's name
	Containers []Seen               // every container of the user, from Podman's API
	Units      map[string]UnitSeen  // the application's services, from systemd
	Files      []string             // unit files of the application, from the disk
	Volumes    map[string]VolSeen   // by volume name, from the disk
	Places     map[string]PlaceSeen // of the owner's folders that a manifest names, and of other applications' volumes, by directory
	DropIns    map[string]string    // those of the application's units, by UNIT.d/NAME -> SHA-256 of its text
	Folders    []string             // of the application alone that are there, below the data directory, from the disk
	Secrets    map[string]FileSeen  // by secret name, from the disk
	Forms      map[string][]string  // of those, such as "hex:32", from the disk
	Stored     []string             // the application's secrets in Podman's store
	Networks   []string             // names, from Podman's API
	Open       map[int]bool         // published TCP port -> answers: a web interface's on the node's loopback, any other from outside
	Exposed    map[int]bool         // published port of a web interface -> answers from outside, as it must not
	Proxied    map[int]string       // published port of a web interface that is not open -> what its proxy answers
	Podmans    map[string]string    // Podman's own volumes -> the application that they are labelled with; nil: not asked for, since there are containers
	UserID     int                  // of the node's user
	SubUID     int                  // first subordinate uid
	SubGID     int
	Leaks      []string // places that hold a secret's value and must not

	Bridges    map[string]Bridge            // networks, by name, from Podman's API
	Properties map[string]map[string]string // of the application's units, by unit and name, from systemd
	MemoryMax  map[string]string            // limit of a unit's cgroup, where the node can limit memory
	TasksMax   map[string]string            // limit of a unit's cgroup, where the node can limit processes
	Namespaces map[string]string            // the node's own, by kind
	Listening  []Socket                     // on any address of the node
	Devices    map[string]string            // those that a manifest names, by path on the node -> what that leads to; empty where it is not there
	Elsewhere  map[string]string            // those of them that are mounted by themselves, by what their paths lead to -> the root of that mount

	lies []string // where the daemon says otherwise, for longer than it may lag behind
}

// newSnapshot is one in which nothing was seen yet.
func newSnapshot() *Snapshot {
	return &Snapshot{
		Units: map[string]UnitSeen{}, Volumes: map[string]VolSeen{}, Places: map[string]PlaceSeen{}, DropIns: map[string]string{}, Secrets: map[string]FileSeen{}, Forms: map[string][]string{},
		Open: map[int]bool{}, Exposed: map[int]bool{}, Proxied: map[int]string{}, Bridges: map[string]Bridge{},
		Properties: map[string]map[string]string{}, MemoryMax: map[string]string{}, TasksMax: map[string]string{}, Namespaces: map[string]string{}, Devices: map[string]string{}, Elsewhere: map[string]string{},
	}
}

// Seen is a container as Podman's API shows it.
type Seen struct {
	ID, Name, App string
	State, Health string
	StartedAt     time.Time
	Privileged    bool
	NetworkMode   string
	Networks      []string // names
	Mounts        []string // sources on the node
	Rootless      bool     // its process runs in a user namespace without the node's root
	Capabilities  uint64   // that its process has, or could gain (proc_pid_status(5))

	pid        string            // of its main process; empty where it has none
	namespaces map[string]string // of that process, by kind
	running    *Details          // nil where it does not run, and for another application's
}

// UnitSeen is a unit as systemd shows it.
type UnitSeen struct {
	Load, Active, Sub string
	Boot              bool // systemd starts it at boot, since default.target wants it
}

// VolSeen is a volume's directory.
type VolSeen struct {
	Inode    string
	UID, GID int
	Mode     string
}

// PlaceSeen is a directory that is not the application's own.
type PlaceSeen struct {
	Inode   string // empty where it is gone
	Witness string // SHA-256 of the gate's own file in it; "-" where there is none
}

// FileSeen is a secret's file: what identifies the content, and who may read it.
type FileSeen struct {
	SHA256 string
	Mode   string
}
