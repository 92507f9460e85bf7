package dist

import (
	"strings"
	"testing"
)

func good() Facts {
	return Facts{User: "archipelago", Podman: "5.4.2", Quadlet: true, Systemd: "257", Linger: true, SubUIDs: 65536, SubGIDs: 65536,
		Cgroup: "cgroup2fs", Controllers: []string{"cpu", "memory", "pids"}, Runtime: "/run/user/1000", DataDir: true}
}

func TestEveryPrerequisiteIsCheckedAndHasARemedy(t *testing.T) {
	for _, f := range Check(good()) {
		if !f.OK || f.Detail == "" || f.Remedy != "" {
			t.Errorf("a good machine: %+v", f)
		}
	}
	for _, c := range []struct {
		name         string
		spoil        func(*Facts)
		want, remedy string
		warns        bool
	}{
		{"user", func(f *Facts) { f.Root = true }, "rootless", "unprivileged user", false},
		{"engine", func(f *Facts) { f.Podman = "" }, "Podman is not installed; 5.0 or newer is needed", "install the package podman", false},
		{"engine", func(f *Facts) { f.Podman = "4.3.1" }, "Podman is 4.3.1; 5.0 or newer is needed", "podman", false},
		{"quadlet", func(f *Facts) { f.Quadlet = false }, "no Quadlet generator", "systemd files", false},
		{"systemd", func(f *Facts) { f.Systemd = "252" }, `systemd is "252"; 254 or newer`, "upgrade", false},
		{"systemd", func(f *Facts) { f.Systemd = "" }, `systemd is ""`, "upgrade", false},
		{"linger", func(f *Facts) { f.Linger = false }, "does not linger", "loginctl enable-linger archipelago", false},
		{"subordinate ids", func(f *Facts) { f.SubUIDs = 0 }, "/etc/subuid gives user archipelago 0 ids", "usermod --add-subuids", false},
		{"subordinate ids", func(f *Facts) { f.SubGIDs = 1000 }, "/etc/subgid 1000", "usermod --add-subuids", false},
		{"cgroups", func(f *Facts) { f.Cgroup = "tmpfs" }, "cgroup v2 is needed; /sys/fs/cgroup is tmpfs", "unified_cgroup_hierarchy", false},
		{"session", func(f *Facts) { f.Runtime = "" }, "XDG_RUNTIME_DIR", "libpam-systemd", false},
		{"data directory", func(f *Facts) { f.DataDir = false }, "is not writable", "install -d -o archipelago", false},
		{"cgroup controllers", func(f *Facts) { f.Controllers = []string{"pids"} }, "not delegated to the user: memory;", "Delegate=", true},
		{"network at boot", func(f *Facts) { f.Late = "the target is inactive" }, "late after a boot: the target is inactive", "network-online.target", true},
	} {
		f := good()
		c.spoil(&f)
		var bad []Finding
		for _, found := range Check(f) {
			if !found.OK {
				bad = append(bad, found)
			}
		}
		if len(bad) != 1 || bad[0].Name != c.name || bad[0].Essential == c.warns || !strings.Contains(bad[0].Detail, c.want) || !strings.Contains(bad[0].Remedy, c.remedy) {
			t.Errorf("%s: %+v, expected %q and the remedy %q", c.name, bad, c.want, c.remedy)
		}
	}
}

func TestVersionsAreComparedByNumber(t *testing.T) {
	for _, c := range []struct {
		have, want string
		ok         bool
	}{{"5.0", "5.0", true}, {"5.10.1", "5.9", true}, {"4.9.9", "5.0", false}, {"6", "5.0", true}, {"5.0-rc1", "5.0", true}, {"", "5.0", false}} {
		if atLeast(c.have, c.want) != c.ok {
			t.Errorf("%q at least %q: %v", c.have, c.want, !c.ok)
		}
	}
}
