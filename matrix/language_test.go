package matrix

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// edit is a change of one file of the fixture.
type edit struct{ file, old, by string }

const (
	db  = "pair-db.json"
	web = "pair.json"
)

// said is something that a manifest can say of a container beyond what stack() says.
type said struct {
	change func(db, web *manifest.Container) // of stack()
	shows  []edit                            // what a node shows of it
	absent string                            // what is said where the node does not show it; empty: nothing
	more   string                            // and where it does, and the manifest does not say it
	faults map[edit]string                   // planted into what the node shows, and what is said of each
}

// textOfDB is the digest of the text of a file as the script gives it.
const textOfDB = "e8ac2005e49d1022e0f9fa9f5fc95269a4fc67128e348956ba05d1e471ad8691"

var language = map[string]said{
	"a secret in a variable": {
		change: func(_, web *manifest.Container) {
			web.Secrets = []manifest.SecretMount{{Name: "password", Env: "DB_PASSWORD"}}
		},
		shows: []edit{
			{web, `"DB=pair-db"`, `"DB=pair-db", "pair.password=*******"`},
			{web, `"StopTimeout": 3`, `"StopTimeout": 3, "CreateCommand": ["/usr/bin/podman", "run", "--secret", "pair.password,type=env,target=DB_PASSWORD", "image"]`},
		},
		absent: "container pair: environment pair.password is missing, wanted hidden by Podman",
		more:   "container pair: variable DB_PASSWORD is secret pair.password, and none is meant",
		faults: map[edit]string{
			{web, "target=DB_PASSWORD", "target=PASSWORD"}:                          "container pair: variable DB_PASSWORD is missing, wanted secret pair.password",
			{web, ",target=DB_PASSWORD", ""}:                                        "container pair: variable pair.password is secret pair.password, and none is meant",
			{web, `"pair.password,type`, `"pair.token,type`}:                        "container pair: variable DB_PASSWORD is secret pair.token, wanted secret pair.password",
			{web, `"pair.password=*******"`, `"pair.token=*******"`}:                "container pair: environment pair.token is hidden by Podman, and none is meant",
			{web, `"pair.password=*******"`, `"DB_PASSWORD=clear"`}:                 "container pair: environment DB_PASSWORD is another value, and none is meant",
			{web, `"image"]`, `"--secret=other.key,type=env,target=KEY", "image"]`}: "container pair: variable KEY is secret other.key, and none is meant",
		},
	},
	"another entrypoint": {
		change: func(db, _ *manifest.Container) { db.Entrypoint = []string{"/bin/db", "--fast"} }, // the image's command is not run
		shows:  []edit{{db, `"Path": "/entrypoint", "Args": ["postgres"]`, `"Path": "/bin/db", "Args": ["--fast"]`}},
		absent: `container pair-db: command line is ["/entrypoint","postgres"], wanted ["/bin/db","--fast"]`,
		more:   `container pair-db: command line is ["/bin/db","--fast"], wanted ["/entrypoint","postgres"]`,
	},
	"an entrypoint with a command": {
		change: func(_, web *manifest.Container) { web.Entrypoint = []string{"/bin/web"} },
		shows:  []edit{{web, `"Path": "/entrypoint"`, `"Path": "/bin/web"`}},
		absent: `wanted ["/bin/web","serve","--name","a b"]`,
		more:   `container pair: command line is ["/bin/web","serve"`,
	},
	"a working directory": {
		change: func(_, web *manifest.Container) { web.WorkingDir = "/srv" },
		shows:  []edit{{web, `"StopTimeout": 3`, `"StopTimeout": 3, "WorkingDir": "/srv"`}},
		absent: "container pair: working directory is /, wanted /srv",
		more:   "container pair: working directory is /srv, wanted /",
		faults: map[edit]string{{web, `"/srv"`, `"/tmp"`}: "container pair: working directory is /tmp, wanted /srv"},
	},
	"an init": {
		change: func(_, web *manifest.Container) { web.Init = true },
		shows: []edit{
			{web, `"Path": "/entrypoint", "Args": ["serve"`, `"Path": "/run/podman-init", "Args": ["--", "/entrypoint", "serve"`},
			{factsFile, "mount 200 /dev/null ", "mount 200 /run/podman-init ro,nosuid,nodev,relatime ext4 /usr/libexec/podman/catatonit -\nmount 200 /dev/null "},
		},
		absent: "container pair: mount /run/podman-init is missing, wanted the node's init, read-only",
		more:   "container pair: mount /run/podman-init is /usr/libexec/podman/catatonit of a ext4, read-only, and none is meant",
		faults: map[edit]string{
			{factsFile, "/libexec/podman/catatonit", "/bin/bash"}:                                                   "container pair: mount /run/podman-init is another file, /usr/bin/bash, read-only",
			{factsFile, "mount 200 /run/podman-init ro", "mount 200 /run/podman-init rw"}:                           "container pair: mount /run/podman-init is the node's init, writable",
			{web, `"Path": "/run/podman-init", "Args": ["--", "/entrypoint", `, `"Path": "/entrypoint", "Args": [`}: `container pair: command line is ["/entrypoint","serve"`,
		},
	},
	"a host name": {
		change: func(_, web *manifest.Container) { web.Hostname = "pair.internal" },
		shows: []edit{
			{web, `"Hostname": "bbbbbbbbbbbb"`, `"Hostname": "pair.internal"`},
			{web, `["bbbbbbbbbbbb", "pair"]`, `["bbbbbbbbbbbb", "pair", "pair.internal"]`},
		},
		absent: "container pair: hostname is its id, wanted pair.internal",
		more:   "container pair: network archipelago-pair is joined pair.internal, wanted joined",
		faults: map[edit]string{{web, `"pair", "pair.internal"]`, `"pair", "miniflux"]`}: "container pair: network archipelago-pair is joined miniflux, wanted joined"},
	},
	"a read-only root": {
		change: func(_, web *manifest.Container) { web.ReadOnly = true },
		shows: []edit{
			{web, `"ReadonlyRootfs": false`, `"ReadonlyRootfs": true`},
			{factsFile, "mount 200 / rw,relatime", "mount 200 / ro,relatime"},
		},
		absent: "container pair: root file system is missing, wanted read-only",
		more:   "container pair: root file system is read-only, and none is meant",
		faults: map[edit]string{
			{factsFile, "mount 200 / ro,relatime", "mount 200 / rw,relatime"}:                                      "container pair: root file system is read-only in Podman alone, wanted read-only",
			{web, `"ReadonlyRootfs": true`, `"ReadonlyRootfs": false`}:                                             "container pair: root file system is read-only, though not in Podman, wanted read-only",
			{factsFile, "mount 200 /dev/null ", "mount 200 /tmp rw,nosuid,nodev tmpfs / rw\nmount 200 /dev/null "}: "container pair: mount /tmp is / of a tmpfs, writable, and none is meant",
		},
	},
	"a volume to read": {
		change: func(db, _ *manifest.Container) { db.Volumes[0].ReadOnly = true },
		shows:  []edit{{factsFile, "mount 100 /data rw", "mount 100 /data ro"}},
		absent: "container pair-db: mount /data is /var/lib/archipelago/pair/db, writable, wanted /var/lib/archipelago/pair/db, read-only",
		more:   "container pair-db: mount /data is /var/lib/archipelago/pair/db, read-only, wanted /var/lib/archipelago/pair/db, writable",
	},
	"a shared volume": {
		change: func(db, web *manifest.Container) {
			db.Volumes[0].Shared = true
			web.Volumes = []manifest.Volume{{Name: "db", Path: "/shared", UID: 100, GID: 102, Shared: true, ReadOnly: true}}
		},
		shows: []edit{
			{web, `"Mounts": []`, `"Mounts": [{"Type": "bind", "Source": "/var/lib/archipelago/pair/db", "Destination": "/shared"}]`},
			{factsFile, "mount 200 /dev/null ", "mount 200 /shared ro,nosuid,nodev,relatime ext4 /lab/pair/db -\nmount 200 /dev/null "},
			{factsFile, "inside 100 /data 100099 100101 700 77\n", "inside 100 /data 100099 100101 700 77\ninside 200 /shared 100099 100101 700 77\n"},
		},
		absent: "container pair: mount /shared is missing, wanted /var/lib/archipelago/pair/db, read-only",
		more:   "container pair: mount /shared is /lab/pair/db of a ext4, read-only, and none is meant",
		faults: map[edit]string{
			{factsFile, "mount 200 /shared ro", "mount 200 /shared rw"}:                                       "container pair: mount /shared is /var/lib/archipelago/pair/db, writable",
			{factsFile, "inside 200 /shared 100099 100101 700 77", "inside 200 /shared 100099 100101 700 78"}: "another directory than /var/lib/archipelago/pair/db, inode 78 instead of 77",
			{web, `/pair/db", "Destination": "/shared"`, `/pair/other", "Destination": "/shared"`}:            "container pair: mount /shared is /var/lib/archipelago/pair/other",
		},
	},
	"a file": {
		change: func(db, _ *manifest.Container) {
			db.Files = []manifest.File{{Path: "/etc/db.conf", Template: true, Content: "# {{canary}}\npassword={{secret:password}}\nnode={{node:name}}\n"}}
		},
		shows: []edit{
			{db, `"Mounts": [`, `"Mounts": [{"Type": "bind", "Source": "/var/lib/archipelago/_daemon/files/pair/pair-db.0123456789abcdef", "Destination": "/etc/db.conf"}, `},
			{factsFile, "inside 100 /data 100099 100101 700 77\n", "inside 100 /data 100099 100101 700 77\ninside 100 /etc/db.conf 100099 100101 600 91\ntext 100 /etc/db.conf " + textOfDB + "\nmount 100 /etc/db.conf ro,nosuid,nodev,relatime ext4 /lab/_daemon/files/pair/pair-db.0123456789abcdef -\n"},
		},
		absent: "container pair-db: mount /etc/db.conf is missing, wanted /var/lib/archipelago/_daemon/files/pair/pair-db, by a digest, read-only",
		more:   "container pair-db: mount /etc/db.conf is /lab/_daemon/files/pair/pair-db.0123456789abcdef of a ext4, read-only, and none is meant",
		faults: map[edit]string{
			{factsFile, "mount 100 /etc/db.conf ro", "mount 100 /etc/db.conf rw"}:                                                        "container pair-db: mount /etc/db.conf is /var/lib/archipelago/_daemon/files/pair/pair-db, by a digest, writable",
			{factsFile, "inside 100 /etc/db.conf 100099 100101 600", "inside 100 /etc/db.conf 100099 100101 644"}:                        "container pair-db: file /etc/db.conf is mode 644 of 100:102, with its text, wanted mode 600 of 100:102, with its text",
			{factsFile, "inside 100 /etc/db.conf 100099 100101", "inside 100 /etc/db.conf 1000 1000"}:                                    "container pair-db: file /etc/db.conf is mode 600 of 0:0, with its text",
			{factsFile, textOfDB, strings.Repeat("0", 64)}:                                                                               "container pair-db: file /etc/db.conf is mode 600 of 100:102, with another text",
			{factsFile, "host box", "host other"}:                                                                                        "container pair-db: file /etc/db.conf is mode 600 of 100:102, with another text",
			{db, "files/pair/pair-db.0123456789abcdef", "files/pair/pair.0123456789abcdef"}:                                              "container pair-db: mount /etc/db.conf is another file than Podman shows, /lab/_daemon/files/pair/pair-db.0123456789abcdef",
			{db, "files/pair/pair-db.0123456789abcdef", "secrets/pair/password"}:                                                         "container pair-db: mount /etc/db.conf is another file than Podman shows",
			{db, "files/pair/pair-db.0123456789abcdef", "files/other/pair-db.0123456789abcdef"}:                                          "container pair-db: mount /etc/db.conf is /var/lib/archipelago/_daemon/files/other/pair-db, by a digest, read-only, wanted",
			{factsFile, "/lab/_daemon/files/pair/pair-db.0123456789abcdef", "/lab/_daemon/files/pair/pair-db.0123456789abcdef//deleted"}: "container pair-db: mount /etc/db.conf is another file than Podman shows",
		},
	},
	"memory of its own": {
		change: func(db, _ *manifest.Container) { db.Memory = "512M" },
		shows: []edit{
			{factsFile, "property pair-db.service MemoryMax 67108864", "property pair-db.service MemoryMax 536870912"},
			{factsFile, "memory pair-db.service 67108864", "memory pair-db.service 536870912"},
		},
		absent: "container pair-db: its unit's MemoryMax is 67108864, wanted 536870912",
		more:   "container pair-db: memory.max of its unit's cgroup is 536870912, wanted 67108864",
	},
	"a size of a tmpfs": {
		change: func(db, _ *manifest.Container) { db.Tmpfs[0].Size = "64M" },
		shows: []edit{
			{factsFile, "mount 100 /run/db rw,nosuid,nodev,relatime tmpfs / rw,", "mount 100 /run/db rw,nosuid,nodev,relatime tmpfs / rw,size=65536k,"},
			{db, `"mode=1777,rprivate`, `"mode=1777,size=64M,rprivate`},
		},
		absent: "container pair-db: mount /run/db is tmpfs, writable, mode 1777, wanted tmpfs, writable, mode 1777, 67108864 bytes",
		more:   "container pair-db: mount /run/db is tmpfs, writable, mode 1777, 67108864 bytes, wanted tmpfs, writable, mode 1777",
		faults: map[edit]string{{factsFile, "size=65536k,uid=1000,gid=1000\nmount 100 /run/secrets/", "size=65537k,uid=1000,gid=1000\nmount 100 /run/secrets/"}: "mode 1777, 67109888 bytes, wanted"},
	},
	"more shared memory": {
		change: func(db, _ *manifest.Container) { db.ShmSize = "256M" },
		shows:  []edit{{db, `"ShmSize": 65536000`, `"ShmSize": 268435456`}},
		absent: "container pair-db: size of /dev/shm is 65536000, wanted 268435456",
		more:   "container pair-db: size of /dev/shm is 268435456, wanted 65536000",
	},
	"limits": {
		change: func(_, web *manifest.Container) { web.Ulimits = map[string]int{"nofile": 4096} },
		shows:  []edit{{factsFile, "limit 200 own Max_open_files 20000 20000", "limit 200 own Max_open_files 4096 4096"}},
		absent: "container pair: limit nofile is 20000 20000, wanted 4096 4096",
		more:   "container pair: resource limits is Max_open_files 4096 4096, of its unit 20000 20000",
		faults: map[edit]string{
			{factsFile, "own Max_open_files 4096 4096", "own Max_open_files 4096 20000"}:          "container pair: limit nofile is 4096 20000, wanted 4096 4096",
			{factsFile, "limit 200 own Max_processes 30000", "limit 200 own Max_processes 40000"}: "container pair: resource limits is Max_processes 40000 30000",
		},
	},
	"limits beyond the node's": {
		change: func(_, web *manifest.Container) { web.Ulimits = map[string]int{"nofile": 65536} },
		shows:  []edit{{factsFile, "limit 200 parent Max_open_files 20000 20000", "limit 200 parent Max_open_files 1024 20000"}},
		absent: "",
		more:   "container pair: resource limits is Max_open_files 20000 20000, of its unit 1024 20000",
	},
	"a kernel parameter": {
		change: func(_, web *manifest.Container) { web.Sysctls = map[string]int{"net.core.somaxconn": 4096} },
		shows:  []edit{{web, `"StopTimeout": 3`, `"StopTimeout": 3, "CreateCommand": ["podman", "run", "--sysctl", "net.core.somaxconn=4096"]`}},
		absent: "container pair: kernel parameter net.core.somaxconn is missing, wanted 4096",
		more:   "container pair: kernel parameter net.core.somaxconn is 4096, and none is meant",
		faults: map[edit]string{
			{web, "somaxconn=4096", "somaxconn=1"}:                                        "container pair: kernel parameter net.core.somaxconn is 1, wanted 4096",
			{web, `"podman", "run"`, `"podman", "run", "--sysctl=net.ipv4.ip_forward=1"`}: "container pair: kernel parameter net.ipv4.ip_forward is 1, and none is meant",
		},
	},
	"a stop signal": {
		change: func(_, web *manifest.Container) { web.StopSignal = "SIGINT" },
		shows: []edit{
			{web, `"StopSignal": "SIGTERM"`, `"StopSignal": "SIGINT"`},
			{factsFile, "property pair.service SuccessExitStatus 143", "property pair.service SuccessExitStatus 130 143"},
		},
		absent: "container pair: stop signal is SIGTERM, wanted SIGINT",
		more:   "container pair: its unit's SuccessExitStatus is 130 143, wanted 143",
	},
	"a secret in the image's variable": {
		change: func(_, web *manifest.Container) {
			web.Secrets = []manifest.SecretMount{{Name: "password", Env: "LANG"}}
		},
		shows: []edit{
			{web, `"LANG=C.UTF-8"`, `"pair.password=*******"`},
			{web, `"StopTimeout": 3`, `"StopTimeout": 3, "CreateCommand": ["podman", "run", "--secret=pair.password,type=env,target=LANG", "image"]`},
		},
		absent: "container pair: environment LANG is another value, and none is meant",
		more:   "container pair: environment LANG is missing",
	},
}

// lookAtSaid is what the witnesses see where the manifest says something, or not, and the
// node shows it, with one fault more.
func lookAtSaid(t *testing.T, s said, says, shows bool, fault edit) []string {
	t.Helper()
	m := stack()
	if says {
		s.change(&m.Containers[0], &m.Containers[1])
	}
	edits := []edit{}
	if shows {
		edits = append(edits, s.shows...)
	}
	if fault != (edit{}) {
		edits = append(edits, fault)
	}
	done := 0
	snapshot, err := lookAtOne(m, func(file, text string) string {
		for _, e := range edits {
			if e.file == file && strings.Count(text, e.old) == 1 {
				text = strings.Replace(text, e.old, e.by, 1)
				done++
			}
		}
		return text
	})
	if err != nil || done != len(edits) {
		t.Fatalf("%d of %d edits are made: each text must be there once; %v", done, len(edits), err)
	}
	e, err := ExpectationOf(m, Facts{DataDir: nodes.DataDir, Requirers: []Requirer{{App: "wallet"}}, Node: NodeOf(snapshot.Host)})
	if err != nil {
		t.Fatal(err)
	}
	return CheckAsMeant(e, snapshot)
}

func TestWhatAManifestSaysIsSeenOrRed(t *testing.T) {
	wants := func(t *testing.T, wrong []string, want string) {
		t.Helper()
		if !slices.ContainsFunc(wrong, func(w string) bool { return strings.Contains(w, want) }) {
			t.Errorf("%q, expected %q", wrong, want)
		}
	}
	for name, s := range language {
		t.Run(name, func(t *testing.T) {
			if wrong := lookAtSaid(t, s, true, true, edit{}); len(wrong) > 0 {
				t.Errorf("red without a fault: %q", wrong)
			}
			if s.absent != "" {
				wants(t, lookAtSaid(t, s, true, false, edit{}), s.absent)
			}
			wants(t, lookAtSaid(t, s, false, true, edit{}), s.more)
			for fault, want := range s.faults {
				wants(t, lookAtSaid(t, s, true, true, fault), want)
			}
		})
	}
}

// A variable is nowhere in a container's file system.
func TestNoFileIsLookedForWhereASecretIsAVariable(t *testing.T) {
	m := stack()
	m.Containers[1].Secrets = []manifest.SecretMount{{Name: "password", Env: "DB_PASSWORD"}}
	if got := asMeant(nil).ask(m, nodes.DataDir, noon).inside; !slices.Equal(got, []string{"100:/run/secrets/password", "100:/data"}) {
		t.Errorf("looked for are %q", got)
	}
}

var plantedInWhole = map[string]planting{
	"a smaller tmpfs":              {"whole.container", "mode=1777,size=64M", "mode=1777,size=1M", "[Container] Tmpfs /run/whole is mode=1777,size=1048576, wanted mode=1777,size=67108864"},
	"the application's memory":     {"whole-db.container", "MemoryMax=512M", "MemoryMax=64M", "unit file whole-db.container: [Service] MemoryMax is 67108864, wanted 536870912"},
	"another member's memory":      {"whole.container", "MemoryMax=64M", "MemoryMax=512M", "unit file whole.container: [Service] MemoryMax is 536870912, wanted 67108864"},
	"a volume that can be written": {"whole.container", "/whole/files:/srv/files:ro", "/whole/files:/srv/files", "[Container] Volume /srv/files is /var/lib/archipelago/whole/files, wanted /var/lib/archipelago/whole/files, ro"},
	"a volume that only is read":   {"whole-db.container", "/whole/files:/files", "/whole/files:/files:ro", "[Container] Volume /files is /var/lib/archipelago/whole/files, ro, wanted"},
	"a volume that is not shared":  {"whole.container", "Volume=/var/lib/archipelago/whole/files:/srv/files:ro\n", "", "[Container] Volume /srv/files is missing"},
	"a file that can be written":   {"whole.container", ":/etc/whole/whole.conf:ro", ":/etc/whole/whole.conf", "[Container] Volume /etc/whole/whole.conf is /var/lib/archipelago/_daemon/files/whole/whole, by a digest, wanted /var/lib/archipelago/_daemon/files/whole/whole, by a digest, ro"},
	"a file at another place":      {"whole-db.container", ":/etc/db.conf:ro", ":/etc/passwd:ro", "[Container] Volume /etc/passwd is /var/lib/archipelago/_daemon/files/whole/whole-db, by a digest, ro, and none is meant"},
	"a file of another member":     {"whole.container", "files/whole/whole.10a", "files/whole/whole-db.10a", "[Container] Volume /etc/whole/whole.conf is /var/lib/archipelago/_daemon/files/whole/whole-db, by a digest, ro, wanted"},
	"a file of another's":          {"whole.container", "files/whole/whole.10a", "files/other/whole.10a", "[Container] Volume /etc/whole/whole.conf is /var/lib/archipelago/_daemon/files/other/whole, by a digest, ro, wanted"},
	"a secret for a file":          {"whole.container", "files/whole/whole.10a34323baf2c826", "secrets/whole/password", "[Container] Volume /etc/whole/whole.conf is /var/lib/archipelago/_daemon/secrets/whole/password, ro, wanted"},
	"no file":                      {"whole-db.container", "Volume=/var/lib/archipelago/_daemon/files/whole/whole-db.1c29372f675eadce:/etc/db.conf:ro\n", "", "[Container] Volume /etc/db.conf is missing"},
	"another node's name":          {"whole.container", "NODE=box", "NODE=node", "[Container] Environment NODE is node, wanted box"},
	"the port behind the proxy":    {"whole.container", "https://box.local:18080", "https://box.local:8080", "[Container] Environment PUBLIC_URL is https://box.local:8080, wanted https://box.local:18080"},
	"another entrypoint":           {"whole.container", `["/bin/serve",`, `["/bin/sh",`, `[Container] Entrypoint is ["/bin/sh",`},
	"no entrypoint":                {"whole.container", `Entrypoint=["/bin/serve","--greeting","say \"hi\" for $$5, 100%%"]` + "\n", "", "[Container] Entrypoint is missing"},
	"an entrypoint in a shell":     {"whole-db.container", "Pull=never", "Pull=never\nEntrypoint=/bin/sh", "[Container] Entrypoint is /bin/sh, and none is meant"},
	"another directory":            {"whole.container", "WorkingDir=/srv/whole", "WorkingDir=/", "[Container] WorkingDir is /, wanted /srv/whole"},
	"no init":                      {"whole.container", "RunInit=true\n", "", "[Container] RunInit is missing, wanted true"},
	"another host name":            {"whole.container", "HostName=whole.internal", "HostName=miniflux", "[Container] HostName is miniflux, wanted whole.internal"},
	"a writable root":              {"whole.container", "ReadOnly=true\n", "", "[Container] ReadOnly is missing, wanted true"},
	"other places to write to":     {"whole.container", "ReadOnlyTmpfs=false\n", "", "[Container] ReadOnlyTmpfs is missing, wanted false"},
	"a tmpfs of any size":          {"whole.container", "mode=1777,size=64M", "mode=1777", "[Container] Tmpfs /run/whole is mode=1777, wanted mode=1777,size=67108864"},
	"little shared memory":         {"whole-db.container", "ShmSize=256M", "ShmSize=1M", "[Container] ShmSize is 1048576, wanted 268435456"},
	"fewer files":                  {"whole.container", "nofile=65536:65536", "nofile=1024:65536", "[Container] Ulimit nofile is 1024:65536, wanted 65536:65536"},
	"a limit more":                 {"whole.container", "Pull=never", "Pull=never\nUlimit=core=0:0", "[Container] Ulimit core is 0:0, and none is meant"},
	"a kernel parameter more":      {"whole.container", "Pull=never", "Pull=never\nSysctl=net.ipv4.ip_forward=1", "[Container] Sysctl net.ipv4.ip_forward is 1, and none is meant"},
	"another kernel parameter":     {"whole.container", "somaxconn=4096", "somaxconn=128", "[Container] Sysctl net.core.somaxconn is 128, wanted 4096"},
	"another signal":               {"whole.container", "StopSignal=SIGINT", "StopSignal=SIGKILL", "[Container] StopSignal is SIGKILL, wanted SIGINT"},
	"a stop that is a failure":     {"whole.container", "SuccessExitStatus=143 130", "SuccessExitStatus=143", "[Service] SuccessExitStatus is 143, wanted 130 143"},
	"a secret in another variable": {"whole.container", "target=DB_PASSWORD", "target=PASSWORD", "[Container] Secret whole.password is gid=1000,mode=0400,target=/run/secrets/password,type=mount,uid=1000 and target=PASSWORD,type=env, wanted"},
	"another secret":               {"whole.container", "Secret=whole.api-key,", "Secret=whole.password,", "[Container] Secret whole.api-key is missing, wanted target=API_KEY,type=env"},
	"a secret in the clear":        {"whole-db.container", "Secret=whole.password,type=env,target=POSTGRES_PASSWORD", `Environment="POSTGRES_PASSWORD=clear"`, "[Container] Environment POSTGRES_PASSWORD is clear, and none is meant"},
	"a variable for a file":        {"whole.container", "Secret=whole.password,type=mount,target=/run/secrets/password,uid=1000,gid=1000,mode=0400\n", "", "[Container] Secret whole.password is target=DB_PASSWORD,type=env, wanted gid"},
}

var plantedInWholeServices = map[string]planting{
	"a smaller tmpfs":              {"", "--tmpfs /run/whole:mode=1777,size=64M", "--tmpfs /run/whole:mode=1777,size=1M", "--tmpfs /run/whole is mode=1777,size=1048576, wanted"},
	"a volume that can be written": {"", "-v /var/lib/archipelago/whole/files:/srv/files:ro", "-v /var/lib/archipelago/whole/files:/srv/files", "--volume /srv/files is /var/lib/archipelago/whole/files, wanted"},
	"a file that can be written":   {"", ":/etc/db.conf:ro --label", ":/etc/db.conf --label", "--volume /etc/db.conf is /var/lib/archipelago/_daemon/files/whole/whole-db, by a digest, wanted"},
	"a file of another's":          {"", "-v /var/lib/archipelago/_daemon/files/whole/whole-db", "-v /var/lib/archipelago/_daemon/files/other/whole-db", "--volume /etc/db.conf is /var/lib/archipelago/_daemon/files/other/whole-db, by a digest, ro, wanted"},
	"another entrypoint":           {"", `--entrypoint=[\"/bin/serve\"`, `--entrypoint=[\"/bin/sh\"`, `service whole.service: --entrypoint is ["/bin/sh",`},
	"another directory":            {"", "--workdir /srv/whole", "--workdir /", "--workdir is /, wanted /srv/whole"},
	"no init":                      {"", "--init ", "", "--init is missing, wanted set"},
	"another host name":            {"", "--hostname whole.internal", "--hostname miniflux", "--hostname is miniflux"},
	"a writable root":              {"", "--read-only ", "", "--read-only is missing, wanted set"},
	"other places to write to":     {"", "--read-only-tmpfs=false ", "", "--read-only-tmpfs is missing, wanted false"},
	"a tmpfs of any size":          {"", "--tmpfs /run/whole:mode=1777,size=64M", "--tmpfs /run/whole:mode=1777", "--tmpfs /run/whole is mode=1777, wanted"},
	"little shared memory":         {"", "--shm-size 256M", "--shm-size 1M", "--shm-size is 1048576, wanted 268435456"},
	"fewer files":                  {"", "--ulimit nofile=65536:65536", "--ulimit nofile=1:65536", "--ulimit nofile is 1:65536"},
	"a kernel parameter more":      {"", "--sysctl net.core", "--sysctl net.ipv4.ip_forward=1 --sysctl net.core", "--sysctl net.ipv4.ip_forward is 1, and none is meant"},
	"another signal":               {"", "--stop-signal SIGINT", "--stop-signal SIGKILL", "--stop-signal is SIGKILL, wanted SIGINT"},
	"a secret in another variable": {"", "target=DB_PASSWORD --", "target=PASSWORD --", "service whole.service: --secret whole.password is gid=1000"},
	"a secret in the clear":        {"", "--secret whole.password,type=env,target=POSTGRES_PASSWORD", "--env POSTGRES_PASSWORD=clear", "service whole-db.service: --secret whole.password is missing, wanted target=POSTGRES_PASSWORD,type=env"},
}

// The services are those of Podman's generator (5.8.6).
func TestAllThatAManifestCanSayIsRenderedAsItIsMeant(t *testing.T) {
	renderedAsMeant(t, "whole", plantedInWhole, plantedInWholeServices)
}

// renderedAsMeant wants the units of a fixture, and the services that Podman's generator made of
// them, to be as they are meant, and each fault that is planted in them to be red.
func renderedAsMeant(t *testing.T, fixture string, inFiles, inServices map[string]planting) {
	t.Helper()
	e, files := unitsOf(t, fixture)
	b, err := os.ReadFile("testdata/" + fixture + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	if wrong := slices.Concat(CheckRendered(e, files), CheckGenerated(e, string(b))); len(wrong) > 0 {
		t.Fatalf("red without a fault: %q", wrong)
	}
	for name, p := range inFiles {
		bad := maps.Clone(files)
		if bad[p.file] = strings.Replace(files[p.file], p.old, p.by, 1); bad[p.file] == files[p.file] {
			t.Fatalf("%s: not planted", name)
		}
		if wrong := CheckRendered(e, bad); !slices.ContainsFunc(wrong, func(w string) bool { return strings.Contains(w, p.want) }) {
			t.Errorf("%s: %q, expected %q", name, wrong, p.want)
		}
	}
	for name, p := range inServices {
		bad := strings.Replace(string(b), p.old, p.by, 1)
		if bad == string(b) {
			t.Fatalf("%s: not planted", name)
		}
		if wrong := CheckGenerated(e, bad); !slices.ContainsFunc(wrong, func(w string) bool { return strings.Contains(w, p.want) }) {
			t.Errorf("%s: %q, expected %q", name, wrong, p.want)
		}
	}
}
