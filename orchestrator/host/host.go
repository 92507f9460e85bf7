// Package host says what the daemon knows and asks of its node: containers, units
// and files as they were observed at one time. It owns the words that the engine
// answers in, and touches nothing itself.
package host

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/dist"
)

// ErrUnavailable is wrapped where the engine (Podman or systemd) could not be
// reached: nothing is known to have failed, and what was asked for stays pending.
var ErrUnavailable = errors.New("the engine does not answer")

// ErrNoRoom is wrapped where there is no room on the disk for a copy.
var ErrNoRoom = errors.New("no room")

// ErrGone is wrapped where there is no container of that name.
var ErrGone = errors.New("no such container")

// Observation is what the engine, systemd and the disk said, all at one time.
type Observation struct {
	At         time.Time
	Containers map[string]Container // by name
	Units      map[string]Unit      // by name, "chain.service"
	Files      map[string]string    // Quadlet directory: file name -> content
	UnitFiles  map[string]string    // where systemd looks for units, generated ones aside: name -> path
	Missing    map[string][]string  // application -> volumes that were initialised and are not there
	Devices    map[string]Device    `json:",omitempty"` // of manifest.DevicePlaces, by path; nil where nobody looked
	Folders    map[string]string    `json:",omitempty"` // of the owner's, by name: why it cannot be used, empty where it can
	Disks      map[string]string    `json:",omitempty"` // by directory of a volume that was moved: which disk is not there, and what to do; empty where it is
}

// Device is a device of the node that applications may ask for.
type Device struct {
	Group string // whose it is; empty where the daemon's sandbox cannot tell
	Held  bool   // the group may read and write it, and the daemon's user is in it
	Open  bool   // everybody may read and write it
}

// Container is one container as Podman lists it. What it mounts and publishes is
// looked up only where it is unmanaged.
type Container struct {
	ID        string
	Name      string
	App       string // label manifest.LabelApp; empty for an unmanaged container
	Spec      string // label manifest.LabelSpec
	State     string // created, running, exited, …
	Health    string // starting, healthy, unhealthy, or empty
	StartedAt time.Time
	Networks  []string            `json:",omitempty"` // names; none where it shares another network namespace
	Mounts    []string            `json:",omitempty"` // directories of the node
	Ports     []manifest.NodePort `json:"NodePorts,omitempty"`
}

// Unit is one unit as systemd lists it.
type Unit struct {
	Active string // active, activating, deactivating, inactive, failed
	Sub    string // running, auto-restart, …
	Job    string // what is queued for it: start, stop, …; empty for nothing
}

// Rests tells whether a unit neither runs, nor is started, nor will be by itself: at a boot, a
// start is queued until what comes before it is there, and after a failure the next one is due.
func (u Unit) Rests() bool {
	return u.Job == "" && (u.Active == "" || u.Active == "inactive" || u.Active == "failed")
}

// Readiness is the outcome of an application's declared conditions.
type Readiness struct {
	OK     bool
	Detail string // what it waits for, and how far it is
}

// Running tells whether a member runs, or is being started.
func (o Observation) Running(container, unit string) bool {
	active := o.Units[unit].Active
	return o.Containers[container].State == "running" || active == "active" || active == "activating" || active == "reloading"
}

// Probing tells whether the health of containers is being looked at, or will be in a
// moment; true where nothing is known of units.
func (o Observation) Probing() bool {
	active := o.Units[dist.ProberUnit].Active
	return o.Units == nil || active == "active" || active == "activating"
}

// SameContainers tells whether two observations show the same containers in the same
// states.
func (o Observation) SameContainers(other Observation) bool {
	if len(o.Containers) != len(other.Containers) {
		return false
	}
	for name, c := range other.Containers {
		was := o.Containers[name]
		if was.ID != c.ID || was.State != c.State || was.Health != c.Health {
			return false
		}
	}
	return true
}

// Silence is how long an engine that was asked may be silent before that is said.
const Silence = 2 * time.Second

// Known is what is known of the node: the last observation, and how far it holds.
type Known struct {
	Observation
	Stale string    // why it is not of now; empty where it is
	Asked time.Time // when the engine was asked what it has not answered yet; zero for no such question
}

// Why says why what is known is not of now, empty where it is: of an engine that has
// been asked and is silent, even before the question's own deadline.
func (k Known) Why(now time.Time) string {
	if silent := now.Sub(k.Asked); k.Stale == "" && !k.Asked.IsZero() && silent > Silence {
		return fmt.Sprintf("no answer for %d s", int(silent.Seconds()))
	}
	return k.Stale
}

// VolumeOwner is a volume's directory and its owner as seen in the container.
type VolumeOwner struct {
	Dir      string
	UID, GID int
}

// File is a text that a container finds as a file; its owner is as seen in the container.
type File struct {
	Name     string // in the application's directory
	Content  string
	Mode     fs.FileMode
	UID, GID int
}

// Mount is a directory of the node in a container.
type Mount struct{ Type, Name, Source, Destination string }

// Inspection is one container, closely looked at.
type Inspection struct {
	ID            string
	State, Health string // as in Container
	PID           int    // of its main process
	StartedAt     time.Time
	Mounts        []Mount
	Environment   map[string]string
	Labels        map[string]string
	Checked       string // what its last health check said, where that failed
}

// Page is what a web server in a container answers, redirects followed.
type Page struct {
	Status   int    `json:"status"`
	Title    string `json:"title"`    // as it is served
	Scripted bool   `json:"scripted"` // scripts run in it, which may change it
}

// LogLine is a line that a container has written.
type LogLine struct {
	At   time.Time // zero where that is not known
	Text string    // valid UTF-8, without the line break; whoever shows it escapes it
}

// Use is what a service has used since it began.
type Use struct {
	CPU    time.Duration
	Memory int64 // bytes now, without what the kernel can take back at once
}

// Traffic is what a container has received and sent since it began, in bytes.
type Traffic struct{ Received, Sent int64 }

// Finding is one thing that applications need of the node, and how it is.
type Finding struct {
	Name   string
	OK     bool
	Detail string
	Remedy string // where it is not
}
