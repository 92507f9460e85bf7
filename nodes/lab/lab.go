// Package lab brings up two nodes on one machine: containers whose PID 1 is a
// real systemd, with sshd, rootless Podman and Quadlet, on addresses of their own
// in 127.0.0.0/8. It provides an inventory; everything else about a node is as on
// hardware, and belongs to package nodes.
package lab

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containers/podman/v5/pkg/bindings"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/testcontainers/testcontainers-go"
	tclog "github.com/testcontainers/testcontainers-go/log"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// Nodes are the lab's nodes: name and address. Any address of 127.0.0.0/8 works
// on Linux without configuration.
var Nodes = []struct{ Name, Address string }{
	{".228", "127.0.0.228"},
	{".198", "127.0.0.198"},
}

const (
	answerTimeout = 60 * time.Second
	specLabel     = "archipelago.lab.spec"
)

// Lab is the pair of local nodes.
type Lab struct {
	Engine *Engine
	state  string
	out    io.Writer // progress, a line each
}

// Open prepares the lab of this user; nothing is started. Progress goes to out.
func Open(out io.Writer) (*Lab, error) {
	e, err := OpenEngine()
	if err != nil {
		return nil, err
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, err
	}
	state := os.Getenv("XDG_STATE_HOME")
	if state == "" {
		state = filepath.Join(home, ".local", "state")
	}
	return &Lab{Engine: e, state: filepath.Join(state, "archipelago", "lab"), out: out}, nil
}

// InventoryFile is the nodes.yaml that Up writes.
func (l *Lab) InventoryFile() string { return filepath.Join(l.state, "nodes.yaml") }

func containerName(node string) string {
	return "archipelago-node" + strings.ReplaceAll(node, ".", "-")
}

// Up brings both nodes up and waits until they answer over SSH; nodes that are up
// as wanted are left alone. ports are published on each node's address, besides SSH.
func (l *Lab) Up(ctx context.Context, ports []int) error {
	if err := os.MkdirAll(l.state, 0o700); err != nil {
		return err
	}
	unlock, err := l.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := l.Engine.Start(ctx); err != nil {
		return err
	}
	image, err := l.Engine.nodeImage(ctx, l.out)
	if err != nil {
		return err
	}
	inv, err := l.inventory()
	if err != nil {
		return err
	}
	ports = append([]int{22}, ports...)
	slices.Sort(ports)
	ports = slices.Compact(ports)
	g, gctx := errgroup.WithContext(ctx)
	for i := range inv.Nodes {
		g.Go(func() error { return l.ensure(gctx, &inv.Nodes[i], image, ports) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return inv.Save(l.InventoryFile())
}

// lock keeps two runs of Up or Down from working at once.
func (l *Lab) lock() (func(), error) {
	f, err := os.OpenFile(filepath.Join(l.state, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking the lab: %w", err)
	}
	return func() { f.Close() }, nil
}

// inventory names the nodes, with keys that are made once.
func (l *Lab) inventory() (*nodes.Inventory, error) {
	if _, err := l.key("id_ed25519"); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	inv := &nodes.Inventory{}
	for _, m := range Nodes {
		host, err := l.key(hostKeyFile(m.Name))
		if err != nil {
			return nil, err
		}
		inv.Nodes = append(inv.Nodes, nodes.Node{
			Name: m.Name, Address: m.Address, Port: 22, User: "archipelago",
			Key: filepath.Join(l.state, "id_ed25519"), HostKey: authorized(host),
			Power: nodes.Power{Reboot: nodes.DefaultReboot, Cut: []string{self, "lab", "power-cut", m.Name}},
		})
	}
	return inv, nil
}

func hostKeyFile(node string) string { return "host" + strings.ReplaceAll(node, ".", "-") }

func authorized(s ssh.Signer) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.PublicKey())))
}

// key reads a private key, made on first use.
func (l *Lab) key(name string) (ssh.Signer, error) {
	file := filepath.Join(l.state, name)
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		block, err := ssh.MarshalPrivateKey(private, "archipelago lab")
		if err != nil {
			return nil, err
		}
		b = pem.EncodeToMemory(block)
		if err := os.WriteFile(file, b, 0o600); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	return ssh.ParsePrivateKey(b)
}

// ensure has one node run as wanted: left alone, started, or made anew.
func (l *Lab) ensure(ctx context.Context, n *nodes.Node, image string, ports []int) error {
	signer, err := l.key("id_ed25519")
	if err != nil {
		return err
	}
	spec, err := json.Marshal([]any{image, ports, n.Address, authorized(signer), n.HostKey})
	if err != nil {
		return err
	}
	sum := sha256.Sum256(spec)
	digest := hex.EncodeToString(sum[:8])
	have, err := l.inspect(ctx, n.Name)
	if err != nil {
		return err
	}
	switch {
	case have != nil && have.Config.Labels[specLabel] == digest && have.State.Running:
	case have != nil && have.Config.Labels[specLabel] == digest:
		if err := l.post(ctx, "/containers/%s/start", containerName(n.Name)); err != nil {
			return fmt.Errorf("starting node %s: %w", n.Name, err)
		}
	default:
		if have != nil {
			if err := l.remove(ctx, n.Name); err != nil {
				return err
			}
		}
		if err := l.create(ctx, n, image, digest, ports, authorized(signer)); err != nil {
			return err
		}
	}
	return l.awaitSSH(ctx, n)
}

func (l *Lab) create(ctx context.Context, n *nodes.Node, image, digest string, ports []int, userKey string) error {
	if err := portsFree(n, ports); err != nil {
		return err
	}
	if err := dropForwards(ctx, n.Address); err != nil {
		return err
	}
	hostPEM, err := os.ReadFile(filepath.Join(l.state, hostKeyFile(n.Name)))
	if err != nil {
		return err
	}
	// testcontainers finds the engine by these; the node must outlive this process,
	// so its reaper stays off.
	os.Setenv("DOCKER_HOST", l.Engine.URL())
	os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
	tclog.SetDefault(quiet{})
	ulimits, err := limits()
	if err != nil {
		return err
	}
	name := containerName(n.Name)
	req := testcontainers.ContainerRequest{
		Name:   name,
		Image:  image,
		Cmd:    []string{"/usr/local/sbin/init"},
		Labels: map[string]string{specLabel: digest},
		Mounts: testcontainers.Mounts(
			testcontainers.VolumeMount(name+"-home", "/home/archipelago"),
			testcontainers.VolumeMount(name+"-data", manifest.DataDir),
			testcontainers.VolumeMount(name+"-journal", "/var/log/journal"),
		),
		Files: []testcontainers.ContainerFile{
			{Reader: strings.NewReader(userKey + "\n"), ContainerFilePath: "/etc/ssh/authorized_keys/archipelago", FileMode: 0o644},
			{Reader: strings.NewReader(string(hostPEM)), ContainerFilePath: "/etc/ssh/ssh_host_ed25519_key", FileMode: 0o600},
		},
		ConfigModifier: func(c *container.Config) { c.Hostname = "node" + strings.ReplaceAll(n.Name, ".", "-") },
		HostConfigModifier: func(h *container.HostConfig) {
			h.Privileged = true
			h.CgroupnsMode = container.CgroupnsModePrivate
			h.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyAlways}
			h.Ulimits = ulimits
			h.PortBindings = network.PortMap{}
			for _, p := range ports {
				h.PortBindings[network.MustParsePort(fmt.Sprintf("%d/tcp", p))] = []network.PortBinding{
					{HostIP: netip.MustParseAddr(n.Address), HostPort: fmt.Sprint(p)}}
			}
		},
	}
	for _, p := range ports {
		req.ExposedPorts = append(req.ExposedPorts, fmt.Sprintf("%d/tcp", p))
	}
	fmt.Fprintf(l.out, "starting node %s on %s\n", n.Name, n.Address)
	_, err = testcontainers.GenericContainer(ctx, testcontainers.GenericContainerRequest{
		ContainerRequest: req, Started: true,
	})
	if err != nil {
		return fmt.Errorf("starting node %s: %w", n.Name, err)
	}
	return nil
}

// portsFree names every port of the node's address that something else on this
// machine holds.
func portsFree(n *nodes.Node, ports []int) error {
	var taken []error
	for _, p := range ports {
		probe, err := net.Listen("tcp", net.JoinHostPort(n.Address, fmt.Sprint(p)))
		if err != nil {
			taken = append(taken, fmt.Errorf("node %s: port %d of %s is taken on this machine (%w); 'ss -ltnp' names the process", n.Name, p, n.Address, err))
			continue
		}
		probe.Close()
	}
	return errors.Join(taken...)
}

// dropForwards takes away the kernel's port forwards from an address to a container
// that is no more. netavark's iptables driver keeps them while any other container is
// on the network, and a killed engine keeps them all; the oldest rule wins, so a new
// node would never be reached.
func dropForwards(ctx context.Context, address string) error {
	save, err := exec.LookPath("iptables-save")
	if err != nil {
		return nil // netavark's other driver, nftables, has rules for each container
	}
	var errs bytes.Buffer
	cmd := exec.CommandContext(ctx, save, "-t", "nat")
	cmd.Stderr = &errs
	rules, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("listing the forwards of %s: %w: %s", address, err, errs.String())
	}
	stale := staleForwards(string(rules), address)
	if stale == "" {
		return nil
	}
	cmd = exec.CommandContext(ctx, "iptables-restore", "--noflush", "--wait")
	cmd.Stdin, cmd.Stderr = strings.NewReader(stale), &errs
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("taking the stale forwards of %s away: %w: %s", address, err, errs.String())
	}
	return nil
}

// staleForwards turns the output of iptables-save into iptables-restore's input that
// deletes netavark's rules for an address; empty where there are none.
func staleForwards(rules, address string) string {
	var b strings.Builder
	for line := range strings.Lines(rules) {
		if rule, ok := strings.CutPrefix(line, "-A NETAVARK-DN-"); ok && strings.Contains(rule, " -d "+address+"/32 ") {
			b.WriteString("-D NETAVARK-DN-" + rule)
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "*nat\n" + b.String() + "COMMIT\n"
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}

// awaitSSH waits until the node takes a command.
func (l *Lab) awaitSSH(ctx context.Context, n *nodes.Node) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	c := nodes.NewClient(n)
	defer c.Close()
	if _, err := c.AwaitBoot(ctx, ""); err != nil {
		return fmt.Errorf("%w; its console: gate lab logs %s", err, n.Name)
	}
	return nil
}

// Status of one node.
type Status struct {
	Name    string    `json:"name"`
	Address string    `json:"address"`
	State   string    `json:"state"` // running, exited, …, or "absent"
	Since   time.Time `json:"since,omitzero"`
}

// Status tells how each node is; it starts nothing.
func (l *Lab) Status(ctx context.Context) ([]Status, error) {
	var out []Status
	for _, m := range Nodes {
		s := Status{Name: m.Name, Address: m.Address, State: "absent"}
		if l.Engine.Running() {
			c, err := l.inspect(ctx, m.Name)
			if err != nil {
				return nil, err
			}
			if c != nil {
				s.State, s.Since = c.State.Status, c.State.StartedAt
			}
		}
		out = append(out, s)
	}
	return out, nil
}

// Down removes both nodes with their data and stops the engine; images stay, as a cache.
func (l *Lab) Down(ctx context.Context) error {
	if err := os.MkdirAll(l.state, 0o700); err != nil {
		return err
	}
	unlock, err := l.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if l.Engine.Running() {
		g, gctx := errgroup.WithContext(ctx)
		for _, m := range Nodes {
			g.Go(func() error { return l.remove(gctx, m.Name) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	if err := l.Engine.Stop(ctx); err != nil {
		return err
	}
	err = os.Remove(l.InventoryFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// PowerCut ends a node at once, as if its plug were pulled, and starts it again.
func (l *Lab) PowerCut(ctx context.Context, node string) error {
	if err := l.known(node); err != nil {
		return err
	}
	if err := l.post(ctx, "/containers/%s/kill?signal=KILL", containerName(node)); err != nil {
		return fmt.Errorf("cutting the power of node %s: %w", node, err)
	}
	// Wait for the end of the old life, so that the start is not taken for a no-op.
	if err := l.post(ctx, "/containers/%s/wait?condition=stopped&condition=exited", containerName(node)); err != nil {
		return fmt.Errorf("cutting the power of node %s: %w", node, err)
	}
	if err := l.post(ctx, "/containers/%s/start", containerName(node)); err != nil {
		return fmt.Errorf("giving node %s its power back: %w", node, err)
	}
	return nil
}

// Exec runs a shell script in a node as its root, which no node's user may be: to
// take its disk away, say.
func (l *Lab) Exec(ctx context.Context, node string, w io.Writer, script string) error {
	if err := l.known(node); err != nil {
		return err
	}
	return l.Engine.Podman(ctx, w, "exec", containerName(node), "/bin/sh", "-euc", script)
}

// Logs writes the node's console.
func (l *Lab) Logs(ctx context.Context, node string, w io.Writer) error {
	if err := l.known(node); err != nil {
		return err
	}
	return l.Engine.Podman(ctx, w, "logs", containerName(node))
}

func (l *Lab) known(node string) error {
	for _, m := range Nodes {
		if m.Name == node {
			return nil
		}
	}
	return fmt.Errorf("%w: the lab has no node %q; it has .228 and .198", nodes.ErrInventory, node)
}

type inspected struct {
	State struct {
		Running   bool
		Status    string
		StartedAt time.Time
	}
	Config struct{ Labels map[string]string }
}

// inspect gives a node's container, or nil where there is none.
func (l *Lab) inspect(ctx context.Context, node string) (*inspected, error) {
	conn, err := l.client(ctx)
	if err != nil {
		return nil, err
	}
	resp, err := conn.DoRequest(ctx, nil, http.MethodGet, "/containers/%s/json", nil, nil, containerName(node))
	if err != nil {
		return nil, fmt.Errorf("inspecting node %s: %w", node, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return nil, nil
	}
	var c inspected
	if err := resp.Process(&c); err != nil {
		return nil, fmt.Errorf("inspecting node %s: %w", node, err)
	}
	return &c, nil
}

func (l *Lab) client(ctx context.Context) (*bindings.Connection, error) {
	bctx, err := l.Engine.Bindings(ctx)
	if err != nil {
		return nil, err
	}
	return bindings.GetClient(bctx)
}

func (l *Lab) post(ctx context.Context, path, name string) error {
	return l.do(ctx, http.MethodPost, path, name)
}

func (l *Lab) do(ctx context.Context, method, path, name string) error {
	conn, err := l.client(ctx)
	if err != nil {
		return err
	}
	resp, err := conn.DoRequest(ctx, nil, method, path, nil, nil, name)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotModified || resp.StatusCode == http.StatusNotFound && method == http.MethodDelete {
		return nil
	}
	return resp.Process(nil)
}

func (l *Lab) remove(ctx context.Context, node string) error {
	if err := l.do(ctx, http.MethodDelete, "/containers/%s?force=true&timeout=0", containerName(node)); err != nil {
		return fmt.Errorf("removing node %s: %w", node, err)
	}
	for _, v := range []string{"-home", "-data", "-journal"} {
		if err := l.do(ctx, http.MethodDelete, "/volumes/%s?force=true", containerName(node)+v); err != nil {
			return fmt.Errorf("removing the disk of node %s: %w", node, err)
		}
	}
	return nil
}
