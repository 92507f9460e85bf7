// Package manifest owns the packaging contract: what an application is, written
// by its packager as one YAML file. It parses, validates and orders; it never
// touches a node, an engine or a network, and imports no other package of the
// project.
//
// What the language cannot say is refused: there is no field for a privileged
// container, the host's network, the engine's socket or a host path. Capabilities and
// devices are from lists, and need the owner's consent, as do folders that the owner names.
package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// APIVersion is the only version of the language that this package reads.
const APIVersion = "archipelago/v1"

// DefaultStartBudget is how long an application may take from a start to healthy
// when its manifest does not say.
const DefaultStartBudget = 60 * time.Second

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
	Network    Network              `json:"network,omitzero"`
	Migration  int                  `json:"migration,omitempty"`
	Settings   []Setting            `json:"settings,omitempty"`
	Requires   []Requirement        `json:"requires,omitempty"`
	Exports    map[string]Export    `json:"exports,omitempty"`
	Ready      []Condition          `json:"ready,omitempty"`
	Adopts     []Adoption           `json:"adopts,omitempty"`
	Hooks      Hooks                `json:"hooks,omitzero"`
	Scripts    []ProviderScript     `json:"provider_scripts,omitempty"`

	Listing

	// Beside are the files of the pictures of a manifest that was read with what stands beside
	// it, by digest.
	Beside map[string]string `json:"-"`
}

// Condition is one of several that all must hold before the application is ready
// for its owner and for those that require it. Exactly one of the four is set.
type Condition struct {
	TCP    string           `json:"tcp,omitempty"` // a port's name
	HTTP   *HTTPCondition   `json:"http,omitempty"`
	Exec   *ExecCondition   `json:"exec,omitempty"`
	Socket *SocketCondition `json:"socket,omitempty"`
}

// HTTPCondition asks a published port. With JSON the answer is a document in which
// the member at that path (names joined by dots) is the text Equals; Progress is
// the path of what people are shown in the meantime.
type HTTPCondition struct {
	Port     string `json:"port"`
	Path     string `json:"path"`
	Status   int    `json:"status,omitempty"` // default 200
	JSON     string `json:"json,omitempty"`
	Equals   string `json:"equals,omitempty"`
	Progress string `json:"progress,omitempty"`
}

// ExecCondition is a command in a container that ends with status 0.
type ExecCondition struct {
	Container string   `json:"container"`
	Command   []string `json:"command"`
}

// SocketCondition is a Unix socket that exists in a container.
type SocketCondition struct {
	Container string `json:"container"`
	Path      string `json:"path"`
}

// Adoption is a container that someone else made and that serves as a member until
// the next restart. In the file it may be a name alone.
type Adoption struct {
	Container string            `json:"container"`
	As        string            `json:"as,omitempty"`      // the member; default: the one with the application's name
	Volumes   map[string]string `json:"volumes,omitempty"` // path in that container -> volume; a volume's own path needs no entry
	Secrets   map[string]string `json:"secrets,omitempty"` // variable of that container -> generated secret that keeps its value
}

// UnmarshalJSON reads a name or the whole form.
func (a *Adoption) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &a.Container)
	}
	type whole Adoption
	return json.Unmarshal(b, (*whole)(a))
}

// Hooks are commands run in a running container of the application.
type Hooks struct {
	PostInstall []Hook `json:"post_install,omitempty"`
	PreUpdate   []Hook `json:"pre_update,omitempty"`
	PostUpdate  []Hook `json:"post_update,omitempty"`
}

// Hook is one command; it fails when it ends with another status than 0 or takes
// longer than Timeout.
type Hook struct {
	Container string   `json:"container"`
	Command   []string `json:"command"`
	Timeout   Duration `json:"timeout,omitempty"` // default 60s, at most 1h
}

// ProviderScript is a script that the node's proxy serves beside the application,
// such as /nostr-provider.js.
type ProviderScript struct {
	Path   string `json:"path"`
	Source string `json:"source"`
}

// Container is a member of the application. Its name is also the name of its
// unit and its alias on the application's network.
type Container struct {
	Name        string            `json:"name"`
	Image       Image             `json:"image"`
	User        string            `json:"user,omitempty"`       // "UID" or "UID:GID" inside the container
	Entrypoint  []string          `json:"entrypoint,omitempty"` // in place of the image's, whose command is then left out
	Command     []string          `json:"command,omitempty"`
	WorkingDir  string            `json:"working_dir,omitempty"` // default: the image's
	Init        bool              `json:"init,omitempty"`        // the program is started by Podman's init, which reaps what it leaves behind
	Hostname    string            `json:"hostname,omitempty"`    // default: the container's id, another one after every start
	Environment map[string]string `json:"environment,omitempty"`
	ReadOnly    bool              `json:"read_only,omitempty"` // nothing can be written but volumes and tmpfs
	Volumes     []Volume          `json:"volumes,omitempty"`
	Tmpfs       []Tmpfs           `json:"tmpfs,omitempty"`
	Memory      string            `json:"memory,omitempty"`      // at most, such as 512M; default: the application's resources
	ShmSize     string            `json:"shm_size,omitempty"`    // of /dev/shm, such as 256M; default: Podman's, 64000K
	Ulimits     map[string]int    `json:"ulimits,omitempty"`     // soft and hard; see ulimits for names and bounds
	Sysctls     map[string]int    `json:"sysctls,omitempty"`     // see sysctls for names and bounds
	CPUs        float64           `json:"cpus,omitempty"`        // at most, such as 1.5; default: all
	Pids        int               `json:"pids,omitempty"`        // processes and threads at most; see Tasks
	ExtraHosts  map[string]string `json:"extra_hosts,omitempty"` // further names of members, for all of them; see Aliases

	Capabilities []string `json:"capabilities,omitempty"` // see capabilities for those that there are
	Devices      []Device `json:"devices,omitempty"`

	Storage []StorageMount `json:"storage,omitempty"` // the owner's folders

	Secrets     []SecretMount `json:"secrets,omitempty"`
	Imports     []Import      `json:"imports,omitempty"` // of other applications, in the main container alone
	Files       []File        `json:"files,omitempty"`
	Health      *Health       `json:"health,omitempty"`
	DependsOn   []Dependency  `json:"depends_on,omitempty"`
	Ports       []Port        `json:"ports,omitempty"`
	StopTimeout Duration      `json:"stop_timeout,omitempty"`
	StopSignal  string        `json:"stop_signal,omitempty"` // one of StopSignals; default: the image's, or SIGTERM
}

// Image is either pulled by digest (Ref and Digest) or built by the publisher
// from Build, a directory beside the manifest. Nodes only ever see the first.
type Image struct {
	Build  string `json:"build,omitempty"`
	Ref    string `json:"ref,omitempty"`
	Digest string `json:"digest,omitempty"`
}

// Pinned is the reference that names exactly one image, "REF@DIGEST"; without a
// digest, which only an owner's override has, it is the name alone.
func (i Image) Pinned() string {
	if i.Digest == "" {
		return i.Ref
	}
	return i.Ref + "@" + i.Digest
}

// Override is the name of an image of the owner's own that takes the place of a
// member's, where it exists on the node.
func Override(app, container string) string { return "localhost/" + app + "/" + container + ":local" }

// Volume is a directory of the application's own, owned by UID:GID as seen in
// the container. Several members that all say Shared have one together.
type Volume struct {
	Name     string `json:"name"`
	Path     string `json:"path"`
	UID      int    `json:"uid,omitempty"`
	GID      int    `json:"gid,omitempty"`
	Shared   bool   `json:"shared,omitempty"`
	ReadOnly bool   `json:"read_only,omitempty"` // for this container

	At string `json:"-"` // where its owner has moved it on the node; WithMoved fills it in
}

// SecretMount is a generated secret, or a secret setting, in the container: as a file at
// Path, which its user alone can read, or as the environment variable Env. Exactly one of
// the two is set. A file is the better place: every process inherits a variable.
type SecretMount struct {
	Name string `json:"name"`
	Path string `json:"path,omitempty"`
	Env  string `json:"env,omitempty"`

	Ref string `json:"-"` // of a secret setting: which value it is; With fills it in
}

// Health tells whether a container serves: by a command that runs in it, whose answer is
// the one that counts. HTTP or TCP, at most one of them, is asked in its place as long as
// all is well: it costs no process.
type Health struct {
	Exec        []string   `json:"exec"`
	HTTP        *HTTPProbe `json:"http,omitempty"`
	TCP         *TCPProbe  `json:"tcp,omitempty"`
	Interval    Duration   `json:"interval,omitempty"`     // in steady state; default 30s
	Timeout     Duration   `json:"timeout,omitempty"`      // of one probe; default 10s
	StartPeriod Duration   `json:"start_period,omitempty"` // default: the start budget
	Retries     int        `json:"retries,omitempty"`      // failures in a row until unhealthy; default 3
}

// HTTPProbe is a GET request to a port of the container, on the loopback inside it.
type HTTPProbe struct {
	Port   string `json:"port"`
	Path   string `json:"path"`
	Status int    `json:"status,omitempty"` // default 200
}

// TCPProbe is a connection to a port of the container, on the loopback inside it.
type TCPProbe struct {
	Port string `json:"port"`
}

// Dependency orders the members of a stack.
type Dependency struct {
	Container string `json:"container"`
	Condition string `json:"condition,omitempty"` // started (default) or healthy
}

// GeneratedSecret is made once by the node, and kept for ever: another form, length or
// number of bytes is for nodes that have none yet. Without a Form it is Length letters
// and digits; with Derive it is made of another one. Shown ones are credentials the owner
// may read.
type GeneratedSecret struct {
	Name   string `json:"name"`
	Form   string `json:"form,omitempty"`   // FormHex, FormBase64 …
	Length int    `json:"length,omitempty"` // characters, where there is no form; default 32
	Bytes  int    `json:"bytes,omitempty"`  // that hex and base64 stand for; default 32
	Shown  bool   `json:"shown,omitempty"`

	Derive *Derivation `json:"derive,omitempty"`
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

// Network is what the application reaches beyond its own containers and those that
// it requires.
type Network struct {
	Internet *bool `json:"internet,omitempty"` // default true
}

// StartBudget is how long a start may take until every member is healthy.
func (m *Manifest) StartBudget() time.Duration { return m.Budget.Start.Or(DefaultStartBudget) }

// RebootBudget is how long the application may take after a reboot.
func (m *Manifest) RebootBudget() time.Duration {
	return m.Budget.Reboot.Or(m.StartBudget() + time.Minute)
}

// Internet tells whether the application may reach what is outside the node.
func (m *Manifest) Internet() bool { return m.Network.Internet == nil || *m.Network.Internet }

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

// Volumes are the names of all members' volumes, each once.
func (m *Manifest) Volumes() []string {
	var out []string
	for _, c := range m.Containers {
		for _, v := range c.Volumes {
			if !slices.Contains(out, v.Name) {
				out = append(out, v.Name)
			}
		}
	}
	return out
}

// Canonical is the manifest as it is published and signed: JSON in the form of
// RFC 8785, so that the same content always is the same bytes.
func (m *Manifest) Canonical() []byte {
	b, err := json.Marshal(m)
	if err == nil {
		err = (*jsontext.Value)(&b).Canonicalize()
	}
	if err != nil {
		panic(err) // strings, numbers and maps of them always encode
	}
	return b
}

// Digest names the manifest's content: the SHA-256 of its canonical form, in hex.
func (m *Manifest) Digest() string {
	sum := sha256.Sum256(m.Canonical())
	return hex.EncodeToString(sum[:])
}
