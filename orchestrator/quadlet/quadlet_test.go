package quadlet

import (
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/go-systemd/v22/unit"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

var update = flag.Bool("update", false, "write the golden files")

func parse(t *testing.T) *manifest.Manifest {
	t.Helper()
	m, err := manifest.ParseFile("testdata/pair.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Of the two applications, pair says as little as it can, and whole all that a container
// may say: what the language gains must not change the units of pair, since a changed unit
// restarts an application.
func TestUnitsAreAsTheGoldenFiles(t *testing.T) {
	whole, err := manifest.ParseFile("testdata/whole.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if whole, err = whole.With(nil, manifest.Node{Name: "box", Domain: "box.local"}); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, m := range []*manifest.Manifest{parse(t), whole} {
		maps.Copy(files, Render(m, "/var/lib/archipelago", true).Files)
	}
	if got, want := slices.Sorted(maps.Keys(files)), []string{"archipelago-pair.network", "archipelago-whole.network", "pair-db.container", "pair.container", "whole-db.container", "whole.container"}; !slices.Equal(got, want) {
		t.Fatalf("files %v, expected %v", got, want)
	}
	asGolden(t, files)
}

// asGolden wants rendered files to be as those in testdata, which -update rewrites.
func asGolden(t *testing.T, files map[string]string) {
	t.Helper()
	for name, body := range files {
		golden := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(golden, []byte(body), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if body != string(want) {
			t.Errorf("%s:\n%s\nexpected:\n%s", name, body, want)
		}
	}
}

// What speaks HTTP is reached through the proxy alone, whatever its interface is named,
// and whatever else uses its port; every other port is as the manifest has it.
func TestWebPortsArePublishedOnTheLoopbackOnly(t *testing.T) {
	m := parse(t)
	m.Containers[0].Ports = append(m.Containers[0].Ports,
		manifest.Port{Name: "admin", Container: 90, Host: 8090}, manifest.Port{Name: "both", Container: 91, Host: 8091}, manifest.Port{Name: "mail", Container: 25, Host: 2525})
	m.Interfaces["admin"] = manifest.Interface{Port: "admin", Protocol: "http"}
	m.Interfaces["events"] = manifest.Interface{Port: "both", Protocol: "mqtt"}
	m.Interfaces["sockets"] = manifest.Interface{Port: "both"}
	m.Interfaces["mqtt"] = manifest.Interface{Port: "mail", Protocol: "mqtt"}
	var published []string
	for line := range strings.SplitSeq(Render(m, "/d", true).Files["pair.container"], "\n") {
		if v, ok := strings.CutPrefix(line, "PublishPort="); ok {
			published = append(published, v)
		}
	}
	want := []string{"127.0.0.1:8080:80", "8081:81/udp", "127.0.0.1:8090:90", "127.0.0.1:8091:91", "2525:25"}
	if !slices.Equal(published, want) {
		t.Errorf("published are %q, expected %q", published, want)
	}
}

func TestStoppedApplicationDoesNotStartAtBoot(t *testing.T) {
	m := parse(t)
	boot, not := Render(m, "/d", true), Render(m, "/d", false)
	for name, body := range not.Files {
		if strings.Contains(body, "[Install]") {
			t.Errorf("%s is started at boot", name)
		}
	}
	if !maps.Equal(boot.Specs, not.Specs) {
		t.Error("starting at boot changes the spec: a stop would make every container stale")
	}
}

func TestAnotherValueOfASecretSettingIsAnotherUnit(t *testing.T) {
	m := parse(t)
	c := &m.Containers[0]
	c.Secrets = append(c.Secrets, manifest.SecretMount{Name: "api-key", Path: "/run/api-key", Ref: "first"})
	one := Render(m, "/d", true)
	c.Secrets[len(c.Secrets)-1].Ref = "second"
	two := Render(m, "/d", true)
	if one.Specs[c.Name] == two.Specs[c.Name] {
		t.Error("the container would go on with the old value")
	}
	body := two.Files[c.Name+".container"]
	if !strings.Contains(body, "Secret=pair.api-key,type=mount,target=/run/api-key,") || !strings.Contains(body, "mode=0400") {
		t.Error(body)
	}
}

func TestEveryNetworkIsIsolatedAndOnlyTheOwnOneReachesTheInternet(t *testing.T) {
	m := parse(t)
	m.Requires = []manifest.Requirement{{App: "chain"}, {App: "tor"}}
	internal := func() (out []string) {
		for name, body := range Render(m, "/d", true).Files {
			if !strings.HasSuffix(name, ".network") {
				continue
			}
			if !strings.Contains(body, "\nOptions=isolate=strict\n") || !strings.Contains(body, "\nLabel=\"io.archipelago.app=pair\"\n") {
				t.Errorf("%s:\n%s", name, body)
			}
			if strings.Contains(body, "\nInternal=true\n") {
				out = append(out, strings.TrimSuffix(name, ".network"))
			}
		}
		slices.Sort(out)
		return out
	}
	links := []string{"archipelago-pair.chain", "archipelago-pair.tor"}
	if got := internal(); !slices.Equal(got, links) {
		t.Errorf("%q are internal, expected %q", got, links)
	}
	m.Network.Internet = new(bool)
	if got, want := internal(), append([]string{"archipelago-pair"}, links...); !slices.Equal(got, want) {
		t.Errorf("without the internet %q are internal, expected %q", got, want)
	}
}

// values are those of a directive in a unit file.
func values(body, key string) (out []string) {
	for line := range strings.SplitSeq(body, "\n") {
		if v, ok := strings.CutPrefix(line, key+"="); ok {
			out = append(out, v)
		}
	}
	return out
}

func TestOnlyTheContainerThatOthersReachIsLinked(t *testing.T) {
	m := parse(t)
	m.Requires = []manifest.Requirement{{App: "chain"}}
	u := Render(m, "/d", true, Requirer{"lightning", []string{m.ID}}, Requirer{"wallet", []string{m.ID}})
	if got, want := values(u.Files["pair.container"], "Network"), []string{"archipelago-pair.network", "archipelago-pair.chain.network"}; !slices.Equal(got, want) {
		t.Errorf("pair is on %q, expected %q", got, want)
	}
	if got, want := values(u.Files["pair-db.container"], "Network"), []string{"archipelago-pair.network"}; !slices.Equal(got, want) {
		t.Errorf("pair-db is on %q, expected %q", got, want)
	}
	want := []string{"-/usr/bin/podman network connect archipelago-lightning.pair pair", "-/usr/bin/podman network connect archipelago-wallet.pair pair"}
	if got := values(u.Files["pair.container"], "ExecStartPost"); !slices.Equal(got, want) {
		t.Errorf("pair joins %q, expected %q", got, want)
	}
	if got := values(u.Files["pair-db.container"], "ExecStartPost"); len(got) > 0 {
		t.Errorf("pair-db joins %q", got)
	}
	if sections := shape(t, u.Files["pair.container"]); slices.Index(sections, "ExecStartPost") < slices.Index(sections, "[Service]") || slices.Index(sections, "ExecStartPost") > slices.Index(sections, "[Install]") {
		t.Errorf("%q", sections)
	}
	if !maps.Equal(u.Specs, Render(m, "/d", true).Specs) {
		t.Error("who requires it changes the spec: an installation would make what it requires stale")
	}
}

func TestCapabilitiesAreDroppedWhoeverTheUserIs(t *testing.T) {
	for _, user := range []string{"", "0", "0:0", "1000:1000"} {
		m := parse(t)
		m.Containers[0].User = user
		if got := values(Render(m, "/d", true).Files["pair.container"], "DropCapability"); !slices.Equal(got, []string{"all"}) {
			t.Errorf("user %q drops %q", user, got)
		}
	}
}

func TestALinkIsKnownByItsName(t *testing.T) {
	for _, c := range []struct {
		network, required, app string
		ok                     bool
	}{
		{Link("lightning", "chain").Name, "chain", "lightning", true},
		{Link("lightning", "chain").Name, "main", "", false},
		{Link("lightning", "chain").Name, "lightning", "", false},
		{Network("chain"), "chain", "", false},
		{"podman", "chain", "", false},
	} {
		if app, ok := RequirerOn(c.network, c.required); ok != c.ok || ok && app != c.app {
			t.Errorf("%s links %q to %s: %t", c.network, app, c.required, ok)
		}
	}
}

// TestNoValueBecomesADirective feeds values that mean something to systemd; each
// must stay inside its own line and its own quotes.
func TestNoValueBecomesADirective(t *testing.T) {
	m := parse(t)
	m.Containers[0].Environment = map[string]string{"A": `x" --privileged "`, "B": `$HOME ${PATH} %h`, "C": `back\slash`, "D": "semi; Privileged=true"}
	m.Containers[0].Command = []string{"sh", "-c", `echo "$1" 100%`, `--`}
	for name, body := range Render(m, "/d", true).Files {
		for line := range strings.SplitSeq(body, "\n") {
			if strings.HasPrefix(line, "Privileged") || strings.HasPrefix(line, "PodmanArgs") {
				t.Errorf("%s has the line %q", name, line)
			}
			if value, ok := strings.CutPrefix(line, "Environment="); ok {
				inside := strings.TrimSuffix(strings.TrimPrefix(value, `"`), `"`)
				for _, bare := range []string{`"`, "$", "%"} {
					rest := strings.NewReplacer(`\\`, "", `\"`, "", "$$", "", "%%", "").Replace(inside)
					if strings.Contains(rest, bare) {
						t.Errorf("%s: %q leaves a bare %s", name, line, bare)
					}
				}
			}
		}
	}
}

// keys are all directives that the renderer writes.
var keys = []string{
	"Description", "StartLimitIntervalSec", "Requires", "After", "ContainerName", "Image", "Pull", "Label", "User", "Group", "DropCapability",
	"NoNewPrivileges", "Network", "NetworkName", "Options", "Internal", "ExecStartPost", "PublishPort", "Volume", "Tmpfs", "Secret", "Environment", "Exec", "HealthCmd", "HealthInterval",
	"HealthTimeout", "HealthRetries", "HealthStartPeriod", "Notify", "StopTimeout", "Restart", "RestartSec", "RestartSteps", "RestartMaxDelaySec", "TimeoutStartSec",
	"HostName", "ReadOnly", "ReadOnlyTmpfs", "ShmSize", "Ulimit", "Sysctl", "WorkingDir", "RunInit", "Entrypoint", "StopSignal",
	"TimeoutStopSec", "SuccessExitStatus", "MemoryMax", "WantedBy",
}

// FuzzRender wants no text of a manifest, nor a setting of its owner, to add a
// directive, a section or a line to a unit, or to be expanded by systemd.
func FuzzRender(f *testing.F) {
	for _, s := range []string{"plain", "a\nPodmanArgs=--privileged", "\\", `"`, "'", "%h %%", "$HOME ${HOME}", "a\\\nb", "[Service]\nExecStartPre=/bin/sh", "\u2028", "a\rb", ";", "#", " lead", "trail \\"} {
		f.Add(s, s, s, s, s)
	}
	f.Fuzz(func(t *testing.T, name, value, word, probe, setting string) {
		src, err := json.Marshal(map[string]any{
			"apiVersion": "archipelago/v1", "id": "a", "name": name, "version": "1",
			"containers": []any{map[string]any{
				"name": "a", "image": map[string]any{"ref": "r.example/a", "digest": "sha256:" + strings.Repeat("0", 64)},
				"environment": map[string]any{"K": value, "S": "{{setting:s}}"}, "entrypoint": []any{probe, "{{setting:s}}"}, "command": []any{word, "{{setting:s}}"},
				"health": map[string]any{"exec": []any{"p", probe}},
				"files":  []any{map[string]any{"path": "/etc/x", "content": value + word + "{{setting:s}}", "template": true}},
			}},
			"settings": []any{map[string]any{"name": "s", "default": "x"}},
		})
		if err != nil {
			t.Skip()
		}
		m, err := manifest.Parse("m", src)
		if err != nil {
			return // refused, as much of this should be
		}
		if m, err = m.With(map[string]string{"s": setting}, manifest.Node{}); err != nil {
			return
		}
		plain, err := m.With(nil, manifest.Node{})
		if err != nil {
			t.Fatal(err)
		}
		plain.Name, plain.Containers[0].Environment, plain.Containers[0].Command = "x", map[string]string{"K": "x", "S": "x"}, []string{"x", "x"}
		plain.Containers[0].Entrypoint = []string{"x", "x"}
		plain.Containers[0].Health = &manifest.Health{Exec: []string{"p", "x"}}
		want := shape(t, Render(plain, "/d", true).Files["a.container"])
		if got := shape(t, Render(m, "/d", true).Files["a.container"]); !slices.Equal(got, want) {
			t.Fatalf("the unit has %v, expected %v", got, want)
		}
	})
}

// shape is a unit's sections and directives without their values, as systemd's own
// rules find them.
func shape(t *testing.T, body string) (out []string) {
	t.Helper()
	sections, err := unit.DeserializeSections(strings.NewReader(body))
	if err != nil {
		t.Fatalf("not a unit: %v\n%s", err, body)
	}
	for _, s := range sections {
		out = append(out, "["+s.Section+"]")
		for _, e := range s.Entries {
			if !slices.Contains(keys, e.Name) {
				t.Fatalf("directive %s=%s\n%s", e.Name, e.Value, body)
			}
			out = append(out, e.Name)
			// A lone % or $ would be expanded; what is meant is doubled.
			for _, c := range []string{"%", "$"} {
				if c == "$" && e.Name == "Description" {
					continue // no command line: variables are not expanded
				}
				if strings.Contains(strings.ReplaceAll(e.Value, c+c, ""), c) {
					t.Fatalf("%s=%s has a lone %s", e.Name, e.Value, c)
				}
			}
		}
	}
	return out
}

// What joins the parts of a name occurs in no id, so no two applications share a
// secret, and no container has the name of a network's service.
func TestNamesOfTwoApplicationsNeverCollide(t *testing.T) {
	if SecretName("a", "b-c") == SecretName("a-b", "c") {
		t.Error("two applications share a secret")
	}
	if Link("a", "b-c").Name == Link("a-b", "c").Name {
		t.Error("two applications share a link")
	}
	_, err := manifest.Parse("m.yaml", []byte("apiVersion: archipelago/v1\nid: "+Network("a")+"-network\nname: A\nversion: \"1\"\ncontainers: [{name: "+Network("a")+"-network, image: {build: image}}]\n"))
	if err == nil || !strings.Contains(err.Error(), "is reserved") {
		t.Errorf("an application has the name of a network's service: %v", err)
	}
}
