package matrix

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/reports"
)

func stack() *manifest.Manifest {
	return &manifest.Manifest{ID: "pair", Name: "Pair", Version: "1",
		Containers: []manifest.Container{
			{Name: "pair-db", Image: manifest.Image{Ref: "registry.example/pair/db", Digest: digestOf("d")}, User: "100:102",
				Health:  &manifest.Health{Exec: []string{"ready", "-q"}, Interval: seconds(2), Timeout: manifest.Duration(500 * time.Millisecond), StartPeriod: seconds(90), Retries: 5},
				Volumes: []manifest.Volume{{Name: "db", Path: "/data", UID: 100, GID: 102}}, Tmpfs: []manifest.Tmpfs{{Path: "/run/db"}},
				Secrets: []manifest.SecretMount{{Name: "password", Path: "/run/secrets/password"}}},
			{Name: "pair", Image: manifest.Image{Ref: "registry.example/pair/web", Digest: digestOf("a")}, User: "1000:1000", StopTimeout: seconds(3),
				Command: []string{"serve", "--name", "a b"}, Environment: map[string]string{"DB": "pair-db"},
				DependsOn: []manifest.Dependency{{Container: "pair-db"}}, Ports: []manifest.Port{{Name: "web", Container: 80, Host: 8080}, {Name: "mqtt", Container: 81, Host: 8081}}},
		},
		Interfaces: map[string]manifest.Interface{"web": {Port: "web"}, "mqtt": {Port: "mqtt", Protocol: "mqtt"}},
		Secrets:    []manifest.GeneratedSecret{{Name: "password"}},
		Requires:   []manifest.Requirement{{App: "chain"}},
		Resources:  manifest.Resources{Memory: "64M"},
		Budget:     manifest.Budget{Start: seconds(120)},
	}
}

func seconds(n int) manifest.Duration { return manifest.Duration(n) * manifest.Duration(time.Second) }

func digestOf(digit string) string { return "sha256:" + strings.Repeat(digit, 64) }

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// healthy is a snapshot with nothing wrong in it. What its containers are in detail is as
// asMeant has it.
func healthy() *Snapshot {
	s := &Snapshot{
		Boot: "boot/1", UserID: 1000, SubUID: 100000, SubGID: 100000,
		Containers: []Seen{
			{ID: "1", Name: "pair-db", App: "pair", State: "running", Health: "healthy", StartedAt: noon, NetworkMode: "bridge", Networks: []string{"archipelago-pair"}, Mounts: []string{"/var/lib/archipelago/pair/db"}, Rootless: true},
			{ID: "2", Name: "pair", App: "pair", State: "running", StartedAt: noon.Add(time.Second), NetworkMode: "bridge", Networks: []string{"archipelago-pair", "archipelago-pair.chain", "archipelago-wallet.pair"}, Rootless: true},
			{ID: "3", Name: "other", App: "other", Networks: []string{"archipelago-other"}},
			{ID: "4", Name: "chain", App: "chain", Networks: []string{"archipelago-chain", "archipelago-pair.chain"}},
			{ID: "5", Name: "wallet", App: "wallet", Networks: []string{"archipelago-wallet", "archipelago-wallet.pair"}},
			{ID: "6", Name: "stranger", Networks: []string{"podman"}},
		},
		Units:    map[string]UnitSeen{"pair-db.service": {"loaded", "active", "running", true}, "pair.service": {"loaded", "active", "running", true}},
		Files:    []string{"pair-db.container", "pair.container", "archipelago-pair.network"},
		Volumes:  map[string]VolSeen{"db": {"77", 100099, 100101, "700"}},
		Secrets:  map[string]FileSeen{"password": {"abc", "600"}},
		Forms:    map[string][]string{"password": {"letters:32", "base64:24"}},
		Stored:   []string{"pair.password"},
		Networks: []string{"podman", "archipelago-pair"},
		Open:     map[int]bool{8080: true, 8081: true},
		Exposed:  map[int]bool{8080: false},
	}
	detailed := asMeant(nil)
	s.DropIns = detailed.DropIns
	s.Bridges, s.Properties, s.MemoryMax, s.TasksMax, s.Namespaces, s.Listening = detailed.Bridges, detailed.Properties, detailed.MemoryMax, detailed.TasksMax, detailed.Namespaces, detailed.Listening
	for i, d := range detailed.Containers {
		s.Containers[i].pid, s.Containers[i].running, s.Containers[i].namespaces = d.pid, d.running, d.namespaces
	}
	return s
}

// TestTheFormOfASecretIsSeen has the program look at secrets of the forms that there are.
func TestTheFormOfASecretIsSeen(t *testing.T) {
	write, look := node(t)
	_, ed, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	big, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		t.Fatal(err)
	}
	inPEM := func(block string, der []byte, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: block, Bytes: der}))
	}
	private := func(block string, key any) string {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		return inPEM(block, der, err)
	}
	public, err := x509.MarshalPKIXPublicKey(ed.Public())
	for value, want := range map[string]string{
		private("PRIVATE KEY", ed):                   "ed25519",
		private("PRIVATE KEY", big):                  "rsa",
		private("EC PRIVATE KEY", ed):                "other",
		inPEM("PUBLIC KEY", public, err):             "public_key",
		inPEM("CERTIFICATE", public, nil):            "certificate",
		"$2a$10$" + strings.Repeat("./Az9", 11)[:53]: "bcrypt",
		"$2a$04$" + strings.Repeat("./Az9", 11)[:53]: "other",
		"$argon2id$v=19$m=65536,t=3,p=4$" + strings.Repeat("a", 22) + "$" + strings.Repeat("b", 43): "argon2id",
		"$argon2id$v=19$m=1024,t=1,p=1$" + strings.Repeat("a", 22) + "$" + strings.Repeat("b", 43):  "other",
		"ZyxwvutsrqponmlkjihgfedcbaZYXWVU":     "letters:32,base64:24",
		"00112233445566778899aabbccddeeff":     "letters:32,hex:16,base64:24",
		"+/v7/P3+/wABAgMEBQYHCA==":             "base64:16",
		"3b241101-e2bb-4255-8caf-4136c566a962": "uuid",
		"3b241101-e2bb-1255-8caf-4136c566a962": "other",
		"Zyxwvutsrqponmlkjihgfedcba\n":         "other",
		"":                                     "other",
	} {
		write("data/_daemon/secrets/pair/password", value)
		if got := strings.Join(look("[]").Forms["password"], ","); got != want {
			t.Errorf("%q has the form %q, expected %q", value, got, want)
		}
	}
	m := stack()
	for _, c := range []struct {
		of   manifest.GeneratedSecret
		want string
	}{
		{manifest.GeneratedSecret{Length: 40}, "letters:40"},
		{manifest.GeneratedSecret{Form: "hex"}, "hex:32"},
		{manifest.GeneratedSecret{Form: "base64", Bytes: 48}, "base64:48"},
		{manifest.GeneratedSecret{Form: "uuid"}, "uuid"},
		{manifest.GeneratedSecret{Form: "ed25519"}, "ed25519"},
		{manifest.GeneratedSecret{Form: "rsa"}, "rsa"},
		{manifest.GeneratedSecret{Derive: &manifest.Derivation{From: "a", As: "bcrypt"}}, "bcrypt"},
		{manifest.GeneratedSecret{Derive: &manifest.Derivation{From: "a", As: "public_key"}}, "public_key"},
	} {
		if got, made := formOf(m, c.of); !made || got != c.want {
			t.Errorf("%+v has the form %s, expected %s", c.of, got, c.want)
		}
	}
	m.Adopts = []manifest.Adoption{{Container: "old", Secrets: map[string]string{"PASSWORD": "password"}}}
	if _, made := formOf(m, m.Secrets[0]); made {
		t.Error("a secret that is taken over has a form")
	}
}

func TestMembersShareTheVolumesThatBothSayTheyShare(t *testing.T) {
	s := healthy()
	s.Containers[1].Mounts = s.Containers[0].Mounts
	for _, c := range []struct{ db, web, red bool }{{true, true, false}, {true, false, true}, {false, true, true}} {
		m := stack()
		m.Containers[0].Volumes[0].Shared = c.db
		m.Containers[1].Volumes = []manifest.Volume{{Name: "db", Path: "/db", UID: 100, GID: 102, Shared: c.web}}
		wrong := CheckInvariants(m, s)
		if red := slices.ContainsFunc(wrong, func(w string) bool { return strings.Contains(w, "share the volume") }); red != c.red {
			t.Errorf("%+v: %q", c, wrong)
		}
	}
}

func stopped() *Snapshot {
	s := healthy()
	s.Containers = s.Containers[2:]
	s.Units = map[string]UnitSeen{"pair-db.service": {"loaded", "inactive", "dead", false}, "pair.service": {"loaded", "failed", "failed", false}}
	s.Open[8080], s.Open[8081] = false, false
	s.Listening = nil
	return s
}

func absent() *Snapshot {
	s := stopped()
	s.Units = map[string]UnitSeen{"pair-db.service": {"not-found", "inactive", "dead", false}, "pair.service": {"not-found", "inactive", "dead", false}}
	s.Files, s.Stored, s.Networks = nil, nil, []string{"podman"}
	return s
}

// TestChecks requires each check to be silent on a good snapshot and to name the
// fault in a bad one: every fault is planted by itself.
func TestChecks(t *testing.T) {
	m := stack()
	same := func(before *Snapshot) func(*Snapshot) []string {
		return func(s *Snapshot) []string { return CheckSame(before, s) }
	}
	later := func() *Snapshot {
		s := healthy()
		for i := range s.Containers {
			s.Containers[i].ID += "'"
			s.Containers[i].StartedAt = s.Containers[i].StartedAt.Add(time.Minute)
		}
		return s
	}
	purged := func() *Snapshot {
		s := absent()
		s.Volumes, s.Secrets = nil, nil
		return s
	}
	type check func(*Snapshot) []string
	running := func(s *Snapshot) []string { return CheckRunning(m, s) }
	stop := func(s *Snapshot) []string { return CheckStopped(m, s) }
	gone := func(s *Snapshot) []string { return CheckAbsent(m, s) }
	invariants := func(s *Snapshot) []string { return CheckInvariants(m, s) }
	boot := func(s *Snapshot) []string { return CheckBoot(m, s) }
	untouched := func(s *Snapshot) []string { return CheckUntouched(m, healthy(), s) }
	restarted := func(s *Snapshot) []string { return CheckRestarted(m, healthy(), s) }
	cases := []struct {
		name  string
		check check
		good  func() *Snapshot
		plant func(*Snapshot)
		want  string
	}{
		{"member missing", running, healthy, func(s *Snapshot) { s.Containers = s.Containers[1:] }, "member pair-db is missing"},
		{"member exited", running, healthy, func(s *Snapshot) { s.Containers[1].State = "exited" }, "member pair is exited, not running"},
		{"member unhealthy", running, healthy, func(s *Snapshot) { s.Containers[0].Health = "starting" }, "member pair-db is starting, not healthy"},
		{"member twice", running, healthy, func(s *Snapshot) { s.Containers = append(s.Containers, s.Containers[0]) }, "member pair-db runs 2 times"},
		{"second container of the application", running, healthy, func(s *Snapshot) {
			s.Containers = append(s.Containers, Seen{Name: "pair-2", App: "pair", State: "running"})
		}, "container pair-2 belongs to the application and is none of its members"},
		{"unit missing", running, healthy, func(s *Snapshot) { delete(s.Units, "pair.service") }, "unit pair.service is not known"},
		{"unit that is not loaded", running, healthy, func(s *Snapshot) { s.Units["pair.service"] = UnitSeen{"not-found", "active", "running", true} }, "unit pair.service is not-found and active"},
		{"unit failed", running, healthy, func(s *Snapshot) { s.Units["pair.service"] = UnitSeen{"loaded", "failed", "failed", true} }, "unit pair.service is loaded and failed"},
		{"port closed", running, healthy, func(s *Snapshot) { s.Open[8081] = false }, "port 8081 does not answer from outside"},
		{"web port closed", running, healthy, func(s *Snapshot) { s.Open[8080] = false }, "port 8080 does not answer on the node"},
		{"volume missing", running, healthy, func(s *Snapshot) { delete(s.Volumes, "db") }, "the data is gone: volume db does not exist"},
		{"volume of another owner", running, healthy, func(s *Snapshot) { s.Volumes["db"] = VolSeen{"77", 1000, 1000, "700"} }, "volume db is owned by 1000:1000, expected 100099:100101"},
		{"volume of another group", running, healthy, func(s *Snapshot) { s.Volumes["db"] = VolSeen{"77", 100099, 1000, "700"} }, "volume db is owned by 100099:1000, expected 100099:100101"},
		{"secret missing", running, healthy, func(s *Snapshot) { delete(s.Secrets, "password") }, "secret password does not exist"},
		{"secret of another length", running, healthy, func(s *Snapshot) { s.Forms["password"] = []string{"letters:16", "base64:12"} }, "secret password has the form letters:16 or base64:12, expected letters:32"},
		{"secret of a form that nobody told", running, healthy, func(s *Snapshot) { delete(s.Forms, "password") }, "secret password has the form empty, expected letters:32"},
		{"secret that others can read", running, healthy, func(s *Snapshot) { s.Secrets["password"] = FileSeen{"abc", "644"} }, "secret password has mode 644"},

		{"still running", stop, stopped, func(s *Snapshot) { s.Containers = append(s.Containers, healthy().Containers[0]) }, "container pair-db is still running"},
		{"one that is no member still running", stop, stopped, func(s *Snapshot) {
			s.Containers = append(s.Containers, Seen{Name: "pair-2", App: "pair", State: "running"})
		}, "container pair-2 is still running"},
		{"still active", stop, stopped, func(s *Snapshot) { s.Units["pair.service"] = UnitSeen{"loaded", "activating", "auto-restart", false} }, "unit pair.service is activating"},
		{"port open", stop, stopped, func(s *Snapshot) { s.Open[8080] = true }, "port 8080 still answers"},
		{"data gone at stop", stop, stopped, func(s *Snapshot) { delete(s.Volumes, "db") }, "the data is gone"},

		{"container left", gone, absent, func(s *Snapshot) { s.Containers = append(s.Containers, Seen{Name: "pair", State: "exited"}) }, "container pair is left, exited"},
		{"one that is no member left", gone, absent, func(s *Snapshot) {
			s.Containers = append(s.Containers, Seen{Name: "pair-2", App: "pair", State: "exited"})
		}, "container pair-2 is left, exited"},
		{"unit left", gone, absent, func(s *Snapshot) { s.Units["pair.service"] = UnitSeen{"loaded", "inactive", "dead", false} }, "unit pair.service is left"},
		{"unit file left", gone, absent, func(s *Snapshot) { s.Files = []string{"pair.container"} }, "unit file pair.container is left"},
		{"network left", gone, absent, func(s *Snapshot) { s.Networks = append(s.Networks, "archipelago-pair") }, "network archipelago-pair is left"},
		{"link left", gone, absent, func(s *Snapshot) { s.Networks = append(s.Networks, "archipelago-pair.chain") }, "network archipelago-pair.chain is left"},
		{"engine secret left", gone, absent, func(s *Snapshot) { s.Stored = []string{"pair.password"} }, "secret pair.password is left"},
		{"port left open", gone, absent, func(s *Snapshot) { s.Open[8080] = true }, "port 8080 still answers"},
		{"volume left after a purge", CheckPurged, purged, func(s *Snapshot) { s.Volumes = healthy().Volumes }, "volume db is left after a purge"},
		{"secret left after a purge", CheckPurged, purged, func(s *Snapshot) { s.Secrets = healthy().Secrets }, "secret password is left after a purge"},

		{"secret changed", same(healthy()), healthy, func(s *Snapshot) { s.Secrets["password"] = FileSeen{"def", "600"} }, "secret password has another value"},
		{"secret gone", same(healthy()), healthy, func(s *Snapshot) { delete(s.Secrets, "password") }, "secret password is gone"},
		{"volume made anew", same(healthy()), healthy, func(s *Snapshot) { s.Volumes["db"] = VolSeen{"78", 100099, 100101, "700"} }, "volume db is another directory"},
		{"volume gone", same(healthy()), healthy, func(s *Snapshot) { delete(s.Volumes, "db") }, "volume db was deleted"},

		{"another container", untouched, healthy, func(s *Snapshot) { s.Containers[0].ID = "9" }, "container pair-db is another one"},
		{"same container, started again", untouched, healthy, func(s *Snapshot) { s.Containers[0].StartedAt = noon.Add(time.Hour) }, "container pair-db was started again"},
		{"container gone", untouched, healthy, func(s *Snapshot) { s.Containers = s.Containers[1:] }, "container pair-db is gone"},
		{"not restarted", restarted, later, func(s *Snapshot) { s.Containers[0].StartedAt = noon }, "container pair-db was not restarted"},
		{"wrong order", restarted, later, func(s *Snapshot) { s.Containers[0].StartedAt = noon.Add(time.Hour) }, "container pair started before pair-db"},
		{"not started at boot", boot, healthy, func(s *Snapshot) { s.Units["pair.service"] = UnitSeen{"loaded", "active", "running", false} }, "unit pair.service is not started at boot"},

		{"privileged", invariants, healthy, func(s *Snapshot) { s.Containers[0].Privileged = true }, "container pair-db is privileged"},
		{"host network", invariants, healthy, func(s *Snapshot) { s.Containers[0].NetworkMode = "host" }, "shares the host's network"},
		{"rootful", invariants, healthy, func(s *Snapshot) { s.Containers[0].Rootless = false }, "does not run in a user namespace"},
		{"engine socket", invariants, healthy, func(s *Snapshot) {
			s.Containers[0].Mounts = append(s.Containers[0].Mounts, "/run/user/1000/podman/podman.sock")
		}, "mounts the engine's socket"},
		{"another engine's socket", invariants, healthy, func(s *Snapshot) {
			s.Containers[0].Mounts = append(s.Containers[0].Mounts, "/var/run/docker.sock")
		}, "mounts the engine's socket"},
		{"privileged, and no member", invariants, healthy, func(s *Snapshot) {
			s.Containers = append(s.Containers, Seen{Name: "pair-2", App: "pair", Privileged: true, Networks: []string{"archipelago-pair"}})
		}, "container pair-2 is privileged"},
		{"another application's data", invariants, healthy, func(s *Snapshot) {
			s.Containers[1].Mounts = []string{"/var/lib/archipelago/chain/blocks"}
		}, "container pair mounts /var/lib/archipelago/chain/blocks, which holds more than its own data"},
		{"the daemon's state and all data", invariants, healthy, func(s *Snapshot) { s.Containers[1].Mounts = []string{"/var"} }, "container pair mounts /var, which holds more"},
		{"the whole node", invariants, healthy, func(s *Snapshot) { s.Containers[1].Mounts = []string{"/"} }, "container pair mounts /, which holds more"},
		{"capabilities", invariants, healthy, func(s *Snapshot) { s.Containers[1].Capabilities = 1 << 21 }, "container pair has capabilities, or can gain them: 0x200000"},
		{"a member on the network of what is required", invariants, healthy, func(s *Snapshot) {
			s.Containers[1].Networks = append(s.Containers[1].Networks, "archipelago-chain")
		}, "container pair is on network archipelago-chain"},
		{"another member on a link", invariants, healthy, func(s *Snapshot) {
			s.Containers[0].Networks = append(s.Containers[0].Networks, "archipelago-wallet.pair")
		}, "container pair-db is on network archipelago-wallet.pair"},
		{"a link to what is not required", invariants, healthy, func(s *Snapshot) {
			s.Containers[1].Networks = append(s.Containers[1].Networks, "archipelago-pair.other")
		}, "container pair is on network archipelago-pair.other"},
		{"the engine's own network", invariants, healthy, func(s *Snapshot) {
			s.Containers[1].Networks = append(s.Containers[1].Networks, "podman")
		}, "container pair is on network podman"},
		{"no network", invariants, healthy, func(s *Snapshot) { s.Containers[0].Networks = nil }, "container pair-db is not on network archipelago-pair"},
		{"no link", invariants, healthy, func(s *Snapshot) { s.Containers[1].Networks = []string{"archipelago-pair"} }, "container pair is not on network archipelago-pair.chain"},
		{"another application on the network", invariants, healthy, func(s *Snapshot) {
			s.Containers[3].Networks = append(s.Containers[3].Networks, "archipelago-pair")
		}, "container chain is on network archipelago-pair"},
		{"another application on the link", invariants, healthy, func(s *Snapshot) {
			s.Containers[2].Networks = append(s.Containers[2].Networks, "archipelago-pair.chain")
		}, "container other is on network archipelago-pair.chain"},
		{"the database of what requires it", invariants, healthy, func(s *Snapshot) {
			s.Containers = append(s.Containers, Seen{Name: "wallet-db", App: "wallet", Networks: []string{"archipelago-wallet.pair"}})
		}, "container wallet-db is on network archipelago-wallet.pair"},
		{"an unmanaged container on the network", invariants, healthy, func(s *Snapshot) {
			s.Containers[5].Networks = append(s.Containers[5].Networks, "archipelago-pair")
		}, "container stranger is on network archipelago-pair"},
		{"two on one volume", invariants, healthy, func(s *Snapshot) { s.Containers[1].Mounts = s.Containers[0].Mounts }, "containers pair-db and pair share the volume"},
		{"unmanaged container on the volume", invariants, healthy, func(s *Snapshot) {
			s.Containers = append(s.Containers, Seen{Name: "stray", Mounts: s.Containers[0].Mounts})
		}, "the unmanaged container stray mounts"},
		{"web port exposed", invariants, healthy, func(s *Snapshot) { s.Exposed[8080] = true }, "port 8080 of a web interface answers from outside, where only the proxy may"},
		{"leak", invariants, healthy, func(s *Snapshot) { s.Leaks = []string{"journal"} }, "a secret's value stands in the journal"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if wrong := c.check(c.good()); len(wrong) > 0 {
				t.Fatalf("red without a fault: %q", wrong)
			}
			s := c.good()
			s.Volumes, s.Secrets, s.Units, s.Open, s.Exposed = maps.Clone(s.Volumes), maps.Clone(s.Secrets), maps.Clone(s.Units), maps.Clone(s.Open), maps.Clone(s.Exposed)
			c.plant(s)
			wrong := c.check(s)
			if !slices.ContainsFunc(wrong, func(w string) bool { return strings.Contains(w, c.want) }) {
				t.Errorf("%q, expected %q", wrong, c.want)
			}
		})
	}
}

// TestAReportTakesApartWhatWitnessesSay wants a report to show what is compared as it was: what
// was expected, and what was seen.
func TestAReportTakesApartWhatWitnessesSay(t *testing.T) {
	err := Verdict(compare("container page", wanted{"user": {text: "100"}, "label a": {text: "1"}, "init": {text: ""}}, properties{"user": "0", "label b": "2", "init": "yes"}))
	want := []reports.Difference{
		{What: "container page: init", Expected: "empty", Seen: "yes"}, {What: "container page: label a", Expected: "1", Seen: "missing"},
		{What: "container page: user", Expected: "100", Seen: "0"}, {What: "container page: label b", Seen: "2"}}
	if got := reports.Differences("invariant: " + err.Error()); !slices.Equal(got, want) {
		t.Errorf("%q, expected %q", got, want)
	}
}
