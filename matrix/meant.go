package matrix

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// specDigest is the value of the label manifest.LabelSpec, which no one but the daemon
// knows.
var specDigest = regexp.MustCompile(`^[0-9a-f]{16}$`)

// namespaces that a container must not share with the node, nor with another container.
var namespaces = []string{"user", "pid", "ipc", "uts", "net", "mnt"}

// CheckAsMeant requires whatever runs of an application to be what its manifest means,
// in every property that the witnesses can see: what is more, less or other is wrong. It
// says nothing of members that do not run, of which CheckRunning speaks.
func CheckAsMeant(e *Expectation, s *Snapshot) (wrong []string) {
	for i := range e.Containers {
		c := &e.Containers[i]
		for _, seen := range s.member(c.Name) {
			switch {
			case seen.State != "running":
			case seen.running == nil:
				wrong = append(wrong, fmt.Sprintf("container %s runs, and what it is was not looked at", c.Name))
			default:
				wrong = append(wrong, compare("container "+c.Name, c.wanted(s, seen), s.properties(seen, c))...)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.Networks)) {
		seen, ok := s.Bridges[name]
		if want := e.Networks[name]; ok && seen != want {
			wrong = append(wrong, fmt.Sprintf("network %s: internal is %t and isolate is %q, wanted %t and %q", name, seen.Internal, seen.Isolate, want.Internal, want.Isolate))
		}
	}
	return wrong
}

// wanted is what the witnesses must see of a container that runs.
func (c *Meant) wanted(s *Snapshot, seen Seen) wanted {
	w := wanted{}
	w.must("image", c.Image.Digest)
	if c.Image.Digest == "" {
		w.must("image", c.Image.Ref)
	}
	c.wantSecurity(w)
	c.wantMounts(w)
	for _, p := range c.Ports {
		name, value := p.published()
		address, _, _ := strings.Cut(value, " to ")
		w.must("published port "+name, value)
		w.must("listening port "+name, address)
	}
	w.must("network mode", "bridge")
	for _, n := range c.Networks {
		w.must("network "+n, strings.Join(append([]string{"joined"}, c.namesIn(n)...), " "))
	}
	c.wantGrants(w, s)
	for _, n := range c.MayNetworks {
		w["network "+n] = want{text: "joined", optional: true}
	}
	c.wantFromImage(w, seen.running)
	c.wantProcess(w, seen.running)
	w.must("log driver", "journald") // where the owner's logs are read
	w.must("stop timeout", c.StopTimeout.String())
	w.must("action when unhealthy", "none")
	w.must("Podman's restart policy", "no") // systemd restarts it
	w.must("Podman's memory limit", "0")    // systemd limits it
	c.wantUnit(w, s)
	return w
}

func (c *Meant) wantSecurity(w wanted) {
	w.may("user of its processes")
	if c.User != "" {
		w.must("user", c.User)
		w.must("user of its processes", c.User)
	}
	for _, set := range sets {
		w.must(set+" capabilities", "none") // of the other sets than the bounding one: beyond it
	}
	w.must("bounding capabilities", bitsOf(c.granted()))
	w.must("no_new_privs", "1")
	w.must("seccomp", "a filter")
	w.must("root of the container", "the node's user")
	for _, kind := range namespaces {
		w.must("namespace "+kind, "its own")
	}
	w.must("security option no-new-privileges", "set")
	w.must("resource limits", "those of its unit")
	w.must("cgroup", "that of its unit")
}

func (c *Meant) wantMounts(w wanted) {
	for _, target := range readOnly {
		w.must("mount "+target, "read-only")
	}
	for target, v := range c.Volumes {
		text := v.Dir + ", writable"
		if v.ReadOnly {
			text = v.Dir + ", read-only"
		}
		w.must("mount "+target, text)
	}
	for target, f := range c.Files {
		w.must("mount "+target, f.mounted())
		w.must("file "+target, f.readable())
	}
	for _, t := range c.Tmpfs {
		text := "tmpfs, writable, mode 1777"
		if t.Size > 0 {
			text += fmt.Sprintf(", %d bytes", t.Size)
		}
		w.must("mount "+t.Target, text)
	}
	for _, s := range c.Secrets {
		if s.Variable != "" {
			continue // wantFromImage
		}
		owner := fmt.Sprintf("mode 400 of %d:%d", s.UID, s.GID)
		w.must("mount "+s.Target, "secret "+s.Name)
		w.must("secret "+s.Target, owner+", with its value")
		w.must("secret "+s.Name+" in Podman", owner)
	}
}

// wantFromImage adds what the manifest says, and what the image brings where it says
// nothing.
func (c *Meant) wantFromImage(w wanted, r *Details) {
	from := r.image
	if from == nil {
		from = &image{}
	}
	for _, name := range []string{"container", "HOME", "HOSTNAME", "PATH", "TERM"} { // Podman's own
		w.may("environment " + name)
	}
	for _, v := range from.Config.Env {
		name, _, _ := strings.Cut(v, "=")
		w["environment "+name] = want{any: true}
	}
	for name := range c.Environment {
		w.must("environment "+name, "as meant")
	}
	for _, s := range c.Secrets {
		if s.Variable != "" {
			delete(w, "environment "+s.Variable) // Podman shows the secret's name in its place
			w.must("environment "+s.Name, hidden)
			w.must("variable "+s.Variable, "secret "+s.Name)
		}
	}
	for name, value := range from.Config.Labels {
		w.must("label "+name, value)
	}
	w.must("label "+manifest.LabelApp, c.App)
	w.must("label "+labelUnit, c.Name+".service")
	spec := "a digest"
	if have := r.Config.Labels[manifest.LabelSpec]; specDigest.MatchString(have) {
		spec = have
	}
	w.must("label "+manifest.LabelSpec, spec)
	if h := c.Health; h != nil {
		w.must("label "+manifest.LabelHealth, h.Probe)
		w.must("health check", check(h.Exec))
		w.must("interval of the health check", "0s") // no timer of Podman's: the prober asks
		w.must("timeout of the health check", h.Timeout.String())
		w.must("start period of the health check", h.StartPeriod.String())
		w.must("retries of the health check", fmt.Sprint(h.Retries))
	} else if from.Healthcheck != nil {
		p := properties{}
		addProbe(p, "health check", from.Healthcheck)
		for name := range p {
			w.may(name)
		}
	}
}

// labelUnit is the label by which Podman notes the unit that it was started from
// (podman-auto-update(1)).
const labelUnit = "PODMAN_SYSTEMD_UNIT"

// startup is a check of Podman's own that no container has.
const startup = "start-up health check"

// check is a command as Podman keeps it.
func check(argv []string) string {
	if len(argv) == 1 {
		return words([]string{"CMD-SHELL", argv[0]}) // Podman's form of a single word, whichever way it was given
	}
	return words(append([]string{"CMD"}, argv...))
}

// wantUnit adds what systemd must have been told.
func (c *Meant) wantUnit(w wanted, s *Snapshot) {
	w.must("its unit's WantedBy", "default.target")
	w.must("its unit's drop-in archipelago.conf", "that stops it once")
	memory := "infinity"
	if c.Memory > 0 {
		memory = fmt.Sprint(c.Memory)
	}
	for name, value := range map[string]string{
		"Type": "notify", "Restart": "always", "RestartUSec": restartDelay.String(), "RestartSteps": fmt.Sprint(restartSteps),
		"RestartMaxDelayUSec": restartMaxDelay.String(), "StartLimitIntervalUSec": "0s", "MemoryMax": memory,
		"SuccessExitStatus": c.successStatus(), "KillMode": "mixed",
		"TimeoutStartUSec": c.Start.String(), "TimeoutStopUSec": (c.StopTimeout + stopMargin).String(), "CPUQuotaPerSecUSec": c.cpu(),
	} {
		w.must("its unit's "+name, value)
	}
	for _, d := range c.DependsOn {
		w.must("its unit's Requires "+d+".service", "set")
		w.must("its unit's After "+d+".service", "set")
	}
	for _, mark := range c.Marks {
		w.also("its unit's ExecStartPre", "/usr/bin/test -e "+mark)
	}
	for _, app := range c.Joins {
		w["its unit's ExecStartPost "+app] = want{text: c.joiner(), optional: true} // while it is installed
	}
	for _, app := range c.Follows {
		w.must("its unit's After "+app+".service", "set")
	}
	if _, limits := s.MemoryMax[c.Name+".service"]; limits { // where the node can limit memory
		limit := "max"
		if c.Memory > 0 {
			limit = fmt.Sprint(c.Memory)
		}
		w.must("memory.max of its unit's cgroup", limit)
	}
	c.wantTasks(w, s)
}
