// Package lab runs two nodes on one machine: containers whose PID 1 is a real systemd,
// with sshd, rootless Podman and Quadlet, on addresses of their own in 127.0.0.0/8. It
// provides an inventory. Everything else about these nodes is as on hardware, and belongs
// to package nodes.
package lab

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

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
	portsLabel    = "archipelago.lab.ports"
)

// Lab is the pair of local nodes.
type Lab struct {
	Engine *Engine
	state  string
	users  string
	out    io.Writer // progress, a line each
}

// Open returns the lab of this user without starting anything. Progress goes to out.
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
	return &Lab{Engine: e, state: filepath.Join(state, "archipelago", "lab"), users: usersDir, out: out}, nil
}

// InventoryFile is the nodes.yaml that Up writes.
func (l *Lab) InventoryFile() string { return filepath.Join(l.state, "nodes.yaml") }

func containerName(node string) string {
	return "archipelago-node" + strings.ReplaceAll(node, ".", "-")
}

func cableName(node string) string { return containerName(node) + "-cable" }

// Up starts both nodes and waits until they answer over SSH. Nodes that already run as
// wanted are not touched. ports are published on each node's address, besides SSH.
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

// lock prevents two runs of Up or Down at the same time.
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

// inventory describes the nodes; their keys are created once.
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
		inv.Nodes = append(inv.Nodes, l.node(m.Name, m.Address, host, []string{self, "lab", "power-cut", m.Name}))
	}
	return inv, nil
}

// node is how a machine of the lab is reached.
func (l *Lab) node(name, address string, host ssh.Signer, cut []string) nodes.Node {
	return nodes.Node{
		Name: name, Address: address, Port: 22, User: "archipelago",
		Key: filepath.Join(l.state, "id_ed25519"), HostKey: authorized(host),
		Power: nodes.Power{Reboot: nodes.DefaultReboot, Cut: cut},
	}
}

func hostKeyFile(node string) string { return "host" + strings.ReplaceAll(node, ".", "-") }

func authorized(s ssh.Signer) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.PublicKey())))
}

// key reads a private key, which is created on first use.
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

// Status of one node.
type Status struct {
	Name    string    `json:"name"`
	Address string    `json:"address"`
	State   string    `json:"state"` // running, exited, …, or "absent"
	Since   time.Time `json:"since,omitzero"`
}

// Status returns the state of each node without starting anything.
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
	if err := l.Engine.foreign(); err != nil {
		return err
	}
	if err := l.othersUse("removing it"); err != nil {
		return err
	}
	if l.Engine.Running() {
		g, gctx := errgroup.WithContext(ctx)
		for _, m := range machines() {
			g.Go(func() error { return l.remove(gctx, m.Name) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	if err := l.Engine.Stop(ctx); err != nil {
		return err
	}
	if err := os.Remove(l.InventoryFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if left := l.Engine.left(); len(left) > 0 {
		return fmt.Errorf("the lab's engine did not run, and so these and the nodes' containers are left: %s; 'gate lab up' and then 'gate lab down' removes them", strings.Join(left, ", "))
	}
	return nil
}
