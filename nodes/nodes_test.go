package nodes

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/archipelago-cloud/archipelago/internal/sshtest"
)

func TestInventoryProblemsComeTogether(t *testing.T) {
	cases := []struct {
		name, text string
		want       []string
	}{
		{"empty", "nodes: []\n", []string{"names no nodes"}},
		{"unknown field", "nodes:\n- {name: a, address: 192.0.2.1, user: u, key: k, pasword: x}\n", []string{`unknown field "pasword"`, "[2:"}},
		{"not YAML", "nodes: [", []string{"nodes.yaml"}},
		{"several", "nodes:\n- {name: a, address: 192.0.2.1, user: root, key: k}\n- {name: a, address: 192.0.2.1, port: 99999, user: u, key: k}\n- {name: '', user: '', key: ''}\n", []string{
			"nodes[0]: user root: applications run rootless", `nodes[1]: name "a" is used twice`, "nodes[1]: port 99999",
			"nodes[2]: name", "nodes[2]: address is missing", "nodes[2]: user is missing", "nodes[2]: key is missing"}},
		{"one machine as two nodes", "nodes:\n- {name: a, address: 192.0.2.1, user: u, key: k}\n- {name: b, address: 192.0.2.1, user: u, key: k}\n", []string{"one machine cannot be two nodes"}},
		{"broken host key", "nodes:\n- {name: a, address: 192.0.2.1, user: u, key: k, host_key: nonsense}\n", []string{"nodes[0]: host_key is not a public key"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "nodes.yaml")
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := LoadInventory(file)
			if !errors.Is(err, ErrInventory) {
				t.Fatal(err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("no %q in:\n%v", w, err)
				}
			}
		})
	}
}

func TestInventoryIsWrittenAsItIsRead(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "nodes.yaml")
	text := "nodes:\n- {name: .7, address: 192.0.2.7, user: archipelago, key: id, power: {cut: [ipmitool, power, cycle]}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	inv, err := LoadInventory(file)
	if err != nil {
		t.Fatal(err)
	}
	n, err := inv.Node(".7")
	if err != nil || n.Port != 22 || n.Key != filepath.Join(dir, "id") || n.Power.Reboot != DefaultReboot || len(n.Power.Cut) != 3 {
		t.Fatalf("%+v, %v", n, err)
	}
	if err := inv.Save(file); err != nil {
		t.Fatal(err)
	}
	again, err := LoadInventory(file)
	if err != nil || again.Nodes[0].Address != n.Address || again.Nodes[0].Key != n.Key {
		t.Fatalf("%+v, %v", again, err)
	}
	if _, err := inv.Node(".8"); !errors.Is(err, ErrInventory) || !strings.Contains(err.Error(), "there are .7") {
		t.Error(err)
	}
}

func facts() map[string]string {
	return map[string]string{"uid": "1000", "linger": "yes", "os": "Debian", "kernel": "6.12", "podman": "5.4.2", "systemd": "257", "quadlet": "/usr/lib/systemd/user-generators",
		"subuid": "65536", "subgid": "65536", "cgroup": "cgroup2fs", "controllers": "cpu memory pids", "online": "active", "runtime": "/run/user/1000", "data": "writable", "cpus": "4"}
}

func TestMachinesThatCannotBeNodesAreRefusedWithTheRemedy(t *testing.T) {
	n := &Node{Name: ".7", Address: "192.0.2.7", Port: 22, User: "archipelago"}
	id, warnings, err := n.judge(facts())
	if err != nil || len(warnings) > 0 || !id.Memory || id.CPUs != 4 || id.Podman != "5.4.2" {
		t.Fatalf("a good machine: %+v, %v, %q", id, err, warnings)
	}
	for _, c := range []struct{ fact, value, want string }{
		{"uid", "0", "rootless"},
		{"podman", "", "Podman is not installed; 5.0 or newer is needed"},
		{"podman", "4.3.1", "Podman is 4.3.1; 5.0 or newer is needed"},
		{"quadlet", "", "has no Quadlet generator"},
		{"systemd", "252", `systemd is "252"; 254 or newer`},
		{"linger", "", "loginctl enable-linger archipelago"},
		{"subuid", "", "/etc/subuid gives user archipelago 0 ids"},
		{"subgid", "1000", "/etc/subgid 1000"},
		{"cgroup", "tmpfs", "cgroup v2 is needed"},
		{"runtime", "", "XDG_RUNTIME_DIR"},
		{"data", "", "is not writable: sudo install -d"},
	} {
		f := facts()
		f[c.fact] = c.value
		if _, _, err := n.judge(f); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s=%q: %v, expected %q", c.fact, c.value, err, c.want)
		}
	}
	f := facts()
	f["podman"], f["linger"] = "4.3.1", "no"
	if _, _, err := n.judge(f); strings.Count(err.Error(), "node refused") != 2 {
		t.Errorf("not all at once: %v", err)
	}
	f = facts()
	f["cpus"], f["memory"], f["virt"], f["container"] = "4", "1073741824", "podman", "yes"
	if id, _, err := n.judge(f); err != nil || id.CPUs != 4 || id.Free != 1<<30 || id.Virt != "podman" || !id.Inside {
		t.Errorf("%+v, %v", id, err)
	}
	f = facts()
	f["online"], f["controllers"] = "inactive", "pids"
	if id, warnings, err := n.judge(f); err != nil || len(warnings) != 2 || id.Memory {
		t.Errorf("%v, warnings %q", err, warnings)
	}
}

func TestUnreachableNodeIsLostAndUnknownKeyRefused(t *testing.T) {
	key := filepath.Join(t.TempDir(), "id")
	n := &Node{Name: ".7", Address: "127.0.0.77", Port: 1, User: "archipelago", Key: key}
	if _, err := NewClient(n).Run(t.Context(), "true"); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "gate nodes trust .7") {
		t.Errorf("without a host key: %v", err)
	}
	n.HostKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJb3KzJ4Gpz1VZ0mG4k0c0m9y2n9b1pQ0V6m9Vn0v0aX"
	if _, err := NewClient(n).Run(t.Context(), "true"); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "private key") {
		t.Errorf("without a key: %v", err)
	}
	if _, err := n.AskHostKey(t.Context()); !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), "127.0.0.77:1") {
		t.Errorf("nothing listens: %v", err)
	}
}

func TestQuoteMakesOneWord(t *testing.T) {
	if got := Quote(`it's "$HOME"`); got != `'it'\''s "$HOME"'` {
		t.Error(got)
	}
}

func TestRequestThatIsNeverAnsweredEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	cancel(gone)
	never := make(chan struct{})
	defer close(never)
	if _, err := within(ctx, func() (int, error) { <-never; return 0, nil }, nil); !errors.Is(err, gone) {
		t.Error(err)
	}
	if v, err := within(t.Context(), func() (int, error) { return 7, nil }, nil); v != 7 || err != nil {
		t.Error(v, err)
	}
}

func TestAConnectionHasNoMoreSessionsThanSSHDAllows(t *testing.T) {
	const allowed = 10 // MaxSessions, sshd_config(5)
	if maxSessions > allowed {
		t.Errorf("%d sessions", maxSessions)
	}
	c := NewClient(&Node{Name: ".7", Address: "127.0.0.77", Port: 1, User: "archipelago"})
	for range maxSessions {
		c.sessions <- struct{}{}
	}
	gone := errors.New("gone")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, gone)
	defer cancel()
	if _, err := c.Run(ctx, "true"); !errors.Is(err, gone) || !strings.Contains(err.Error(), "waiting for one of 8 sessions") {
		t.Errorf("one more: %v", err)
	}
	<-c.sessions
	for range 2 * maxSessions { // each gives its place back
		if _, err := c.Run(t.Context(), "true"); !errors.Is(err, ErrRefused) {
			t.Fatalf("%v", err)
		}
	}
}

// TestASessionThatSSHDRefusesIsAskedForAgain: under load it still counts sessions that have ended
// here. What runs over the same connection runs on.
func TestASessionThatSSHDRefusesIsAskedForAgain(t *testing.T) {
	var connections, opened atomic.Int32
	commands := sshtest.Commands(misbehave)
	n := serving(t, func(ctx context.Context, wg *sync.WaitGroup, conn ssh.Conn, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
		connections.Add(1)
		taken := make(chan ssh.NewChannel)
		wg.Go(func() {
			defer close(taken)
			for c := range channels {
				if i := opened.Add(1); i > 1 && i < 5 {
					c.Reject(ssh.ConnectionFailed, "open failed") // as sshd does ("no more sessions")
					continue
				}
				taken <- c
			}
		})
		commands(ctx, wg, conn, taken, requests)
	})
	c := NewClient(n)
	defer c.Close()
	begun, runs := make(chan struct{}), make(chan error, 1)
	ctx, end := context.WithCancelCause(t.Context())
	go func() { runs <- c.Stream(ctx, "drip", nil, &first{begun: begun}) }()
	<-begun
	if said, err := c.Run(t.Context(), "honest"); said != "yes" || err != nil {
		t.Errorf("%q, %v", said, err)
	}
	over := errors.New("over")
	end(over)
	if err := <-runs; !errors.Is(err, over) || errors.Is(err, ErrLost) {
		t.Errorf("the command beside it: %v", err)
	}
	if got := connections.Load(); got != 1 {
		t.Errorf("%d connections", got)
	}

	// One that refuses for ever is lost to whoever asks.
	n = serving(t, func(_ context.Context, _ *sync.WaitGroup, _ ssh.Conn, channels <-chan ssh.NewChannel, _ <-chan *ssh.Request) {
		for c := range channels {
			c.Reject(ssh.ConnectionFailed, "open failed")
		}
	})
	full := NewClient(n)
	defer full.Close()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, over)
	defer cancel()
	if _, err := full.Run(ctx, "honest"); !errors.Is(err, ErrLost) || !errors.Is(err, over) || !strings.Contains(err.Error(), "open failed") {
		t.Error(err)
	}
}

// first says when the first byte has come.
type first struct {
	once  sync.Once
	begun chan struct{}
}

func (f *first) Write(b []byte) (int, error) {
	f.once.Do(func() { close(f.begun) })
	return len(b), nil
}
