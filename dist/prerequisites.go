package dist

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// Oldest versions that the daemon's units work with: Quadlet's health notification
// is complete in Podman 5.0; systemd 254 restarts units in the user's
// manager as they need it.
const (
	MinPodman  = "5.0"
	MinSystemd = 254
)

// MinSubordinate is how many subordinate user and group ids Podman needs for an
// ordinary image.
const MinSubordinate = 65536

// Generator is Podman's Quadlet generator, in one of GeneratorDirs.
const Generator = "podman-user-generator"

// GeneratorDirs are where systemd looks for the user's generators.
func GeneratorDirs() []string {
	return []string{"/usr/lib/systemd/user-generators", "/usr/local/lib/systemd/user-generators", "/etc/systemd/user-generators"}
}

// Facts describe a machine as far as the prerequisites are concerned.
type Facts struct {
	User        string   // the user whose applications run
	Root        bool     // whether that user is root
	Podman      string   // its version; empty if it is not installed
	Quadlet     bool     // whether systemd has Podman's generator
	Systemd     string   // its version
	Linger      bool     // whether the user's services start at boot
	SubUIDs     int      // number of the user's subordinate user ids
	SubGIDs     int      // and group ids
	Cgroup      string   // type of the file system at /sys/fs/cgroup: "cgroup2fs"
	Controllers []string // cgroup controllers delegated to the user's manager
	Runtime     string   // XDG_RUNTIME_DIR of the user's session
	DataDir     bool     // whether the user can write to manifest.DataDir
	Late        string   // why applications start late after a boot; empty if they do not
}

// Names of findings that others refer to.
const (
	Engine      = "engine"
	Controllers = "cgroup controllers"
)

// Finding is one prerequisite and whether a machine meets it.
type Finding struct {
	Name      string
	OK        bool
	Essential bool   // without it a machine cannot be a node; other findings are about speed and limits
	Detail    string // what was found
	Remedy    string // what to do about it, if it is not OK
}

// Check compares a machine with the prerequisites: one finding each, met or not.
func Check(f Facts) []Finding {
	podman := f.Podman != "" && atLeast(f.Podman, MinPodman)
	systemd, _ := strconv.Atoi(f.Systemd)
	missing := slices.DeleteFunc([]string{"memory", "pids"}, func(c string) bool { return slices.Contains(f.Controllers, c) })
	addIDs := fmt.Sprintf("usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s; podman system migrate", f.User)
	return []Finding{
		finding("user", !f.Root, true, "applications run rootless, as "+f.User,
			fmt.Sprintf("the user %s is root there; applications run rootless", f.User), "create an unprivileged user"),
		finding(Engine, podman, true, "Podman "+f.Podman,
			fmt.Sprintf("Podman is %s; %s or newer is needed", cmp.Or(f.Podman, "not installed"), MinPodman), "install the package podman"),
		finding("quadlet", f.Quadlet, true, "systemd has Podman's generator",
			"systemd has no Quadlet generator ("+Generator+")", "install Podman with its systemd files; some distributions package them separately"),
		finding("systemd", systemd >= MinSystemd, true, "systemd "+f.Systemd,
			fmt.Sprintf("systemd is %q; %d or newer is needed", f.Systemd, MinSystemd), "upgrade the distribution"),
		finding("linger", f.Linger, true, fmt.Sprintf("the services of %s start at boot", f.User),
			fmt.Sprintf("user %s does not linger: its services end when it signs out, and do not start at boot", f.User), "sudo loginctl enable-linger "+f.User),
		finding("subordinate ids", f.SubUIDs >= MinSubordinate && f.SubGIDs >= MinSubordinate, true, "enough",
			fmt.Sprintf("/etc/subuid gives user %s %d ids and /etc/subgid %d; %d are needed", f.User, f.SubUIDs, f.SubGIDs, MinSubordinate),
			"install the package uidmap; sudo "+addIDs),
		finding("cgroups", f.Cgroup == "cgroup2fs", true, "version 2",
			"cgroup v2 is needed; /sys/fs/cgroup is "+f.Cgroup, "boot with systemd.unified_cgroup_hierarchy=1"),
		finding("session", f.Runtime != "", true, "XDG_RUNTIME_DIR is set",
			"XDG_RUNTIME_DIR is not set in the user's session", "install the package libpam-systemd, and let sshd use PAM"),
		finding("data directory", f.DataDir, true, manifest.DataDir+" is writable",
			manifest.DataDir+" is not writable", fmt.Sprintf("sudo install -d -o %s -m 0711 %s", f.User, manifest.DataDir)),
		finding(Controllers, len(missing) == 0, false, strings.Join(f.Controllers, " "),
			fmt.Sprintf("not delegated to the user: %s; the limits of manifests have no effect", strings.Join(missing, ", ")),
			"put Delegate=memory pids cpu io into a drop-in of user@.service"),
		finding("network at boot", f.Late == "", false, "units wait for it",
			"applications start up to 90 s late after a boot: "+f.Late, "sudo systemctl add-wants multi-user.target network-online.target"),
	}
}

func finding(name string, ok, essential bool, good, bad, remedy string) Finding {
	if ok {
		return Finding{Name: name, OK: true, Essential: essential, Detail: good}
	}
	return Finding{Name: name, Essential: essential, Detail: bad, Remedy: remedy}
}

// atLeast compares dotted versions number by number.
func atLeast(have, want string) bool {
	h, w := strings.Split(have, "."), strings.Split(want, ".")
	for i := range w {
		var a, b int
		if i < len(h) {
			a, _ = strconv.Atoi(strings.TrimFunc(h[i], func(r rune) bool { return r < '0' || r > '9' }))
		}
		b, _ = strconv.Atoi(w[i])
		if a != b {
			return a > b
		}
	}
	return true
}
