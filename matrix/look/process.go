package look

import (
	"os"
	"path/filepath"
	"strings"
)

var namespaceKinds = []string{"user", "pid", "ipc", "uts", "net", "mnt"}

// namespaces tells those that a process is in.
func (a *answer) namespaces(pid string) {
	for _, kind := range namespaceKinds {
		if ns, err := os.Readlink("/proc/" + pid + "/ns/" + kind); err == nil {
			a.say("ns", pid, kind, ns)
		}
	}
}

// processes tells what the kernel says of the containers' processes, by their main ones, and
// of those. A process that ends meanwhile is left out; the main one of a container is missed.
func (a *answer) processes(mains []string) {
	if len(mains) == 0 {
		return
	}
	own, _ := os.Readlink("/proc/self/ns/pid")
	pids := processIDs()
	space := map[string]string{}
	for _, pid := range pids {
		if ns, err := os.Readlink("/proc/" + pid + "/ns/pid"); err == nil {
			space[pid] = ns
		}
	}
	for _, m := range mains {
		main, parent, _ := strings.Cut(m, ":")
		if space[main] == "" || !a.process(main, main) {
			a.say("gone", main)
			continue
		}
		if space[main] != own {
			for _, pid := range pids {
				if pid != main && space[pid] == space[main] {
					a.process(main, pid)
				}
			}
		}
		a.mainProcess(main, parent)
	}
}

// process tells of a process (proc_pid_status(5)); false where it has ended. Its program comes
// first: with that of the engine, what it may do does not count, and is given up before it
// becomes another.
func (a *answer) process(main, pid string) bool {
	exe := program(pid)
	v := map[string]string{}
	for _, line := range lines("/proc/" + pid + "/status") {
		name, rest, _ := strings.Cut(line, ":")
		f := strings.Fields(rest)
		switch {
		case name == "Uid" || name == "Gid":
			v[name] = one(f)
		case name == "Groups":
			v[name] = strings.Join(f, ",")
		case len(f) > 0:
			v[name] = f[0]
		}
	}
	if v["Seccomp"] == "" {
		return false
	}
	if v["Groups"] == "" {
		v["Groups"] = none
	}
	a.say("process", main, pid, exe, v["Uid"], v["Gid"], v["Groups"], v["CapInh"], v["CapPrm"], v["CapEff"], v["CapBnd"], v["CapAmb"], v["NoNewPrivs"], v["Seccomp"])
	return true
}

// one is the real id of four; those that differ from it come with it.
func one(ids []string) (out string) {
	for i, id := range ids {
		switch {
		case i == 0:
			out = id
		case id != ids[0]:
			out += "/" + id
		}
	}
	return out
}

// engines are the programs that become a container's own.
var engines = []string{"/usr/bin/crun", "/usr/bin/runc"}

// program is the name of the file that a process runs: "memfd" for a copy in memory. crun runs
// from a mount of its file that nothing else sees, of which the kernel says "/" only: it is
// known by the file itself.
func program(pid string) string {
	exe := "/proc/" + pid + "/exe"
	link, _ := os.Readlink(exe)
	f := strings.Fields(link) // it may say "(deleted)" at its end
	switch {
	case len(f) == 0:
		return none
	case link == "/":
		if runs, err := os.Stat(exe); err == nil {
			for _, e := range engines {
				if file, err := os.Stat(e); err == nil && os.SameFile(runs, file) {
					return filepath.Base(e)
				}
			}
		}
	case strings.HasPrefix(f[0], "/memfd:"):
		return "memfd"
	}
	return filepath.Base(f[0])
}

// mainProcess tells what a container's main process is confined to, and the limits of it and
// of the process that started it.
func (a *answer) mainProcess(main, parent string) {
	at := "/proc/" + main + "/"
	known := true
	// The id that root has outside (user_namespaces(7)).
	if f := strings.Fields(lines(at + "uid_map")[0]); len(f) > 1 {
		a.say("root", main, f[1])
	} else {
		known = false
	}
	if group := cgroup(main); group != "" {
		a.say("cgroup", main, group)
	} else {
		known = false
	}
	for _, line := range lines(at + "mountinfo") {
		a.mount(main, strings.Fields(line))
	}
	if !known || !a.limits(main, main, "own") || !a.limits(main, parent, "parent") {
		a.say("gone", main)
	}
}

// mount tells of a mount (proc_pid_mountinfo(5)).
func (a *answer) mount(main string, f []string) {
	for i := 6; i+1 < len(f); i++ {
		if f[i] != "-" {
			continue
		}
		super := none
		if f[i+1] == "tmpfs" && i+3 < len(f) {
			super = f[i+3]
		}
		a.say("mount", main, f[4], f[5], f[i+1], f[3], super)
		return
	}
}

// limits tells those of a process (proc_pid_limits(5)), soft and hard; false where it has ended.
func (a *answer) limits(main, pid, whose string) (any bool) {
	const column = 25
	for _, line := range lines("/proc/" + pid + "/limits") {
		if !strings.HasPrefix(line, "Max ") || len(line) < column {
			continue
		}
		name := strings.ReplaceAll(strings.TrimRight(line[:column], " "), " ", "_")
		if f := strings.Fields(line[column:]); len(f) > 1 {
			a.say("limit", main, whose, name, f[0], f[1])
			any = true
		}
	}
	return any
}

// holders gives, of the sockets that are wanted, a process of this user that holds each.
func holders(wanted map[string]bool) map[string]string {
	holder := map[string]string{}
	for _, pid := range processIDs() {
		dir := "/proc/" + pid + "/fd/"
		d, err := os.Open(dir)
		if err != nil {
			continue
		}
		names, _ := d.Readdirnames(-1)
		d.Close()
		for _, name := range names {
			if link, err := os.Readlink(dir + name); err == nil && wanted[link] {
				holder[link] = pid
			}
		}
	}
	return holder
}
