package matrix

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// The fixture is what a node's Podman and the script say of stack(), the one as in Podman
// 5.4's inspection, the other as seen on a node of the lab.
//
//go:embed testdata/meant
var fixture embed.FS

const factsFile = "facts.txt"

// asMeant is a snapshot of stack() with nothing wrong in it; edit, which may be nil,
// changes what a file of the fixture says.
func asMeant(edit func(file, text string) string) *Snapshot {
	s, err := lookAt(edit)
	if err != nil {
		panic(err)
	}
	return s
}

func lookAt(edit func(file, text string) string) (*Snapshot, error) { return lookAtOne(stack(), edit) }

// lookAtOne is lookAt for a manifest that differs from stack().
func lookAtOne(m *manifest.Manifest, edit func(file, text string) string) (*Snapshot, error) {
	read := func(file string) string {
		b, err := fixture.ReadFile("testdata/meant/" + file)
		if err != nil {
			panic(err)
		}
		if edit == nil {
			return string(b)
		}
		return edit(file, string(b))
	}
	s := newSnapshot()
	for _, name := range []string{"pair-db", "pair"} {
		var c inspection
		var of image
		if err := errors.Join(json.Unmarshal([]byte(read(name+".json")), &c), json.Unmarshal([]byte(read(name+".image.json")), &of)); err != nil {
			return nil, err
		}
		seen := c.seen(name, "pair")
		if seen.running != nil {
			seen.running.image = &of
		}
		s.Containers = append(s.Containers, seen)
	}
	s.Containers = append(s.Containers, Seen{ID: "3", Name: "other", App: "other", pid: "300"})
	s.Bridges["archipelago-pair"] = Bridge{Isolate: "strict"}
	s.Bridges["archipelago-pair.chain"] = Bridge{Internal: true, Isolate: "strict"}
	return s, s.read(read(factsFile), s.ask(m, nodes.DataDir, noon))
}

func meantByFixture(t *testing.T) *Expectation {
	t.Helper()
	e, err := ExpectationOf(stack(), Facts{DataDir: nodes.DataDir, Requirers: []Requirer{{App: "wallet"}}})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestWhatIsAsMeantIsNotRed(t *testing.T) {
	for name, s := range map[string]*Snapshot{
		"the fixture": asMeant(nil),
		"stopped":     stopped(),
		// What requires the application may not be there.
		"not required": asMeant(func(_, text string) string {
			return strings.Replace(text, `, "archipelago-wallet.pair": {"Aliases": ["bbbbbbbbbbbb"]}`, "", 1)
		}),
		// A program of the engine's that is on its way into the container.
		"a probe that starts": asMeant(func(_, text string) string {
			return strings.Replace(text, "process 200 201 ", "process 200 202 crun 1000 1000 - 0 1ff 1ff 1ff 0 0 0\nprocess 200 201 ", 1)
		}),
		// pasta carries what goes out.
		"a port of pasta": asMeant(func(_, text string) string {
			return strings.Replace(text, "sockets 4", "socket udp 00000000:C350 pasta.avx2 /user.slice/pair.service/runtime\nsockets 5", 1)
		}),
	} {
		if wrong := CheckAsMeant(meantByFixture(t), s); len(wrong) > 0 {
			t.Errorf("%s:\n%s", name, strings.Join(wrong, "\n"))
		}
	}
}

// TestEverythingMoreLessOrOtherIsRed plants one fault at a time into what the node says.
func TestEverythingMoreLessOrOtherIsRed(t *testing.T) {
	const full = "000001ffffffffff"
	cases := []struct {
		name, file, old, by, want string
	}{
		// The daemons that a whole cycle took for good.
		{"Restart=no", factsFile, "property pair.service Restart always", "property pair.service Restart no", "container pair: its unit's Restart is no, wanted always"},
		{"every capability", factsFile, "process 100 100 postgres 100099 100101 100101 0000000000000000 0000000000000000 0000000000000000 0000000000000000", "process 100 100 postgres 100099 100101 100101 " + full + " " + full + " " + full + " " + full, "container pair-db: bounding capabilities is 0x1ffffffffff and none, wanted none"},
		{"NoNewPrivileges off", factsFile, "0000000000000000 1 2\nprocess 200 201", "0000000000000000 0 2\nprocess 200 201", "container pair: no_new_privs is 0 and 1, wanted 1"},
		{"a port that is not declared", web, `"80/tcp":`, `"90/tcp": [{"HostIp": "0.0.0.0", "HostPort": "18999"}], "80/tcp":`, "container pair: published port 18999/tcp is every address to 90, and none is meant"},
		{"a health check that is always true", db, `"Test": ["CMD", "ready", "-q"]`, `"Test": ["CMD", "true", "anyway"]`, `container pair-db: health check is ["CMD","true","anyway"], wanted ["CMD","ready","-q"]`},
		{"secrets that everyone can read", factsFile, "inside 100 /run/secrets/password 100099 100101 400", "inside 100 /run/secrets/password 100099 100101 444", "container pair-db: secret /run/secrets/password is mode 444 of 100:102, with its value, wanted mode 400 of 100:102, with its value"},
		{"another secret's value", factsFile, "text 100 /run/secrets/password 4f", "text 100 /run/secrets/password 5f", "container pair-db: secret /run/secrets/password is mode 400 of 100:102, with another value, wanted"},
		{"a drop-in that says more", factsFile, "dropin pair.service archipelago.conf ", "dropin pair.service archipelago.conf 0", "container pair: its unit's drop-in archipelago.conf is of a text that is not meant, wanted that stops it once"},
		{"a drop-in more", factsFile, "dropin pair.service archipelago.conf ", "dropin pair.service more.conf 0\ndropin pair.service archipelago.conf ", "container pair: its unit's drop-in more.conf is of a text that is not meant, and none is meant"},
		{"no drop-in", factsFile, "dropin pair.service archipelago.conf", "dropin other.service archipelago.conf", "container pair: its unit's drop-in archipelago.conf is missing"},
		{"no limit of memory", factsFile, "property pair-db.service MemoryMax 67108864", "property pair-db.service MemoryMax infinity", "container pair-db: its unit's MemoryMax is infinity, wanted 67108864"},

		{"another image", web, digestOf("a"), digestOf("e"), "container pair: image is sha256:eeee"},
		{"another user", web, `"User": "1000:1000"`, `"User": "0:0"`, "container pair: user is 0:0, wanted 1000:1000"},
		{"a process of another user", factsFile, "process 200 201 serve 100999 100999", "process 200 201 serve 1000 1000", "container pair: user of its processes is 0:0 and 1000:1000, wanted 1000:1000"},
		{"a process with two users", factsFile, "process 200 201 serve 100999", "process 200 201 serve 100999/1000/1000", "container pair: user of its processes is 1000:1000 and 100999/1000/1000 of the node:1000, wanted 1000:1000"},
		{"a group more", factsFile, "process 200 200 serve 100999 100999 100999", "process 200 200 serve 100999 100999 100999,100041", "container pair: group 42 of its processes is held, and none is meant"},
		{"ambient capabilities", factsFile, "0000000000000000 1 2\nprocess 200 201", "0000000000000400 1 2\nprocess 200 201", "container pair: ambient capabilities is 0x400 and none, wanted none"},
		{"no seccomp", factsFile, "0000000000000000 1 2\nprocess 200 201", "0000000000000000 1 0\nprocess 200 201", "container pair: seccomp is a filter and off in serve, wanted a filter"},
		{"the node's root", factsFile, "root 200 1000", "root 200 0", "container pair: root of the container is id 0 of the node, wanted the node's user"},
		{"another user namespace's root", factsFile, "root 200 1000", "root 200 100000", "root of the container is id 100000 of the node"},
		{"the node's user namespace", factsFile, "ns 200 user user:[9]", "ns 200 user user:[1]", "container pair: namespace user is the node's, wanted its own"},
		{"the node's processes", factsFile, "ns 200 pid pid:[202]", "ns 200 pid pid:[2]", "container pair: namespace pid is the node's"},
		{"the node's network", factsFile, "ns 200 net net:[205]", "ns 200 net net:[5]", "container pair: namespace net is the node's"},
		{"the node's mounts", factsFile, "ns 200 mnt mnt:[206]", "ns 200 mnt mnt:[6]", "container pair: namespace mnt is the node's"},
		{"another member's IPC", factsFile, "ns 200 ipc ipc:[203]", "ns 200 ipc ipc:[103]", "container pair: namespace ipc is shared with container pair-db, wanted its own"},
		{"another application's host name", factsFile, "ns 200 uts uts:[204]", "ns 200 uts uts:[304]", "container pair: namespace uts is shared with container other"},
		{"a security option more", web, `"SecurityOpt": ["no-new-privileges"]`, `"SecurityOpt": ["no-new-privileges", "unmask=all"]`, "container pair: security option unmask=all is set, and none is meant"},
		{"a security option less", web, `"SecurityOpt": ["no-new-privileges"]`, `"SecurityOpt": []`, "container pair: security option no-new-privileges is missing"},
		{"an added capability", web, `"CapAdd": []`, `"CapAdd": ["CAP_NET_RAW"]`, "container pair: capability CAP_NET_RAW is added, and none is meant"},
		{"a group of the engine's", web, `"GroupAdd": []`, `"GroupAdd": ["keep-groups"]`, "container pair: additional group keep-groups is set"},
		{"a device", web, `"Devices": []`, `"Devices": [{"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/fuse"}]`, "container pair: device /dev/fuse is /dev/fuse, and none is meant"},
		{"a mounted device", factsFile, "mount 200 /dev/null ", "mount 200 /dev/fuse rw tmpfs /fuse -\nmount 200 /dev/null ", "container pair: mount /dev/fuse is /fuse of a tmpfs, writable, and none is meant"},
		{"a device under another's name", factsFile, "mount 200 /dev/null rw,nosuid,noexec tmpfs /null", "mount 200 /dev/null rw,nosuid,noexec tmpfs /mem", "container pair: mount /dev/null is /mem of a tmpfs"},
		{"a mount more", factsFile, "mount 200 /dev/null ", "mount 200 /home rw ext4 /home/archipelago -\nmount 200 /dev/null ", "container pair: mount /home is /home/archipelago of a ext4, writable, and none is meant"},
		{"the node's /sys below another mount", factsFile, "mount 200 /dev/null ", "mount 200 /sys/kernel rw sysfs /kernel -\nmount 200 /dev/null ", "container pair: mount /sys/kernel is /kernel of a sysfs, writable"},
		{"a writable /proc/sys", factsFile, "mount 200 /proc/sys ro", "mount 200 /proc/sys rw", "container pair: mount /proc/sys is writable, wanted read-only"},
		{"no protection of /proc/sys", factsFile, "mount 200 /proc/sys ro,nosuid,nodev,noexec,relatime proc /sys -\n", "", "container pair: mount /proc/sys is missing, wanted read-only"},
		{"writable control groups", factsFile, "mount 200 /sys/fs/cgroup ro", "mount 200 /sys/fs/cgroup rw", "container pair: mount /sys/fs/cgroup is writable"},
		{"no volume", factsFile, "mount 100 /data rw,nosuid,nodev,relatime ext4 /lab/pair/db -\n", "", "container pair-db: mount /data is /var/lib/archipelago/pair/db, in Podman alone"},
		{"another volume", db, `"Source": "/var/lib/archipelago/pair/db"`, `"Source": "/var/lib/archipelago/pair/old"`, "container pair-db: mount /data is /var/lib/archipelago/pair/old, writable, wanted /var/lib/archipelago/pair/db, writable"},
		{"another directory in the volume's place", factsFile, "inside 100 /data 100099 100101 700 77", "inside 100 /data 100099 100101 700 78", "container pair-db: mount /data is another directory than /var/lib/archipelago/pair/db, inode 78 instead of 77"},
		{"a volume that cannot be written to", factsFile, "mount 100 /data rw", "mount 100 /data ro", "container pair-db: mount /data is /var/lib/archipelago/pair/db, read-only"},
		{"a volume that Podman alone knows", web, `"Mounts": []`, `"Mounts": [{"Type": "volume", "Source": "/anonymous", "Destination": "/cache", "RW": true}]`, "container pair: mount /cache is /anonymous, in Podman alone"},
		{"a tmpfs less", factsFile, "mount 100 /run/db rw,nosuid,nodev,relatime tmpfs / rw,uid=1000,gid=1000\n", "", "container pair-db: mount /run/db is missing, wanted tmpfs, writable, mode 1777"},
		{"a tmpfs of another mode", factsFile, "tmpfs / rw,uid=1000,gid=1000\nmount 100 /run/secrets/", "tmpfs / rw,mode=755,uid=1000,gid=1000\nmount 100 /run/secrets/", "container pair-db: mount /run/db is tmpfs, writable, mode 755"},
		{"a tmpfs with programs of root", factsFile, "mount 100 /run/db rw,nosuid,nodev", "mount 100 /run/db rw,nodev", "container pair-db: mount /run/db is tmpfs, writable, mode 1777, without nosuid"},
		{"a directory in place of a tmpfs", factsFile, "mount 100 /run/db rw,nosuid,nodev,relatime tmpfs", "mount 100 /run/db rw,nosuid,nodev,relatime ext4", "container pair-db: mount /run/db is / of a ext4"},
		{"another secret", factsFile, "/userdata/secrets/pair.password", "/userdata/secrets/pair.token", "container pair-db: mount /run/secrets/password is another file, "},
		{"a secret of another owner", factsFile, "inside 100 /run/secrets/password 100099 100101", "inside 100 /run/secrets/password 1000 1000", "container pair-db: secret /run/secrets/password is mode 400 of 0:0, with its value, wanted mode 400 of 100:102, with its value"},
		{"a secret that Podman holds otherwise", db, `"Mode": 256`, `"Mode": 292`, "container pair-db: secret pair.password in Podman is mode 444 of 100:102, wanted mode 400 of 100:102"},
		{"a secret more", web, `"StopTimeout": 3`, `"StopTimeout": 3, "Secrets": [{"Name": "other.key", "Mode": 256}]`, "container pair: secret other.key in Podman is mode 400 of 0:0, and none is meant"},
		{"a read-only image", web, `"ReadonlyRootfs": false`, `"ReadonlyRootfs": true`, "container pair: root file system is read-only in Podman alone, and none is meant"},
		{"a web port for everyone", web, `"HostIp": "127.0.0.1"`, `"HostIp": "0.0.0.0"`, "container pair: published port 8080/tcp is every address to 80, wanted 127.0.0.1 to 80"},
		{"a port for nobody", web, `"HostIp": "0.0.0.0", "HostPort": "8081"`, `"HostIp": "127.0.0.1", "HostPort": "8081"`, "container pair: published port 8081/tcp is 127.0.0.1 to 81, wanted every address to 81"},
		{"a port less", web, `, "81/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8081"}]`, "", "container pair: published port 8081/tcp is missing, wanted every address to 81"},
		{"a port to another", web, `"80/tcp":`, `"82/tcp":`, "container pair: published port 8080/tcp is 127.0.0.1 to 82"},
		{"something else listens", factsFile, "sockets 4", "socket tcp6 00000000000000000000000000000000:4A37 rootlessport /user.slice/pair.service/runtime\nsockets 5", "container pair: listening port 18999/tcp is every address, and none is meant"},
		{"something else listens by UDP", factsFile, "sockets 4", "socket udp 0100007F:0035 serve /user.slice/pair.service/libpod-payload-b\nsockets 5", "container pair: listening port 53/udp is 127.0.0.1, and none is meant"},
		{"it listens elsewhere too", factsFile, "socket tcp 0100007F:1F90 rootlessport", "socket tcp 0101A8C0:1F90 rootlessport", "container pair: listening port 8080/tcp is 192.168.1.1, wanted 127.0.0.1"},
		{"nothing listens", factsFile, "socket tcp6 00000000000000000000000000000000:1F91 rootlessport /user.slice/pair.service/runtime\n", "socket tcp6 00000000000000000000000000000000:0016 - -\n", "container pair: listening port 8081/tcp is missing, wanted every address"},
		{"the host's network", web, `"NetworkMode": "bridge"`, `"NetworkMode": "host"`, "container pair: network mode is host, wanted bridge"},
		{"a network less", db, `"archipelago-pair": {"Aliases": ["aaaaaaaaaaaa", "pair-db"]}`, ``, "container pair-db: network archipelago-pair is missing, wanted joined"},
		{"a network more", db, `"archipelago-pair": {`, `"podman": {}, "archipelago-pair": {`, "container pair-db: network podman is joined, and none is meant"},
		{"another one's name", web, `["bbbbbbbbbbbb", "pair"]`, `["bbbbbbbbbbbb", "pair", "miniflux"]`, "container pair: network archipelago-pair is joined miniflux, wanted joined"},
		{"an environment variable more", web, `"DB=pair-db"`, `"DB=pair-db", "LD_PRELOAD=/tmp/x"`, "container pair: environment LD_PRELOAD is another value, and none is meant"},
		{"an environment variable less", web, `"DB=pair-db", `, ``, "container pair: environment DB is missing, wanted as meant"},
		{"an environment variable of another value", web, `"DB=pair-db"`, `"DB=elsewhere"`, "container pair: environment DB is another value, wanted as meant"},
		{"the image's variable less", web, `"LANG=C.UTF-8", `, ``, "container pair: environment LANG is missing"},
		{"another host by name", web, `"ExtraHosts": []`, `"ExtraHosts": ["pair-db:192.0.2.1"]`, "container pair: extra host pair-db:192.0.2.1 is set"},
		{"another command", web, `["serve", "--name", "a b"]`, `["serve", "--name", "a", "b"]`, `container pair: command line is ["/entrypoint","serve","--name","a","b"], wanted ["/entrypoint","serve","--name","a b"]`},
		{"another program", web, `"Path": "/entrypoint"`, `"Path": "/bin/sh"`, `container pair: command line is ["/bin/sh",`},
		{"another command than the image's", db, `"Args": ["postgres"]`, `"Args": ["postgres", "-F"]`, `container pair-db: command line is ["/entrypoint","postgres","-F"], wanted ["/entrypoint","postgres"]`},
		{"no health check", db, `"Healthcheck": {"Test": ["CMD"`, `"Healthcheck": {"Test": ["NONE"`, "container pair-db: health check is missing"},
		{"a timer of Podman's", db, `"Timeout": 500000000`, `"Interval": 30000000000, "Timeout": 500000000`, "container pair-db: interval of the health check is 30s, wanted 0s"},
		{"a rare probe", db, "2s 500ms exec", "1h 500ms exec", "container pair-db: label io.archipelago.health is 1h 500ms exec, wanted 2s 500ms exec"},
		{"another probe", db, "2s 500ms exec", "2s 500ms tcp 80", "container pair-db: label io.archipelago.health is 2s 500ms tcp 80, wanted 2s 500ms exec"},
		{"no probe", db, `"io.archipelago.health": "2s 500ms exec", `, "", "container pair-db: label io.archipelago.health is missing"},
		{"a probe that nobody declared", web, `"PODMAN_SYSTEMD_UNIT"`, `"io.archipelago.health": "30s 10s tcp 80", "PODMAN_SYSTEMD_UNIT"`, "container pair: label io.archipelago.health is 30s 10s tcp 80, and none is meant"},
		{"a patient health check", db, `"Retries": 5`, `"Retries": 500`, "container pair-db: retries of the health check is 500, wanted 5"},
		{"a slow health check", db, `"Timeout": 500000000, "StartPeriod"`, `"Timeout": 50000000000, "StartPeriod"`, "container pair-db: timeout of the health check is 50s, wanted 500ms"},
		{"a start-up check", db, `"HealthcheckOnFailureAction"`, `"StartupHealthCheck": {"Test": ["CMD", "ready", "-q"], "Interval": 1000000000}, "HealthcheckOnFailureAction"`, `container pair-db: start-up health check is ["CMD","ready","-q"], and none is meant`},
		{"a health check that nobody declared", web, `"StopTimeout": 3`, `"StopTimeout": 3, "Healthcheck": {"Test": ["CMD-SHELL", "true"]}`, `container pair: health check is ["CMD-SHELL","true"], and none is meant`},
		{"killed when unhealthy", db, `"HealthcheckOnFailureAction": "none"`, `"HealthcheckOnFailureAction": "kill"`, "container pair-db: action when unhealthy is kill, wanted none"},
		{"an impatient stop", web, `"StopTimeout": 3`, `"StopTimeout": 0`, "container pair: stop timeout is 0s, wanted 3s"},
		{"Podman restarts it", web, `"RestartPolicy": {"Name": "no"`, `"RestartPolicy": {"Name": "always"`, "container pair: Podman's restart policy is always, wanted no"},
		{"Podman limits memory", web, `"Memory": 0`, `"Memory": 1048576`, "container pair: Podman's memory limit is 1048576, wanted 0"},
		{"another limit of memory", factsFile, "property pair-db.service MemoryMax 67108864", "property pair-db.service MemoryMax 1073741824", "container pair-db: its unit's MemoryMax is 1073741824, wanted 67108864"},
		{"a limit that is not enforced", factsFile, "memory pair.service 67108864", "memory pair.service max", "container pair: memory.max of its unit's cgroup is max, wanted 67108864"},
		{"outside of its unit", factsFile, "cgroup 200 /user.slice/pair.service/libpod-payload-b", "cgroup 200 /user.slice/libpod-b.scope", "container pair: cgroup is /user.slice/libpod-b.scope, wanted that of its unit"},
		{"a start limit", factsFile, "property pair.service StartLimitIntervalUSec 0", "property pair.service StartLimitIntervalUSec 10s", "container pair: its unit's StartLimitIntervalUSec is 10s, wanted 0s"},
		{"a slow restart", factsFile, "property pair.service RestartUSec 200ms", "property pair.service RestartUSec 1min 30s", "container pair: its unit's RestartUSec is 1m30s, wanted 200ms"},
		{"no longer delays", factsFile, "property pair.service RestartSteps 8", "property pair.service RestartSteps 0", "container pair: its unit's RestartSteps is 0, wanted 8"},
		{"an endless start", factsFile, "property pair.service TimeoutStartUSec 3min", "property pair.service TimeoutStartUSec infinity", "container pair: its unit's TimeoutStartUSec is infinity, wanted 3m0s"},
		{"a unit that is stopped too soon", factsFile, "property pair.service TimeoutStopUSec 13s", "property pair.service TimeoutStopUSec 1s", "container pair: its unit's TimeoutStopUSec is 1s, wanted 13s"},
		{"a unit that is ready at once", factsFile, "property pair.service Type notify", "property pair.service Type exec", "container pair: its unit's Type is exec, wanted notify"},
		{"a start without its database", factsFile, "property pair.service Requires pair-db.service basic.target", "property pair.service Requires basic.target", "container pair: its unit's Requires pair-db.service is missing"},
		{"a start before its database", factsFile, "property pair.service After pair-db.service chain.service", "property pair.service After chain.service", "container pair: its unit's After pair-db.service is missing"},
		{"a start before what it requires", factsFile, "property pair.service After pair-db.service chain.service", "property pair.service After pair-db.service", "container pair: its unit's After chain.service is missing"},
		{"not started at boot", factsFile, "unit pair.service loaded active running 1", "unit pair.service loaded active running 0", "container pair: its unit's WantedBy is missing, wanted default.target"},
		{"a stop that is a failure", factsFile, "property pair.service SuccessExitStatus 143", "property pair.service SuccessExitStatus", "container pair: its unit's SuccessExitStatus is empty, wanted 143"},
		{"processes that a stop leaves", factsFile, "property pair.service KillMode mixed", "property pair.service KillMode process", "container pair: its unit's KillMode is process, wanted mixed"},
		{"a command after the start", factsFile, "property pair-db.service KillMode mixed", "property pair-db.service KillMode mixed\nproperty pair-db.service ExecStartPost { path=/bin/true ; argv[]=/bin/true one ; ignore_errors=no ; pid=0 } { path=/bin/true ; argv[]=/bin/true two ; pid=0 }", "container pair-db: its unit's ExecStartPost is /bin/true one and /bin/true two, and none is meant"},
		{"a link of another container", factsFile, "network connect archipelago-wallet.pair pair ", "network connect archipelago-wallet.pair pair-db ", "container pair: its unit's ExecStartPost wallet is pair-db of pair, wanted pair of pair"},
		{"a link to a stranger", factsFile, "network connect archipelago-wallet.pair pair", "network connect archipelago-thief.pair pair", "container pair: its unit's ExecStartPost thief is pair of pair, and none is meant"},
		{"a command that reloads", factsFile, "property pair-db.service KillMode mixed", "property pair-db.service KillMode mixed\nproperty pair-db.service ExecReload { path=/bin/true ; argv[]=/bin/true ; pid=0 }", "container pair-db: its unit's ExecReload is /bin/true, and none is meant"},
		{"another host name", web, `"Hostname": "bbbbbbbbbbbb"`, `"Hostname": "miniflux"`, "container pair: hostname is miniflux, wanted its id"},
		{"stopped by SIGKILL", web, `"StopSignal": "SIGTERM"`, `"StopSignal": "SIGKILL"`, "container pair: stop signal is SIGKILL, wanted SIGTERM"},
		{"logs that nobody keeps", web, `"Type": "journald"`, `"Type": "none"`, "container pair: log driver is none, wanted journald"},
		{"little shared memory", web, `"ShmSize": 65536000`, `"ShmSize": 1048576`, "container pair: size of /dev/shm is 1048576, wanted 65536000"},
		{"another time zone", web, `"StopTimeout": 3`, `"StopTimeout": 3, "Timezone": "Europe/Paris"`, "container pair: time zone is Europe/Paris, and none is meant"},
		{"more open files than its unit may", factsFile, "limit 200 own Max_open_files 20000 20000", "limit 200 own Max_open_files 20000 1048576", "container pair: resource limits is Max_open_files 20000 1048576, of its unit 20000 20000, wanted those of its unit"},
		{"another application's label", web, `"io.archipelago.app": "pair"`, `"io.archipelago.app": "other"`, "container pair: label io.archipelago.app is other, wanted pair"},
		{"no digest of its unit", web, `"io.archipelago.spec": "7f21cbe39d954bc8"`, `"io.archipelago.spec": "none"`, "container pair: label io.archipelago.spec is none, wanted a digest"},
		{"another unit", web, `"PODMAN_SYSTEMD_UNIT": "pair.service"`, `"PODMAN_SYSTEMD_UNIT": "x.service"`, "container pair: label PODMAN_SYSTEMD_UNIT is x.service, wanted pair.service"},
		{"a label more", web, `"PODMAN_SYSTEMD_UNIT"`, `"io.containers.autoupdate": "registry", "PODMAN_SYSTEMD_UNIT"`, "container pair: label io.containers.autoupdate is registry, and none is meant"},
		{"a label less", web, `"io.buildah.version": "1.28.2", `, ``, "container pair: label io.buildah.version is missing, wanted 1.28.2"},
	}
	if len(cases) < 40 {
		t.Errorf("only %d faults", len(cases))
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			planted := false
			s, err := lookAt(func(file, text string) string {
				if file != c.file {
					return text
				}
				planted = strings.Count(text, c.old) == 1
				return strings.Replace(text, c.old, c.by, 1)
			})
			if err != nil || !planted {
				t.Fatalf("not planted: the text is there once: %t; %v", planted, err)
			}
			wrong := CheckAsMeant(meantByFixture(t), s)
			if !slices.ContainsFunc(wrong, func(w string) bool { return strings.Contains(w, c.want) }) {
				t.Errorf("%q, expected %q", wrong, c.want)
			}
		})
	}
}

// TestWhatTheLabsKernelSaysIsRead takes in what the script said of a container on a node
// of the lab (Podman 5.4.2), and finds nothing wrong with what the kernel alone can tell.
func TestWhatTheLabsKernelSaysIsRead(t *testing.T) {
	b, err := fixture.ReadFile("testdata/meant/page.txt")
	if err != nil {
		t.Fatal(err)
	}
	c := inspection{ID: "65757b171cb6"}
	c.State.Status, c.State.Pid, c.State.ConmonPid = "running", 11014, 11010
	c.Mounts = []bindSeen{{Type: "bind", Source: "/var/lib/archipelago/page/data", Destination: "/data", RW: true}}
	c.HostConfig.SecurityOpt = []string{"no-new-privileges"}
	s := newSnapshot()
	s.Containers = []Seen{c.seen("page", "page")}
	if err := s.read(string(b), questions{volumes: []string{"/var/lib/archipelago/page/data"}, inside: []string{"11014:/data", "11014:/run/secrets/key"}}); err != nil {
		t.Fatal(err)
	}
	m := Meant{App: "page", Name: "page", User: "1000:1000", Volumes: map[string]VolumeMeant{"/data": {Dir: "/var/lib/archipelago/page/data"}}, Tmpfs: []TmpfsMeant{{Target: "/tmp"}}, Secrets: []SecretMeant{{Name: "page.key", Target: "/run/secrets/key", UID: 1000, GID: 1000}}}
	seen, w := properties{}, wanted{}
	s.addSecurity(seen, s.Containers[0], &m)
	s.addMounts(seen, s.Containers[0].running, &m)
	m.wantSecurity(w)
	m.wantMounts(w)
	delete(w, "user")                      // which Podman says
	delete(w, "secret page.key in Podman") // likewise
	if wrong := compare("container page", w, seen); len(wrong) > 0 {
		t.Errorf("%q", wrong)
	}
}

func TestANetworkThatLetsMoreThroughIsRed(t *testing.T) {
	for name, planted := range map[string]Bridge{"archipelago-pair": {}, "archipelago-pair.chain": {Isolate: "strict"}} {
		s := asMeant(nil)
		s.Bridges[name] = planted
		if wrong := CheckAsMeant(meantByFixture(t), s); len(wrong) != 1 || !strings.HasPrefix(wrong[0], "network "+name+": internal is false") {
			t.Errorf("%q", wrong)
		}
	}
}

func TestWhatWasNotLookedAtIsRed(t *testing.T) {
	s := asMeant(nil)
	s.Containers[0].running = nil
	if wrong := CheckAsMeant(meantByFixture(t), s); !slices.Contains(wrong, "container pair-db runs, and what it is was not looked at") {
		t.Errorf("%q", wrong)
	}
}

func TestASettingInForceIsMeant(t *testing.T) {
	m := stack()
	m.Settings = append(m.Settings, manifest.Setting{Name: "prune", Default: "550"})
	m.Containers[1].Environment["PRUNE"] = "{{setting:prune}}"
	for value, config := range map[string]map[string]string{"550": nil, "0": {"prune": "0"}} {
		e, err := ExpectationOf(m, Facts{Config: config})
		if err != nil || e.Containers[1].Environment["PRUNE"] != value {
			t.Errorf("%v %+v", err, e)
		}
	}
	if _, err := ExpectationOf(m, Facts{Config: map[string]string{"colour": "red"}}); err == nil {
		t.Error("an unknown setting is taken")
	}
}

// TestAnIncompleteLookIsAnError takes each line out of what the script says, and wants
// that to be noticed, by the look or by the check; and lines that were cut, too.
func TestAnIncompleteLookIsAnError(t *testing.T) {
	facts, err := fixture.ReadFile("testdata/meant/" + factsFile)
	if err != nil {
		t.Fatal(err)
	}
	lines := slices.Collect(strings.Lines(string(facts)))
	// What may be absent, or comes and goes.
	harmless := []string{"file ", "secret ", "form ", "memory ", "tasks ", "mount ", "ns 300 ", "process 100 101 ", "process 200 201 ", "property pair-db.service Requires ", "property pair-db.service After ", "property pair.service ExecStartPost "}
	for i, line := range lines {
		without := func(file, text string) string {
			if file == factsFile {
				return strings.Join(slices.Delete(slices.Clone(lines), i, i+1), "")
			}
			return text
		}
		s, err := lookAt(without)
		may := slices.ContainsFunc(harmless, func(p string) bool { return strings.HasPrefix(line, p) })
		if err == nil && !may && len(CheckAsMeant(meantByFixture(t), s)) == 0 {
			t.Errorf("nothing is wrong without %q", line)
		}
		if err != nil && !errors.Is(err, ErrIncomplete) {
			t.Errorf("without %q: %v", line, err)
		}
		cut, err := lookAt(func(file, text string) string {
			if file == factsFile {
				return strings.Join(lines[:i], "") + line[:len(line)/2]
			}
			return text
		})
		if !errors.Is(err, ErrIncomplete) {
			t.Errorf("cut in %q: %v, %+v", line, err, cut)
		}
	}
	for name, planted := range map[string]string{"a tool failed": "failed systemctl\n", "a stranger's word": "who knows\n"} {
		_, err := lookAt(func(file, text string) string {
			if file == factsFile {
				return strings.TrimSuffix(text, "end\n") + planted + "end\n"
			}
			return text
		})
		if !errors.Is(err, ErrIncomplete) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// One container that ended says nothing of another.
func TestAContainerThatEndedIsLookedAtAgain(t *testing.T) {
	for old, by := range map[string]string{"end\n": "gone 200\nend\n", "process 200 200 serve": "process 200 200 crun"} {
		_, err := lookAt(func(file, text string) string { return strings.Replace(text, old, by, 1) })
		if !errors.Is(err, errEnded) || !errors.Is(err, ErrIncomplete) || !broken(fmt.Errorf("looking: %w", err)) {
			t.Errorf("%v", err)
		}
	}
	for ends, want := range map[int]error{0: nil, 2: nil, 3: errEnded} {
		looks := 0
		s, err := again(func() (*Snapshot, error) {
			if looks++; looks <= ends {
				return nil, errEnded
			}
			return asMeant(nil), nil
		})
		if !errors.Is(err, want) || looks != min(ends+1, 3) || (s == nil) != (err != nil) {
			t.Errorf("%d looks after %d ended, %v", looks, ends, err)
		}
	}
	s := asMeant(nil)
	s.Containers = append(s.Containers, Seen{ID: "9", Name: "pair-ended", App: "pair", State: "exited"})
	for _, c := range s.Containers[:2] {
		if !c.Rootless {
			t.Errorf("container %s is not rootless, since another one is gone", c.Name)
		}
	}
}

func TestSpansOfTimeAreRead(t *testing.T) {
	for text, want := range map[string]time.Duration{"1min 30s": 90 * time.Second, "200ms": 200 * time.Millisecond, "0": 0, "2h": 2 * time.Hour, "1.500s": 1500 * time.Millisecond} {
		if got := span(text); got != want.String() {
			t.Errorf("%s is %s, expected %s", text, got, want)
		}
	}
	if got := span("infinity"); got != "infinity" {
		t.Errorf("infinity is %s", got)
	}
}
