package runner

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/gate/vitals"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes/fleet"
	"github.com/archipelago-cloud/archipelago/reports"
)

func (f *fake) Vitals(_ context.Context, since string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	more := ""
	if f.vitals != nil {
		more = f.vitals(len(f.since))
	}
	f.since = append(f.since, since)
	return fmt.Sprintf("boot boot/1\ncursor n=%d;t=7fffffffffff\nprogram d0\nmeasure containers 1\nmeasure volumes 1\nmeasure networks 1\nmeasure secrets 1\nmeasure processes 1\nmeasure files 1\nmeasure daemon-memory 5\nmeasure daemon-files 6\nunread podman-memory: podman.service does not run\nmeasure disk 7\nused %d000000 %d000000\n%send\n", len(f.since), 10*len(f.since), len(f.since), more), nil
}

func (f *fake) CPU(context.Context) (string, error) { return "used 5000000 1000000\n", nil }

func failed(unit string) string {
	return fmt.Sprintf(`user {"__REALTIME_TIMESTAMP":"9","SYSLOG_IDENTIFIER":"systemd","USER_UNIT":%q,"MESSAGE_ID":"d9b373ed55a64feb8242e02dbe79a49c","UNIT_RESULT":"oom-kill","MESSAGE":"planted"}`+"\n", unit)
}

// twoApps prepares two cycles on one node of applications that have a container each.
func twoApps(t *testing.T, dir string) (*Runner, *fake) {
	t.Helper()
	app := func(id string) *catalog.Entry {
		return &catalog.Entry{Manifest: &manifest.Manifest{ID: id, Containers: []manifest.Container{{Name: id}}}}
	}
	r, _ := runnerOf(t, dir, catalog.Catalog{"a": app("a"), "b": app("b")})
	onOneNode(r, 2)
	f := &fake{}
	r.Machine = func(*fleet.Node) Machine { return f }
	return r, f
}

func TestANodeIsLookedAtAtTheEndOfEveryCycle(t *testing.T) {
	dir := t.TempDir()
	r, f := twoApps(t, dir)
	if err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"", "n=1;t=7fffffffffff", "n=2;t=7fffffffffff"}; !slices.Equal(f.since, want) {
		t.Errorf("looked since %q, expected %q", f.since, want)
	}
	got := statuses(t, dir)
	for k := range 3 {
		res := got[reports.Cell{Node: "x", Cycle: k, Step: reports.NodeLook}]
		if res.Status != reports.Passed || res.Vitals == nil || res.Vitals.Measures["files"] != 1 {
			t.Errorf("cycle %d: %+v", k, res)
		}
	}
	// Each look says 10 s of services and 1 s of sessions more, and before the reboot there were
	// 5 s and 1 s since the boot: the counters had begun anew.
	for k := 1; k <= 2; k++ {
		c := got[reports.Cell{Node: "x", Cycle: k, Step: reports.NodeLook}].Vitals.CPU
		if c == nil || c.Services != 10*float64(k+1) || c.Suite <= 0 || c.Gate < 0 {
			t.Errorf("cycle %d cost %+v", k, c)
		}
	}
	if c := got[reports.Cell{Node: "x", Cycle: 0, Step: reports.NodeLook}].Vitals.CPU; c != nil {
		t.Errorf("what came before the first cycle cost %+v", c)
	}
	// A session that finds everything done has nothing to look at; one whose last look is
	// missing takes it.
	results, err := reports.ReadResults(dir)
	if err != nil {
		t.Fatal(err)
	}
	for drop, looks := range map[int]int{0: 0, 1: 1} {
		r, f = twoApps(t, t.TempDir())
		r.Results = results[:len(results)-drop]
		if err := r.Run(t.Context()); err != nil || len(f.since) != looks {
			t.Errorf("without the last %d: looked since %q, %v", drop, f.since, err)
		}
	}
}

func TestFindingsAreRedForWhomTheyAreAbout(t *testing.T) {
	dir := t.TempDir()
	r, f := twoApps(t, dir)
	f.vitals = func(asked int) string {
		if asked != 1 {
			return ""
		}
		return failed("b.service") + failed("archipelago.service")
	}
	if err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := statuses(t, dir)
	for cell, want := range map[reports.Cell]string{
		{App: "b", Node: "x", Cycle: 1, Step: matrix.Uninstall}: "until the end of cycle 1: b.service failed: oom-kill",
		{Node: "x", Cycle: 1, Step: reports.NodeLook}:           "archipelago.service failed: oom-kill",
	} {
		res := got[cell]
		if res.Status != reports.Failed || res.Reason != want || len(res.Evidence) != 1 || len(res.Digests) != 1 {
			t.Errorf("%+v", res)
			continue
		}
		if b, err := os.ReadFile(filepath.Join(dir, res.Evidence[0])); err != nil || !strings.Contains(string(b), "systemd[]: planted") {
			t.Errorf("%q, %v", b, err)
		}
	}
	for _, res := range got {
		if res.Status == reports.Failed && res.App == "a" || res.Status == reports.Failed && res.Cycle != 1 {
			t.Errorf("%+v", res)
		}
	}
}

func TestALookThatIsIncompleteIsTheGatesFailure(t *testing.T) {
	r, f := twoApps(t, t.TempDir())
	f.vitals = func(int) string { return "failed journal of the user\n" }
	if err := r.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "the node could not answer") {
		t.Error(err)
	}
}

// TestTheScriptReadsARecordedJournal runs the script with programs that answer as a node's
// do, and journalctl with what was recorded on one.
func TestTheScriptReadsARecordedJournal(t *testing.T) {
	bin := t.TempDir()
	recorded, err := filepath.Abs("../vitals/testdata")
	if err != nil {
		t.Fatal(err)
	}
	stub := func(name, body string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/bash\n"+body+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	stub("journalctl", `[[ -z "$MUTE" || "$*" != *"$MUTE"* || "$*" = *--show-cursor* ]] || exit 1
case "$*" in
  *--show-cursor*) echo; echo "-- cursor: s=1;t=65f000000000000" ;;
  *MESSAGE_ID=*PODMAN_HEALTH_STATUS=unhealthy*)
    for term; do [[ $term != MESSAGE_ID=* ]] || asked+=(-e "\"${term#*=}\""); done
    [[ "$*" = *--after-cursor=CURSOR* ]] && grep -hF "${asked[@]}" `+recorded+`/*.jsonl ;;
  *_COMM=podman*) grep -h '"_COMM": "podman"' `+recorded+`/healthy.jsonl; [ -z "$FULL" ] || echo '{"__REALTIME_TIMESTAMP":"9","_COMM":"podman","_SYSTEMD_USER_UNIT":"page.service","MESSAGE":"write: No space left on device"}' ;;
esac`)
	stub("podman", `case "$*" in
  ps*) echo 1; echo 2 ;;
  info*) echo "journald /store" ;;
  unshare*) printf '10\t/a\n20\t/store\n30\ttotal\n' ;;
  *) [ -z "$BROKEN" ] || exit 125 ;;
esac`)
	stub("systemctl", `case "$*" in
  *ActiveState*archipelago*) echo "MainPID=$DAEMON"; echo "ActiveState=${STATE:-active}" ;;
  *MainPID*archipelago*) echo "$DAEMON" ;;
  *MainPID*) echo 0 ;;
  *) printf 'Id=page.service\nNRestarts=3\n\nNRestarts=0\nId=other.service\n' ;;
esac`)
	fast := filepath.Join(bin, "fast")
	if err := os.WriteFile(fast, []byte("sleep() { SECONDS=$((SECONDS + 5)); }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	slice := filepath.Join(bin, fmt.Sprintf("user.slice/user-%d.slice", os.Getuid()))
	manager := filepath.Join(slice, fmt.Sprintf("user@%d.service", os.Getuid()))
	if err := os.MkdirAll(manager, 0o755); err != nil {
		t.Fatal(err)
	}
	for dir, usec := range map[string]int{slice: 7_500_000, manager: 7_000_000} {
		if err := os.WriteFile(filepath.Join(dir, "cpu.stat"), fmt.Appendf(nil, "usage_usec %d\nuser_usec 1\nsystem_usec 2\n", usec), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run := func(since string, env ...string) string {
		t.Helper()
		cmd := exec.Command("sh", "-c", fleet.VitalsCommand(since, false))
		cmd.Env = append(append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), fmt.Sprintf("DAEMON=%d", os.Getpid()), "CGROUPS="+bin), env...)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	owners := map[string]string{"page.service": "page"}
	first, err := vitals.Read(run(""), owners, reports.Vitals{})
	if err != nil {
		t.Fatal(err)
	}
	m := first.Measures
	if m["containers"] != 2 || m["volumes"] != 0 || m["disk"] != 30 || m["daemon-memory"] < 1<<20 || m["processes"] < 1 || first.Restarts["page.service"] != 3 || len(first.Restarts) != 1 {
		t.Errorf("%+v", first.Vitals)
	}
	if first.Used == nil || *first.Used != (reports.Used{Services: 7, Sessions: 0.5}) {
		t.Errorf("%+v", first.Used)
	}
	if none, err := vitals.Read(run("", "CGROUPS=/nowhere"), owners, reports.Vitals{}); err != nil || none.Used != nil {
		t.Errorf("%+v, %v", none, err)
	}
	if !slices.ContainsFunc(first.Unread, func(s string) bool { return strings.HasPrefix(s, "podman-memory: ") }) {
		t.Errorf("%q", first.Unread)
	}
	if own, err := reports.FileDigest("/proc/self/exe"); err != nil || first.Program != own {
		t.Errorf("the process runs %s, and it says %s; %v", own, first.Program, err)
	}
	for _, gone := range []string{"DAEMON=0", "STATE=activating", "DAEMON=999999999"} {
		// In time that goes by a hundred times as fast.
		if none, err := vitals.Read(run("", gone, "BASH_ENV="+fast), owners, reports.Vitals{}); err != nil || none.Program != "none" {
			t.Errorf("%s: %q, %v", gone, none.Program, err)
		}
	}
	before := first.Vitals
	before.Cursor = "CURSOR"
	look, err := vitals.Read(run("CURSOR"), owners, before)
	if err != nil || len(look.Findings) > 0 || !slices.ContainsFunc(look.Unread, func(s string) bool { return strings.HasPrefix(s, "kernel: ") }) {
		t.Errorf("%+v, %v", look, err)
	}
	look, err = vitals.Read(run("CURSOR", "FULL=1"), owners, before)
	if err != nil || len(look.Findings) != 1 || look.Findings[0].App != "page" || !strings.Contains(look.Findings[0].What, "storage error") {
		t.Errorf("%+v, %v", look, err)
	}
	for env, want := range map[string]string{"BROKEN=1": "failed volumes", "MUTE=PODMAN_HEALTH": "failed journal of the user", "MUTE=_COMM=podman": "failed journal of Podman"} {
		if _, err := vitals.Read(run("CURSOR", env), owners, before); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", env, err)
		}
	}
}

// TestWhoMarksAndWhoReadsAgree: the suite's name in a node's journal is the one that is
// looked for, and the script asks for it.
func TestWhoMarksAndWhoReadsAgree(t *testing.T) {
	if matrix.Mark != vitals.Marker || matrix.Rebooted != vitals.Rebooted || !strings.Contains(fleet.VitalsCommand("c", false), "SYSLOG_IDENTIFIER="+matrix.Mark+" ") {
		t.Errorf("%q, %q", matrix.Mark, vitals.Marker)
	}
}
