package nodes

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
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
	d := Deployment{Catalog: map[string][]byte{"one": []byte("1"), "two": []byte("2")}, Environment: []string{"A=b c"}}
	deploy(d, "")
	if got := read(t, dropIn); got != "[Service]\nEnvironment=\"A=b c\"\n" {
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
	for _, gone := range []string{"catalog/one", "old", "new"} {
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
	for _, want := range []string{"uid=", "os=", "kernel=", "podman=", "systemd=", "subuid=", "subgid=", "cgroup=", "controllers=", "online=", "runtime=", "data=writable", "cpus="} {
		if !strings.Contains("\n"+out, "\n"+want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if out, err := local(t, "", "boot-id.sh", nil); err != nil || len(strings.Fields(out)) != 2 {
		t.Errorf("%v: %q", err, out)
	}
}
