package dist

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// installed is a node, as far as the package's scripts are concerned: a file system, and
// programs that note how they were called.
type installed struct{ machine }

func (n installed) calls(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(n.path + "/calls")
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(b)
}

// aNode has the package in version 1.1, with data of an application.
func aNode(t *testing.T) installed {
	t.Helper()
	n := installed{machine{root: t.TempDir(), path: t.TempDir()}}
	note := func(name string) { n.answers(t, name, `echo "`+name+` $*" >>"$(dirname "$0")/calls"`) }
	for _, name := range []string{"userdel", "loginctl", "systemctl"} {
		note(name)
	}
	n.answers(t, "id", "echo 1000")
	n.answers(t, "getent", "echo archipelago:x:1000:1000:Archipelago:/home/archipelago:/bin/bash")
	n.answers(t, "dpkg-query", "printf 1.1")
	write(t, n.root+"/usr/lib/archipelago/node.sh", `echo "node.sh $* keep=${KEEP_DAEMON:-}" >>"`+n.path+`/calls"
exit "${NODE_FAILS:-0}"
`, 0o755)
	for _, file := range []string{"/var/lib/archipelago/notes/data/note", "/home/archipelago/.local/share/containers/layer", "/run/systemd/system/.keep",
		"/var/lib/systemd/linger/archipelago", "/etc/sudoers.d/archipelago", "/etc/sysctl.d/60-archipelago.conf", "/home/ann/photo"} {
		write(t, n.root+file, "x", 0o644)
	}
	return n
}

// run runs a maintainer script as dpkg does; on is what is typed on a terminal, if there is one.
func (n installed) run(script, typed string, environment []string, args ...string) (out string, status int) {
	argv := append([]string{"/bin/sh", "deb/" + script}, args...)
	cmd := exec.Command(argv[0], argv[1:]...)
	if typed != "" {
		cmd = exec.Command("script", "--quiet", "--return", "--command", strings.Join(argv, " "), "/dev/null")
		cmd.Stdin = strings.NewReader(typed)
	}
	cmd.Env = append(append(os.Environ(), "PATH="+n.path+":"+os.Getenv("PATH"), "DPKG_ROOT="+n.root, "DEBIAN_FRONTEND=", "ARCHIPELAGO_PURGE="), environment...)
	var both bytes.Buffer
	cmd.Stdout, cmd.Stderr = &both, &both
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		return err.Error(), -1
	}
	return both.String(), cmd.ProcessState.ExitCode()
}

func TestThePackageSetsANodeUp(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		want string // keep= of the call; empty: none
	}{
		"for the first time":            {[]string{"configure", ""}, "keep="},
		"by dpkg of old":                {[]string{"configure"}, "keep="},
		"as an upgrade":                 {[]string{"configure", "1.0"}, "keep="},
		"once more":                     {[]string{"configure", "1.1"}, "keep=1"},
		"after an upgrade was given up": {[]string{"abort-upgrade", "1.1"}, ""},
		"after a removal was given up":  {[]string{"abort-remove"}, ""},
	} {
		n := aNode(t)
		out, status := n.run("postinst", "", nil, c.args...)
		want := ""
		if lib := n.root + "/usr/lib/archipelago"; c.want != "" {
			want = "node.sh install archipelago " + lib + "/archipelago " + lib + " " + c.want + "\n"
		}
		if status != 0 || n.calls(t) != want {
			t.Errorf("%s: status %d: %s: called\n%s, expected\n%s", name, status, out, n.calls(t), want)
		}
	}
	n := aNode(t)
	if out, status := n.run("postinst", "", []string{"NODE_FAILS=3"}, "configure", "1.0"); status != 3 || !strings.Contains(out, "sudo dpkg --configure archipelago") {
		t.Errorf("a daemon that does not come up: status %d: %s", status, out)
	}
}

func TestARemovalStopsTheDaemonAndAnUpgradeDoesNot(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{"remove": "node.sh remove archipelago keep=\n", "upgrade 1.2": "", "deconfigure in-favour other 1": "", "failed-upgrade 1.0": ""} {
		n := aNode(t)
		if out, status := n.run("prerm", "", nil, strings.Fields(args)...); status != 0 || n.calls(t) != want {
			t.Errorf("prerm %s: status %d: %s: called %q, expected %q", args, status, out, n.calls(t), want)
		}
	}
}

// TestDataIsDeletedByAPurgeWithConsentAlone is about the daemon's user and the data of its
// applications; what is others' stays in any case.
func TestDataIsDeletedByAPurgeWithConsentAlone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil       func(installed)
		script      string
		environment []string
		typed       string
		deleted     bool
		says        string
	}{
		"a removal":                        {script: "remove", environment: []string{"ARCHIPELAGO_PURGE=data"}},
		"an upgrade":                       {script: "upgrade", environment: []string{"ARCHIPELAGO_PURGE=data"}},
		"a purge by a program":             {script: "purge", says: "the data in /var/lib/archipelago stays"},
		"a purge with consent":             {script: "purge", environment: []string{"ARCHIPELAGO_PURGE=data"}, deleted: true},
		"a purge with another word":        {script: "purge", environment: []string{"ARCHIPELAGO_PURGE=yes"}, says: "only ARCHIPELAGO_PURGE=data deletes"},
		"delete, typed":                    {script: "purge", typed: "delete\n", deleted: true, says: "with everything in /home/archipelago"},
		"yes, typed":                       {script: "purge", typed: "yes\n", says: "stays"},
		"nothing, typed":                   {script: "purge", typed: "\n", says: "stays"},
		"a terminal that is not to ask":    {script: "purge", typed: "delete\n", environment: []string{"DEBIAN_FRONTEND=noninteractive"}, says: "stays"},
		"a user who was there before":      {func(n installed) { n.answers(t, "getent", "echo archipelago:x:1000:1000::/home/archipelago:/bin/sh") }, "purge", []string{"ARCHIPELAGO_PURGE=data"}, "", false, "yours to remove"},
		"a user who lives in / by mistake": {func(n installed) { n.answers(t, "getent", "echo archipelago:x:1000:1000:Archipelago:/:/bin/sh") }, "purge", nil, "", false, "stays"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := aNode(t)
			if c.spoil != nil {
				c.spoil(n)
			}
			out, status := n.run("postrm", c.typed, c.environment, c.script)
			if status != 0 || !strings.Contains(out, c.says) {
				t.Errorf("status %d, expected 0 and %q:\n%s", status, c.says, out)
			}
			for _, file := range []string{"/var/lib/archipelago/notes/data/note", "/home/archipelago/.local/share/containers/layer"} {
				if _, err := os.Stat(n.root + file); (err != nil) != c.deleted {
					t.Errorf("%s: %v, expected to be deleted: %v", file, err, c.deleted)
				}
			}
			if _, err := os.Stat(n.root + "/home/ann/photo"); err != nil {
				t.Error(err)
			}
			if calls := n.calls(t); strings.Contains(calls, "userdel --force archipelago\n") != c.deleted || strings.Contains(calls, "systemctl stop user@1000.service\n") != c.deleted {
				t.Errorf("called\n%s", calls)
			}
			if _, err := os.Stat(n.root + "/etc/sudoers.d/archipelago"); (err != nil) != (c.script == "purge") {
				t.Errorf("the right to reboot: %v", err)
			}
		})
	}
}

func TestAPurgeTwiceIsAPurgeOnce(t *testing.T) {
	t.Parallel()
	n := aNode(t)
	for range 2 {
		if out, status := n.run("postrm", "", []string{"ARCHIPELAGO_PURGE=data"}, "purge"); status != 0 {
			t.Fatalf("status %d: %s", status, out)
		}
		n.answers(t, "getent", "exit 2")
		n.answers(t, "id", "exit 1")
	}
}

func TestARemovalLeavesWhatIsTheOwners(t *testing.T) {
	t.Parallel()
	m := blank(t)
	m.complete(t)
	write(t, m.root+"/run/user/1000/bus", "", 0o644)
	cmd := exec.Command("/bin/sh", "node.sh", "remove", "archipelago")
	cmd.Env = append(os.Environ(), "PATH="+m.path+":"+os.Getenv("PATH"), "ARCHIPELAGO_ROOT="+m.root, "DRY_RUN=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	stopped, removed, ok := strings.Cut(string(out), "systemctl --user disable --quiet --now archipelago.service archipelago-prober.service\n")
	if !ok || strings.Contains(stopped, " rm ") {
		t.Errorf("the daemon is not stopped first:\n%s", out)
	}
	for file := range Files() {
		if !strings.Contains(removed, filepath.Join("/home/archipelago", file)) {
			t.Errorf("%s stays:\n%s", file, out)
		}
	}
	for _, never := range []string{"userdel", "linger", " /var/lib/archipelago\n", "archipelago.service.d", "rm -r"} {
		if strings.Contains(strings.Split(removed, "The data in")[0], never) {
			t.Errorf("%s at a removal:\n%s", never, out)
		}
	}
}
