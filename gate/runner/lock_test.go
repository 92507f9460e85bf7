package runner

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// lock runs the lock's command as a node's shell would.
func lock(t *testing.T, dir, holder, stale string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "-c", lockCommand(dir, holder, stale)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestALockHasOneHolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's a lock")
	var taken atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if lock(t, dir, `{"pid": 7}`, "") == "taken" {
				taken.Add(1)
			}
		})
	}
	wg.Wait()
	if n := taken.Load(); n != 1 {
		t.Fatalf("%d took it", n)
	}
	if got := lock(t, dir, "me", ""); got != `{"pid": 7}` {
		t.Errorf("%q", got)
	}
	// What was judged dead is taken over by one; who comes later finds the new holder.
	if got := lock(t, dir, "me", `{"pid": 7}`); got != "taken" {
		t.Errorf("%q", got)
	}
	if got := lock(t, dir, "late", `{"pid": 7}`); got != "me" {
		t.Errorf("it took another one's lock: %q", got)
	}
	lock(t, dir, "", "late") // gives back what is another's by now
	if got := lock(t, dir, "other", ""); got != "me" {
		t.Errorf("%q", got)
	}
	lock(t, dir, "", "me")
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("it was not given back: %v", err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil { // half made
		t.Fatal(err)
	}
	if got := lock(t, dir, "me", ""); got != "" {
		t.Errorf("%q", got)
	}
}

func TestALockIsTakenOverOnlyFromADeadProcessOfThisMachine(t *testing.T) {
	me, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	if me.Boot == "" || me.Namespace == "" || me.Start == "" {
		t.Fatalf("%+v", me)
	}
	const dead = 999999999
	other := func(change func(*Process)) Process { p := me; change(&p); return p }
	for _, c := range []struct {
		name string
		h    Process
		gone bool
	}{
		{"it runs", me, false},
		{"it has ended", other(func(p *Process) { p.PID = dead }), true},
		{"its pid was given out again", other(func(p *Process) { p.Start = "1" }), true},
		{"it has ended in another container of this machine", other(func(p *Process) { p.PID, p.Namespace = dead, "pid:[1]" }), false},
		{"another machine", other(func(p *Process) { p.PID, p.Machine, p.Boot = dead, "other", "other" }), false},
		{"another machine of the same name", other(func(p *Process) { p.PID, p.Machine, p.Boot, p.Host = dead, "other", "other", me.Host }), false},
		{"this machine before its reboot", other(func(p *Process) { p.Boot = "before" }), me.Machine != ""},
		{"a copy of this machine", other(func(p *Process) { p.Boot, p.Host = "before", "copy" }), false},
		{"this machine under another name", other(func(p *Process) { p.PID, p.Host = dead, "renamed" }), true},
		{"neither machine says which it is", other(func(p *Process) { p.Machine, p.Boot = "", "before" }), false},
		{"an older gate", Process{Host: me.Host, PID: dead}, false},
	} {
		text, err := json.Marshal(Holder{Process: c.h, Run: "r"})
		if err != nil {
			t.Fatal(err)
		}
		if err := judgeHolder(string(text), Holder{Process: me}); (err == nil) != c.gone || err != nil && (!errors.Is(err, ErrHeld) || !strings.Contains(err.Error(), "run r, process")) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for text, want := range map[string]string{"": "was cut off", "{": "cannot be read", "{}": "cannot be read"} {
		if err := judgeHolder(text, Holder{Process: me}); !errors.Is(err, ErrHeld) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), lockDir) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// A process that this one may not signal, or see, is not gone.
func TestAnotherUsersProcessIsAlive(t *testing.T) {
	hidden := func(int) (string, bool) { return "", true }
	me, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	if me.gone(me, hidden) {
		t.Error("one that cannot be seen is taken for dead")
	}
	if _, runs := probe(1); !runs {
		t.Error("PID 1 is taken for dead")
	}
	// One that has ended, and that nobody has waited for, holds nothing.
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); ; <-tick.C { // wait until it has ended, and leave it
		if _, ended, err := stat(cmd.Process.Pid); err != nil || ended || time.Since(begin) > 10*time.Second {
			break
		}
	}
	if _, runs := probe(cmd.Process.Pid); runs {
		t.Error("a zombie is taken for alive")
	}
	cmd.Wait()
}

// As another user, signals to the gate's process are refused: it is alive all the same.
func TestAProcessThatMayNotBeSignalledIsAlive(t *testing.T) {
	if os.Geteuid() != 0 {
		if _, runs := probe(1); !runs {
			t.Error("PID 1 is taken for dead")
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestAProcessThatMayNotBeSignalledIsAlive$")
	binary := filepath.Join(t.TempDir(), "test")
	b, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(binary, b, 0o755); err != nil {
		t.Fatal(err)
	}
	for d := filepath.Dir(binary); d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd.Path, cmd.Dir = binary, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
