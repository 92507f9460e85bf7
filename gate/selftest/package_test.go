//go:build lab

package selftest

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/gate/labtest"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/lab"
	"github.com/archipelago-cloud/archipelago/reports"
)

const (
	bareBoot = time.Minute     // until systemd runs on a machine
	atATry   = 2 * time.Second // between two looks at it
)

// packages builds the package of a node in a version, of a daemon that says this version.
// Where it has a body, the daemon is a script.
func packages(t *testing.T, version, script string) (deb string) {
	t.Helper()
	programs, out := t.TempDir(), t.TempDir()
	for _, name := range []string{"archy", "gate"} {
		if err := os.Symlink(bin(t, name), filepath.Join(programs, name)); err != nil {
			t.Fatal(err)
		}
	}
	daemon := filepath.Join(programs, "archipelago")
	if script != "" {
		if err := os.WriteFile(daemon, []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	} else {
		build := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-s -w -X main.version="+version, "-o", daemon, "./cmd/archipelago")
		build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		if said, err := build.CombinedOutput(); err != nil {
			t.Fatalf("building the daemon %s: %v\n%s", version, err, said)
		}
	}
	pack := exec.CommandContext(t.Context(), "sh", filepath.Join(root, "dist", "deb", "build.sh"), version, runtime.GOARCH, programs, out)
	if said, err := pack.CombinedOutput(); err != nil {
		t.Fatalf("packing %s: %v\n%s", version, err, said)
	}
	return filepath.Join(out, "archipelago_"+version+"_"+runtime.GOARCH+".deb")
}

// bareMachine is the lab's machine that has nothing of a node.
type bareMachine struct {
	*testing.T
	lab *lab.Lab
}

// try runs a script there, as root.
func (m bareMachine) try(script string) (string, error) {
	m.Helper()
	var said bytes.Buffer
	err := m.lab.Exec(m.Context(), lab.Bare.Name, &said, "exec 2>&1\n"+script)
	m.Logf("%s: %v\n%s", script, err, said.String())
	return said.String(), err
}

func (m bareMachine) do(script string) string {
	m.Helper()
	said, err := m.try(script)
	if err != nil {
		m.Fatalf("%s: %v\n%s", script, err, said)
	}
	return strings.TrimSpace(said)
}

// apt installs, removes or purges as a program does, with nobody to ask.
func (m bareMachine) apt(args string) (string, error) {
	m.Helper()
	return m.try("export DEBIAN_FRONTEND=noninteractive; apt-get -y -q -o Dpkg::Use-Pty=0 " + args + " </dev/null")
}

func (m bareMachine) mustApt(args string) string {
	m.Helper()
	said, err := m.apt(args)
	if err != nil {
		m.Fatalf("apt-get %s: %v\n%s", args, err, said)
	}
	return said
}

// runs wants a daemon of a version to run there, from its own program.
func (m bareMachine) runs(version string) {
	m.Helper()
	const asked = `u=archipelago; p=/home/$u/.local/bin/archipelago; uid=$(id -u $u)
pid=$(runuser -u $u -- env XDG_RUNTIME_DIR=/run/user/$uid systemctl --user show -p MainPID --value archipelago.service)
cmp /proc/$pid/exe $p; test ! -e $p.trial; $p --version`
	if got := m.do(asked); got != "archipelago version "+version {
		m.Errorf("the daemon says %q, expected version %s", got, version)
	}
}

// TestABareDebianBecomesANodeByItsPackage installs the package, has the gate try the node,
// upgrades it to a daemon that serves and to one that does not, and removes it: the data
// outlives all but a purge with consent.
func TestABareDebianBecomesANodeByItsPackage(t *testing.T) {
	if _, err := labtest.Up(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	l, err := lab.Open(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	dir := catalogWith(t)
	apps, err := catalog.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	inv, err := l.UpBare(t.Context(), apps.Ports())
	if err != nil {
		t.Fatal(err)
	}
	m := bareMachine{t, l}
	t.Cleanup(func() {
		if err := l.RemoveBare(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	begin := time.Now()
	for tick := time.NewTicker(atATry); ; <-tick.C {
		if _, err := m.try("systemctl is-active ssh.service systemd-logind.service"); err == nil {
			tick.Stop()
			break
		} else if time.Since(begin) > bareBoot {
			t.Fatalf("waited %s for the machine to boot", bareBoot)
		}
	}
	m.do("! command -v podman && ! id archipelago 2>/dev/null && ! test -e /var/lib/archipelago")

	// Version 3 is broken: it says its version and takes part in its own installation, and that is all.
	const broken = `#!/bin/sh
case $1 in
--version) echo archipelago version 3.0.0 ;;
upgrade) exec "$HOME/.local/bin/archipelago" "$@" ;;
*) exit 1 ;;
esac
`
	for _, deb := range []string{packages(t, "1.0.0", ""), packages(t, "2.0.0", ""), packages(t, "3.0.0", broken)} {
		if err := l.Put(t.Context(), lab.Bare.Name, deb, "/root"); err != nil {
			t.Fatal(err)
		}
	}
	deb := func(version string) string {
		return "install --allow-downgrades /root/archipelago_" + version + "_" + runtime.GOARCH + ".deb"
	}

	m.mustApt("update")
	said := m.mustApt(deb("1.0.0"))
	if !strings.Contains(said, "Archipelago runs.") || !strings.Contains(said, "ok       engine: Podman ") {
		t.Errorf("it does not end with what the doctor says:\n%s", said)
	}
	m.runs("1.0.0")
	c := nodes.NewClient(&inv.Nodes[0])
	defer c.Close()
	if _, err := c.AwaitBoot(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if _, warnings, err := c.Check(t.Context()); err != nil {
		t.Error(err)
	} else {
		t.Log(warnings)
	}
	const digest = "sha256sum /var/lib/archipelago/_daemon/state/token"
	token := m.do(digest)

	file := filepath.Join(t.TempDir(), "nodes.yaml")
	if err := inv.Save(file); err != nil {
		t.Fatal(err)
	}
	if status, r := gate(t, t.TempDir(), nil, "--catalog", dir, "--nodes", file, "--cycles", "1", "--apps", "page"); status != 0 || r.Verdict != reports.Green || !r.Smoke {
		t.Fatalf("the gate's smoke: exit status %d, %s", status, r.Verdict)
	}
	// At its reboot, systemd ended nothing that containers still needed to stop.
	if said := m.do("journalctl --no-pager -o cat | grep 'is destructive' | head -3"); said != "" {
		t.Errorf("Podman was to make anew at the shutdown what systemd had ended:\n%s", said)
	}

	m.mustApt(deb("2.0.0"))
	m.runs("2.0.0")
	if said, err := m.apt(deb("3.0.0")); err == nil || !strings.Contains(said, "the previous one has returned") {
		t.Errorf("a daemon that does not serve: %v\n%s", err, said)
	}
	m.runs("2.0.0")
	m.mustApt(deb("2.0.0"))
	m.runs("2.0.0")

	keeps := func(when string) {
		t.Helper()
		if got := m.do(digest); got != token {
			t.Errorf("%s: the data is not what it was", when)
		}
	}
	keeps("after upgrades")
	m.mustApt("remove archipelago")
	m.do("! pgrep -u archipelago -x archipelago && ! test -e /home/archipelago/.local/bin/archipelago && ! test -e /etc/sudoers.d/archipelago")
	keeps("after a removal")
	m.mustApt(deb("2.0.0"))
	m.runs("2.0.0")
	m.mustApt("purge archipelago")
	keeps("after a purge without consent")
	m.mustApt(deb("2.0.0"))
	m.do("export ARCHIPELAGO_PURGE=data DEBIAN_FRONTEND=noninteractive; apt-get -y -q purge archipelago </dev/null")
	m.do("! id archipelago 2>/dev/null && ! test -e /var/lib/archipelago && ! test -e /home/archipelago && ! grep archipelago /etc/subuid /etc/subgid")
}
