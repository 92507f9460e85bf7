package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/dist"
	"github.com/archipelago-cloud/archipelago/orchestrator/disk"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
)

const minFree = 1 << 30 // bytes

// Doctor checks what applications need of the node: one finding each, good or bad. The
// prerequisites of a node are those of package dist; disk, clock and unmanaged
// containers are checked here.
func (e *Engine) Doctor(ctx context.Context, dataDir string) []host.Finding {
	version, err := e.Version(ctx)
	var out []host.Finding
	for _, f := range dist.Check(e.facts(ctx, version, dataDir)) {
		if f.Name == dist.Engine && err != nil {
			out = append(out, bad(f.Name, "systemctl --user enable --now podman.socket; if it is enabled: systemctl --user restart podman.service", "%v", err))
			continue
		}
		out = append(out, host.Finding{Name: f.Name, OK: f.OK, Detail: f.Detail, Remedy: f.Remedy})
	}
	return append(out, doctorDisk(dataDir), doctorClock(), doctorInit(), doctorRestic(), e.doctorProber(ctx), e.doctorUnmanaged(ctx))
}

func good(name, format string, args ...any) host.Finding {
	return host.Finding{Name: name, OK: true, Detail: fmt.Sprintf(format, args...)}
}

func bad(name, remedy, format string, args ...any) host.Finding {
	return host.Finding{Name: name, Detail: fmt.Sprintf(format, args...), Remedy: remedy}
}

// facts looks at this node. What cannot be read counts as missing.
func (e *Engine) facts(ctx context.Context, podman, dataDir string) dist.Facts {
	f := dist.Facts{User: fmt.Sprint(os.Getuid()), Root: os.Geteuid() == 0, Podman: podman, Runtime: e.runtime, Cgroup: "cgroup v1"}
	if u, err := user.Current(); err == nil {
		f.User = u.Username
	}
	_, err := os.Stat("/var/lib/systemd/linger/" + f.User)
	f.Linger = err == nil
	for _, dir := range dist.GeneratorDirs() {
		_, err := os.Stat(filepath.Join(dir, dist.Generator))
		f.Quadlet = f.Quadlet || err == nil
	}
	if v, err := e.systemd.conn.GetManagerProperty("Version"); err == nil {
		f.Systemd = major(v)
	}
	f.SubUIDs, f.SubGIDs = subordinate("/etc/subuid", f.User), subordinate("/etc/subgid", f.User)
	var fs unix.Statfs_t
	if unix.Statfs("/sys/fs/cgroup", &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
		f.Cgroup = "cgroup2fs"
	}
	if b, err := os.ReadFile(fmt.Sprintf("/sys/fs/cgroup/user.slice/user-%[1]d.slice/user@%[1]d.service/cgroup.controllers", os.Getuid())); err == nil {
		f.Controllers = strings.Fields(string(b))
	}
	f.DataDir = unix.Access(dataDir, unix.W_OK) == nil
	f.Late = e.late(ctx)
	return f
}

// major is the first number in a version such as "257.9-1~deb13u1", which D-Bus quotes.
func major(version string) string {
	notDigit := func(r rune) bool { return r < '0' || r > '9' }
	version = strings.TrimLeftFunc(version, notDigit)
	if i := strings.IndexFunc(version, notDigit); i >= 0 {
		version = version[:i]
	}
	return version
}

// subordinate counts the ids that a file such as /etc/subuid gives to a user.
func subordinate(file, name string) int {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	count := 0
	for line := range strings.SplitSeq(string(b), "\n") {
		if w := strings.Split(line, ":"); len(w) == 3 && (w[0] == name || w[0] == fmt.Sprint(os.Getuid())) {
			n, _ := strconv.Atoi(w[2])
			count += n
		}
	}
	return count
}

// late says why units do not wait for the network at boot, or wait in vain: Quadlet's
// units do it through a user unit of Podman's.
func (e *Engine) late(ctx context.Context) string {
	units, err := e.systemd.conn.ListUnitsByNamesContext(ctx, []string{"podman-user-wait-network-online.service"})
	if err != nil || len(units) == 0 {
		return fmt.Sprintf("systemd does not answer: %v", err)
	}
	switch u := units[0]; {
	case u.LoadState != "loaded":
		return fmt.Sprintf("%s is %s (Podman 5.3 and later have it)", u.Name, u.LoadState)
	case u.ActiveState == "failed":
		return u.Name + " failed at the last boot"
	}
	return ""
}

// inits are where Podman looks for its init (FindInitBinary of its configuration), and
// where Debian has it.
var inits = []string{"/usr/libexec/podman/catatonit", "/usr/local/libexec/podman/catatonit", "/usr/local/lib/podman/catatonit", "/usr/lib/podman/catatonit", "/usr/bin/catatonit"}

// doctorInit says whether applications can have an init. A node is well without one.
func doctorInit() host.Finding {
	for _, file := range inits {
		if _, err := os.Stat(file); err == nil {
			return good("init", "%s", file)
		}
	}
	return good("init", "none, which only applications with 'init: true' need: install the package catatonit for them")
}

// doctorRestic says whether backups can go to repositories.
func doctorRestic() host.Finding {
	const name = "backups"
	file, err := exec.LookPath("restic")
	if err != nil {
		return bad(name, "install the package restic", "restic is not installed: no backup can go to a repository")
	}
	return good(name, "%s", file)
}

func doctorDisk(dataDir string) host.Finding {
	const name = "disk"
	home, err := os.UserHomeDir()
	if err != nil {
		return bad(name, "", "%v", err)
	}
	for _, dir := range []string{dataDir, filepath.Join(home, ".local", "share")} {
		switch s, err := disk.Of(dir); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return bad(name, "", "%v", err)
		case s.Free < minFree:
			return bad(name, "free some space: podman image prune; uninstall with --purge what you do not need", "%s has %d MiB left", dir, s.Free>>20)
		}
	}
	return good(name, "enough is free")
}

// doctorClock asks the kernel whether the clock is synchronised (adjtimex(2)).
func doctorClock() host.Finding {
	const name = "clock"
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return bad(name, "", "%v", err)
	}
	if t.Status&unix.STA_UNSYNC != 0 {
		return bad(name, "sudo timedatectl set-ntp true", "not synchronised; certificates and one-time passwords depend on it")
	}
	return good(name, "synchronised")
}

// doctorProber tells whether applications' health is looked at.
func (e *Engine) doctorProber(ctx context.Context) host.Finding {
	const name = "health checks"
	units, err := e.systemd.conn.ListUnitsByNamesContext(ctx, []string{dist.ProberUnit})
	if err != nil || len(units) == 0 {
		return bad(name, "", "systemd does not answer: %v", err)
	}
	if u := units[0]; u.ActiveState != "active" {
		return bad(name, "systemctl --user restart "+u.Name+"; journalctl --user -u "+u.Name+" says why it ended", "health is not being checked: %s is %s", u.Name, u.ActiveState)
	}
	return good(name, "%s runs", dist.ProberUnit)
}

// doctorUnmanaged names the containers that would not come back after a reboot.
func (e *Engine) doctorUnmanaged(ctx context.Context) host.Finding {
	const name = "unmanaged containers"
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	var list []listed
	if err := e.call(ctx, http.MethodGet, "/containers/json", nil, nil, &list); err != nil {
		return bad(name, "", "%v", err)
	}
	var found []string
	for _, c := range list {
		if c.Labels[manifest.LabelApp] == "" && c.Labels["PODMAN_SYSTEMD_UNIT"] == "" {
			found = append(found, strings.Join(c.Names, ","))
		}
	}
	if len(found) > 0 {
		return bad(name, "adopt them with 'archy adopt APP', or turn them into Quadlet units", "systemd does not know them, so they will not survive a reboot: %s", strings.Join(found, ", "))
	}
	return good(name, "none")
}
