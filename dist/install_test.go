package dist

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// machine is what the installer's dry run looks at: a release, a file system, and the
// answers of programs.
type machine struct{ release, root, path string }

const packages = "systemd podman crun netavark aardvark-dns passt uidmap fuse-overlayfs nftables dbus-user-session libpam-systemd sudo ca-certificates restic openssh-client"

// blank is a Debian 13 with a release of two programs, on which nothing is installed.
func blank(t *testing.T) machine {
	t.Helper()
	m := machine{release: t.TempDir(), root: t.TempDir(), path: t.TempDir()}
	files := Release()
	files["archipelago-linux-amd64"], files["archy-linux-amd64"] = []byte("daemon"), []byte("archy")
	var sums strings.Builder
	for name, body := range files {
		write(t, filepath.Join(m.release, name), string(body), 0o644)
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(body), name)
	}
	write(t, m.release+"/SHA256SUMS", sums.String(), 0o644)
	write(t, m.root+"/etc/os-release", "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nVERSION_ID=\"13\"\nID=debian\n", 0o644)
	write(t, m.root+"/etc/subuid", "someone:100000:65536\n", 0o644)
	write(t, m.root+"/run/systemd/system/.keep", "", 0o644)
	write(t, m.root+"/sys/fs/cgroup/cgroup.controllers", "memory pids\n", 0o644)
	write(t, m.root+"/proc/sys/fs/inotify/max_user_instances", "128\n", 0o644)
	m.answers(t, "uname", "echo x86_64")
	m.answers(t, "id", `[ "$*" = -u ] && echo 1000 || exit 1`)
	m.answers(t, "getent", "exit 2")
	m.answers(t, "dpkg-query", "exit 1")
	return m
}

// complete makes it a machine on which everything is installed.
func (m machine) complete(t *testing.T) {
	t.Helper()
	m.answers(t, "id", "echo 1000")
	m.answers(t, "getent", "echo archipelago:x:1000:1000::/home/archipelago:/bin/bash")
	m.answers(t, "dpkg-query", "printf installed")
	m.answers(t, "stat", `case $3 in */usr/*) o=root;; *) o=archipelago;; esac; echo "$(`+must(exec.LookPath("stat"))+` -c %a "$3"):$o"`)
	write(t, m.root+"/etc/subuid", "archipelago:100000:65536\n", 0o644)
	write(t, m.root+"/etc/subgid", "archipelago:100000:65536\n", 0o644)
	write(t, m.root+"/etc/sysctl.d/60-archipelago.conf", "", 0o644)
	write(t, m.root+"/etc/sudoers.d/archipelago", "archipelago ALL=(root) NOPASSWD: /usr/bin/systemctl reboot\n", 0o440)
	write(t, m.root+"/var/lib/systemd/linger/archipelago", "", 0o644)
	write(t, m.root+manifest.DataDir+"/.keep", "", 0o644)
	write(t, m.root+"/etc/systemd/system/multi-user.target.wants/network-online.target", "", 0o644)
	write(t, m.root+"/usr/local/bin/archy", "archy", 0o755)
	write(t, m.root+"/usr/local/bin/archipelago", string(Release()["archipelago.sh"]), 0o755)
	write(t, m.root+"/etc/issue.d/archipelago.issue", string(Release()["archipelago.issue"]), 0o644)
	home := m.root + "/home/archipelago/"
	for name, body := range Files() {
		write(t, home+name, string(body), 0o644)
	}
	write(t, home+Program, "daemon", 0o755)
	if err := os.Chmod(home+Program+".rollback", 0o755); err != nil {
		t.Fatal(err)
	}
}

func must(s string, err error) string {
	if err != nil {
		panic(err)
	}
	return s
}

func write(t *testing.T, file, body string, mode fs.FileMode) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(body), mode)); err != nil {
		t.Fatal(err)
	}
}

// answers puts a program into the PATH.
func (m machine) answers(t *testing.T, program, body string) {
	t.Helper()
	write(t, filepath.Join(m.path, program), "#!/bin/sh\n"+body+"\n", 0o755)
}

func (m machine) install(args ...string) (out, errs string, status int) {
	cmd := exec.Command("/bin/sh", append([]string{m.release + "/install.sh"}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+m.path+":"+os.Getenv("PATH"), "ARCHIPELAGO_ROOT="+m.root)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		return "", err.Error(), -1
	}
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

// state is everything below the machine's directories.
func (m machine) state(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, dir := range []string{m.root, m.release} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			info, ierr := d.Info()
			fmt.Fprintln(&b, path, info.Mode(), info.Size(), info.ModTime())
			return errors.Join(err, ierr)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func TestDryRunPrintsEveryStepAndChangesNothing(t *testing.T) {
	t.Parallel()
	m := blank(t)
	before := m.state(t)
	out, errs, status := m.install("--dry-run")
	if status != 0 || errs != "" {
		t.Fatalf("status %d: %s", status, errs)
	}
	rest := out
	for _, want := range []string{
		"apt-get update", "--no-install-recommends " + packages + "\n",
		"mv -f /usr/local/bin/archy.new /usr/local/bin/archy\n",
		"archipelago.sh /usr/local/bin/archipelago\n", "archipelago.issue /etc/issue.d/archipelago.issue\n",
		"useradd --create-home --shell /bin/bash --groups systemd-journal --comment Archipelago archipelago\n",
		"loginctl enable-linger archipelago\n",
		"install -d -o archipelago -g archipelago -m 0711 " + manifest.DataDir + "\n",
		"systemctl add-wants multi-user.target network-online.target\n",
		"systemctl start --no-block network-online.target\n",
		"/etc/sysctl.d/60-archipelago.conf\n", "systemd-sysctl /etc/sysctl.d/60-archipelago.conf\n",
		"visudo --check", "/etc/sudoers.d/archipelago\n",
		"mv -f /home/archipelago/.local/bin/archipelago.rollback.new /home/archipelago/.local/bin/archipelago.rollback\n",
		"/home/archipelago/.config/systemd/user/archipelago.service\n",
		"/home/archipelago/.config/systemd/user/archipelago-prober.service\n",
		"/home/archipelago/.config/systemd/user/podman.service.d/archipelago.conf\n",
		"/home/archipelago/.config/systemd/user/podman-pause-.scope.d/archipelago.conf\n",
		"/home/archipelago/.config/systemd/user/rootless-netns-.scope.d/archipelago.conf\n",
		"/home/archipelago/.config/systemd/user/run-.scope.d/archipelago.conf\n",
		"/home/archipelago/.config/systemd/user/app.slice.d/archipelago.conf\n",
		"/home/archipelago/.config/systemd/user/user.slice.d/archipelago.conf\n",
		"mv -f /home/archipelago/.local/bin/archipelago.new /home/archipelago/.local/bin/archipelago\n",
		"systemctl --user daemon-reload\n", "enable --quiet archipelago.service archipelago-prober.service\n",
		"systemctl --user restart archipelago.service\n", "systemctl --user restart archipelago-prober.service\n",
		"nothing was changed",
	} {
		_, after, ok := strings.Cut(rest, want)
		if !ok {
			t.Fatalf("no %q, or not in its place, in:\n%s", want, out)
		}
		rest = after
	}
	if m.state(t) != before {
		t.Error("a dry run changed something")
	}
}

func TestWhatIsInstalledStaysAsItIs(t *testing.T) {
	t.Parallel()
	m := blank(t)
	m.complete(t)
	out, errs, status := m.install("--dry-run")
	if status != 0 || errs != "" {
		t.Fatalf("status %d: %s", status, errs)
	}
	for _, never := range []string{"apt-get", "useradd", "usermod", "loginctl", "install ", "mv ", "add-wants", "restart"} {
		if strings.Contains(out, "  "+never) || strings.Contains(out, " "+never+" archipelago") {
			t.Errorf("%q on a complete machine:\n%s", never, out)
		}
	}
	if !strings.Contains(out, "systemctl --user start archipelago.service") {
		t.Error(out)
	}
	// An older daemon, which serves, returns if the new one does not.
	write(t, m.root+"/home/archipelago/"+Program, "older", 0o755)
	out, _, _ = m.install("--dry-run")
	if !strings.Contains(out, "/home/archipelago/.local/bin/archipelago.candidate upgrade --unsigned /home/archipelago/.local/bin/archipelago.candidate\n") || strings.Contains(out, "  mv ") || strings.Contains(out, "systemctl --user restart") {
		t.Errorf("an older daemon:\n%s", out)
	}
}

// TestRootWritesNothingInTheUsersDirectories: a link that the daemon's user, or whoever has
// become it, makes there would have root write, and give away, a file anywhere.
func TestRootWritesNothingInTheUsersDirectories(t *testing.T) {
	t.Parallel()
	older, cut, none := blank(t), blank(t), blank(t)
	for _, m := range []machine{older, cut} {
		m.complete(t)
		write(t, m.root+"/run/user/1000/bus", "", 0o600)
	}
	write(t, older.root+"/home/archipelago/"+Program, "older", 0o755)
	write(t, cut.root+"/home/archipelago/.config/systemd/user/archipelago.restart", "", 0o644)
	for name, c := range map[string]struct {
		m    machine
		args []string
	}{
		"an installation": {none, []string{"install", "archipelago", none.release + "/archipelago-linux-amd64", none.release}},
		"an upgrade":      {older, []string{"install", "archipelago", older.release + "/archipelago-linux-amd64", older.release}},
		"one cut off":     {cut, []string{"install", "archipelago", cut.release + "/archipelago-linux-amd64", cut.release}},
		"a removal":       {older, []string{"remove", "archipelago"}},
	} {
		cmd := exec.Command("/bin/sh", append([]string{"node.sh"}, c.args...)...)
		cmd.Env = append(os.Environ(), "PATH="+c.m.path+":"+os.Getenv("PATH"), "ARCHIPELAGO_ROOT="+c.m.root, "DRY_RUN=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "/home/archipelago/.") {
			t.Errorf("%s: %v: %s", name, err, out)
		}
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "/home/archipelago") && !strings.HasPrefix(line, "  runuser -u archipelago -- ") {
				t.Errorf("%s: as root: %s", name, line)
			}
		}
	}
}

// TestAnImageIsPreparedWithoutSystemd is how the lab's nodes are built, and a package in an
// image of the owner's own.
func TestAnImageIsPreparedWithoutSystemd(t *testing.T) {
	t.Parallel()
	m := blank(t)
	if err := os.RemoveAll(m.root + "/run"); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"prepare", "archipelago"}, {"install", "archipelago", m.release + "/archipelago-linux-amd64", m.release}} {
		cmd := exec.Command("/bin/sh", append([]string{"node.sh"}, args...)...)
		cmd.Env = append(os.Environ(), "PATH="+m.path+":"+os.Getenv("PATH"), "ARCHIPELAGO_ROOT="+m.root, "DRY_RUN=1")
		b, err := cmd.CombinedOutput()
		out := string(b)
		if err != nil || !strings.Contains(out, "install -D -m 0644 /dev/null /var/lib/systemd/linger/archipelago\n") {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
		for _, never := range []string{"loginctl", "systemd-sysctl", "systemctl start", "systemctl --user"} {
			if strings.Contains(out, never) {
				t.Errorf("%q: %s without systemd:\n%s", args, never, out)
			}
		}
		if args[0] == "install" && !strings.Contains(out, "systemd does not run here. On the machine that boots from this, finish as root: sh "+m.release+"/node.sh install archipelago ") {
			t.Errorf("it does not say what is left to do:\n%s", out)
		}
	}
}

// TestANodeOfAnotherUserIsLeftAlone is what the package finds where the installer was run
// with --user.
func TestANodeOfAnotherUserIsLeftAlone(t *testing.T) {
	t.Parallel()
	m := blank(t)
	m.complete(t)
	cmd := exec.Command("/bin/sh", "node.sh", "install", "ann", m.release+"/archipelago-linux-amd64", m.release)
	cmd.Env = append(os.Environ(), "PATH="+m.path+":"+os.Getenv("PATH"), "ARCHIPELAGO_ROOT="+m.root, "DRY_RUN=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "belongs to archipelago, whose applications are on this node") || strings.Count(string(out), "\n") != 1 {
		t.Errorf("%v: %s", err, out)
	}
}

// TestInstallationThatWasCutOffIsFinished: all files are in place, and the daemon still
// runs as it was before.
func TestInstallationThatWasCutOffIsFinished(t *testing.T) {
	t.Parallel()
	m := blank(t)
	m.complete(t)
	write(t, m.root+"/home/archipelago/.config/systemd/user/archipelago.restart", "", 0o644)
	if out, errs, _ := m.install("--dry-run"); !strings.Contains(out, "systemctl --user restart archipelago.service") || !strings.Contains(out, "rm -f /home/archipelago/.config/systemd/user/archipelago.restart") {
		t.Errorf("%s%s", out, errs)
	}
}

func TestUserWithoutSubordinateIDsGetsFreeOnes(t *testing.T) {
	t.Parallel()
	m := blank(t)
	m.complete(t)
	write(t, m.root+"/etc/subuid", "someone:100000:65536\n", 0o644)
	if out, _, _ := m.install("--dry-run"); !strings.Contains(out, "usermod --add-subuids 165536-231071 archipelago\n") || strings.Contains(out, "--add-subgids") {
		t.Error(out)
	}
}

func TestWhatStandsInTheWayIsSaidWithItsRemedy(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(machine)
		args  []string
		want  []string
	}{
		"not root":             {nil, nil, []string{"this takes root: run it with sudo"}},
		"an older Debian":      {func(m machine) { write(t, m.root+"/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n", 0o644) }, nil, []string{"Debian 12", "upgrade to Debian 13"}},
		"another distribution": {func(m machine) { write(t, m.root+"/etc/os-release", "ID=ubuntu\nVERSION_ID=\"26.04\"\n", 0o644) }, nil, []string{"not Debian 13", "'Without the installer'"}},
		"no os-release":        {func(m machine) { os.Remove(m.root + "/etc/os-release") }, nil, []string{"not Debian 13"}},
		"no systemd":           {func(m machine) { os.RemoveAll(m.root + "/run") }, nil, []string{"systemd does not run this machine"}},
		"cgroup v1":            {func(m machine) { os.RemoveAll(m.root + "/sys") }, nil, []string{"cgroup v2 is not mounted", "unified_cgroup_hierarchy"}},
		"the user root":        {nil, []string{"--user", "root"}, []string{"never run as root: name an unprivileged user"}},
		"an odd user":          {nil, []string{"--user", "a b;c"}, []string{"'a b;c' is not a user name"}},
		"a user with id 0":     {func(m machine) { m.answers(t, "id", "echo 0") }, nil, []string{"has id 0"}},
		"another machine":      {func(m machine) { m.answers(t, "uname", "echo riscv64") }, nil, []string{"no release for riscv64"}},
		"no program":           {func(m machine) { os.Remove(m.release + "/archy-linux-amd64") }, nil, []string{"archy-linux-amd64 is missing: download"}},
		"a damaged program":    {func(m machine) { write(t, m.release+"/archipelago-linux-amd64", "daemom", 0o644) }, nil, []string{"archipelago-linux-amd64 is not the one in SHA256SUMS: download it again"}},
		"another unit":         {func(m machine) { write(t, m.release+"/archipelago.service", "[Service]\n", 0o644) }, nil, []string{"archipelago.service is not the one in SHA256SUMS"}},
		"another script":       {func(m machine) { write(t, m.release+"/node.sh", "exit 0\n", 0o644) }, nil, []string{"node.sh is not the one in SHA256SUMS"}},
		"another user's node": {func(m machine) { m.complete(t) }, []string{"--user", "ann"},
			[]string{"belongs to archipelago, whose applications are on this node, and not to ann", "--user archipelago"}},
		"no checksums": {func(m machine) { os.Remove(m.release + "/SHA256SUMS") }, nil, []string{"SHA256SUMS is missing"}},
		"two at once": {func(m machine) { os.RemoveAll(m.root + "/run"); os.RemoveAll(m.root + "/sys") }, nil,
			[]string{"systemd does not run", "cgroup v2 is not"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := blank(t)
			if c.spoil != nil {
				c.spoil(m)
			}
			args := append([]string{"--dry-run"}, c.args...)
			if name == "not root" {
				args = nil
			}
			before := m.state(t)
			out, errs, status := m.install(args...)
			for _, want := range c.want {
				if status != 1 || !strings.Contains(errs, want) {
					t.Errorf("status %d, no %q in:\n%s", status, want, errs)
				}
			}
			if out != "" || !strings.Contains(errs, "nothing was changed") || m.state(t) != before {
				t.Errorf("it went on: %s", out)
			}
		})
	}
}

func TestUsageIsExplained(t *testing.T) {
	m := blank(t)
	if out, _, status := m.install("--help"); status != 0 || !strings.Contains(out, "--dry-run") || !strings.Contains(out, "--user NAME") || !strings.Contains(out, manifest.DataDir) {
		t.Errorf("status %d: %s", status, out)
	}
	for _, args := range [][]string{{"--nonsense"}, {"--user"}} {
		if _, errs, status := m.install(args...); status != 2 || !strings.Contains(errs, "see --help") {
			t.Errorf("%q: status %d: %s", args, status, errs)
		}
	}
}

// TestNewDaemonThatNeverServesIsRolledBack runs the script as the unit does.
func TestNewDaemonThatNeverServesIsRolledBack(t *testing.T) {
	program := filepath.Join(t.TempDir(), "archipelago")
	start := func() string {
		t.Helper()
		out, err := exec.Command("/bin/sh", "rollback.sh", program).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		b, err := os.ReadFile(program)
		if err != nil {
			t.Fatal(err)
		}
		return string(b) + string(out)
	}
	write(t, program, "new", 0o755)
	if got := start(); got != "new" {
		t.Errorf("without a trial: %q", got)
	}
	write(t, program+".previous", "old", 0o755)
	write(t, program+".trial", "0\n", 0o600)
	for range 2 {
		if got := start(); got != "new" {
			t.Errorf("on trial: %q", got)
		}
	}
	if got := start(); !strings.HasPrefix(got, "old") || !strings.Contains(got, "the new daemon did not come up") {
		t.Errorf("the third start: %q", got)
	}
	if files, _ := filepath.Glob(program + ".*"); len(files) > 0 {
		t.Errorf("left behind: %q", files)
	}
	write(t, program+".trial", "2\n", 0o600) // cut after the previous one came back
	if got := start(); got != "old" {
		t.Errorf("after a power cut: %q", got)
	}
	if files, _ := filepath.Glob(program + ".*"); len(files) > 0 {
		t.Errorf("left behind: %q", files)
	}
}
