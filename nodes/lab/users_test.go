package lab

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const holdDir = "LAB_TEST_HOLD"

// TestTheNodesAreNotTakenAwayFromOthers has another process use the lab, and then killed.
func TestTheNodesAreNotTakenAwayFromOthers(t *testing.T) {
	if dir := os.Getenv(holdDir); dir != "" {
		if _, err := (&Lab{users: dir}).Hold("run of another clone"); err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("held\n")
		io.Copy(io.Discard, os.Stdin) // until it is killed
		return
	}
	l := &Lab{users: filepath.Join(t.TempDir(), "users")}
	release, err := l.Hold("this run")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.othersUse("removing it"); err != nil {
		t.Errorf("in its own way: %v", err)
	}
	other := exec.Command(os.Args[0], "-test.run=^TestTheNodesAreNotTakenAwayFromOthers$")
	other.Env = append(os.Environ(), holdDir+"="+l.users)
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Process.Kill(); other.Wait() })
	if _, err := io.ReadFull(out, make([]byte, len("held\n"))); err != nil {
		t.Fatal(err)
	}
	if err := l.othersUse("removing it"); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "run of another clone, process ") || strings.Contains(err.Error(), "this run") {
		t.Errorf("%v", err)
	}
	other.Process.Kill()
	other.Wait()
	if err := l.othersUse("removing it"); err != nil {
		t.Errorf("after it was killed: %v", err)
	}
	release()
	if files, err := os.ReadDir(l.users); err != nil || len(files) != 0 {
		t.Errorf("%v, %v", files, err)
	}
}

func TestAMachineHasOneLab(t *testing.T) {
	argv := []string{"podman", "--root", "/home/a/engine/storage", "system", "service", ""}
	if err := judgeOwner(7, argv, "/home/a/engine/storage"); err != nil {
		t.Error(err)
	}
	if err := judgeOwner(7, argv, "/home/b/engine/storage"); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "/home/a/engine/storage (process 7)") {
		t.Errorf("%v", err)
	}
	if err := judgeOwner(7, []string{"podman", "--root"}, "/x"); err != nil {
		t.Errorf("a command line that was cut off: %v", err)
	}
	// No engine was started here.
	if err := (&Engine{storage: "/x", run: t.TempDir()}).foreign(); err != nil {
		t.Error(err)
	}
}

func TestDownSaysWhatADeadEngineLeaves(t *testing.T) {
	dir := t.TempDir()
	volume := filepath.Join(dir, "engine", "storage", "volumes", containerName(".228")+"-data")
	if err := os.MkdirAll(volume, 0o755); err != nil {
		t.Fatal(err)
	}
	l := &Lab{Engine: &Engine{storage: filepath.Join(dir, "engine"), run: filepath.Join(dir, "run")}, state: filepath.Join(dir, "state"), users: filepath.Join(dir, "users"), out: io.Discard}
	if err := l.Down(t.Context()); err == nil || !strings.Contains(err.Error(), volume) {
		t.Errorf("%v", err)
	}
	if err := os.RemoveAll(volume); err != nil {
		t.Fatal(err)
	}
	if err := l.Down(t.Context()); err != nil {
		t.Errorf("with nothing left: %v", err)
	}
}
