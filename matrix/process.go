package matrix

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// What a manifest may say of how a container's program runs: in a unit file, in Podman's
// arguments, and as the witnesses see it.

// flags are the arguments of podman-run(1) that the generator makes of directives.
var flags = map[string]string{
	"HostName": "--hostname", "ReadOnly": "--read-only", "ReadOnlyTmpfs": "--read-only-tmpfs", "ShmSize": "--shm-size", "Ulimit": "--ulimit",
	"Sysctl": "--sysctl", "WorkingDir": "--workdir", "RunInit": "--init", "Entrypoint": "--entrypoint", "StopSignal": "--stop-signal",
}

// saysMore gives the directives that a container has only where its manifest says so.
func (c *Meant) saysMore(in func(name, value string)) {
	if c.Hostname != "" {
		in("HostName", c.Hostname)
	}
	if c.ReadOnly {
		in("ReadOnly", "true")
		in("ReadOnlyTmpfs", "false")
	}
	if c.ShmSize > 0 {
		in("ShmSize", fmt.Sprint(c.ShmSize))
	}
	for name, n := range c.Ulimits {
		in("Ulimit "+name, fmt.Sprintf("%d:%d", n, n))
	}
	for name, n := range c.Sysctls {
		in("Sysctl "+name, fmt.Sprint(n))
	}
	if c.WorkingDir != "" {
		in("WorkingDir", c.WorkingDir)
	}
	if c.Init {
		in("RunInit", "true")
	}
	if c.Entrypoint != nil {
		in("Entrypoint", words(c.Entrypoint))
	}
	if c.StopSignal != "" {
		in("StopSignal", c.StopSignal)
	}
}

// options are those of podman-run(1), --tmpfs, in order.
func (t TmpfsMeant) options() string {
	if t.Size == 0 {
		return "mode=1777"
	}
	return fmt.Sprintf("mode=1777,size=%d", t.Size)
}

// tmpfsOptions reads "TARGET:OPTION,…". A size becomes one in bytes.
func tmpfsOptions(value string) (target, options string, ok bool) {
	target, options, ok = strings.Cut(value, ":")
	all := strings.Split(options, ",")
	for i, o := range all {
		if size, is := strings.CutPrefix(o, "size="); is {
			all[i] = fmt.Sprintf("size=%d", bytesOf(size))
		}
	}
	return target, strings.Join(all, ","), ok
}

// signals are those that a manifest may name, by their number (signal(7)).
var signals = map[string]int{"SIGHUP": 1, "SIGINT": 2, "SIGQUIT": 3, "SIGUSR1": 10, "SIGUSR2": 12, "SIGTERM": 15, "SIGWINCH": 28}

// successStatus is how a container's program may end when it is stopped, as systemd shows
// it: by SIGTERM, or by its own signal.
func (c *Meant) successStatus() string {
	status := []int{128 + signals["SIGTERM"], 128 + cmp.Or(signals[c.StopSignal], signals["SIGTERM"])}
	slices.Sort(status)
	return strings.Trim(fmt.Sprint(slices.Compact(status)), "[]")
}

// initPath is where Podman mounts its init, a file of the node's (ContainerInitPath in its
// libpod/define/container.go).
const initPath = "/run/podman-init"

const anInit = "the node's init, read-only"

// wantProcess adds how the program must run.
func (c *Meant) wantProcess(w wanted, r *Details) {
	from := r.image
	if from == nil {
		from = &image{}
	}
	w.must("hostname", cmp.Or(c.Hostname, "its id"))
	w.must("working directory", filepath.Clean(cmp.Or(c.WorkingDir, from.Config.WorkingDir, "/")))
	w.must("stop signal", cmp.Or(c.StopSignal, from.Config.StopSignal, "SIGTERM"))
	entrypoint, command := c.Entrypoint, c.Command
	if entrypoint == nil {
		entrypoint = from.Config.Entrypoint
	}
	if c.Entrypoint == nil && command == nil {
		command = from.Config.Cmd
	}
	line := slices.Concat(entrypoint, command)
	if c.Init {
		line = append([]string{initPath, "--"}, line...)
		w.must("mount "+initPath, anInit)
	}
	w.must("command line", words(line))
	w.must("size of /dev/shm", fmt.Sprint(cmp.Or(c.ShmSize, shmSize)))
	if c.ReadOnly {
		w.must("root file system", "read-only")
	}
	for name, n := range c.Ulimits {
		// Podman gives no more than the node's own hard limit.
		text := fmt.Sprint(n)
		_, hard, _ := strings.Cut(r.Parent[limits[name]], " ")
		if most, err := strconv.Atoi(hard); err == nil && most < n {
			text = hard
		}
		w.must("limit "+name, text+" "+text)
	}
	for name, n := range c.Sysctls {
		w.must("kernel parameter "+name, fmt.Sprint(n))
	}
}

// limits are the kernel's names of limits (proc_pid_limits(5)), as package look writes them.
var limits = map[string]string{"nofile": "Max_open_files", "nproc": "Max_processes"}

// addProcess adds how the program runs.
func addProcess(p properties, r *Details, m *Meant) {
	p.add("command line", words(r.argv()))
	hostname := r.Config.Hostname
	if hostname != "" && strings.HasPrefix(r.ID, hostname) {
		hostname = "its id"
	}
	p.add("hostname", hostname)
	p.add("working directory", filepath.Clean(cmp.Or(r.Config.WorkingDir, "/")))
	p.add("stop signal", r.Config.StopSignal)
	p.add("size of /dev/shm", fmt.Sprint(r.HostConfig.ShmSize))
	for _, given := range r.given("--sysctl") {
		name, value, _ := strings.Cut(given, "=")
		p.add("kernel parameter "+name, value)
	}
}

// addLimits adds the limits of resources: those that the manifest sets, and whether the
// others are those of its unit.
func addLimits(p properties, r *Details, m *Meant) {
	differ := ""
	for _, name := range slices.Sorted(maps.Keys(r.Limits)) {
		limit := r.Limits[name]
		if declared := limitOf(m, name); declared != "" {
			p.add("limit "+declared, limit)
		} else if r.Parent[name] != limit {
			differ = fmt.Sprintf("%s %s, of its unit %s", name, limit, r.Parent[name])
		}
	}
	p.add("resource limits", cmp.Or(differ, "those of its unit"))
}

// limitOf is the manifest's name of a limit that it sets, by the kernel's.
func limitOf(m *Meant, kernel string) string {
	for name := range m.Ulimits {
		if limits[name] == kernel {
			return name
		}
	}
	return ""
}

// given are the values of an argument of the command that made the container.
func (c inspection) given(flag string) (values []string) {
	for i, word := range c.Config.CreateCommand {
		if value, inOne := strings.CutPrefix(word, flag+"="); inOne {
			values = append(values, value)
		} else if word == flag && i+1 < len(c.Config.CreateCommand) {
			values = append(values, c.Config.CreateCommand[i+1])
		}
	}
	return values
}

// initMount tells whether it is Podman's init.
func initMount(m Mount) string {
	if filepath.Base(m.Root) != "catatonit" {
		return "another file, " + m.Root + ", " + access(m.Options)
	}
	return "the node's init, " + access(m.Options)
}

// sizeOf is that of a tmpfs in bytes; empty where none is told. The kernel shows it in
// units of 1024, and also one that nobody gave, where the node's memory has changed.
func sizeOf(options string) string {
	for o := range strings.SplitSeq(options, ",") {
		if v, ok := strings.CutPrefix(o, "size="); ok {
			return fmt.Sprint(bytesOf(strings.ToUpper(v)))
		}
	}
	return ""
}
