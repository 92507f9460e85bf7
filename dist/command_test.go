package dist

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// commandOf runs the command archipelago on a machine whose data is in a directory of this
// test's; sudo says what it is asked for.
func commandOf(t *testing.T, data, owner string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	write(t, filepath.Join(home, Program), "#!/bin/sh\necho \"the program, $XDG_RUNTIME_DIR: $*\"\n", 0o755)
	m := machine{path: filepath.Join(dir, "bin")}
	m.answers(t, "stat", `[ -d "$3" ] || exit 1; echo `+owner)
	m.answers(t, "getent", "echo "+owner+":x:7:7::"+home+":/bin/bash")
	m.answers(t, "id", `[ "$1" = -un ] && echo owner || echo 7`)
	m.answers(t, "sudo", `echo "sudo $*"`)
	script := strings.Replace(string(Release()["archipelago.sh"]), "data=/var/lib/archipelago", "data="+data, 1)
	cmd := exec.Command("sh", "-c", script, "archipelago", "claim", "--json")
	cmd.Env = []string{"PATH=" + m.path + ":" + os.Getenv("PATH")}
	b, err := cmd.CombinedOutput()
	return strings.ReplaceAll(string(b), home, "HOME"), err
}

func TestTheCommandRunsTheProgramAsItsUser(t *testing.T) {
	t.Parallel()
	for owner, want := range map[string]string{
		"owner":       "the program, /run/user/7: claim --json\n",
		"archipelago": "sudo -H -u archipelago -- env XDG_RUNTIME_DIR=/run/user/7 HOME/.local/bin/archipelago claim --json\n",
	} {
		if got, err := commandOf(t, t.TempDir(), owner); err != nil || got != want {
			t.Errorf("data of %s: %v: %q, expected %q", owner, err, got, want)
		}
	}
	if got, err := commandOf(t, "/nowhere", "owner"); err == nil || !strings.Contains(got, "there is no /nowhere: this machine is no node yet") {
		t.Errorf("where there is no node: %v: %s", err, got)
	}
}

// TestTheConsoleSaysWhereMyAppsIs has agetty show what the console says, on a terminal of script(1).
func TestTheConsoleSaysWhereMyAppsIs(t *testing.T) {
	t.Parallel()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	issue, err := filepath.Abs("archipelago.issue")
	if err != nil {
		t.Fatal(err)
	}
	b, err := exec.Command("script", "-qec", "/sbin/agetty --show-issue --issue-file "+issue, "/dev/null").CombinedOutput()
	said := string(b)
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	for _, want := range []string{"https://" + host + ".local:7443", "'archipelago claim'"} {
		if !strings.Contains(said, want) {
			t.Errorf("the console does not say %q:\n%s", want, said)
		}
	}
	if address := strings.SplitN(strings.SplitN(said+"https://", "https://", 2)[1], ":7443", 2)[0]; strings.Count(address, ".") != 3 || strings.Contains(said, `\`) {
		t.Errorf("no address in:\n%s", said)
	}
}
