// Package quadlet renders a manifest into the unit files that Podman's systemd
// generator reads (podman-systemd.unit(5)). It is a pure function of its input.
package quadlet

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/dist"
	"github.com/archipelago-cloud/archipelago/orchestrator/disk"
	"github.com/archipelago-cloud/archipelago/orchestrator/fault"
)

const (
	defaultInterval    = 30 * time.Second
	defaultTimeout     = 10 * time.Second
	defaultRetries     = 3
	defaultStopTimeout = 10 * time.Second
	restartDelay       = 200 * time.Millisecond
	restartSteps       = 8 // on the way to the longest delay
	restartMaxDelay    = time.Minute
	// What systemd gives a stop beyond the application's own time. At a shutdown every
	// application stops at once, and Podman's part of each costs about half a CPU-second. It
	// is also how long a start that has timed out stays there before it is killed.
	stopMargin = 10 * time.Second
)

// storageOption is how Podman mounts a folder of the owner's.
var storageOption = map[string]string{manifest.ReadWrite: "", manifest.ReadOnly: ":ro"}

// Unit is one rendered application.
type Unit struct {
	Files map[string]string // file name in the Quadlet directory -> content
	Specs map[string]string // container name -> value of manifest.LabelSpec
}

// Service is the systemd unit that Quadlet makes of a container's file.
func Service(container string) string { return container + ".service" }

// SecretName is the name of a generated secret, or a secret setting, in Podman's store. A
// credential that another application has is the very same there.
func SecretName(app, secret string) string { return app + "." + secret }

// Render gives the unit files of an application. Where boot is true its members
// start with the machine; that is so exactly while they are wanted running.
// dataDir is where applications' folders are, requirers are the applications that
// require this one. What is not part of a container's spec, it may have without
// being made anew: whether it starts with the machine, and who requires it.
func Render(m *manifest.Manifest, dataDir string, boot bool, requirers ...Requirer) Unit {
	u := Unit{Files: map[string]string{}, Specs: map[string]string{}}
	for _, n := range Bridges(m) {
		u.Files[n.Name+".network"] = network(m, n)
	}
	for _, c := range m.Ordered() {
		if fault.Planted(fault.MemberMissing) && m.Stack() && c.Name != m.ID {
			continue
		}
		body := container(m, c, dataDir)
		sum := sha256.Sum256([]byte(body))
		u.Specs[c.Name] = hex.EncodeToString(sum[:8])
		body = strings.Replace(body, "\n[Service]\n", "Label="+quote(manifest.LabelSpec+"="+u.Specs[c.Name])+"\n\n[Service]\n", 1)
		for _, r := range requirers {
			if slices.Contains(r.Reaches, c.Name) {
				// For a restart without the daemon. It fails where the network is not there
				// yet: then the daemon links them.
				body += "ExecStartPost=-/usr/bin/podman network connect " + Link(r.App, m.ID).Name + " " + c.Name + "\n"
			}
		}
		if boot && !fault.Planted(fault.UnitWithoutInstall) {
			body += "\n[Install]\nWantedBy=default.target\n"
		}
		u.Files[c.Name+".container"] = body
	}
	if old, by, planted := fault.Rendering(); planted {
		for name, body := range u.Files {
			u.Files[name] = strings.ReplaceAll(body, old, by)
		}
	}
	return u
}

// Await has no container of an application start, by whomever, while one of these directories is
// not on the disk that it was on. It is no part of a container's spec. All members have it: of
// one that systemd passes over, it takes the others for started.
func (u Unit) Await(disks map[string]disk.Disk) {
	if len(disks) == 0 {
		return
	}
	line := "ExecCondition=%h/" + dist.Program + " on-disk"
	for _, dir := range slices.Sorted(maps.Keys(disks)) {
		line += " " + quote(dir) + " " + quote(disks[dir].UUID) + " " + quote(disks[dir].At)
	}
	for name, body := range u.Files {
		u.Files[name] = strings.Replace(body, "\n[Service]\n", "\n[Service]\n"+line+"\n", 1)
	}
}

func container(m *manifest.Manifest, c manifest.Container, dataDir string) string {
	var b strings.Builder
	line := func(key, value string) { b.WriteString(key + "=" + value + "\n") }
	fmt.Fprintf(&b, "# Rendered by archipelago from the manifest of %s; changes are overwritten.\n[Unit]\n", m)
	line("Description", escape(m.Name)+": "+c.Name)
	// systemd's default refuses the sixth start within ten seconds, which a
	// person with a mouse reaches; the daemon paces restarts itself.
	line("StartLimitIntervalSec", "0")
	for _, d := range c.DependsOn {
		if fault.Planted(fault.MemberMissing) {
			continue
		}
		line("Requires", Service(d.Container))
		line("After", Service(d.Container))
	}
	main := c.Name == m.ID
	if main {
		for _, r := range m.Requires {
			line("After", Service(r.App)) // the order of boot and shutdown; the daemon sees to the rest
		}
	}
	b.WriteString("\n[Container]\n")
	line("ContainerName", c.Name)
	line("Image", c.Image.Pinned())
	line("Pull", "never")
	line("Label", quote(manifest.LabelApp+"="+m.ID))
	if c.User != "" {
		uid, gid := c.IDs()
		line("User", fmt.Sprint(uid))
		line("Group", fmt.Sprint(gid))
	}
	if c.Hostname != "" {
		line("HostName", c.Hostname)
	}
	line("DropCapability", "all")
	grants(c, line)
	line("NoNewPrivileges", "true")
	for _, n := range Bridges(m) {
		if main || n.Name == Network(m.ID) {
			line("Network", n.Name+".network"+aliases(m, c, n))
		}
	}
	webs := m.WebPorts()
	for _, p := range c.Ports {
		if p.Host == 0 {
			continue // of a drill's: reached from inside its network alone
		}
		v := fmt.Sprintf("%d:%d", p.Host, p.Container)
		if p.Protocol == "udp" {
			v += "/udp"
		}
		if slices.Contains(webs, p) {
			v = "127.0.0.1:" + v // for the proxy, which is the only way in
		}
		line("PublishPort", v)
	}
	for _, v := range c.Volumes {
		mount := v.Dir(dataDir, m.ID) + ":" + v.Path
		if v.ReadOnly {
			mount += ":ro"
		}
		line("Volume", mount)
	}
	for _, in := range c.Imports {
		if in.Mounts() {
			mount := in.Dir(dataDir) + ":" + in.Path
			if in.ReadOnly {
				mount += ":ro"
			}
			line("Volume", mount)
		}
	}
	for _, s := range c.Storage {
		line("Volume", s.Place()+":"+s.Path+storageOption[s.Access])
	}
	for _, f := range c.Files {
		line("Volume", FilesDir(dataDir, m.ID)+"/"+FileName(c, f)+":"+f.Path+":ro")
	}
	if c.ReadOnly {
		line("ReadOnly", "true")
		line("ReadOnlyTmpfs", "false") // what may be written to is what the manifest names
	}
	for _, t := range c.Tmpfs {
		size := ""
		if t.Size != "" {
			size = ",size=" + t.Size
		}
		line("Tmpfs", t.Path+":mode=1777"+size)
	}
	if c.ShmSize != "" {
		line("ShmSize", c.ShmSize)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Ulimits)) {
		line("Ulimit", fmt.Sprintf("%s=%[2]d:%[2]d", name, c.Ulimits[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Sysctls)) {
		line("Sysctl", fmt.Sprintf("%s=%d", name, c.Sysctls[name]))
	}
	secret := func(name, path, env string) {
		if env != "" {
			line("Secret", fmt.Sprintf("%s,type=env,target=%s", name, env))
			return
		}
		uid, gid := c.IDs()
		line("Secret", fmt.Sprintf("%s,type=mount,target=%s,uid=%d,gid=%d,mode=0400", name, path, uid, gid))
	}
	for _, s := range c.Secrets {
		if s.Ref != "" {
			line("# "+s.Name, s.Ref) // another value is another unit, so the container is made anew
		}
		secret(SecretName(m.ID, s.Name), s.Path, s.Env)
	}
	for _, in := range c.Imports {
		if in.Credential() {
			secret(SecretName(in.Of, in.Name), in.Path, in.Env)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(c.Environment)) {
		line("Environment", quote(k+"="+c.Environment[k]))
	}
	if c.WorkingDir != "" {
		line("WorkingDir", c.WorkingDir)
	}
	if c.Init {
		line("RunInit", "true")
	}
	if len(c.Entrypoint) > 0 {
		line("Entrypoint", jsonWords(c.Entrypoint))
	}
	if len(c.Command) > 0 {
		words := make([]string, len(c.Command))
		for i, w := range c.Command {
			words[i] = quote(w)
		}
		line("Exec", strings.Join(words, " "))
	}
	if h := c.Health; h != nil {
		line("Label", quote(manifest.LabelHealth+"="+probe(c).String()))
		line("HealthCmd", jsonWords(h.Exec))
		line("HealthInterval", "disable") // the prober has Podman run its check when it is worth a process
		line("HealthTimeout", seconds(h.Timeout.Or(defaultTimeout)))
		retries := h.Retries
		if retries == 0 {
			retries = defaultRetries
		}
		line("HealthRetries", fmt.Sprint(retries))
		line("HealthStartPeriod", seconds(h.StartPeriod.Or(m.StartBudget())))
		line("Notify", "healthy")
	}
	if c.StopSignal != "" {
		line("StopSignal", c.StopSignal)
	}
	line("StopTimeout", fmt.Sprint(int(c.StopTimeout.Or(defaultStopTimeout).Seconds()))) // Podman takes a bare number of seconds here
	b.WriteString("\n[Service]\n")
	for _, s := range c.Storage {
		// Also at a restart without the daemon: what is to lie on a disk that is not there
		// must not be written into its empty mount point.
		line("ExecStartPre", "/usr/bin/test -e "+quote(s.Place()+"/"+manifest.Mark(s.Name)))
	}
	line("Restart", "always")
	line("RestartSec", seconds(restartDelay))
	line("RestartSteps", fmt.Sprint(restartSteps))
	line("RestartMaxDelaySec", seconds(restartMaxDelay))
	// At a boot all start at once. The daemon holds to the budget of a start by itself.
	line("TimeoutStartSec", seconds(max(m.StartBudget(), m.RebootBudget())))
	line("TimeoutStopSec", seconds(c.StopTimeout.Or(defaultStopTimeout)+stopMargin))
	// Ended by its signal is how a stop looks.
	status := "143"
	if n := manifest.StopSignals[c.StopSignal]; n > 0 && n != manifest.StopSignals["SIGTERM"] {
		status += fmt.Sprintf(" %d", 128+n)
	}
	line("SuccessExitStatus", status)
	if limit := m.MemoryOf(c); limit != "" {
		line("MemoryMax", limit)
	}
	if c.CPUPercent() > 0 {
		line("CPUQuota", fmt.Sprintf("%d%%", c.CPUPercent())) // systemd expands no specifier here
	}
	if c.Pids > 0 {
		// Podman's own PidsLimit= keeps a container from starting on a node without the controller.
		line("TasksMax", fmt.Sprint(c.Tasks()))
	}
	return b.String()
}

func seconds(d time.Duration) string {
	if d%time.Second == 0 {
		return fmt.Sprintf("%ds", d/time.Second)
	}
	return fmt.Sprintf("%dms", d/time.Millisecond)
}

// escape disarms what systemd expands in any value: specifiers (systemd.unit(5)).
func escape(s string) string { return strings.ReplaceAll(s, "%", "%%") }

// quote makes one word that survives systemd's splitting, specifiers and, since
// Quadlet puts it into ExecStart=, variable expansion (systemd.service(5), Command lines).
func quote(s string) string {
	s = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "$", "$$").Replace(s)
	return `"` + s + `"`
}

// jsonWords gives a probe in the form that Podman takes as argv, without a shell.
func jsonWords(argv []string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(argv); err != nil {
		panic(err) // a slice of strings always encodes
	}
	return strings.NewReplacer("%", "%%", "$", "$$").Replace(strings.TrimSpace(b.String()))
}
