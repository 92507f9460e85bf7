// Package manifest owns the packaging contract: what an application is, written
// by its packager as one YAML file. It parses, validates and orders; it never
// touches a node, an engine or a network, and imports no other package of the
// project.
//
// What the language cannot say is refused: there is no field for a privileged
// container, the host's network, the engine's socket or a host path.
package manifest

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// APIVersion is the only version of the language that this package reads.
const APIVersion = "archipelago/v1"

// DefaultStartBudget is how long an application may take from a start to healthy
// when its manifest does not say.
const DefaultStartBudget = 60 * time.Second

// ProxyOffset is added to the published port of a web interface to give the port
// on which the node's reverse proxy serves the same application.
const ProxyOffset = 10000

// Manifest is one application. Containers are in the order of the file.
type Manifest struct {
	APIVersion string               `json:"apiVersion"`
	ID         string               `json:"id"`
	Name       string               `json:"name"`
	Version    string               `json:"version"`
	Summary    string               `json:"summary,omitempty"`
	Containers []Container          `json:"containers"`
	Secrets    []GeneratedSecret    `json:"generated_secrets,omitempty"`
	Interfaces map[string]Interface `json:"interfaces,omitempty"`
	Canary     *Canary              `json:"canary,omitempty"`
	Budget     Budget               `json:"budget,omitzero"`
	Resources  Resources            `json:"resources,omitzero"`
	Migration  int                  `json:"migration,omitempty"`
}

// Container is a member of the application. Its name is also the name of its
// unit and its alias on the application's network.
type Container struct {
	Name        string            `json:"name"`
	Image       Image             `json:"image"`
	User        string            `json:"user,omitempty"` // "UID" or "UID:GID" inside the container
	Command     []string          `json:"command,omitempty"`
	Environment map[string]string `json:"environment,omitempty"`
	Volumes     []Volume          `json:"volumes,omitempty"`
	Tmpfs       []string          `json:"tmpfs,omitempty"`
	Secrets     []SecretMount     `json:"secrets,omitempty"`
	Health      *Health           `json:"health,omitempty"`
	DependsOn   []Dependency      `json:"depends_on,omitempty"`
	Ports       []Port            `json:"ports,omitempty"`
	StopTimeout Duration          `json:"stop_timeout,omitempty"`
}

// Image is either pulled by digest (Ref and Digest) or built by the publisher
// from Build, a directory beside the manifest. Nodes only ever see the first.
type Image struct {
	Build  string `json:"build,omitempty"`
	Ref    string `json:"ref,omitempty"`
	Digest string `json:"digest,omitempty"`
}

// Pinned is the reference that names exactly one image, "REF@DIGEST".
func (i Image) Pinned() string { return i.Ref + "@" + i.Digest }

// Volume is a directory of the application's own, owned by UID:GID as seen in
// the container.
type Volume struct {
	Name string `json:"name"`
	Path string `json:"path"`
	UID  int    `json:"uid,omitempty"`
	GID  int    `json:"gid,omitempty"`
}

// SecretMount is a generated secret as a file in the container.
type SecretMount struct {
	Name string `json:"name"`
	Path string `json:"path"`
}

// Health is the command that tells, in the container, whether it serves.
type Health struct {
	Exec        []string `json:"exec"`
	Interval    Duration `json:"interval,omitempty"`     // in steady state; default 30s
	Timeout     Duration `json:"timeout,omitempty"`      // of one probe; default 10s
	StartPeriod Duration `json:"start_period,omitempty"` // default: the start budget
	Retries     int      `json:"retries,omitempty"`      // failures in a row until unhealthy; default 3
}

// Dependency orders the members of a stack.
type Dependency struct {
	Container string `json:"container"`
	Condition string `json:"condition,omitempty"` // started (default) or healthy
}

// Port is published by the node on all its addresses.
type Port struct {
	Name      string `json:"name"`
	Container int    `json:"container"`
	Host      int    `json:"host"`
	Protocol  string `json:"protocol,omitempty"` // tcp (default) or udp
}

// GeneratedSecret is made once by the node, from Length characters, and kept for
// ever. Shown ones are credentials the owner may read.
type GeneratedSecret struct {
	Name   string `json:"name"`
	Length int    `json:"length,omitempty"` // default 32
	Shown  bool   `json:"shown,omitempty"`
}

// Interface is a way in for people or programs, by a port's name.
type Interface struct {
	Port     string `json:"port"`
	Protocol string `json:"protocol,omitempty"` // http (default) or mqtt
	Path     string `json:"path,omitempty"`
	Login    *Login `json:"login,omitempty"`
	Expect   Expect `json:"expect,omitzero"`
}

// Expect is what the UI check must see: the status of the document, a text that
// the title contains, a CSS selector that is visible.
type Expect struct {
	Status   int    `json:"status,omitempty"`
	Title    string `json:"title,omitempty"`
	Selector string `json:"selector,omitempty"`
}

// Login is a user and the generated secret that is its password.
type Login struct {
	User   string `json:"user"`
	Secret string `json:"secret"`
}

// Canary says how state is put into the application and read back: by HTTP, by a
// retained MQTT message, or as a file on a volume where there is no API. The
// text {{canary}} in a path or body stands for a value unique to the run.
type Canary struct {
	HTTP   *HTTPCanary   `json:"http,omitempty"`
	MQTT   *MQTTCanary   `json:"mqtt,omitempty"`
	Volume *VolumeCanary `json:"volume,omitempty"`
}

// HTTPCanary writes with one request and finds {{canary}} in the answer to another.
type HTTPCanary struct {
	Interface string  `json:"interface"`
	Login     *Login  `json:"login,omitempty"`
	Write     Request `json:"write"`
	Read      Request `json:"read"`
}

// Request is one HTTP request; a Status of 0 accepts any of 200 to 299.
type Request struct {
	Method  string            `json:"method,omitempty"`
	Path    string            `json:"path"`
	Headers map[string]string `json:"headers,omitempty"`
	Body    string            `json:"body,omitempty"`
	Status  int               `json:"status,omitempty"`
}

// MQTTCanary is a retained message under Topic.
type MQTTCanary struct {
	Interface string `json:"interface"`
	Topic     string `json:"topic"`
	Login     *Login `json:"login,omitempty"`
}

// VolumeCanary is a file planted on the volume of that name.
type VolumeCanary struct {
	Name string `json:"name"`
}

// Budget is how long the application may take to be healthy.
type Budget struct {
	Start  Duration `json:"start,omitempty"`
	Reboot Duration `json:"reboot,omitempty"` // from power-on; default: Start and a minute for the machine
}

// Resources are the limits written into every unit of the application.
type Resources struct {
	Memory string `json:"memory,omitempty"` // systemd's MemoryMax=, such as 512M
}

// Duration is a Go duration in the file ("2s", "500ms").
type Duration time.Duration

// UnmarshalText reads what the schema's "duration" admits.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// MarshalText writes the duration in one unit, the largest that holds it exactly.
func (d Duration) MarshalText() ([]byte, error) {
	for _, u := range []struct {
		size time.Duration
		name string
	}{{time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if time.Duration(d)%u.size == 0 {
			return fmt.Appendf(nil, "%d%s", time.Duration(d)/u.size, u.name), nil
		}
	}
	return fmt.Appendf(nil, "%dms", time.Duration(d)/time.Millisecond), nil
}

// Or is the duration, or fallback where the manifest gave none.
func (d Duration) Or(fallback time.Duration) time.Duration {
	if d == 0 {
		return fallback
	}
	return time.Duration(d)
}

// StartBudget is how long a start may take until every member is healthy.
func (m *Manifest) StartBudget() time.Duration { return m.Budget.Start.Or(DefaultStartBudget) }

// RebootBudget is how long the application may take after a reboot.
func (m *Manifest) RebootBudget() time.Duration {
	return m.Budget.Reboot.Or(m.StartBudget() + time.Minute)
}

// Stack tells whether the application has several containers.
func (m *Manifest) Stack() bool { return len(m.Containers) > 1 }

// Container finds a member by name.
func (m *Manifest) Container(name string) (*Container, bool) {
	for i := range m.Containers {
		if m.Containers[i].Name == name {
			return &m.Containers[i], true
		}
	}
	return nil, false
}

// Port finds a published port by its name, over all members.
func (m *Manifest) Port(name string) (Port, bool) {
	for _, c := range m.Containers {
		for _, p := range c.Ports {
			if p.Name == name {
				return p, true
			}
		}
	}
	return Port{}, false
}

// Web is the interface that My Apps links to: the one named "web", if it speaks HTTP.
func (m *Manifest) Web() (Interface, Port, bool) {
	i, ok := m.Interfaces["web"]
	if !ok || (i.Protocol != "" && i.Protocol != "http") {
		return Interface{}, Port{}, false
	}
	p, ok := m.Port(i.Port)
	return i, p, ok
}

// Ordered gives the members so that each comes after all it depends on; members
// that do not depend on each other keep the order of the file. Parse has refused cycles.
func (m *Manifest) Ordered() []Container {
	out, cycle := order(m.Containers)
	if cycle != "" {
		panic("manifest: unchecked manifest with a cycle through " + cycle)
	}
	return out
}

func order(cs []Container) (out []Container, cycle string) {
	const open, done = 1, 2
	state := map[string]int{}
	byName := map[string]Container{}
	for _, c := range cs {
		byName[c.Name] = c
	}
	var visit func(c Container) bool
	visit = func(c Container) bool {
		switch state[c.Name] {
		case open:
			cycle = c.Name
			return false
		case done:
			return true
		}
		state[c.Name] = open
		for _, d := range c.DependsOn {
			if dep, ok := byName[d.Container]; ok && !visit(dep) {
				return false
			}
		}
		state[c.Name] = done
		out = append(out, c)
		return true
	}
	for _, c := range cs {
		if !visit(c) {
			return nil, cycle
		}
	}
	return out, ""
}

// IDs splits a container's user into uid and gid; an absent gid is 0, Podman's default.
func (c Container) IDs() (uid, gid int) {
	u, g, _ := strings.Cut(c.User, ":")
	uid, _ = strconv.Atoi(u)
	gid, _ = strconv.Atoi(g)
	return uid, gid
}

// String names the application in messages.
func (m *Manifest) String() string { return fmt.Sprintf("%s %s", m.ID, m.Version) }
