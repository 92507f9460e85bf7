// Package look is the witnesses' eye on a node: a program that the gate brings there tells by
// it what systemd, the kernel and the disk say, a fact a line, and "end" in the end, so that
// whoever reads knows whether anything is missing. It knows nothing of what is meant, and never
// asks the daemon.
package look

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	most = 4_000_000 // bytes of an answer: more is cut off, and lacks its end

	failed = "failed" // the fact that something could not be asked
	none   = "-"      // where a fact has no value
)

// unitFiles is where the unit files of a user's containers are (podman-systemd.unit(5)), below
// the home directory.
const unitFiles = ".config/containers/systemd"

// userUnits is where the user's units are, with drop-ins for those of the generator
// (systemd.unit(5)).
const userUnits = ".config/systemd/user"

// Main is the program. It is asked for everything of an application,
//
//	look APP DATA LABEL SINCE UNITS VOLUMES MAINS OTHERS INSIDE DEVICES TEXTS LENDERS
//
// or for what is cheap to ask of the whole node, for those who wait: "glance". DATA is the data
// directory, LABEL the label of an application's unit files, SINCE where its journal begins
// (systemd.time(7)). The rest are lists of words: units by name, volumes by directory, the
// processes of its containers as "PID:PID of conmon", those of other containers, paths in
// containers as "PID:/path", paths of devices, and, of those in containers, the texts once more.
// What Podman's API shows of the containers is read from stdin. The status is 2 where the
// questions are none.
func Main(args []string, stdin io.Reader, stdout io.Writer) (status int) {
	a := &answer{w: bufio.NewWriter(stdout), left: most}
	switch {
	case len(args) == 1 && args[0] == "glance":
		a.boot()
		a.services()
	case len(args) == 13 && args[0] == "look":
		a.look(args[1:], stdin)
	default:
		fmt.Fprintln(os.Stderr, "look: wanted: glance, or look APP DATA LABEL SINCE UNITS VOLUMES MAINS OTHERS INSIDE DEVICES TEXTS LENDERS")
		return 2
	}
	a.say("end")
	if err := a.w.Flush(); err != nil {
		fmt.Fprintln(os.Stderr, "look:", err)
		return 1
	}
	return 0
}

// answer is what is told.
type answer struct {
	w    *bufio.Writer
	left int // bytes
}

// say tells a fact. From the one on that is too much, nothing is told any more.
func (a *answer) say(words ...string) {
	line := strings.ReplaceAll(strings.Join(words, " "), "\n", " ") + "\n"
	if a.left -= len(line); a.left >= 0 {
		a.w.WriteString(line) // Flush tells whether it could be written
	} else {
		a.left = -1
	}
}

// look answers the questions.
func (a *answer) look(args []string, stdin io.Reader) {
	app, data, label, since := args[0], args[1], args[2], args[3]
	units, volumes := strings.Fields(args[4]), strings.Fields(args[5])
	mains, others, inside, texts := strings.Fields(args[6]), strings.Fields(args[7]), strings.Fields(args[8]), strings.Fields(args[10])
	home, _ := os.UserHomeDir() // without one, no file is found in it

	a.boot()
	if host, err := os.Hostname(); err == nil {
		a.say("host", host)
	}
	a.identity()
	a.units(units)
	a.files(filepath.Join(home, unitFiles), label, app)
	a.dropIns(filepath.Join(home, userUnits), units)
	a.volumes(data, app, volumes)
	a.folders(data, app)
	values := a.secrets(filepath.Join(data, "_daemon/secrets", app))
	a.namespaces("self")
	for _, main := range mains {
		pid, _, _ := strings.Cut(main, ":")
		a.namespaces(pid)
	}
	for _, pid := range others {
		a.namespaces(pid)
	}
	for _, in := range inside {
		a.inside(in)
	}
	for _, path := range strings.Fields(args[9]) {
		a.device(path, "/proc/self/mountinfo")
	}
	a.texts(filepath.Join(data, "_daemon/secrets"), app, strings.Fields(args[11]), texts)
	a.processes(mains)
	a.sockets()
	// The secrets' values stay on the node: they are looked for here.
	a.leaks(values, stdin, filepath.Join(home, unitFiles), since, []string{filepath.Join(data, "_daemon/catalog"), filepath.Join(data, "_daemon/state")})
}

// boot identifies the boot, by its id and the start of PID 1 (proc_pid_stat(5), field 22).
func (a *answer) boot() {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return
	}
	stat, err := os.ReadFile("/proc/1/stat")
	if err != nil {
		return
	}
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:])) // the name before may hold anything
	if len(f) > 19 {
		a.say("boot", strings.TrimSpace(string(id))+"/"+f[19])
	}
}

// processIDs are those of all processes, in the order of their names.
func processIDs() (pids []string) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	for _, name := range names {
		if name[0] >= '0' && name[0] <= '9' {
			pids = append(pids, name)
		}
	}
	slices.Sort(pids)
	return pids
}

// lines gives those of a file in /proc; none where the process has ended.
func lines(file string) []string {
	b, _ := os.ReadFile(file)
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

// cgroup is that of a process in the one hierarchy (cgroups(7)); empty where it has ended.
func cgroup(pid string) string {
	for _, line := range lines("/proc/" + pid + "/cgroup") {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return path
		}
	}
	return ""
}
