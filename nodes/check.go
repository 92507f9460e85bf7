package nodes

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Oldest versions that the units the daemon writes work with: Quadlet's health
// notification and start-up probes are complete in Podman 5.0; systemd 254 restarts
// units in the user's manager as they need it.
const (
	MinPodman  = "5.0"
	MinSystemd = 254
)

// Identity is what a node says of itself.
type Identity struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	HostKey string `json:"host_key"`
	OS      string `json:"os"`
	Kernel  string `json:"kernel"`
	Podman  string `json:"podman"`
	Systemd string `json:"systemd"`
	Memory  bool   `json:"memory_controller"` // whether a memory limit can be enforced
	CPUs    int    `json:"cpus"`
}

const factsScript = `echo uid=$(id -u)
echo linger=$(loginctl show-user "$(id -un)" -p Linger --value 2>/dev/null || ls /var/lib/systemd/linger 2>/dev/null | grep -cx "$(id -un)")
echo os=$(. /etc/os-release; echo "$PRETTY_NAME")
echo kernel=$(uname -r)
echo podman=$(podman --version 2>/dev/null | sed 's/.* //')
echo systemd=$(systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p')
for d in /usr/lib/systemd/user-generators /usr/local/lib/systemd/user-generators /etc/systemd/user-generators; do [ -x $d/podman-user-generator ] && echo quadlet=$d; done
echo subuid=$(grep -E "^($(id -un)|$(id -u)):" /etc/subuid | head -n1)
echo subgid=$(grep -E "^($(id -un)|$(id -u)):" /etc/subgid | head -n1)
echo cgroup=$(stat -f -c %T /sys/fs/cgroup)
echo controllers=$(cat /sys/fs/cgroup/user.slice/user-$(id -u).slice/user@$(id -u).service/cgroup.controllers 2>/dev/null | tr ' ' ,)
echo online=$(systemctl is-active network-online.target)
echo runtime=$XDG_RUNTIME_DIR
echo data=$(mkdir -p ` + DataDir + ` 2>/dev/null; test -w ` + DataDir + ` && echo writable)
echo cpus=$(nproc)`

// Check looks at whether a machine can be a node, and says everything that stands
// in the way at once, wrapped in ErrRefused; what is merely slow comes as warnings.
func (c *Client) Check(ctx context.Context) (id Identity, warnings []string, err error) {
	out, err := c.Run(ctx, factsScript)
	if err != nil {
		return Identity{}, nil, err
	}
	f := map[string]string{}
	for line := range strings.SplitSeq(out, "\n") {
		if k, v, ok := strings.Cut(line, "="); ok {
			f[k] = v
		}
	}
	return c.Node.judge(f)
}

func (n *Node) judge(f map[string]string) (id Identity, warnings []string, err error) {
	var problems []error
	bad := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s: %w: %s", n, ErrRefused, fmt.Sprintf(format, args...)))
	}
	user := n.User
	if f["uid"] == "0" {
		bad("the user %s is root there; applications run rootless: make an unprivileged user", user)
	}
	switch v := f["podman"]; {
	case v == "":
		bad("Podman is not installed; version %s or newer is needed", MinPodman)
	case !atLeast(v, MinPodman):
		bad("Podman is %s; %s or newer is needed for Quadlet's health notification", v, MinPodman)
	case f["quadlet"] == "":
		bad("Podman %s has no Quadlet generator (podman-user-generator)", v)
	}
	if v, _ := strconv.Atoi(f["systemd"]); v < MinSystemd {
		bad("systemd is %q; %d or newer is needed", f["systemd"], MinSystemd)
	}
	if f["linger"] != "yes" && f["linger"] != "1" {
		bad("user %s does not linger, so that nothing of theirs starts at boot: loginctl enable-linger %s", user, user)
	}
	for _, k := range []string{"subuid", "subgid"} {
		if f[k] == "" {
			bad("user %s has no range in /etc/%s: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s", user, k, user)
		}
	}
	if f["cgroup"] != "cgroup2fs" {
		bad("cgroup v2 is needed, /sys/fs/cgroup is %s", f["cgroup"])
	}
	if f["runtime"] == "" {
		bad("XDG_RUNTIME_DIR is not set for an SSH login: libpam-systemd is missing or not used by sshd")
	}
	if f["data"] != "writable" {
		bad("%s is not writable: install -d -o %s -m 0711 %s", DataDir, user, DataDir)
	}
	if f["online"] != "active" {
		warnings = append(warnings, fmt.Sprintf("%s: network-online.target is %s: every application will start up to 90 s late after a boot (podman-user-wait-network-online.service)", n, f["online"]))
	}
	memory := strings.Contains(","+f["controllers"]+",", ",memory,")
	if !memory {
		warnings = append(warnings, fmt.Sprintf("%s: no memory controller is delegated: limits are written into units but not enforced", n))
	}
	cpus, _ := strconv.Atoi(f["cpus"])
	return Identity{n.Name, n.Addr(), n.HostKey, f["os"], f["kernel"], f["podman"], f["systemd"], memory, cpus}, warnings, errors.Join(problems...)
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
