package matrix

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// What the daemon promises of every container, whatever its manifest says (OPERATING.md).
// They stand here a second time on purpose: nothing in an expectation comes from the code
// that renders.
const (
	stopTimeout     = 10 * time.Second // where the manifest gives none
	stopMargin      = 10 * time.Second // that the unit gives a stop beyond that
	restartDelay    = 200 * time.Millisecond
	restartSteps    = 8
	restartMaxDelay = time.Minute
	checkInterval   = 30 * time.Second
	checkTimeout    = 10 * time.Second
	checkRetries    = 3
	shmSize         = 65536000 // bytes
)

// stopsOnce is the digest of the one drop-in that a container's service has.
var stopsOnce = fmt.Sprintf("%x", sha256.Sum256([]byte(`# Written by archipelago; changes are overwritten.
[Service]
ExecStopPost=
ExecStopPost=-/bin/sh -c '[ ! -e %t/%N.cid ] || exec /usr/bin/podman rm -v -f -i --cidfile=%t/%N.cid'
`)))

// Facts are what a node and its owner add to a manifest.
type Facts struct {
	DataDir   string            // where applications' folders are
	Config    map[string]string // settings in force that are not the manifest's default
	Requirers []Requirer        // applications that may require this one
	Node      manifest.Node     // what texts may say of it

	Apps    map[string]*manifest.Manifest // that are installed, those among them that it requires
	Folders map[string]manifest.Folder    // of its owner's, by name; nil: as the manifest has them
}

// Expectation is what an application's containers, units and networks must be. It follows
// from the manifest alone, as it is published: nothing in it comes from the daemon.
type Expectation struct {
	App        string
	Containers []Meant           // each after those it depends on
	Networks   map[string]Bridge // by name
}

// Bridge is what a network must let through.
type Bridge struct {
	Internal bool   // nothing outside it is reached
	Isolate  string // Podman's option of that name: nothing passes to other networks
}

// Meant is what a container must be.
type Meant struct {
	App, Name    string
	Image        manifest.Image
	User         string                 // "UID:GID" in the container; empty: as the image says
	Entrypoint   []string               // nil: the image's
	Command      []string               // nil: the image's, where its entrypoint is not replaced
	WorkingDir   string                 // empty: the image's
	Init         bool                   // Podman's init starts the program
	Hostname     string                 // empty: the container's id
	ReadOnly     bool                   // its root file system
	Volumes      map[string]VolumeMeant // by path
	Marks        []string               // files without which it does not start, in folders of the owner's
	Files        map[string]FileMeant   // by path
	Tmpfs        []TmpfsMeant
	ShmSize      uint64         // bytes; 0: Podman's own size
	Ulimits      map[string]int // soft and hard, as far as the node allows them
	Sysctls      map[string]int // of the kernel's parameters
	Capabilities []string       // beyond none, without CAP_
	Devices      []DeviceMeant
	Ports        []PortMeant
	Networks     []string
	Aliases      []string // further names in the application's own network, sorted
	MayNetworks  []string // those of applications that require this one, which come and go
	Environment  map[string]string
	Secrets      []SecretMeant
	Health       *HealthMeant
	StopTimeout  time.Duration
	StopSignal   string        // empty: the image's, or SIGTERM
	Start        time.Duration // until systemd gives up a start
	Memory       uint64        // bytes; 0: no limit
	CPU          time.Duration // of processor time in a second; 0: no limit
	Pids         int           // processes and threads at most; 0: as the node's settings say
	DependsOn    []string      // containers whose units are required, and started before
	Follows      []string      // containers of other applications, whose units are started before
	Joins        []string      // applications whose network it joins once it has started
}

// PortMeant is a published port.
type PortMeant struct {
	manifest.Port
	Loopback bool // on 127.0.0.1 only, for the proxy; otherwise on every address
}

// VolumeMeant is a directory of the node in a container.
type VolumeMeant struct {
	Dir      string
	ReadOnly bool
}

// TmpfsMeant is a file system in memory.
type TmpfsMeant struct {
	Target string
	Size   uint64 // bytes; 0: whatever the kernel gives
}

// SecretMeant is a file with a secret in it, which its user alone can read, or a variable.
type SecretMeant struct {
	Name     string // in Podman's store
	Target   string // of a file; empty for a variable
	UID, GID int    // of a file, as seen in the container
	Variable string
}

// HealthMeant is a health check, with the defaults filled in. Podman is to run it when
// the prober asks, and never by a timer of its own.
type HealthMeant struct {
	Exec                 []string
	Timeout, StartPeriod time.Duration
	Retries              int
	Probe                string // what the container's label tells the prober
}

// ExpectationOf says what must come of a manifest. The error is that of a setting that the
// manifest does not take.
func ExpectationOf(m *manifest.Manifest, f Facts) (*Expectation, error) {
	node := f.Node
	node.Apps = f.Apps
	m, err := m.With(f.Config, node)
	if err != nil {
		return nil, err
	}
	if f.Folders != nil {
		m = m.WithFolders(f.Folders)
	}
	e := &Expectation{App: m.ID, Networks: map[string]Bridge{networkOf(m.ID): {Internal: !m.Internet(), Isolate: "strict"}}}
	for _, r := range m.Requires {
		if links(r, f.Apps) {
			e.Networks[linkOf(m.ID, r.App)] = Bridge{Internal: true, Isolate: "strict"}
		}
	}
	for _, c := range m.Ordered() {
		e.Containers = append(e.Containers, meant(m, c, f))
	}
	return e, nil
}

func linkOf(app, required string) string { return networkOf(app) + "." + required }

func meant(m *manifest.Manifest, c manifest.Container, f Facts) Meant {
	uid, gid := c.IDs()
	out := Meant{
		App: m.ID, Name: c.Name, Image: c.Image, Environment: c.Environment,
		Entrypoint: c.Entrypoint, Command: c.Command, WorkingDir: c.WorkingDir, Init: c.Init, Hostname: c.Hostname, ReadOnly: c.ReadOnly,
		ShmSize: bytesOf(c.ShmSize), Ulimits: c.Ulimits, Sysctls: c.Sysctls, StopSignal: c.StopSignal,
		Volumes: map[string]VolumeMeant{}, Files: filesMeant(m, c, f.DataDir), Networks: []string{networkOf(m.ID)},
		StopTimeout: c.StopTimeout.Or(stopTimeout), Start: max(m.StartBudget(), m.RebootBudget()), Memory: bytesOf(cmp.Or(c.Memory, m.Resources.Memory)),
	}
	if c.User != "" {
		out.User = fmt.Sprintf("%d:%d", uid, gid)
	}
	out.grant(m, c)
	out.store(c)
	for _, v := range c.Volumes {
		out.Volumes[v.Path] = VolumeMeant{manifest.VolumeDir(f.DataDir, m.ID, v.Name), v.ReadOnly}
	}
	for _, t := range c.Tmpfs {
		out.Tmpfs = append(out.Tmpfs, TmpfsMeant{t.Path, bytesOf(t.Size)})
	}
	webs := m.WebPorts()
	for _, p := range c.Ports {
		out.Ports = append(out.Ports, PortMeant{p, slices.Contains(webs, p)})
	}
	for _, s := range c.Secrets {
		if s.Env != "" {
			out.Secrets = append(out.Secrets, SecretMeant{Name: m.ID + "." + s.Name, Variable: s.Env})
			continue
		}
		out.Secrets = append(out.Secrets, SecretMeant{Name: m.ID + "." + s.Name, Target: s.Path, UID: uid, GID: gid})
	}
	out.imported(c, f.DataDir)
	if h := c.Health; h != nil {
		out.Health = &HealthMeant{h.Exec, h.Timeout.Or(checkTimeout), h.StartPeriod.Or(m.StartBudget()), h.Retries, probeOf(c)}
		if h.Retries == 0 {
			out.Health.Retries = checkRetries
		}
	}
	for _, d := range c.DependsOn {
		out.DependsOn = append(out.DependsOn, d.Container)
	}
	if c.Name == m.ID {
		for _, r := range m.Requires {
			if links(r, f.Apps) {
				out.Networks = append(out.Networks, linkOf(m.ID, r.App))
			}
			out.Follows = append(out.Follows, r.App)
		}
	}
	for _, r := range f.Requirers {
		if slices.Contains(reachedOf(m, r.Uses), c.Name) {
			out.MayNetworks = append(out.MayNetworks, linkOf(r.App, m.ID))
			out.Joins = append(out.Joins, r.App)
		}
	}
	return out
}

// probeOf says how a container is probed: interval and timeout as systemd writes them,
// then "exec", "tcp PORT" or "http PORT STATUS PATH", the port being the container's.
func probeOf(c manifest.Container) string {
	h, text := c.Health, func(d time.Duration) string {
		if d%time.Second != 0 {
			return fmt.Sprintf("%dms", d.Milliseconds())
		}
		return fmt.Sprintf("%ds", d/time.Second)
	}
	how := "exec"
	for _, p := range c.Ports {
		switch {
		case h.TCP != nil && h.TCP.Port == p.Name:
			how = fmt.Sprintf("tcp %d", p.Container)
		case h.HTTP != nil && h.HTTP.Port == p.Name:
			how = fmt.Sprintf("http %d %d %s", p.Container, cmp.Or(h.HTTP.Status, 200), h.HTTP.Path)
		}
	}
	return fmt.Sprintf("%s %s %s", text(h.Interval.Or(checkInterval)), text(h.Timeout.Or(checkTimeout)), how)
}

// bytesOf reads a size of the manifest's language, with systemd's suffixes to the base
// of 1024; 0 for none.
func bytesOf(size string) uint64 {
	number, unit := strings.TrimRight(size, "KMG"), uint64(1)
	switch strings.TrimPrefix(size, number) {
	case "K":
		unit = 1 << 10
	case "M":
		unit = 1 << 20
	case "G":
		unit = 1 << 30
	}
	n, _ := strconv.ParseUint(number, 10, 64)
	return n * unit
}
