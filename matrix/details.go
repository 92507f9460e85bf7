package matrix

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// inspection is what is read of Podman's inspection of a container
// (InspectContainerData in its libpod/define).
type inspection struct {
	ID                     string `json:"Id"`
	Image                  string // its id
	Path                   string
	Args                   []string
	ImageDigest, ImageName string
	State                  stateSeen
	Mounts                 []bindSeen
	NetworkSettings        struct{ Networks map[string]networkSeen }
	Config                 configSeen
	HostConfig             hostSeen
}

type stateSeen struct {
	Status         string
	Pid, ConmonPid int
	StartedAt      time.Time
	Health         struct{ Status string }
}

type bindSeen struct {
	Type, Name, Source, Destination string // a name only where Type is "volume"
	RW                              bool
}

type networkSeen struct{ Aliases []string }

type configSeen struct {
	User, Hostname             string
	Env                        []string
	Labels                     map[string]string
	Healthcheck                *probeSeen
	StartupHealthCheck         *probeSeen
	HealthcheckOnFailureAction string
	StopTimeout                uint
	StopSignal, Timezone       string
	WorkingDir                 string
	CreateCommand              []string
	Secrets                    []struct {
		Name           string
		UID, GID, Mode uint32
	}
}

// probeSeen is a health check; Test is ["CMD", argv…], or ["CMD-SHELL", command].
type probeSeen struct {
	Test                           []string
	Interval, Timeout, StartPeriod time.Duration
	Retries                        int
}

type hostSeen struct {
	Privileged, ReadonlyRootfs                bool
	NetworkMode                               string
	RestartPolicy                             struct{ Name string }
	CapAdd, SecurityOpt, GroupAdd, ExtraHosts []string
	Devices                                   []struct{ PathOnHost, PathInContainer string }
	PortBindings                              map[string][]struct{ HostIP, HostPort string } // Go's decoder takes HostIp as well
	Tmpfs                                     map[string]string
	Memory, ShmSize                           int64
	LogConfig                                 struct{ Type string }
}

// image is what is read of an image, which a container takes over where its manifest says
// nothing.
type image struct {
	Digest      string
	RepoDigests []string
	Config      struct {
		Env, Cmd, Entrypoint []string
		Labels               map[string]string
		StopSignal           string
		WorkingDir           string
	}
	Healthcheck *probeSeen
}

// Details are what the kernel and Podman say of a container that runs.
type Details struct {
	inspection
	image      *image
	Processes  []Process
	Root       string            // id on the node of the container's root
	Cgroup     string            // of its main process
	Namespaces map[string]string // of its main process, by kind
	Mounted    []Mount
	Limits     map[string]string     // soft and hard, by name
	Parent     map[string]string     // those of the process that started it
	Inside     map[string]InsideSeen // files and directories, by their path in it
	Texts      map[string]string     // SHA-256 of files' texts, without values of secrets, by their path in it
}

// Process is one of a container (proc_pid_status(5)). Ids are the node's.
type Process struct {
	PID, Program string
	UID, GID     string
	Groups       []string
	Capabilities map[string]uint64 // by set: inheritable, permitted, effective, bounding, ambient
	NoNewPrivs   string
	Seccomp      string
}

// Mount is what a container's main process sees mounted (proc_pid_mountinfo(5)).
type Mount struct {
	Target, Options, Type, Root, Super string
}

// InsideSeen is a file or directory in a container; ids are the node's.
type InsideSeen struct {
	UID, GID, Mode, Inode string
}

// Socket is what something on the node listens on.
type Socket struct {
	UDP             bool
	Address         string // "127.0.0.1"; "every address"
	Port            int
	Program, Cgroup string // of the process that holds it; empty where that is another user's
}

var sets = []string{"inheritable", "permitted", "effective", "bounding", "ambient"}

// starting tells whether a process in a container is still the engine's: it is about to
// become the program that it was made for, and has not given up everything yet. crun may
// run from a copy of itself in memory; of one that has ended meanwhile the program is "-".
func (p Process) starting() bool {
	return slices.Contains([]string{"crun", "runc", "conmon", "podman", "memfd", "-"}, p.Program)
}

// properties are what a container is.
func (s *Snapshot) properties(c Seen, m *Meant) properties {
	r, p := c.running, properties{}
	s.addSecurity(p, c, m)
	s.addMounts(p, r, m)
	s.addPorts(p, r, m)
	for name, n := range r.NetworkSettings.Networks {
		extra := slices.DeleteFunc(slices.Clone(n.Aliases), func(a string) bool {
			return a == c.Name || a != "" && (a == m.Hostname || strings.HasPrefix(r.ID, a))
		})
		slices.Sort(extra)
		p.add("network "+name, strings.TrimSpace("joined "+strings.Join(extra, " ")))
	}
	p.add("network mode", r.HostConfig.NetworkMode)
	for _, v := range r.Config.Env {
		name, value, _ := strings.Cut(v, "=")
		switch meant, ok := m.Environment[name]; {
		case ok && meant == value:
			p.add("environment "+name, "as meant")
		case value == stars:
			p.add("environment "+name, hidden)
		default:
			p.add("environment "+name, "another value") // which may be a secret
		}
	}
	for variable, secret := range r.variables() {
		p.add("variable "+variable, "secret "+secret)
	}
	for name, value := range r.Config.Labels {
		p.add("label "+name, value)
	}
	for _, sec := range r.Config.Secrets {
		p.add("secret "+sec.Name+" in Podman", fmt.Sprintf("mode %o of %d:%d", sec.Mode, sec.UID, sec.GID))
	}
	p.add("image", imageOf(r, m))
	if m.User != "" {
		p.add("user", r.Config.User)
	}
	addProcess(p, r, m)
	addProbe(p, "health check", r.Config.Healthcheck)
	addProbe(p, startup, r.Config.StartupHealthCheck)
	p.add("action when unhealthy", cmp.Or(r.Config.HealthcheckOnFailureAction, "none"))
	p.add("log driver", r.HostConfig.LogConfig.Type)
	if zone := r.Config.Timezone; zone != "" {
		p.add("time zone", zone)
	}
	p.add("stop timeout", (time.Duration(r.Config.StopTimeout) * time.Second).String())
	p.add("Podman's restart policy", cmp.Or(r.HostConfig.RestartPolicy.Name, "no"))
	p.add("Podman's memory limit", fmt.Sprint(r.HostConfig.Memory))
	s.addUnit(p, c.Name, m)
	return p
}

// addSecurity adds what the kernel lets the container's processes do.
func (s *Snapshot) addSecurity(p properties, c Seen, m *Meant) {
	r := c.running
	for _, q := range r.Processes {
		if q.starting() {
			continue // the main one is not: see reading.complete
		}
		p.add("user of its processes", s.inside(q.UID, s.SubUID)+":"+s.inside(q.GID, s.SubGID))
		s.addGroups(p, q, m)
		for _, set := range sets {
			p.add(set+" capabilities", bitsOf(m.beyond(set, q.Capabilities[set])))
		}
		p.add("no_new_privs", q.NoNewPrivs)
		p.add("seccomp", map[string]string{"0": "off in " + q.Program, "1": "strict in " + q.Program, "2": "a filter"}[q.Seccomp])
	}
	p.add("root of the container", map[bool]string{true: "the node's user", false: "id " + r.Root + " of the node"}[r.Root == strconv.Itoa(s.UserID)])
	for kind, ns := range c.namespaces {
		value := "its own"
		for _, other := range s.Containers {
			// All containers of a user are in the one user namespace that Podman made.
			if kind != "user" && other.ID != c.ID && other.namespaces[kind] == ns {
				value = "shared with container " + other.Name
			}
		}
		if ns == s.Namespaces[kind] {
			value = "the node's"
		}
		p.add("namespace "+kind, value)
	}
	for _, o := range r.HostConfig.SecurityOpt {
		p.add("security option "+o, "set")
	}
	for _, a := range r.HostConfig.CapAdd {
		p.add("capability "+a, "added")
	}
	addGrants(p, r)
	for _, h := range r.HostConfig.ExtraHosts {
		p.add("extra host "+h, "set")
	}
	for _, d := range r.HostConfig.Devices {
		p.add("device "+d.PathInContainer, d.PathOnHost)
	}
	addLimits(p, r, m)
	cgroup := "that of its unit"
	if !strings.Contains(r.Cgroup+"/", "/"+c.Name+".service/") {
		cgroup = r.Cgroup
	}
	p.add("cgroup", cgroup)
}

// inside gives an id of the node as it is seen in a container of its user.
func (s *Snapshot) inside(id string, sub int) string {
	n, err := strconv.Atoi(id)
	switch {
	case err == nil && n == s.UserID:
		return "0"
	case err == nil && n >= sub && sub > 0:
		return strconv.Itoa(n - sub + 1)
	}
	return id + " of the node"
}

// addPorts adds what is published, and what listens on the node for the container.
func (s *Snapshot) addPorts(p properties, r *Details, m *Meant) {
	for port, bindings := range r.HostConfig.PortBindings {
		number, protocol, _ := strings.Cut(port, "/")
		for _, b := range bindings {
			p.add("published port "+b.HostPort+"/"+protocol, everyAddress(b.HostIP)+" to "+number)
		}
	}
	for _, l := range s.Listening {
		protocol := "tcp"
		if l.UDP {
			protocol = "udp"
		}
		own := strings.Contains(l.Cgroup+"/", "/"+m.Name+".service/") && !l.outgoing()
		declared := slices.ContainsFunc(m.Ports, func(q PortMeant) bool { return q.Host == l.Port && (q.Protocol == "udp") == l.UDP })
		if own || declared {
			p.add(fmt.Sprintf("listening port %d/%s", l.Port, protocol), l.Address)
		}
	}
}

// outgoing tells whether a socket is pasta's, which carries what goes out of all containers, on
// ports that the kernel chooses.
func (l Socket) outgoing() bool { return l.UDP && strings.HasPrefix(l.Program, "pasta") }

func everyAddress(ip string) string {
	if slices.Contains([]string{"", "0.0.0.0", "::", "*"}, ip) {
		return "every address"
	}
	return ip
}

// addUnit adds what systemd was told of the container's unit.
func (s *Snapshot) addUnit(p properties, container string, m *Meant) {
	unit := container + ".service"
	if s.Units[unit].Boot {
		p.add("its unit's WantedBy", "default.target")
	}
	for name, value := range s.Properties[unit] {
		switch name {
		case "Requires", "After":
			for _, d := range strings.Fields(value) {
				first := strings.TrimSuffix(d, ".service")
				if slices.Contains(m.DependsOn, first) || name == "After" && slices.Contains(m.Follows, first) {
					p.add("its unit's "+name+" "+d, "set")
				}
			}
		case "ExecCondition", "ExecStartPre", "ExecStartPost", "ExecReload":
			for _, command := range execArgv.FindAllStringSubmatch(value, -1) {
				if app, who, ok := joining(command[1]); ok && name == "ExecStartPost" {
					p.add("its unit's ExecStartPost "+app, who)
				} else {
					p.add("its unit's "+name, command[1])
				}
			}
		case "CPUQuotaPerSecUSec":
			p.add("its unit's "+name, quotaOf(value))
		case "RestartUSec", "RestartMaxDelayUSec", "StartLimitIntervalUSec", "TimeoutStartUSec", "TimeoutStopUSec":
			p.add("its unit's "+name, span(value))
		default:
			p.add("its unit's "+name, value)
		}
	}
	for file, text := range s.DropIns {
		if name, its := strings.CutPrefix(file, unit+".d/"); its {
			says := "of a text that is not meant"
			if text == stopsOnce {
				says = "that stops it once"
			}
			p.add("its unit's drop-in "+name, says)
		}
	}
	if limit, ok := s.MemoryMax[unit]; ok {
		p.add("memory.max of its unit's cgroup", limit)
	}
	if limit, ok := s.TasksMax[unit]; ok {
		p.add("pids.max of its unit's cgroup", limit)
	}
}

// execArgv is a command as systemctl shows it.
var execArgv = regexp.MustCompile(`argv\[\]=(.*?) ;`)

// joining reads the command that links a container to an application that requires its own:
// "/usr/bin/podman network connect archipelago-APP.OWN CONTAINER". who is "CONTAINER of OWN".
func joining(command string) (app, who string, ok bool) {
	link, found := strings.CutPrefix(command, "/usr/bin/podman network connect "+networkOf(""))
	app, rest, dotted := strings.Cut(link, ".")
	own, container, spaced := strings.Cut(rest, " ")
	return app, container + " of " + own, found && dotted && spaced
}

// joiner is who of joining, as it is meant.
func (c *Meant) joiner() string { return c.Name + " of " + c.App }

func addProbe(p properties, name string, h *probeSeen) {
	if h == nil || len(h.Test) == 0 || h.Test[0] == "NONE" {
		return
	}
	p.add(name, words(h.Test))
	p.add("interval of the "+name, h.Interval.String())
	p.add("timeout of the "+name, h.Timeout.String())
	if name == "health check" {
		p.add("start period of the "+name, h.StartPeriod.String())
		p.add("retries of the "+name, fmt.Sprint(h.Retries))
	}
}

// imageOf gives the image by the digest that is meant, if the container's has it: one
// that was pulled by a list's digest has its own too.
func imageOf(r *Details, m *Meant) string {
	digests := []string{r.ImageDigest}
	if r.image != nil {
		digests = append(digests, r.image.Digest)
		for _, d := range r.image.RepoDigests {
			_, digest, _ := strings.Cut(d, "@")
			digests = append(digests, digest)
		}
	}
	if m.Image.Digest != "" && slices.Contains(digests, m.Image.Digest) {
		return m.Image.Digest
	}
	if m.Image.Digest == "" {
		return r.ImageName
	}
	return cmp.Or(r.ImageDigest, r.ImageName)
}

// argv is what was started. Podman shows a program without arguments as its own one.
func (c inspection) argv() []string {
	if len(c.Args) == 1 && c.Args[0] == c.Path {
		return c.Args
	}
	return append([]string{c.Path}, c.Args...)
}

func words(argv []string) string {
	if len(argv) == 0 {
		return "none"
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.Encode(argv) // strings always encode
	return strings.TrimSpace(b.String())
}

func bitsOf(set uint64) string {
	if set == 0 {
		return "none"
	}
	return fmt.Sprintf("%#x", set)
}
