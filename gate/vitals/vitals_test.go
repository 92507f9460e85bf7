package vitals

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/nodes/fleet"
	"github.com/archipelago-cloud/archipelago/reports"
)

// healthy was recorded on a node of the lab: an application is stopped and started twice. It
// ignores SIGTERM, so that each stop ends with 137, and a probe of every start-up fails.
//
//go:embed testdata/healthy.jsonl
var healthy string

// restart is what systemd says where page starts, and ledger-db, which it needs, is restarted; the
// times are made up.
//
//go:embed testdata/restarted.jsonl
var restart string

var owners = map[string]string{"page.service": "page", "ledger.service": "ledger", "ledger-db.service": "ledger"}

const measures = "program d0\nmeasure containers 3\nmeasure volumes 1\nmeasure networks 2\nmeasure secrets 0\nmeasure processes 9\nmeasure files 80\nmeasure daemon-memory 5\nmeasure daemon-files 6\nunread podman-memory: podman.service does not run\nmeasure disk 7\nused 9000000 500000\n"

var (
	after  = time.Date(2026, 11, 28, 13, 37, 0, 0, time.UTC) // the recording
	before = reports.Vitals{Boot: "b/1", Cursor: "s=1;t=0", OOMKills: 1, Restarts: map[string]int{"page.service": 1}}
)

func cursor(at time.Time) string { return fmt.Sprintf("cursor s=1;i=2;t=%x;x=3\n", at.UnixMicro()) }

// answer is that of a node with the recorded journal and more facts.
func answer(more ...string) string {
	out := "boot b/1\n" + cursor(after.Add(time.Hour)) + measures
	for line := range strings.Lines(healthy) {
		out += "user " + line
	}
	for _, m := range more {
		out += m + "\n"
	}
	return out + "end\n"
}

// at is a line that systemd logged so many seconds after the recording.
func at(seconds int, unit, id, text string, more ...string) string {
	e := map[string]string{
		"__REALTIME_TIMESTAMP": fmt.Sprint(after.Add(time.Duration(seconds) * time.Second).UnixMicro()),
		"SYSLOG_IDENTIFIER":    "systemd", "_COMM": "systemd", "_PID": "82", "_SYSTEMD_USER_UNIT": "init.scope",
		"USER_UNIT": unit, "MESSAGE_ID": id, "MESSAGE": text,
	}
	for i := 0; i+1 < len(more); i += 2 {
		e[more[i]] = more[i+1]
	}
	b, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return "user " + string(b)
}

func said(seconds int, text string) string {
	return "kernel " + strings.TrimPrefix(at(seconds, "", "", text, "SYSLOG_IDENTIFIER", "kernel"), "user ")
}

func exit(seconds int, unit string) string {
	return at(seconds, unit, exited, unit+": Main process exited, code=exited, status=137/n/a")
}

func fail(seconds int, unit, result string) string {
	return at(seconds, unit, failed, unit+": Failed with result '"+result+"'.", "UNIT_RESULT", result)
}

func again(seconds int, unit string) string {
	return at(seconds, unit, restarted, unit+": Scheduled restart job, restart counter is at 1.", "N_RESTARTS", "1")
}

// begin is the beginning of a start by a job; end is the end of a stop by one that restarts.
func begin(seconds int, unit, job string) string {
	return at(seconds, unit, starting, "Starting", "JOB_TYPE", "start", "JOB_ID", job)
}

func end(seconds int, unit, job string) string {
	return at(seconds, unit, stopped, "Stopped", "JOB_TYPE", "restart", "JOB_ID", job)
}

// halt is the end of a stop that was asked for.
func halt(seconds int, unit, job string) string {
	return at(seconds, unit, stopped, "Stopped", "JOB_TYPE", "stop", "JOB_ID", job)
}

func mark(seconds int, unit string) string {
	return at(seconds, "", "", "asked "+unit, "SYSLOG_IDENTIFIER", Marker)
}

func TestWhatIsNormalIsNotFound(t *testing.T) {
	for name, more := range map[string][]string{
		"a recorded life": nil,
		"the daemon killed by the gate": {mark(1, daemonUnit), at(2, daemonUnit, exited, "Main process exited, code=killed, status=9/KILL"),
			fail(2, daemonUnit, "signal"), again(3, daemonUnit), at(3, daemonUnit, starting, "Starting")},
		"Podman's service lost its race at the boot": {at(1, podmanUnit, starting, "Starting"), exit(1, podmanUnit), fail(1, podmanUnit, "exit-code"), at(2, podmanUnit, starting, "Starting")},
		"a first try that fails at a boot":           {exit(1, "page.service"), fail(1, "page.service", "exit-code"), again(2, "page.service"), mark(5, Rebooted), fail(6, "page.service", "exit-code"), again(7, "page.service")},
		"a prober that fails at a boot":              {mark(1, Rebooted), fail(2, proberUnit, "exit-code"), again(3, proberUnit)},
		"a mark that journald took in late":          {exit(1, "page.service"), fail(1, "page.service", "exit-code"), mark(2, "page.service"), again(3, "page.service")},
		"a stop while it starts":                     {begin(0, "page.service", "1"), exit(1, "page.service"), fail(1, "page.service", "exit-code"), halt(1, "page.service", "2"), begin(2, "page.service", "3")},
		"a restart while it starts":                  strings.Split("user "+strings.ReplaceAll(strings.TrimSpace(restart), "\n", "\nuser "), "\n"),
		"a stop cut short by a reboot":               {at(1, "page.service", stopping, "Stopping"), at(60, "page.service", starting, "Starting")},
		"unhealthy while it is stopped":              {at(1, "page.service", stopping, "Stopping"), at(2, "", "", "", "PODMAN_EVENT", "health_status", "PODMAN_HEALTH_STATUS", "unhealthy", "PODMAN_NAME", "page")},
		"another program of the user":                {exit(1, "backup.service"), fail(1, "backup.service", "exit-code"), again(2, "backup.service")},
		"a container that writes like Podman": {at(1, "page.service", "", "no space left on device", "_COMM", "conmon", "CONTAINER_NAME", "page"),
			at(1, "page.service", "", "write: no space left on device", "_COMM", "podman", "PODMAN_EVENT", "health_status")},
		"a program that writes like systemd":   {at(1, "page.service", failed, "page.service: Failed with result 'oom-kill'.", "UNIT_RESULT", "oom-kill", "SYSLOG_IDENTIFIER", "page")},
		"a drive without a medium":             {said(1, "blk_update_request: I/O error, dev fd0, sector 0 op 0x0")},
		"what the next look will see":          {exit(4000, "page.service"), fail(4000, "page.service", "exit-code"), again(4001, "page.service")},
		"counters that stood so before":        {"oom 1", "restarts page.service 1"},
		"a counted restart that was asked for": {mark(1, "page.service"), fail(1, "page.service", "signal"), again(2, "page.service"), "restarts page.service 2"},
		"a restart of another program's unit":  {"restarts backup.service 4"},
	} {
		l, err := Read(answer(more...), owners, before)
		if err != nil || len(l.Findings) > 0 {
			t.Errorf("%s: %+v, %v", name, l, err)
		}
	}
}

func TestWhatMustNotBeInAJournalIsFoundWithItsLines(t *testing.T) {
	for _, c := range []struct {
		name, app, what, line string
		more                  []string
	}{
		{"crash", "page", "page.service failed: exit-code", "status=137", []string{exit(1, "page.service"), fail(1, "page.service", "exit-code")}},
		{"crash, and a stop much later", "page", "page.service failed: exit-code", "status=137", []string{begin(0, "page.service", "1"), exit(1, "page.service"), fail(1, "page.service", "exit-code"), begin(2, "page.service", "1"), end(3, "page.service", "1")}},
		// systemd says the same of all three, but for the job.
		{"crash, and a restart before it is tried again", "page", "page.service failed: exit-code", "status=137", []string{begin(0, "page.service", "64"), exit(1, "page.service"), fail(1, "page.service", "exit-code"), end(1, "page.service", "79")}},
		{"crash of what an earlier look saw start, and a restart", "page", "page.service failed: exit-code", "status=137", []string{exit(1, "page.service"), fail(1, "page.service", "exit-code"), end(1, "page.service", "79")}},
		{"a journal without jobs", "page", "page.service failed: exit-code", "status=137", []string{begin(0, "page.service", ""), exit(1, "page.service"), fail(1, "page.service", "exit-code"), end(1, "page.service", "")}},
		{"crash, and the restart of another", "page", "page.service failed: exit-code", "status=137", []string{begin(0, "page.service", "1"), exit(1, "page.service"), fail(1, "page.service", "exit-code"), end(1, "ledger.service", "1")}},
		{"killed in a restart", "page", "page.service failed: timeout", "timeout", []string{begin(0, "page.service", "1"), fail(1, "page.service", "timeout"), end(1, "page.service", "1")}},
		{"failed in mid-start, and stopped before it is tried again", "page", "page.service failed: exit-code", "status=137", []string{begin(0, "page.service", "1"), exit(1, "page.service"), fail(1, "page.service", "exit-code"), at(1, "page.service", unstarted, "Failed to start", "JOB_TYPE", "start", "JOB_ID", "1"), halt(2, "page.service", "2")}},
		{"crash, and stopped before it is tried again", "page", "page.service failed: exit-code", "status=137", []string{begin(0, "page.service", "1"), at(1, "page.service", started, "Started", "JOB_TYPE", "start", "JOB_ID", "1"), exit(2, "page.service"), fail(2, "page.service", "exit-code"), halt(3, "page.service", "2")}},
		{"crash of what an earlier look saw start, and a stop", "page", "page.service failed: exit-code", "status=137", []string{exit(1, "page.service"), fail(1, "page.service", "exit-code"), halt(2, "page.service", "2")}},
		{"killed in mid-start by a stop", "page", "page.service failed: timeout", "timeout", []string{begin(0, "page.service", "1"), fail(1, "page.service", "timeout"), halt(1, "page.service", "2")}},
		{"restart", "page", "page.service restarted, and nobody asked for it", "restart counter is at 1", []string{again(2, "page.service")}},
		{"more often than asked for", "page", "page.service restarted, and nobody asked for it", "restart counter", []string{mark(1, "page.service"), again(2, "page.service"), again(4, "page.service")}},
		{"long after it was asked for", "page", "page.service failed: exit-code", "137", []string{mark(1, "page.service"), exit(90, "page.service"), fail(90, "page.service", "exit-code")}},
		{"asked by a container of that name", "page", "page.service failed: exit-code", "exit-code", []string{
			at(1, "", "", "asked page.service", "SYSLOG_IDENTIFIER", Marker, "CONTAINER_NAME", Marker), fail(1, "page.service", "exit-code")}},
		{"asked of another", "ledger", "ledger-db.service failed: exit-code", "137", []string{mark(1, "page.service"), exit(1, "ledger-db.service"), fail(1, "ledger-db.service", "exit-code")}},
		{"the daemon", "", "archipelago.service failed: core-dump", "core-dump", []string{fail(1, daemonUnit, "core-dump")}},
		{"crash of the daemon that was to be killed", "", "archipelago.service failed: core-dump", "core-dump", []string{mark(1, daemonUnit), fail(1, daemonUnit, "core-dump")}},
		{"the prober", "", "archipelago-prober.service failed: exit-code", "exit-code", []string{fail(1, proberUnit, "exit-code")}},
		{"the prober comes and goes", "", "archipelago-prober.service restarted, and nobody asked for it", "restart counter", []string{again(2, proberUnit)}},
		{"the prober, long after a boot", "", "archipelago-prober.service restarted, and nobody asked for it", "restart counter", []string{mark(1, Rebooted), again(70, proberUnit)}},
		{"Podman's service", "", "podman.service failed: exit-code", "exit-code", []string{fail(1, podmanUnit, "exit-code")}},
		{"Podman's service, a false start that stays", "", "podman.service failed: exit-code", "exit-code", []string{at(1, podmanUnit, starting, "Starting"), fail(2, podmanUnit, "exit-code")}},
		{"Podman's service, a false start that took long to mend", "", "podman.service failed: exit-code", "exit-code", []string{at(1, podmanUnit, starting, "Starting"), fail(2, podmanUnit, "exit-code"), at(33, podmanUnit, starting, "Starting")}},
		{"Podman's service, again and again", "", "podman.service failed: exit-code", "exit-code", []string{at(1, podmanUnit, starting, "Starting"), fail(2, podmanUnit, "exit-code"), fail(3, podmanUnit, "exit-code"), at(4, podmanUnit, starting, "Starting")}},
		{"Podman's service, after it has run", "", "podman.service failed: exit-code", "exit-code", []string{at(1, podmanUnit, starting, "Starting"), fail(20, podmanUnit, "exit-code"), at(21, podmanUnit, starting, "Starting")}},
		{"long before a boot", "page", "page.service failed: exit-code", "exit-code", []string{fail(1, "page.service", "exit-code"), mark(70, Rebooted)}},
		{"long after a boot", "page", "page.service restarted, and nobody asked for it", "restart counter", []string{mark(1, Rebooted), again(70, "page.service")}},
		{"killed for want of memory at a boot", "page", "page.service failed: oom-kill", "oom-kill", []string{mark(1, Rebooted), fail(2, "page.service", "oom-kill")}},
		{"the daemon at a boot", "", "archipelago.service failed: exit-code", "exit-code", []string{mark(1, Rebooted), fail(2, daemonUnit, "exit-code")}},
		{"start limit", "page", "page.service was started too often, and given up", "start-limit-hit", []string{fail(1, "page.service", "start-limit-hit")}},
		{"OOM kill", "ledger", "a process of ledger-db.service was killed for want of memory", "OOM", []string{at(1, "ledger-db.service", oomKilled, "ledger-db.service: A process of this unit has been killed by the OOM killer.")}},
		{"OOM kill, counted too", "page", "a process of page.service was killed for want of memory", "OOM", []string{at(1, "page.service", oomKilled, "killed by the OOM killer"), "oom 2"}},
		{"OOM kill in a stop", "page", "page.service failed: oom-kill", "oom-kill", []string{at(1, "page.service", stopping, "Stopping"), fail(2, "page.service", "oom-kill")}},
		{"a stop that took too long", "page", "page.service failed: timeout", "timeout", []string{at(1, "page.service", stopping, "Stopping"), fail(2, "page.service", "timeout")}},
		{"crash after a start", "page", "page.service failed: signal", "signal", []string{at(1, "page.service", stopping, "Stopping"), at(2, "page.service", starting, "Starting"), fail(3, "page.service", "signal")}},
		{"network", "page", "archipelago-page-network.service failed: exit-code", "exit-code", []string{fail(1, "archipelago-page-network.service", "exit-code")}},
		{"network of a requirement", "page", "archipelago-page.ledger-network.service failed: exit-code", "exit-code", []string{fail(1, "archipelago-page.ledger-network.service", "exit-code")}},
		{"unhealthy", "page", "container page was unhealthy while it was to run", "health_status", []string{at(1, "", "", "container health_status", "PODMAN_EVENT", "health_status", "PODMAN_HEALTH_STATUS", "unhealthy", "PODMAN_NAME", "page")}},
		{"storage", "page", "a storage error, in the words of podman", "no space", []string{at(1, "page.service", "", "Error: write /x: no space left on device", "_COMM", "podman")}},
		{"storage of the daemon", "", "a storage error, in the words of archipelago", "Read-only", []string{at(1, daemonUnit, "", "open /x: Read-only file system", "_COMM", "archipelago")}},
		{"the kernel's OOM kill", "ledger", "the kernel killed a process for want of memory", "Killed process 7 (postgres)", []string{
			said(1, "oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg=/user.slice,task_memcg=/user.slice/user-1000.slice/user@1000.service/app.slice/ledger-db.service/libpod-payload-1,task=postgres,pid=7,uid=100070"),
			said(2, "Memory cgroup out of memory: Killed process 7 (postgres) total-vm:1kB")}},
		{"segfault", "", "a process crashed", "segfault at 0", []string{said(1, "miniflux[77]: segfault at 0 ip 00007f sp 00007f error 4 in x")}},
		{"dump", "page", "a process crashed", "dumped core", []string{"kernel " + strings.TrimPrefix(at(1, "", dumped, "Process 7 dumped core", "COREDUMP_USER_UNIT", "page.service"), "user ")}},
		{"disk", "", "a storage error, in the kernel's words", "nvme0n1", []string{said(1, "I/O error, dev nvme0n1, sector 8 op 0x0:(READ)")}},
		{"file system", "", "a storage error, in the kernel's words", "EXT4-fs", []string{said(1, "EXT4-fs error (device sda1): ext4_find_entry:1")}},
		{"counted OOM kills", "", "the kernel killed 2 of the user's processes for want of memory", "oom_kill 3", []string{"oom 3"}},
		{"counted restarts", "page", "page.service restarted, and nobody asked for it", "NRestarts=2", []string{"restarts page.service 2"}},
	} {
		l, err := Read(answer(c.more...), owners, before)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		i := slices.IndexFunc(l.Findings, func(f reports.Finding) bool { return f.App == c.app && f.What == c.what })
		if i < 0 || len(l.Findings) != 1 || !strings.Contains(strings.Join(l.Findings[i].Lines, "\n"), c.line) {
			t.Errorf("%s: %+v", c.name, l.Findings)
		}
	}
}

// What the script does not ask a node for is never found, and nothing else shows that.
func TestTheScriptAsksForAllThatIsLookedFor(t *testing.T) {
	script := fleet.VitalsCommand("s=1", true)
	for _, id := range []string{starting, started, unstarted, stopping, stopped, exited, failed, restarted, oomKilled, dumped} {
		if !strings.Contains(script, id) {
			t.Errorf("it does not ask for the message %s", id)
		}
	}
	for _, field := range []string{"MESSAGE", "MESSAGE_ID", "USER_UNIT", "_SYSTEMD_USER_UNIT", "UNIT_RESULT", "JOB_TYPE", "JOB_ID", "SYSLOG_IDENTIFIER", "_COMM", "_PID", "CONTAINER_NAME", "PODMAN_EVENT", "PODMAN_NAME", "PODMAN_HEALTH_STATUS", "COREDUMP_USER_UNIT"} {
		if !regexp.MustCompile(`(?m)^fields=(\S+,)?` + field + `(,|$)`).MatchString(script) {
			t.Errorf("it does not ask for the field %s", field)
		}
	}
}

// Anyone may write to a journal, at any length: little of it is kept.
func TestALongLineOfAJournalIsCut(t *testing.T) {
	j := &journal{}
	j.note("feeds", "x", entry{"MESSAGE": strings.Repeat("x", 1<<20)})
	if line := j.found[0].Lines[0]; len(line) > 2*longestLine || !strings.Contains(line, "bytes more") {
		t.Errorf("%d bytes are kept", len(line))
	}
}

func TestCountersBeginAgainWithABoot(t *testing.T) {
	other := before
	other.Boot = "b/0"
	for facts, want := range map[string]int{"oom 0": 0, "oom 1": 1} {
		if l, err := Read(answer(facts), owners, other); err != nil || len(l.Findings) != want {
			t.Errorf("%s: %+v, %v", facts, l, err)
		}
	}
}

func TestAnAnswerThatIsNotWholeIsRefused(t *testing.T) {
	whole := answer()
	for name, text := range map[string]string{
		"nothing":            "",
		"cut off":            strings.TrimSuffix(whole, "end\n"),
		"after its end":      whole + "boot x\n",
		"a failed question":  answer("failed journal of the user"),
		"nonsense":           answer("surprise"),
		"a line cut in half": answer(`user {"MESSAGE":"x`),
		"no boot":            strings.Replace(whole, "boot b/1\n", "", 1),
		"no cursor":          strings.Replace(whole, cursor(after.Add(time.Hour)), "cursor \n", 1),
		"no time":            strings.Replace(whole, cursor(after.Add(time.Hour)), "cursor s=1\n", 1),
		"no program":         strings.Replace(whole, "program d0\n", "", 1),
		"no measure":         strings.Replace(whole, "measure secrets 0\n", "", 1),
		"no memory":          strings.Replace(whole, "measure daemon-memory 5\n", "", 1),
		"no reason":          strings.Replace(whole, "unread podman-memory: podman.service does not run\n", "", 1),
		"another's reason":   strings.Replace(whole, "measure disk 7\n", "unread kernel: it is not this node's own\n", 1),
		"no use of CPUs":     strings.Replace(whole, "used 9000000 500000\n", "", 1),
		"half a use of CPUs": strings.Replace(whole, "used 9000000 500000\n", "used 9000000\n", 1),
		"half a measure":     strings.Replace(whole, "measure secrets 0\n", "measure secrets\n", 1),
	} {
		if _, err := Read(text, owners, before); !errors.Is(err, ErrIncomplete) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatANodeCannotShowIsSaid(t *testing.T) {
	l, err := Read(answer("unread kernel: it is not this node's own"), owners, before)
	if err != nil || !slices.Equal(l.Unread, []string{"podman-memory: podman.service does not run", "kernel: it is not this node's own"}) || l.Measures["files"] != 80 {
		t.Errorf("%+v, %v", l, err)
	}
}

// A node must not keep its run from being judged by what JSON, or a sum, has no number for.
func TestAMeasureIsANumber(t *testing.T) {
	for value, good := range map[string]bool{"3": true, "0": true, "NaN": false, "Inf": false, "-1": false, "1e308": false, "0x1p60": false, "": false} {
		l, err := Read(answer("measure disk "+value), owners, before)
		if (err == nil) != good || err != nil && !errors.Is(err, ErrIncomplete) {
			t.Errorf("%q: %+v, %v", value, l, err)
		}
	}
}

func TestWhatANodeUsedOfCPUsIsRead(t *testing.T) {
	l, err := Read(answer(), owners, before)
	if err != nil || l.Used == nil || *l.Used != (reports.Used{Services: 9, Sessions: 0.5}) {
		t.Errorf("%+v, %v", l, err)
	}
	for said, want := range map[string]*reports.Used{
		"used 2000000 1000000\n": {Services: 2, Sessions: 1},
		"unread cpu: no\n":       nil,
	} {
		if got, err := Used(said); err != nil || (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("%q: %+v, %v", said, got, err)
		}
	}
	for _, said := range []string{"", "used", "used -1 2", "boot 1"} {
		if _, err := Used(said); err == nil {
			t.Errorf("%q was taken", said)
		}
	}
}
