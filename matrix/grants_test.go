package matrix

import (
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

const (
	none64    = "0000000000000000"
	main200   = "process 200 200 serve 100999 100999 100999 0000000000000000 0000000000000000 0000000000000000 0000000000000000 0000000000000000"
	second200 = "process 200 201 serve 100999 100999 100999 0000000000000000 0000000000000000 0000000000000000 0000000000000000 0000000000000000"
)

// textOfRPC is the digest of what stands for the secret rpc of the application chain.
const textOfRPC = "73ce0359cd5f0418e9cd3e6c6a92c53cf2819d987830e6a4d1699d2cad75d41c"

// all are the five sets of a program that has them, and bounded those of one that has given
// all up.
func all(set string) string { return strings.TrimSuffix(strings.Repeat(set+" ", 5), " ") }

func bounded(set string) string {
	return "0000000000000000 0000000000000000 0000000000000000 " + set + " 0000000000000000"
}

func with200(sets string) string {
	return strings.Replace(main200, all(none64), sets, 1)
}

var grantedLanguage = map[string]said{
	"a capability": {
		change: func(_, web *manifest.Container) { web.Capabilities = []string{"NET_BIND_SERVICE"} },
		shows: []edit{
			{factsFile, main200, with200(all("0000000000000400"))},
			{factsFile, second200, strings.Replace(second200, all(none64), bounded("0000000000000400"), 1)}, // it has given it up
		},
		absent: "container pair: bounding capabilities is none, wanted 0x400",
		more:   "container pair: bounding capabilities is 0x400, wanted none",
		faults: map[edit]string{
			{factsFile, "process 200 200 serve 100999 100999 100999 " + all("0000000000000400"), "process 200 200 serve 100999 100999 100999 " + all("0000000000001400")}: "container pair: bounding capabilities is 0x1400 and 0x400, wanted 0x400",
			{factsFile, bounded("0000000000000400"), "0000000000000000 0000000000001000 0000000000001000 0000000000000400 0000000000000000"}:                              "container pair: effective capabilities is 0x1000 and none, wanted none",
			{factsFile, bounded("0000000000000400"), bounded(none64)}:                                                                                                     "container pair: bounding capabilities is 0x400 and none, wanted 0x400",
		},
	},
	"capabilities to become others": {
		change: func(_, web *manifest.Container) { web.Capabilities = []string{"SETUID", "SETGID"} },
		shows: []edit{
			{factsFile, main200, with200(all("00000000000000c0"))},
			{factsFile, second200, "process 200 201 serve 100041 100041 100041,100100 " + bounded("00000000000000c0")},
		},
		absent: "container pair: bounding capabilities is none, wanted 0xc0",
		more:   "container pair: user of its processes is 1000:1000 and 42:42, wanted 1000:1000",
		faults: map[edit]string{{factsFile, bounded("00000000000000c0"), all("0000000000000080")}: "container pair: bounding capabilities is 0x80 and 0xc0, wanted 0xc0"},
	},
	"a capability that Podman shows": {
		change: func(_, web *manifest.Container) { web.Capabilities = []string{"NET_ADMIN"} },
		shows: []edit{
			{factsFile, main200, with200(all("0000000000001000"))},
			{factsFile, second200, strings.Replace(second200, all(none64), all("0000000000001000"), 1)},
			{web, `"CapAdd": []`, `"CapAdd": ["CAP_NET_ADMIN"]`},
		},
		absent: "container pair: bounding capabilities is none, wanted 0x1000",
		more:   "container pair: capability CAP_NET_ADMIN is added, and none is meant",
		faults: map[edit]string{{web, `["CAP_NET_ADMIN"]`, `["CAP_NET_ADMIN", "CAP_SYS_ADMIN"]`}: "container pair: capability CAP_SYS_ADMIN is added, and none is meant"},
	},
	"a serial device": {
		change: func(_, web *manifest.Container) {
			web.Devices = []manifest.Device{{Class: "serial", ID: "usb-stick-if00", Path: "/dev/ttyACM0"}}
		},
		shows: []edit{
			{factsFile, "volume db 77", "device /dev/serial/by-id/usb-stick-if00 /dev/ttyUSB3\nvolume db 77"},
			{factsFile, "mount 200 /dev/null ", "mount 200 /dev/ttyACM0 rw,nosuid,noexec devtmpfs /ttyUSB3 -\nmount 200 /dev/null "},
			{factsFile, "process 200 201 serve 100999 100999 100999", "process 200 201 serve 100999 100999 100999,20,1000"},
			{web, `"StopTimeout": 3`, `"StopTimeout": 3, "CreateCommand": ["podman", "run", "--group-add", "keep-groups"]`},
		},
		absent: "", // the look is incomplete
		more:   "", // likewise
		faults: map[edit]string{
			{factsFile, "devtmpfs /ttyUSB3", "devtmpfs /ttyUSB4"}:                                                "container pair: mount /dev/ttyACM0 is another device, /ttyUSB4 of a devtmpfs, writable, wanted /dev/serial/by-id/usb-stick-if00, writable",
			{factsFile, "devtmpfs /ttyUSB3", "ext4 /ttyUSB3"}:                                                    "container pair: mount /dev/ttyACM0 is another device, /ttyUSB3 of a ext4",
			{factsFile, "mount 200 /dev/ttyACM0 rw", "mount 200 /dev/ttyACM0 ro"}:                                "container pair: mount /dev/ttyACM0 is /dev/serial/by-id/usb-stick-if00, read-only, wanted",
			{factsFile, "mount 200 /dev/ttyACM0 rw,nosuid,noexec devtmpfs /ttyUSB3 -\n", ""}:                     "container pair: mount /dev/ttyACM0 is missing, wanted /dev/serial/by-id/usb-stick-if00, writable",
			{factsFile, "mount 200 /dev/null ", "mount 200 /dev/fuse rw devtmpfs /fuse -\nmount 200 /dev/null "}: "container pair: mount /dev/fuse is /fuse of a devtmpfs, writable, and none is meant",
			{web, `"keep-groups"]`, `"keep-groups", "--group-add=0"]`}:                                           "container pair: additional group 0 is set, and none is meant",
			{web, `"--group-add", "keep-groups"`, `"--x"`}:                                                       "container pair: additional group keep-groups is missing, wanted set",
			{factsFile, "100999,20,1000", "100999,100041"}:                                                       "container pair: group 42 of its processes is held, and none is meant",
			{web, `"GroupAdd": []`, `"GroupAdd": ["sudo"]`}:                                                      "container pair: additional group sudo is set, and none is meant",
		},
	},
	"a folder of the owner's": {
		change: func(_, web *manifest.Container) {
			web.Storage = []manifest.StorageMount{{Name: "photos", Path: "/photos", Access: manifest.ReadWrite, Dir: "/home/node/archipelago-gate/photos"}}
		},
		shows: []edit{
			{factsFile, "volume db 77", "place /home/node/archipelago-gate/photos 88 " + witnessed + "\nvolume db 77"},
			{factsFile, "mount 200 /dev/null ", "inside 200 /photos 0 0 2770 88\nmount 200 /photos rw,nosuid,nodev ext4 /home/node/archipelago-gate/photos -\nmount 200 /dev/null "},
			{factsFile, "property pair.service KillMode mixed", "property pair.service KillMode mixed\nproperty pair.service ExecStartPre { path=/usr/bin/test ; argv[]=/usr/bin/test -e /home/node/archipelago-gate/photos/.archipelago-photos ; ignore_errors=no ; pid=0 }"},
			{factsFile, "process 200 201 serve 100999 100999 100999", "process 200 201 serve 100999 100999 100999,20,1000"},
			{web, `"Mounts": []`, `"Mounts": [{"Type": "bind", "Source": "/home/node/archipelago-gate/photos", "Destination": "/photos"}]`},
			{web, `"StopTimeout": 3`, `"StopTimeout": 3, "CreateCommand": ["podman", "run", "--group-add", "keep-groups"]`},
		},
		absent: "", // the look is incomplete
		more:   "", // likewise
		faults: map[edit]string{
			{factsFile, "0 0 2770 88", "0 0 2770 99"}:                                   "container pair: mount /photos is another directory than /home/node/archipelago-gate/photos, inode 99 instead of 88",
			{factsFile, "/photos 88 " + witnessed, "/photos absent -"}:                  "container pair: mount /photos is another directory than",
			{factsFile, "mount 200 /photos rw", "mount 200 /photos ro"}:                 "container pair: mount /photos is /home/node/archipelago-gate/photos, read-only, wanted",
			{web, `"Source": "/home/node/archipelago-gate/photos"`, `"Source": "/etc"`}: "container pair: mount /photos is /etc, writable, wanted",
			{factsFile, "/usr/bin/test -e /home", "/usr/bin/true /home"}:                "container pair: its unit's ExecStartPre is /usr/bin/true",
			{web, `"--group-add", "keep-groups"`, `"--x"`}:                              "container pair: additional group keep-groups is missing, wanted set",
		},
	},
	"data and a credential of another application": {
		change: func(_, web *manifest.Container) {
			web.Imports = []manifest.Import{{Of: "chain", Name: "blocks", App: "chain.blocks", Path: "/blocks", ReadOnly: true}, {Of: "chain", Name: "rpc", App: "chain.rpc.password", Path: "/run/secrets/rpc"}}
		},
		shows: []edit{
			{factsFile, "volume db 77", "place /var/lib/archipelago/chain/blocks 88 -\nvolume db 77"},
			{factsFile, "mount 200 /dev/null ", "inside 200 /blocks 0 0 755 88\nmount 200 /blocks ro,nosuid,nodev ext4 /chain/blocks -\ninside 200 /run/secrets/rpc 100999 100999 400 89\ntext 200 /run/secrets/rpc " + textOfRPC + "\nmount 200 /run/secrets/rpc rw ext4 /storage/userdata/secrets/chain.rpc -\nmount 200 /dev/null "},
			{web, `"Mounts": []`, `"Mounts": [{"Type": "bind", "Source": "/var/lib/archipelago/chain/blocks", "Destination": "/blocks"}]`},
			{web, `"StopTimeout": 3`, `"StopTimeout": 3, "Secrets": [{"Name": "chain.rpc", "UID": 1000, "GID": 1000, "Mode": 256}]`},
		},
		absent: "", // the look is incomplete
		more:   "", // likewise
		faults: map[edit]string{
			{factsFile, "0 0 755 88", "0 0 755 99"}:                          "container pair: mount /blocks is another directory than /var/lib/archipelago/chain/blocks, inode 99 instead of 88",
			{factsFile, "mount 200 /blocks ro", "mount 200 /blocks rw"}:      "container pair: mount /blocks is /var/lib/archipelago/chain/blocks, writable, wanted",
			{web, `archipelago/chain/blocks"`, `archipelago/chain/wallets"`}: "container pair: mount /blocks is /var/lib/archipelago/chain/wallets, read-only, wanted",
			{factsFile, textOfRPC, textOfDB}:                                 "container pair: secret /run/secrets/rpc is mode 400 of 1000:1000, with another value, wanted",
			{factsFile, "100999 100999 400 89", "100999 100999 444 89"}:      "container pair: secret /run/secrets/rpc is mode 444 of 1000:1000, with its value, wanted",
			{factsFile, "secrets/chain.rpc -", "secrets/chain.admin -"}:      "container pair: mount /run/secrets/rpc is another file, /storage/userdata/secrets/chain.admin",
		},
	},
	"a USB device, which is where the node has it": {
		change: func(_, web *manifest.Container) { web.Devices = []manifest.Device{{Class: "usb", ID: "1a6e:089a"}} },
		shows: []edit{
			{factsFile, "volume db 77", "device /dev/archipelago/usb-1a6e-089a /dev/bus/usb/001/005\nvolume db 77"},
			{factsFile, "mount 200 /dev/null ", "mount 200 /dev/bus/usb/001/005 rw,nosuid,noexec devtmpfs /bus/usb/001/005 -\nmount 200 /dev/null "},
			{web, `"StopTimeout": 3`, `"StopTimeout": 3, "CreateCommand": ["podman", "run", "--group-add=keep-groups"]`},
		},
		faults: map[edit]string{
			{factsFile, "devtmpfs /bus/usb/001/005", "devtmpfs /bus/usb/001/006"}: "container pair: mount /dev/bus/usb/001/005 is another device, /bus/usb/001/006",
			{factsFile, "089a /dev/bus/usb/001/005", "089a absent"}:               "container pair: device /dev/archipelago/usb-1a6e-089a is missing, wanted on the node",
		},
	},
	"further names": {
		change: func(db, web *manifest.Container) { db.ExtraHosts = map[string]string{"www": "pair", "site": "pair"} },
		shows:  []edit{{web, `["bbbbbbbbbbbb", "pair"]`, `["bbbbbbbbbbbb", "www", "pair", "site"]`}},
		absent: "container pair: network archipelago-pair is joined, wanted joined site www",
		more:   "container pair: network archipelago-pair is joined site www, wanted joined",
		faults: map[edit]string{{web, `"archipelago-wallet.pair": {"Aliases": ["bbbbbbbbbbbb"]}`, `"archipelago-wallet.pair": {"Aliases": ["bbbbbbbbbbbb", "www"]}`}: "container pair: network archipelago-wallet.pair is joined www, wanted joined"},
	},
	"a limit of processor time": {
		change: func(db, _ *manifest.Container) { db.CPUs = 1.13 },
		shows:  []edit{{factsFile, "pair-db.service CPUQuotaPerSecUSec infinity", "pair-db.service CPUQuotaPerSecUSec 1.130000s"}},
		absent: "container pair-db: its unit's CPUQuotaPerSecUSec is infinity, wanted 1.13s",
		more:   "container pair-db: its unit's CPUQuotaPerSecUSec is 1.13s, wanted infinity",
		faults: map[edit]string{{factsFile, "1.130000s", "11.300000s"}: "container pair-db: its unit's CPUQuotaPerSecUSec is 11.3s, wanted 1.13s"},
	},
	"a limit of processes": {
		change: func(_, web *manifest.Container) { web.Pids = 200 },
		shows: []edit{
			{factsFile, "pair.service TasksMax 4915", "pair.service TasksMax 264"},
			{factsFile, "tasks pair.service 4915", "tasks pair.service 264"},
		},
		absent: "container pair: its unit's TasksMax is 4915, wanted 264",
		more:   "", // the node's settings may say so
		faults: map[edit]string{
			{factsFile, "pair.service TasksMax 264", "pair.service TasksMax 2640"}:                                   "container pair: its unit's TasksMax is 2640, wanted 264",
			{factsFile, "tasks pair.service 264", "tasks pair.service max"}:                                          "container pair: pids.max of its unit's cgroup is max, wanted 264",
			{web, `"StopTimeout": 3`, `"StopTimeout": 3, "CreateCommand": ["podman", "run", "--pids-limit", "200"]`}: "container pair: Podman's limit of processes is 200, and none is meant",
		},
	},
}

func TestWhatIsGrantedIsSeenOrRed(t *testing.T) {
	wants := func(t *testing.T, wrong []string, want string) {
		t.Helper()
		if !slices.ContainsFunc(wrong, func(w string) bool { return strings.Contains(w, want) }) {
			t.Errorf("%q, expected %q", wrong, want)
		}
	}
	for name, s := range grantedLanguage {
		t.Run(name, func(t *testing.T) {
			if wrong := lookAtSaid(t, s, true, true, edit{}); len(wrong) > 0 {
				t.Errorf("red without a fault: %q", wrong)
			}
			if s.absent != "" {
				wants(t, lookAtSaid(t, s, true, false, edit{}), s.absent)
			}
			if s.more != "" {
				wants(t, lookAtSaid(t, s, false, true, edit{}), s.more)
			}
			for fault, want := range s.faults {
				wants(t, lookAtSaid(t, s, true, true, fault), want)
			}
		})
	}
}

// A limit of the node's own, of which no manifest speaks, is nobody's fault; nor is a node
// that cannot limit them.
func TestALimitOfProcessesIsTheNodesWhereNoneIsMeant(t *testing.T) {
	one := grantedLanguage["a limit of processes"]
	if wrong := lookAtSaid(t, one, false, true, edit{}); len(wrong) > 0 {
		t.Errorf("%q", wrong)
	}
	if wrong := lookAtSaid(t, one, true, true, edit{factsFile, "tasks pair.service 264\n", ""}); len(wrong) > 0 {
		t.Errorf("%q", wrong)
	}
}

func TestCapabilitiesBeyondThoseThatAreGrantedAreAgainstTheInvariants(t *testing.T) {
	m := stack()
	m.Containers[0].Capabilities = []string{"CHOWN"}
	for have, want := range map[uint64]string{0: "", 1: "", 3: "container pair-db has capabilities, or can gain them: 0x2"} {
		s := healthy()
		s.Containers[0].Capabilities = have
		wrong := CheckInvariants(m, s)
		if want == "" && len(wrong) > 0 || want != "" && !slices.Contains(wrong, want) {
			t.Errorf("%#x: %q, expected %q", have, wrong, want)
		}
	}
	s := healthy()
	s.Containers[1].Capabilities = 1
	if wrong := CheckInvariants(m, s); !slices.Contains(wrong, "container pair has capabilities, or can gain them: 0x1") {
		t.Errorf("another member's: %q", wrong)
	}
}

var plantedGrants = map[string]planting{
	"a capability more":         {"granted.container", "AddCapability=NET_ADMIN", "AddCapability=NET_ADMIN\nAddCapability=SYS_ADMIN", "[Container] AddCapability is NET_ADMIN and NET_BIND_SERVICE and SYS_ADMIN, wanted NET_ADMIN and NET_BIND_SERVICE"},
	"a capability less":         {"granted-db.container", "AddCapability=CHOWN\n", "", "[Container] AddCapability is SETGID and SETUID, wanted CHOWN and SETGID and SETUID"},
	"none of them":              {"granted-db.container", "AddCapability=CHOWN\nAddCapability=SETGID\nAddCapability=SETUID\n", "", "[Container] AddCapability is missing"},
	"another's capability":      {"granted-db.container", "AddCapability=CHOWN", "AddCapability=NET_ADMIN", "unit file granted-db.container: [Container] AddCapability is NET_ADMIN"},
	"capabilities that stay":    {"granted.container", "DropCapability=all\n", "", "[Container] DropCapability is missing"},
	"a device more":             {"granted.container", "AddDevice=/dev/net/tun", "AddDevice=/dev/net/tun\nAddDevice=/dev/fuse", "[Container] AddDevice is /dev/archipelago/usb-1a6e-089a and /dev/dri/renderD128 and /dev/fuse and"},
	"a device less":             {"granted.container", "AddDevice=/dev/net/tun\n", "", "[Container] AddDevice is /dev/archipelago/usb-1a6e-089a and /dev/dri/renderD128 and /dev/serial/by-id/usb-Example_Stick_0001-if00-port0:/dev/ttyACM0, wanted"},
	"all devices of a kind":     {"granted.container", "AddDevice=/dev/dri/renderD128", "AddDevice=/dev/dri", "[Container] AddDevice is"},
	"a device at another place": {"granted.container", ":/dev/ttyACM0", ":/dev/ttyACM1", "[Container] AddDevice is"},
	"another stick":             {"granted.container", "Stick_0001", "Stick_0002", "[Container] AddDevice is"},
	"no groups":                 {"granted.container", "GroupAdd=keep-groups\n", "", "[Container] GroupAdd is missing, wanted keep-groups"},
	"another group":             {"granted.container", "GroupAdd=keep-groups", "GroupAdd=0", "[Container] GroupAdd is 0, wanted keep-groups"},
	"groups for another":        {"granted-db.container", "Pull=never", "Pull=never\nGroupAdd=0", "[Container] GroupAdd is 0 and keep-groups, wanted keep-groups"},
	"a folder less":             {"granted.container", "Volume=/srv/photos:/photos\n", "", "[Container] Volume /photos is missing, wanted /srv/photos"},
	"a folder more":             {"granted.container", "StopTimeout", "Volume=/srv/music:/music\nStopTimeout", "[Container] Volume /music is /srv/music, and none is meant"},
	"another folder":            {"granted.container", "Volume=/srv/photos:", "Volume=/srv:", "[Container] Volume /photos is /srv, wanted /srv/photos"},
	"a folder to write to":      {"granted-db.container", ":/photos:ro", ":/photos", "[Container] Volume /photos is /srv/photos, wanted /srv/photos, ro"},
	"an empty mount point":      {"granted.container", "ExecStartPre=/usr/bin/test -e", "ExecStartPre=/usr/bin/test -n", "[Service] ExecStartPre is /usr/bin/test -n"},
	"whatever is there":         {"granted.container", "ExecStartPre=/usr/bin/test -e \"/srv/photos/.archipelago-photos\"\n", "", "[Service] ExecStartPre is missing"},
	"more processor time":       {"granted.container", "CPUQuota=150%", "CPUQuota=250%", "[Service] CPUQuota is 250%, wanted 150%"},
	"no limit of it":            {"granted-db.container", "CPUQuota=25%\n", "", "[Service] CPUQuota is missing, wanted 25%"},
	"more processes":            {"granted.container", "TasksMax=264", "TasksMax=infinity", "[Service] TasksMax is infinity, wanted 264"},
	"no limit of them":          {"granted.container", "TasksMax=264\n", "", "[Service] TasksMax is missing, wanted 264"},
	"none left for Podman":      {"granted.container", "TasksMax=264", "TasksMax=200", "[Service] TasksMax is 200, wanted 264"},
	"a limit that is not meant": {"granted-db.container", "CPUQuota", "TasksMax=1\nCPUQuota", "[Service] TasksMax is 1, and none is meant"},
	"a limit of Podman's":       {"granted.container", "Pull=never", "Pull=never\nPidsLimit=200", "[Container] PidsLimit is 200, and none is meant"},
	"a name less":               {"granted-db.container", ":alias=cache,alias=db", ":alias=db", "[Container] Network archipelago-granted.network is alias=db, wanted alias=cache,alias=db"},
	"another's name":            {"granted.container", "granted.network", "granted.network:alias=db", "[Container] Network archipelago-granted.network is alias=db, wanted set"},
}

var plantedInGrantedServices = map[string]planting{
	"a capability more":     {"", "--cap-add net_admin", "--cap-add net_admin --cap-add sys_admin", "service granted.service: --cap-add is net_admin and net_bind_service and sys_admin, wanted net_admin and net_bind_service"},
	"a capability less":     {"", "--cap-add chown ", "", "service granted-db.service: --cap-add is setgid and setuid, wanted chown and setgid and setuid"},
	"a device more":         {"", "--device /dev/net/tun", "--device /dev/net/tun --device /dev/fuse", "service granted.service: --device is"},
	"a device less":         {"", "--device /dev/net/tun ", "", "service granted.service: --device is"},
	"no groups":             {"", "--group-add keep-groups ", "", "--group-add is missing, wanted keep-groups"},
	"a folder to write to":  {"", "-v /srv/photos:/photos:ro", "-v /srv/photos:/photos", "--volume /photos is /srv/photos, wanted /srv/photos, ro"},
	"another folder":        {"", "-v /srv/music:/music", "-v /etc:/music", "--volume /music is /etc, wanted /srv/music"},
	"a limit of Podman's":   {"", "--stop-timeout 10", "--stop-timeout 10 --pids-limit 200", "--pids-limit is 200, and none is meant"},
	"a name less":           {"", "--network archipelago-granted:alias=cache,alias=db", "--network archipelago-granted", "--network archipelago-granted is set, wanted alias=cache,alias=db"},
	"an address of its own": {"", "--network archipelago-granted:alias=cache,alias=db", "--network archipelago-granted:alias=cache,alias=db,ip=10.89.0.9", "--network archipelago-granted is alias=cache,alias=db,ip=10.89.0.9, wanted"},
}

// The services are those of Podman's generator (5.8.6).
func TestAllThatAManifestCanGrantIsRenderedAsItIsMeant(t *testing.T) {
	renderedAsMeant(t, "granted", plantedGrants, plantedInGrantedServices)
}
