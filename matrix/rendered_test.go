package matrix

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// units are the golden files of the renderer, which are text, and what they must be.
func units(t *testing.T) (*Expectation, map[string]string) {
	t.Helper()
	return unitsOf(t, "pair")
}

func unitsOf(t *testing.T, app string) (*Expectation, map[string]string) {
	t.Helper()
	const dir = "../orchestrator/quadlet/testdata"
	m, err := manifest.ParseFile(filepath.Join(dir, app+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	e, err := ExpectationOf(m, Facts{DataDir: nodes.DataDir, Node: NodeOf("box.example.org")})
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, name := range []string{"archipelago-" + app + ".network", app + "-db.container", app + ".container"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(b)
	}
	return e, files
}

// planting is a fault in a text, and what must be said of it.
type planting struct {
	file, old, by, want string
}

var plantedUnits = map[string]planting{
	"Restart=no":            {"pair.container", "Restart=always", "Restart=no", "unit file pair.container: [Service] Restart is no, wanted always"},
	"every capability":      {"pair.container", "DropCapability=all", "AddCapability=all", "[Container] AddCapability is all, and none is meant"},
	"capabilities kept":     {"pair.container", "DropCapability=all\n", "", "[Container] DropCapability is missing, wanted all"},
	"NoNewPrivileges off":   {"pair.container", "NoNewPrivileges=true", "NoNewPrivileges=false", "[Container] NoNewPrivileges is false, wanted true"},
	"NoNewPrivileges gone":  {"pair.container", "NoNewPrivileges=true\n", "", "[Container] NoNewPrivileges is missing"},
	"an undeclared port":    {"pair.container", "Pull=never", "Pull=never\nPublishPort=18999:18999", "[Container] PublishPort 18999/tcp is every address to 18999, and none is meant"},
	"healthy anyway":        {"pair-db.container", `HealthCmd=["ready","-q","$$HOME"]`, `HealthCmd=["true","anyway"]`, `[Container] HealthCmd is ["true","anyway"], wanted ["ready","-q","$HOME"]`},
	"readable secrets":      {"pair-db.container", "mode=0400", "mode=0444", "[Container] Secret pair.password is gid=102,mode=0444,"},
	"no limit of memory":    {"pair.container", "MemoryMax=64M\n", "", "[Service] MemoryMax is missing, wanted 67108864"},
	"more memory":           {"pair.container", "MemoryMax=64M", "MemoryMax=64G", "[Service] MemoryMax is 68719476736"},
	"not at boot":           {"pair.container", "[Install]\nWantedBy=default.target\n", "", "[Install] WantedBy is missing"},
	"another image":         {"pair.container", "sha256:0123", "sha256:3210", "[Container] Image is registry.example/pair/web@sha256:3210"},
	"an image by name":      {"pair.container", "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", ":latest", "[Container] Image is registry.example/pair/web:latest"},
	"pulled at a start":     {"pair.container", "Pull=never", "Pull=newer", "[Container] Pull is newer"},
	"root":                  {"pair.container", "User=1000\nGroup=1000\n", "", "[Container] User is missing, wanted 1000"},
	"for everyone":          {"pair.container", "PublishPort=127.0.0.1:8080:80", "PublishPort=8080:80", "[Container] PublishPort 8080/tcp is every address to 80, wanted 127.0.0.1 to 80"},
	"TCP for UDP":           {"pair.container", "8081:81/udp", "8081:81", "[Container] PublishPort 8081/udp is missing"},
	"another volume":        {"pair-db.container", "/pair/db:/data", "/pair/other:/data", "[Container] Volume /data is /var/lib/archipelago/pair/other"},
	"a relabelled volume":   {"pair-db.container", "/pair/db:/data", "/pair/db:/data:U", "[Container] Volume /data is /var/lib/archipelago/pair/db, U, wanted"},
	"the node's home":       {"pair.container", "Pull=never", "Pull=never\nVolume=/home:/home", "[Container] Volume /home is /home, and none is meant"},
	"a bigger tmpfs":        {"pair-db.container", "Tmpfs=/run/db:mode=1777", "Tmpfs=/run/db:mode=1777,exec", "[Container] Tmpfs /run/db is mode=1777,exec"},
	"a secret as variable":  {"pair-db.container", "type=mount,target=/run/secrets/password", "type=env,target=PASSWORD", "[Container] Secret pair.password is gid=102,mode=0400,target=PASSWORD,type=env"},
	"a variable more":       {"pair.container", `Environment="DB=pair-db"`, "Environment=\"DB=pair-db\"\nEnvironment=\"DEBUG=1\"", "[Container] Environment DEBUG is 1, and none is meant"},
	"another value":         {"pair.container", "for $$5", "for $$6", `[Container] Environment GREETING is say "hi" for $6, 100%, wanted`},
	"what systemd expands":  {"pair.container", "for $$5", "for $5", `[Container] Environment GREETING is expanded by systemd, say`},
	"another word":          {"pair.container", `"a b"`, `"a" "b"`, `[Container] Exec is ["serve","--name","a","b"]`},
	"the host's network":    {"pair.container", "Network=archipelago-pair.network", "Network=host", "[Container] Network host is set, and none is meant"},
	"a device":              {"pair.container", "Pull=never", "Pull=never\nAddDevice=/dev/fuse", "[Container] AddDevice is /dev/fuse, and none is meant"},
	"an argument of Podman": {"pair.container", "Pull=never", "Pull=never\nPodmanArgs=--privileged", "[Container] PodmanArgs is --privileged, and none is meant"},
	"a command on the node": {"pair.container", "SuccessExitStatus=143", "SuccessExitStatus=143\nExecStartPre=/bin/true", "[Service] ExecStartPre is /bin/true, and none is meant"},
	"a start limit":         {"pair.container", "StartLimitIntervalSec=0\n", "", "[Unit] StartLimitIntervalSec is missing"},
	"no order":              {"pair.container", "After=pair-db.service\n", "", "[Unit] After pair-db.service is missing"},
	"a slow restart":        {"pair.container", "RestartSec=200ms", "RestartSec=5min", "[Service] RestartSec is 5m0s"},
	"a timer of Podman's":   {"pair-db.container", "HealthInterval=disable", "HealthInterval=30s", "[Container] HealthInterval is 30s, wanted disable"},
	"a start-up check":      {"pair-db.container", "Notify=healthy", "HealthStartupCmd=true\nNotify=healthy", "[Container] HealthStartupCmd is true, and none is meant"},
	"a rare probe":          {"pair-db.container", "2s 500ms exec", "2h 500ms exec", "[Container] Label io.archipelago.health is 2h 500ms exec, wanted 2s 500ms exec"},
	"another port's probe":  {"pair.container", "http 80 200", "http 81 200", "[Container] Label io.archipelago.health is 30s 10s http 81 200 /ready?n=100%, wanted 30s 10s http 80 200 /ready?n=100%"},
	"another page's probe":  {"pair.container", "200 /ready", "200 /", "[Container] Label io.archipelago.health is"},
	"no probe":              {"pair.container", "Label=\"io.archipelago.health=30s 10s http 80 200 /ready?n=100%%\"\n", "", "[Container] Label io.archipelago.health is missing"},
	"not waited for":        {"pair-db.container", "Notify=healthy\n", "", "[Container] Notify is missing, wanted healthy"},
	"a long stop":           {"pair.container", "StopTimeout=3", "StopTimeout=300", "[Container] StopTimeout is 5m0s, wanted 3s"},
	"another's label":       {"pair.container", `Label="io.archipelago.app=pair"`, `Label="io.archipelago.app=x"`, "[Container] Label io.archipelago.app is x"},
	"an open network":       {"archipelago-pair.network", "Options=isolate=strict\n", "", "unit file archipelago-pair.network: [Network] Options isolate is missing, wanted strict"},
	"an inner network":      {"archipelago-pair.network", "Options=", "Internal=true\nOptions=", "[Network] Internal is true, and none is meant"},
	"no directive":          {"pair.container", "Pull=never", "Pull", `"Pull" is no directive`},
}

func TestARenderingIsAsMeant(t *testing.T) {
	e, files := units(t)
	if wrong := CheckRendered(e, files); len(wrong) > 0 {
		t.Fatalf("red without a fault: %q", wrong)
	}
	for name, p := range plantedUnits {
		t.Run(name, func(t *testing.T) {
			bad := maps.Clone(files)
			if bad[p.file] = strings.Replace(files[p.file], p.old, p.by, 1); bad[p.file] == files[p.file] {
				t.Fatal("not planted")
			}
			if wrong := CheckRendered(e, bad); !slices.ContainsFunc(wrong, func(w string) bool { return strings.Contains(w, p.want) }) {
				t.Errorf("%q, expected %q", wrong, p.want)
			}
		})
	}
	less, more := maps.Clone(files), maps.Clone(files)
	delete(less, "pair-db.container")
	more["pair.kube"] = ""
	if wrong := CheckRendered(e, less); !slices.Equal(wrong, []string{"unit file pair-db.container is missing"}) {
		t.Errorf("%q", wrong)
	}
	if wrong := CheckRendered(e, more); !slices.Equal(wrong, []string{"unit file pair.kube is rendered, and none is meant"}) {
		t.Errorf("%q", wrong)
	}
}

func TestWhoeverIsRequiredJoins(t *testing.T) {
	e, files := units(t)
	e.Containers[1].Joins = []string{"wallet"}
	if wrong := CheckRendered(e, files); !slices.Equal(wrong, []string{"unit file pair.container: [Service] ExecStartPost wallet is missing, wanted pair of pair"}) {
		t.Errorf("%q", wrong)
	}
	files["pair.container"] = strings.Replace(files["pair.container"], "\n[Install]", "ExecStartPost=-/usr/bin/podman network connect archipelago-wallet.pair pair\n\n[Install]", 1)
	if wrong := CheckRendered(e, files); len(wrong) > 0 {
		t.Errorf("%q", wrong)
	}
}

// The output is that of Podman's generator (5.8.6) for the same files.
func TestWhatPodmanMakesOfThemIsAsMeant(t *testing.T) {
	e, _ := units(t)
	b, err := os.ReadFile("testdata/generated.txt")
	if err != nil {
		t.Fatal(err)
	}
	good := string(b)
	older := strings.NewReplacer("--replace", "--cidfile=%t/%N.cid --replace", "--cap-drop all", "--cap-drop=all", "-v ", "--volume ").Replace(good)
	for name, output := range map[string]string{"5.8": good, "another version's form": older} {
		if wrong := CheckGenerated(e, output); len(wrong) > 0 {
			t.Errorf("%s: red without a fault: %q", name, wrong)
		}
	}
	for name, p := range map[string]planting{
		"privileged":        {"", "--replace", "--privileged=true --replace", "service pair-db.service: --privileged is true, and none is meant"},
		"capabilities":      {"", "--cap-drop all", "--cap-add all", "--cap-add is all, and none is meant"},
		"a port more":       {"", "--publish 8081", "--publish 18999:18999 --publish 8081", "service pair.service: --publish 18999/tcp is every address to 18999, and none is meant"},
		"a port less":       {"", "--publish 127.0.0.1:8080:80 ", "", "--publish 8080/tcp is missing, wanted 127.0.0.1 to 80"},
		"a readable secret": {"", "gid=102,mode=0400 --health", "gid=102,mode=0444 --health", "--secret pair.password is gid=102,mode=0444"},
		"another check":     {"", `--health-cmd "[\"ready\"`, `--health-cmd "[\"true\"`, `--health-cmd is ["true","-q","$HOME"]`},
		"another probe":     {"", `http\x2080\x20200`, `http\x2081\x20200`, "service pair.service: --label io.archipelago.health is 30s 10s http 81 200"},
		"a timer":           {"", "--health-interval disable", "--health-interval 30s", "--health-interval is 30s, wanted disable"},
		"a start-up check":  {"", "--health-interval disable", "--health-startup-cmd true --health-interval disable", "--health-startup-cmd is true, and none is meant"},
		"another value":     {"", `for\x20$$5`, `for\x20$$6`, `--env GREETING is say "hi" for $6, 100%`},
		"another command":   {"", `"a\x20b"`, `a b`, `service pair.service: command is ["serve","--name","a","b"]`},
		"no service":        {"", "---pair-db.service---", "---x.service---", "service pair-db.service is not generated"},
	} {
		bad := strings.Replace(good, p.old, p.by, 1)
		if bad == good {
			t.Fatalf("%s: not planted", name)
		}
		if wrong := CheckGenerated(e, bad); !slices.ContainsFunc(wrong, func(w string) bool { return strings.Contains(w, p.want) }) {
			t.Errorf("%s: %q, expected %q", name, wrong, p.want)
		}
	}
}
