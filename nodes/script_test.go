package nodes

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/dist"
)

// local runs a script as a node's shell would, with another home directory.
func local(t *testing.T, home, name string, stdin io.Reader, args ...string) (string, error) {
	t.Helper()
	line, err := commandLine(name, args)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.Env, cmd.Stdin = append(os.Environ(), "HOME="+home), stdin
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	return string(out) + errs.String(), err
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

func TestDamagedProgramDoesNotReplaceAnything(t *testing.T) {
	home := t.TempDir()
	install := func(sent, expected string) (string, error) {
		sum := sha256.Sum256([]byte(expected))
		return local(t, home, "replace-program.sh", strings.NewReader(sent), dist.Program, hex.EncodeToString(sum[:]))
	}
	if out, err := install("first", "first"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := install("sec", "second"); err == nil || !strings.Contains(out, "arrived damaged") {
		t.Errorf("%v: %s", err, out)
	}
	file := filepath.Join(home, dist.Program)
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o755 || read(t, file) != "first" {
		t.Errorf("%v, %v, %q", info, err, read(t, file))
	}
	if files, _ := os.ReadDir(filepath.Dir(file)); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
}

// TestDeploymentInstallsWhatOwnersInstall: the same files byte for byte, and what only
// this deployment needs in a drop-in, which goes with the deployment that needed it.
func TestDeploymentInstallsWhatOwnersInstall(t *testing.T) {
	home, own := t.TempDir(), filepath.Join(t.TempDir(), "own")
	deploy := func(d Deployment, want string) {
		t.Helper()
		archive, err := d.archive()
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(archive)
		if out, err := local(t, home, "replace-files.sh", bytes.NewReader(archive), own, hex.EncodeToString(sum[:])); err != nil || strings.TrimSpace(out) != want {
			t.Fatalf("%v: %q, expected %q", err, out, want)
		}
		for name, body := range dist.Files() {
			if got := read(t, filepath.Join(home, name)); got != string(body) {
				t.Errorf("%s is not what owners install:\n%s", name, got)
			}
		}
	}
	dropIn := filepath.Join(home, ".config/systemd/user/archipelago.service.d/deployment.conf")
	d := Deployment{Catalog: map[string][]byte{"one": []byte("1"), "two": []byte("2")}, Pictures: map[string][]byte{"0123": []byte("<svg/>")}, Environment: []string{"A=b c"}}
	deploy(d, "")
	if got := read(t, dropIn); got != "[Service]\nEnvironment=\"A=b c\"\n" {
		t.Error(got)
	}
	if got := read(t, own+"/catalog/pictures/0123"); got != "<svg/>" {
		t.Error(got)
	}
	deploy(d, "same")
	deploy(Deployment{Catalog: map[string][]byte{"two": []byte("changed")}}, "")
	if _, err := os.Stat(dropIn); !os.IsNotExist(err) {
		t.Errorf("the environment of an older deployment stays: %v", err)
	}
	if got := read(t, own+"/catalog/two/manifest.yaml"); got != "changed" {
		t.Error(got)
	}
	for _, gone := range []string{"catalog/one", "catalog/pictures", "old", "new"} {
		if _, err := os.Stat(filepath.Join(own, gone)); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", gone, err)
		}
	}
}

func TestFactsAndBootAreReadByTheScripts(t *testing.T) {
	data := filepath.Join(t.TempDir(), "it's data")
	out, err := local(t, t.TempDir(), "facts.sh", nil, data)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{"uid=", "os=", "kernel=", "podman=", "systemd=", "subuid=", "subgid=", "cgroup=", "controllers=", "online=", "runtime=", "data=writable", "cpus=", "memory=", "virt="} {
		if !strings.Contains("\n"+out, "\n"+want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if out, err := local(t, "", "boot-id.sh", nil); err != nil || len(strings.Fields(out)) != 2 {
		t.Errorf("%v: %q", err, out)
	}
}

// TestFailureToListFilesInstallsNothing: the list of files is not to be had.
func TestFailureToListFilesInstallsNothing(t *testing.T) {
	home, bin := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "find"), []byte("#!/bin/sh\nexit 127\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	archive, err := Deployment{Catalog: map[string][]byte{"page": []byte("{}")}}.archive()
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(home, "own")
	if out, err := local(t, home, "replace-files.sh", bytes.NewReader(archive), own, "mark"); err == nil {
		t.Errorf("said that it was done: %s", out)
	}
	if _, err := os.Stat(filepath.Join(own, "catalog.digest")); err == nil {
		t.Error("took it for installed")
	}
}

// TestDeploymentEndsTheTrialOfTheProgramBefore: otherwise the next start could put an
// older program back.
func TestDeploymentEndsTheTrialOfTheProgramBefore(t *testing.T) {
	home := t.TempDir()
	trial := filepath.Join(home, dist.Program+".trial")
	if err := os.MkdirAll(filepath.Dir(trial), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(trial, []byte("2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("new"))
	if out, err := local(t, home, "replace-program.sh", strings.NewReader("new"), dist.Program, hex.EncodeToString(sum[:])); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := os.Stat(trial); err == nil {
		t.Error("the trial goes on")
	}
}

// TestDaemonThatRunsIsTheOneDeployed: systemd says that this very process is the daemon.
func TestDaemonThatRunsIsTheOneDeployed(t *testing.T) {
	home, bin := t.TempDir(), t.TempDir()
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(exe)
	mine := hex.EncodeToString(sum[:])
	log := filepath.Join(home, "log")
	stub := fmt.Sprintf("#!/bin/sh\ncase $* in *MainPID*) echo %d ;; *) echo \"$*\" >> %s ;; esac\n", os.Getpid(), log)
	if err := os.WriteFile(filepath.Join(bin, "systemctl"), []byte(stub), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	for _, c := range []struct {
		name, want, change string
		restart, fails     bool
	}{
		{"it runs already", mine, "", false, false},
		{"it has changed", mine, "changed", true, false},
		{"a deployment was cut off before its restart", strings.Repeat("0", 64), "", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			os.Remove(log)
			out, err := local(t, home, "start-daemon.sh", nil, c.want, c.change)
			if (err != nil) != c.fails || c.fails && !strings.Contains(out, "another daemon runs") {
				t.Errorf("%v: %s", err, out)
			}
			if restarted := strings.Contains(read(t, log), "restart archipelago.service"); restarted != c.restart {
				t.Errorf("restarted: %v\n%s", restarted, read(t, log))
			}
		})
	}
}
