package matrix

import (
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

func TestTheProgramFindsAnApplicationsFolders(t *testing.T) {
	write, look := node(t)
	if s := look("[]"); !slices.Equal(s.Folders, []string{"pair", "_daemon/secrets/pair"}) {
		t.Errorf("folders are %q", s.Folders)
	}
	write("data/_daemon/snapshots/pair/db/table", "rows")
	if s := look("[]"); !slices.Contains(s.Folders, "_daemon/snapshots/pair") {
		t.Errorf("folders are %q", s.Folders)
	}
}

func TestAProxyIsAskedForThePage(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	forwarder, err := net.Listen("tcp", "127.0.0.1:0") // with nothing behind it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { forwarder.Close() })
	go func() {
		for {
			conn, err := forwarder.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	status := func(code int) string {
		s, _ := served(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/page" {
				code = http.StatusTeapot
			}
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(code)
		}))
		return strings.TrimPrefix(s.URL, "https://")
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	for address, want := range map[string]string{
		status(http.StatusOK): "200", status(http.StatusBadGateway): "502", status(http.StatusSeeOther): "303",
		closed.Addr().String(): "", forwarder.Addr().String(): "", strings.TrimPrefix(plain.URL, "http://"): "something other than TLS",
	} {
		if got := proxied(t.Context(), address, "/page"); got != want {
			t.Errorf("%q, expected %q", got, want)
		}
	}
	m := stack()
	m.Interfaces["admin"] = manifest.Interface{Port: "web", Path: "/admin"}
	if got := pathAt(m, m.Containers[1].Ports[0]); got != "/admin" {
		t.Errorf("the page is at %q", got)
	}
}

// volume gives a container an anonymous volume.
func volume(s *Snapshot) *Snapshot {
	s.Containers[0].running.Mounts = append(slices.Clone(s.Containers[0].running.Mounts), bindSeen{Type: "volume", Name: "0123456789abcdef", Destination: "/cache", RW: true})
	return s
}

func TestWhatIsLeftIsRed(t *testing.T) {
	m := stack()
	m.Containers[1].Ports = append(m.Containers[1].Ports, manifest.Port{Name: "dns", Container: 53, Host: 8053, Protocol: "udp"})
	purged := func() *Snapshot {
		s := absent()
		s.Volumes, s.Secrets = nil, nil
		s.Proxied, s.Podmans = map[int]string{8080: ""}, map[string]string{"other-cache": "other", "f00": ""}
		return s
	}
	kept := func() *Snapshot {
		s := purged()
		s.Volumes, s.Secrets, s.Folders = healthy().Volumes, healthy().Secrets, []string{"pair", "_daemon/secrets/pair"}
		return s
	}
	had := []*Snapshot{volume(healthy())}
	removed := func(purge bool) func(*Snapshot) error {
		return func(s *Snapshot) error { return checkRemoved(m, healthy(), had, s, purge) }
	}
	install := func(s *Snapshot) error { return beforeInstall(m, s) }
	stopping := func() *Snapshot {
		s := stopped()
		s.Proxied = map[int]string{8080: "502"}
		// The same numbers: of the other protocol, of what goes out of containers, and another one.
		s.Listening = []Socket{{Port: 8053, Address: "127.0.0.1"}, {UDP: true, Port: 8081}, {UDP: true, Port: 8053, Program: "pasta.avx2"}, {Port: 22}}
		return s
	}
	for _, c := range []struct {
		name  string
		judge func(*Snapshot) error
		good  func() *Snapshot
		plant func(*Snapshot)
		want  string
	}{
		{"folder after a purge", removed(true), purged, func(s *Snapshot) { s.Folders = []string{"pair"} }, "with purge: the folder pair is left"},
		{"anonymous volume after a purge", removed(true), purged, func(s *Snapshot) { s.Podmans["0123456789abcdef"] = "" }, "the anonymous volume 0123456789ab of container pair-db is left"},
		{"anonymous volume, the data kept", removed(false), kept, func(s *Snapshot) { s.Podmans["0123456789abcdef"] = "" }, "with the data kept: the anonymous volume 0123456789ab"},
		{"volume with its label", removed(false), kept, func(s *Snapshot) { s.Podmans["cache"] = "pair" }, "volume cache is left in the engine"},
		{"proxy says that nobody answers", removed(false), kept, func(s *Snapshot) { s.Proxied[8080] = "502" }, "the proxy's port 18080 is left: it answers 502"},
		{"it came back", removed(false), kept, func(s *Snapshot) { s.Containers = append(s.Containers, healthy().Containers[1]) }, "container pair is left, running"},
		{"network", removed(true), purged, func(s *Snapshot) { s.Networks = append(s.Networks, "archipelago-pair") }, "network archipelago-pair is left"},
		{"data gone", removed(false), kept, func(s *Snapshot) { s.Volumes = nil }, "the data is gone"},

		{"a network before the install", install, purged, func(s *Snapshot) { s.Networks = append(s.Networks, "archipelago-pair") }, "before the install, something is left"},
		{"the other copy before the install", install, purged, func(s *Snapshot) { s.Folders = []string{"_daemon/snapshots/pair.other"} }, "'archy uninstall --purge pair' clears it): the folder _daemon/snapshots/pair.other is left"},
		{"a folder before the install", install, purged, func(s *Snapshot) { s.Folders = []string{"_daemon/snapshots/pair"} }, "'archy uninstall --purge pair' clears it): the folder _daemon/snapshots/pair is left"},

		{"a forwarder with nothing behind it", removed(true), purged, func(s *Snapshot) {
			s.Listening = []Socket{{Address: "every address", Port: 8081, Program: "rootlessport"}}
		}, "something listens on port 8081/tcp still, at every address (rootlessport)"},
		{"a port of UDP after the uninstall", removed(false), kept, func(s *Snapshot) { s.Listening = []Socket{{UDP: true, Address: "every address", Port: 8053}} }, "port 8053/udp still"},
		{"a port of UDP after the stop", func(s *Snapshot) error { return Verdict(CheckStopped(m, s)) }, stopping, func(s *Snapshot) {
			s.Listening = []Socket{{UDP: true, Address: "127.0.0.1", Port: 8053, Program: "pair"}}
		}, "port 8053/udp still, at 127.0.0.1 (pair)"},

		{"a page from a cache", func(s *Snapshot) error { return Verdict(CheckStopped(m, s)) }, stopping, func(s *Snapshot) { s.Proxied[8080] = "200" }, "the proxy's port 18080 still serves the application: it answers 200"},
	} {
		if err := c.judge(c.good()); err != nil {
			t.Errorf("%s: red without a fault: %v", c.name, err)
		}
		s := c.good()
		c.plant(s)
		if err := c.judge(s); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, expected %q", c.name, err, c.want)
		}
	}
	for _, waits := range []string{"", "503"} {
		s := stopping()
		s.Proxied[8080] = waits
		if wrong := CheckStopped(m, s); len(wrong) > 0 {
			t.Errorf("%q is red: %q", waits, wrong)
		}
	}
}

func TestTheProcessesThatWereSeenAreKilled(t *testing.T) {
	s := healthy()
	command, err := killing(stack(), s)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range s.Containers[:2] {
		if want := " " + c.pid + " " + nodes.Quote(c.running.Cgroup); !strings.Contains(command, want) {
			t.Errorf("%q is not in %q", want, command)
		}
	}
	s.Containers[0].running = nil
	if _, err := killing(stack(), s); err == nil || !broken(err) {
		t.Errorf("%v", err)
	}
	// As a new process: one that runs on was not killed.
	if wrong := CheckAnew(stack(), healthy(), healthy()); len(wrong) != 2 {
		t.Errorf("%q", wrong)
	}
}

func TestPowerIsCutEveryFifthCycleWhereItCanBe(t *testing.T) {
	can := nodes.Node{Power: nodes.Power{Cut: []string{"pdu"}}}
	var cuts []int
	for cycle := 1; cycle <= 20; cycle++ {
		if (&Shard{Cycle: cycle}).cutsPower() {
			t.Errorf("cycle %d cuts the power of a node that has no way", cycle)
		}
		if (&Shard{Cycle: cycle, Node: can}).cutsPower() {
			cuts = append(cuts, cycle)
		}
	}
	if !slices.Equal(cuts, []int{3, 8, 13, 18}) {
		t.Errorf("the power is cut in %v", cuts)
	}
	file := filepath.Join(t.TempDir(), "shard.json")
	if err := (&Shard{Cycle: 3, Node: can}).Write(file); err != nil {
		t.Fatal(err)
	}
	t.Setenv(ShardVariable, file)
	if read, _, err := ReadShard(); err != nil || !read.cutsPower() {
		t.Errorf("the suite is not told how: %+v, %v", read, err)
	}
}
