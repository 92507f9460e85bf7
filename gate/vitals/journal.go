package vitals

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/internal/plain"
	"github.com/archipelago-cloud/archipelago/reports"
)

// Identities of systemd's messages (sd-messages.h; journalctl --list-catalog).
const (
	starting  = "7d4958e842da4a758f6c1cdc7b36dcc5" // a start job has begun
	started   = "39f53479d3a045ac8e11786248231fbf"
	unstarted = "be02cf6855d2428ba40df7e9d022f03d" // a start job has failed
	stopping  = "de5b426a63be47a7b6ac3eaac82e2f6f" // a stop job has begun
	stopped   = "9d1aaa27d60140bd96365438aad20286"
	exited    = "98e322203f7a4ed290d09fe03c09fe15"
	failed    = "d9b373ed55a64feb8242e02dbe79a49c"
	restarted = "5eb03494b6584870a536b337290809b3" // a restart is scheduled
	oomKilled = "fe6faa94e7774663a0da52717891d8ef"
	dumped    = "fc2e22bc6ee647b6b90729ab34a250b1"
)

const (
	daemonUnit = "archipelago.service"
	proberUnit = "archipelago-prober.service"
	podmanUnit = "podman.service"

	// Marker identifies the gate in a node's journal. "asked UNIT" says that it is about to
	// end that unit's process by force: its failure and the restart that follows are asked for.
	Marker = "archipelago-gate"

	// Rebooted stands in a mark in place of a unit: the node is back from a reboot that the
	// gate asked for. boot is how long before and after that a boot lasts at most: the reboot
	// budget that a manifest has unless it says otherwise.
	Rebooted = "reboot"
	boot     = time.Minute

	// asked is how long after a mark a failure is taken for the one that was asked for: longer
	// than the longest pause before a restart.
	asked = time.Minute
	// early is by how much journald may take in a mark after what follows it.
	early = time.Second

	// Podman's processes race at a boot to renew what they keep (its event "system refresh"),
	// and its service can lose: it fails at once, and its socket starts it again. That is
	// nobody's outage, as long as it is this short.
	falseStart = 15 * time.Second
	secondTry  = 30 * time.Second

	mostLines   = 40   // of evidence for one finding
	longestLine = 2000 // of evidence, in bytes; anyone may write to a journal
)

// entry is a line of the journal, as journalctl -o json gives it. A field that is not text is
// left out.
type entry map[string]any

func (e entry) get(field string) string { s, _ := e[field].(string); return s }

func (e entry) at() time.Time {
	us, _ := strconv.ParseInt(e.get("__REALTIME_TIMESTAMP"), 10, 64)
	return time.UnixMicro(us).UTC()
}

func (e entry) unit() string {
	if u := e.get("USER_UNIT"); u != "" {
		return u
	}
	return e.get("_SYSTEMD_USER_UNIT")
}

func (e entry) String() string {
	return fmt.Sprintf("%s %s[%s]: %s", e.at().Format("2006-01-02T15:04:05.000000Z"), e.get("SYSLOG_IDENTIFIER"), e.get("_PID"), e.get("MESSAGE"))
}

// journal is what a node logged since the look before.
type journal struct {
	owners    map[string]string
	user      []entry
	kernel    []entry
	restarted map[string]bool // units, whether or not it was asked for
	oom       bool            // an OOM kill was found
	found     []reports.Finding
}

func newJournal(owners map[string]string) *journal {
	return &journal{owners: owners, restarted: map[string]bool{}}
}

func (j *journal) add(line string, kernel bool) error {
	e := entry{}
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		return err
	}
	if kernel {
		j.kernel = append(j.kernel, e)
	} else {
		j.user = append(j.user, e)
	}
	return nil
}

// owner is the application that a unit is of; none for the node's own.
func (j *journal) owner(unit string) string {
	if app, ok := j.owners[unit]; ok {
		return app
	}
	rest, network := strings.CutSuffix(unit, "-network.service")
	if name, ours := strings.CutPrefix(rest, "archipelago-"); network && ours {
		app, _, _ := strings.Cut(name, ".") // of a requirement's network, who requires
		for _, known := range j.owners {
			if known == app {
				return app
			}
		}
	}
	return ""
}

// watched tells the units that are the project's from those of other software, and from those
// of a container's probes, which fail in every start.
func (j *journal) watched(unit string) bool {
	return unit == daemonUnit || unit == proberUnit || unit == podmanUnit || j.owner(unit) != ""
}

// note adds a line to the finding that says the same, or makes one.
func (j *journal) note(app, what string, lines ...entry) {
	i := slices.IndexFunc(j.found, func(f reports.Finding) bool { return f.App == app && f.What == what })
	if i < 0 {
		j.found = append(j.found, reports.Finding{App: app, What: what})
		i = len(j.found) - 1
	}
	for _, e := range lines {
		if f := &j.found[i]; len(f.Lines) < mostLines {
			f.Lines = append(f.Lines, plain.Clip(e.String(), longestLine))
		}
	}
}

// findings judges the journal's lines until the time at which the next look goes on.
func (j *journal) findings(until time.Time) []reports.Finding {
	late := func(e entry) bool { return e.at().After(until) }
	j.user, j.kernel = slices.DeleteFunc(j.user, late), slices.DeleteFunc(j.kernel, late)
	byTime := func(a, b entry) int { return a.at().Compare(b.at()) }
	slices.SortStableFunc(j.user, byTime) // of several queries
	slices.SortStableFunc(j.kernel, byTime)
	j.units()
	j.words()
	j.kernelWords()
	return j.found
}

// clean are the results of a unit that a stop can have: the program said something else than
// 0 to SIGTERM, or had to be killed, which Podman does when the stop timeout ends. What a stop
// must not do, the step that stops looks for.
var clean = []string{"exit-code", "signal"}

// says tells whether it is systemd that says it, of a unit that is watched.
func (j *journal) says(e entry) bool {
	return e.get("SYSLOG_IDENTIFIER") == "systemd" && j.watched(e.unit())
}

// endsStart tells whether systemd ended the unit that fails in entry i in mid-start, because
// somebody asked for its stop, or to restart it, as it does when what that needs restarts. It says
// so afterwards only. Where a unit fails by itself in mid-start, systemd first says that its start
// job, start, has failed. A restart is the job that the start was, by its number, since that
// had not ended; a stop takes its place.
func (j *journal) endsStart(i int, start string) bool {
	if start == "" { // none was under way
		return false
	}
	for _, e := range j.user[i+1:] {
		if e.unit() != j.user[i].unit() || !j.says(e) {
			continue
		}
		switch e.get("MESSAGE_ID") {
		case stopped:
			return e.get("JOB_TYPE") == "stop" || e.get("JOB_TYPE") == "restart" && e.get("JOB_ID") == start
		case starting, unstarted, restarted, failed:
			return false
		}
	}
	return false
}

// units judges what systemd said of units.
func (j *journal) units() {
	marks := map[string][]time.Time{} // by unit
	// At a boot all start at once, and what fails then and is tried again is judged by the
	// budget of the return: an application, and the prober without which none returns.
	booting := func(e entry) bool {
		u := e.unit()
		return (j.owner(u) != "" || u == proberUnit) && slices.ContainsFunc(marks[Rebooted], func(back time.Time) bool {
			d := e.at().Sub(back)
			return d > -boot && d < boot
		})
	}
	for _, e := range j.user {
		if unit, ok := strings.CutPrefix(e.get("MESSAGE"), "asked "); ok && e.get("SYSLOG_IDENTIFIER") == Marker && e.get("CONTAINER_NAME") == "" {
			marks[unit] = append(marks[unit], e.at())
		}
	}
	wasAsked := func(e entry, used map[string]int) bool {
		u := e.unit()
		for i := used[u]; i < len(marks[u]); i++ {
			if since := e.at().Sub(marks[u][i]); since >= -early && since <= asked {
				used[u] = i + 1
				return true
			}
		}
		return false
	}
	failures, restarts := map[string]int{}, map[string]int{} // marks used up, by unit
	ends := map[string]bool{}                                // by unit, whether a stop was asked for
	exits := map[string][]entry{}                            // by unit, what came before its failure
	starts := map[string]string{}                            // by unit, the job of the start that is under way
	var begun, lost time.Time                                // of Podman's service: its start; a failure at once that is still open
	var why []entry
	podman := func() { // says of that failure
		if !lost.IsZero() {
			j.note("", podmanUnit+" failed: exit-code", why...)
		}
		lost = time.Time{}
	}
	defer podman()
	for i, e := range j.user {
		u := e.unit()
		if !j.says(e) {
			continue
		}
		switch e.get("MESSAGE_ID") {
		case starting:
			ends[u], exits[u], starts[u] = false, nil, e.get("JOB_ID")
			if u == podmanUnit {
				if e.at().Sub(lost) <= secondTry {
					lost = time.Time{}
				}
				podman()
				begun = e.at()
			}
		case started, unstarted:
			starts[u] = ""
		case stopping:
			ends[u] = true
		case exited:
			exits[u] = append(exits[u], e)
		case oomKilled:
			j.oom = true
			j.note(j.owner(u), "a process of "+u+" was killed for want of memory", e)
		case failed:
			lines := append(exits[u], e)
			exits[u] = nil
			switch result := e.get("UNIT_RESULT"); {
			case slices.Contains(clean, result) && (ends[u] || j.endsStart(i, starts[u])):
			case result == "start-limit-hit":
				j.note(j.owner(u), u+" was started too often, and given up", lines...)
			case slices.Contains(clean, result) && (wasAsked(e, failures) || booting(e)):
			case u == podmanUnit && result == "exit-code" && e.at().Sub(begun) <= falseStart:
				podman()
				lost, why = e.at(), lines
			default:
				j.note(j.owner(u), fmt.Sprintf("%s failed: %s", u, result), lines...)
			}
		case restarted:
			j.restarted[u] = true
			if !wasAsked(e, restarts) && !booting(e) {
				j.note(j.owner(u), u+" restarted, and nobody asked for it", append(exits[u], e)...)
			}
			exits[u] = nil
		case dumped:
			j.note(j.owner(u), "a process of "+u+" crashed", e)
		}
	}
	j.health()
}

// health judges the history of containers' health. One that is being stopped may be
// unhealthy.
func (j *journal) health() {
	down := map[string]bool{}
	for _, e := range j.user {
		switch id := e.get("MESSAGE_ID"); {
		case id == stopping:
			down[e.unit()] = true
		case id == starting:
			down[e.unit()] = false
		case e.get("PODMAN_EVENT") == "health_status" && e.get("PODMAN_HEALTH_STATUS") == "unhealthy":
			name := e.get("PODMAN_NAME")
			if app := j.owner(name + ".service"); app != "" && !down[name+".service"] {
				j.note(app, "container "+name+" was unhealthy while it was to run", e)
			}
		}
	}
}

var storage = regexp.MustCompile(`(?i)no space left on device|read-only file system|input/output error|structure needs cleaning|database disk image is malformed|disk quota exceeded`)

// words judges what Podman and the daemon said. What a container writes is not theirs.
func (j *journal) words() {
	for _, e := range j.user {
		program := e.get("_COMM")
		if program != "podman" && program != "archipelago" || e.get("PODMAN_EVENT") != "" || e.get("CONTAINER_NAME") != "" {
			continue
		}
		if storage.MatchString(e.get("MESSAGE")) {
			app := j.owner(e.unit())
			j.note(app, "a storage error, in the words of "+program, e)
		}
	}
}

// kernelFaults are what a kernel says of faults, and what that means.
var kernelFaults = []struct {
	what string
	is   *regexp.Regexp
}{
	{"the kernel killed a process for want of memory", regexp.MustCompile(`oom-kill:|Out of memory: Killed process|Memory cgroup out of memory: Killed process`)},
	{"a process crashed", regexp.MustCompile(`: segfault at |general protection fault|trap invalid opcode`)},
	// A drive without a medium, which virtual machines have, answers with I/O errors.
	{"", regexp.MustCompile(`I/O error, dev (fd|sr)\d`)},
	{"a storage error, in the kernel's words", regexp.MustCompile(`(?i)I/O error|EXT4-fs error|XFS .*(corruption|metadata I/O|shutdown)|BTRFS (error|critical)|Remounting filesystem read-only|failed command: (READ|WRITE)|critical (medium|target) error`)},
}

var ofTask = regexp.MustCompile(`task_memcg=\S*/([^/,]+\.service)`)

// kernelWords judges what the kernel said.
func (j *journal) kernelWords() {
	app := ""
	for _, e := range j.kernel {
		text := e.get("MESSAGE")
		if e.get("MESSAGE_ID") == dumped {
			unit := e.get("COREDUMP_USER_UNIT")
			j.note(j.owner(unit), "a process crashed", e)
			continue
		}
		for _, f := range kernelFaults {
			if !f.is.MatchString(text) {
				continue
			}
			if f.what == "" {
				break
			}
			whose := ""
			if f.what == kernelFaults[0].what {
				j.oom = true
				if m := ofTask.FindStringSubmatch(text); m != nil {
					app = j.owner(m[1]) // the line that names the process comes next
				}
				whose = app
			}
			j.note(whose, f.what, e)
			break
		}
	}
}
