package engine

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/archipelago-cloud/archipelago/orchestrator/host"
)

const (
	minSubordinate = 65536   // ids, what newuidmap needs for an ordinary image
	minFree        = 1 << 30 // bytes
)

// Doctor looks at what applications need of the node: one finding for each, good or bad.
func (e *Engine) Doctor(ctx context.Context, dataDir string) []host.Finding {
	return []host.Finding{
		e.doctorEngine(ctx), doctorQuadlet(), doctorLinger(), doctorSubordinate(), doctorControllers(),
		e.doctorNetwork(ctx), doctorDisk(dataDir), doctorClock(), e.doctorStrangers(ctx),
	}
}

func good(name, format string, args ...any) host.Finding {
	return host.Finding{Name: name, OK: true, Detail: fmt.Sprintf(format, args...)}
}

func bad(name, remedy, format string, args ...any) host.Finding {
	return host.Finding{Name: name, Detail: fmt.Sprintf(format, args...), Remedy: remedy}
}

// doctorEngine wants Podman 5, whose Quadlet knows all that is rendered.
func (e *Engine) doctorEngine(ctx context.Context) host.Finding {
	const name = "engine"
	v, err := e.Version(ctx)
	if err != nil {
		return bad(name, "systemctl --user enable --now podman.socket; where that is on: systemctl --user restart podman.service", "%v", err)
	}
	if major, _, _ := strings.Cut(v, "."); len(major) == 1 && major < "5" {
		return bad(name, "install Podman 5 or later", "Podman %s", v)
	}
	return good(name, "Podman %s", v)
}

func doctorQuadlet() host.Finding {
	const name, generator = "quadlet", "/usr/lib/systemd/user-generators/podman-user-generator"
	if _, err := os.Stat(generator); err != nil {
		return bad(name, "install Podman with its systemd files; some distributions have them in a package of their own", "systemd does not know Quadlet: %v", err)
	}
	return good(name, "systemd has the generator")
}

func doctorLinger() host.Finding {
	const name = "linger"
	u, err := user.Current()
	if err != nil {
		return bad(name, "", "%v", err)
	}
	if _, err := os.Stat("/var/lib/systemd/linger/" + u.Username); err != nil {
		return bad(name, "sudo loginctl enable-linger "+u.Username, "the services of %s end when it signs out, and do not start at boot", u.Username)
	}
	return good(name, "the services of %s start at boot", u.Username)
}

func doctorSubordinate() host.Finding {
	const name = "subordinate ids"
	u, err := user.Current()
	if err != nil {
		return bad(name, "", "%v", err)
	}
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		b, err := os.ReadFile(file)
		if err != nil {
			return bad(name, "install the package uidmap", "%v", err)
		}
		count := 0
		for line := range strings.SplitSeq(string(b), "\n") {
			if w := strings.Split(line, ":"); len(w) == 3 && (w[0] == u.Username || w[0] == u.Uid) {
				n, _ := strconv.Atoi(w[2])
				count += n
			}
		}
		if count < minSubordinate {
			return bad(name, fmt.Sprintf("sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s; podman system migrate", u.Username), "%s gives %s %d ids, %d are needed", file, u.Username, count, minSubordinate)
		}
	}
	return good(name, "enough")
}

// doctorControllers wants the controllers by which limits in manifests take effect.
func doctorControllers() host.Finding {
	const name = "cgroup controllers"
	file := fmt.Sprintf("/sys/fs/cgroup/user.slice/user-%d.slice/user@%d.service/cgroup.controllers", os.Getuid(), os.Getuid())
	b, err := os.ReadFile(file)
	if err != nil {
		return bad(name, "boot with cgroup v2: systemd.unified_cgroup_hierarchy=1", "%v", err)
	}
	for _, c := range []string{"memory", "pids"} {
		if !strings.Contains(" "+strings.TrimSpace(string(b))+" ", " "+c+" ") {
			return bad(name, "delegate them: Delegate=memory pids cpu io in a drop-in of user@.service", "%s is not delegated to the user: limits of manifests have no effect", c)
		}
	}
	return good(name, "%s", strings.TrimSpace(string(b)))
}

// doctorNetwork wants boot to wait for the network, which Quadlet's units do by a
// user unit of Podman's.
func (e *Engine) doctorNetwork(ctx context.Context) host.Finding {
	const name = "network at boot"
	units, err := e.systemd.conn.ListUnitsByNamesContext(ctx, []string{"podman-user-wait-network-online.service"})
	if err != nil || len(units) == 0 {
		return bad(name, "", "systemd does not answer: %v", err)
	}
	switch u := units[0]; {
	case u.LoadState != "loaded":
		return bad(name, "update Podman to 5.3 or later", "units do not wait for the network: %s is %s", u.Name, u.LoadState)
	case u.ActiveState == "failed":
		return bad(name, "sudo systemctl enable systemd-networkd-wait-online.service, or NetworkManager's", "waiting for the network failed; every start after boot takes its 90 s")
	}
	return good(name, "units wait for it")
}

func doctorDisk(dataDir string) host.Finding {
	const name = "disk"
	home, err := os.UserHomeDir()
	if err != nil {
		return bad(name, "", "%v", err)
	}
	for _, dir := range []string{dataDir, filepath.Join(home, ".local", "share")} {
		var st syscall.Statfs_t
		if err := syscall.Statfs(dir, &st); err != nil {
			if os.IsNotExist(err) {
				continue
			}
			return bad(name, "", "%s: %v", dir, err)
		}
		if free := st.Bavail * uint64(st.Bsize); free < minFree {
			return bad(name, "make room: podman image prune; uninstall with --purge what is not needed", "%s has %d MiB left", dir, free>>20)
		}
	}
	return good(name, "enough is free")
}

// doctorClock asks the kernel whether something keeps the clock right (adjtimex(2)).
func doctorClock() host.Finding {
	const name = "clock"
	const unsynchronised = 0x0040 // STA_UNSYNC
	var t syscall.Timex
	if _, err := syscall.Adjtimex(&t); err != nil {
		return bad(name, "", "%v", err)
	}
	if t.Status&unsynchronised != 0 {
		return bad(name, "sudo timedatectl set-ntp true", "nothing keeps it right: certificates and one-time passwords depend on it")
	}
	return good(name, "synchronised")
}

// doctorStrangers names what would not come back after a reboot.
func (e *Engine) doctorStrangers(ctx context.Context) host.Finding {
	const name = "containers of others"
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	var list []listed
	if err := e.call(ctx, http.MethodGet, "/containers/json", nil, nil, &list); err != nil {
		return bad(name, "", "%v", err)
	}
	var found []string
	for _, c := range list {
		if c.Labels["io.archipelago.app"] == "" && c.Labels["PODMAN_SYSTEMD_UNIT"] == "" {
			found = append(found, strings.Join(c.Names, ","))
		}
	}
	if len(found) > 0 {
		return bad(name, "take them over with 'archy adopt APP', or make Quadlet units of them", "not reboot-proof, since systemd does not know them: %s", strings.Join(found, ", "))
	}
	return good(name, "none that systemd does not know")
}
