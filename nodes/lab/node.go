package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containers/podman/v5/pkg/bindings"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/testcontainers/testcontainers-go"
	tclog "github.com/testcontainers/testcontainers-go/log"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// ensure makes one node run as wanted: it leaves it alone, starts it, or recreates it. A node
// that publishes more ports than are wanted is left alone: another catalog wanted those.
func (l *Lab) ensure(ctx context.Context, n *nodes.Node, image string, ports []int) error {
	signer, err := l.key("id_ed25519")
	if err != nil {
		return err
	}
	spec, err := json.Marshal([]any{image, n.Address, authorized(signer), n.HostKey})
	if err != nil {
		return err
	}
	sum := sha256.Sum256(spec)
	digest := hex.EncodeToString(sum[:8])
	have, err := l.inspect(ctx, n.Name)
	if err != nil {
		return err
	}
	fits := false
	if have != nil {
		published := have.ports()
		fits = have.Config.Labels[specLabel] == digest && !slices.ContainsFunc(ports, func(p int) bool { return !slices.Contains(published, p) })
		ports = append(ports, published...)
		slices.Sort(ports)
		ports = slices.Compact(ports)
	}
	switch {
	case fits && have.State.Running:
	case fits:
		for _, c := range []string{cableName(n.Name), containerName(n.Name)} {
			if err := l.post(ctx, "/containers/%s/start", c); err != nil {
				return fmt.Errorf("starting node %s: %w", n.Name, err)
			}
		}
	default:
		if have != nil {
			if err := l.othersUse("renewing node " + n.Name + ", which has another image or too few ports,"); err != nil {
				return err
			}
			if err := l.remove(ctx, n.Name); err != nil {
				return err
			}
		}
		if err := l.create(ctx, n, image, digest, ports, disks, authorized(signer)); err != nil {
			return err
		}
	}
	return l.awaitSSH(ctx, n)
}

// disks are the volumes of a node, by what their names end with, and where they are mounted.
var disks = map[string]string{"-home": "/home/archipelago", "-data": manifest.DataDir, "-journal": "/var/log/journal"}

func (l *Lab) create(ctx context.Context, n *nodes.Node, image, digest string, ports []int, disks map[string]string, userKey string) error {
	if add := IDsToAdd(); add != "" {
		return fmt.Errorf("%w: node %s needs user ids of its own; 'gate setup' gives it some, or as root: %s", nodes.ErrInventory, n.Name, add)
	}
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
	labels := map[string]string{specLabel: digest, portsLabel: strings.Trim(fmt.Sprint(ports), "[]")}
	fmt.Fprintf(l.out, "starting node %s on %s\n", n.Name, n.Address)
	if err := start(ctx, cable(n, image, labels, ports, ulimits)); err != nil {
		return fmt.Errorf("giving node %s a network: %w", n.Name, err)
	}
	name := containerName(n.Name)
	var mounts []testcontainers.ContainerMount
	for suffix, path := range disks {
		mounts = append(mounts, testcontainers.VolumeMount(name+suffix, testcontainers.ContainerMountTarget(path)))
	}
	err = start(ctx, testcontainers.ContainerRequest{
		Name:   name,
		Image:  image,
		Cmd:    []string{"/usr/local/sbin/init"},
		Env:    map[string]string{"NODE": "node" + strings.ReplaceAll(n.Name, ".", "-")},
		Labels: labels,
		Mounts: mounts,
		Files: []testcontainers.ContainerFile{
			{Reader: strings.NewReader(userKey + "\n"), ContainerFilePath: "/etc/ssh/authorized_keys/archipelago", FileMode: 0o644},
			{Reader: strings.NewReader(string(hostPEM)), ContainerFilePath: "/etc/ssh/ssh_host_ed25519_key", FileMode: 0o600},
		},
		HostConfigModifier: func(h *container.HostConfig) {
			// Over its own namespace only: see nodeIDs. systemd, and rootless containers in
			// it, need /proc and /sys without the engine's masks.
			h.Privileged = true
			h.UsernsMode = container.UsernsMode(fmt.Sprint(usernsMode, nodeIDs))
			h.CgroupnsMode = container.CgroupnsModePrivate
			h.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyAlways}
			h.Ulimits = ulimits
			h.NetworkMode = container.NetworkMode("container:" + cableName(n.Name))
			h.Binds = []string{"/sys:/sys"} // of a network that is another user namespace's, it cannot be mounted anew
		},
	})
	if err != nil {
		return fmt.Errorf("starting node %s: %w", n.Name, err)
	}
	return nil
}

// cable is a container that does nothing but hold a node's network, and so keeps its
// addresses and ports over the node's reboots and power cuts: the network of a container that
// has a user namespace ends with it, and the engine leaves its forwards behind (Podman 4.3).
func cable(n *nodes.Node, image string, labels map[string]string, ports []int, ulimits []*container.Ulimit) testcontainers.ContainerRequest {
	req := testcontainers.ContainerRequest{
		Name: cableName(n.Name), Image: image, Labels: labels,
		Cmd: []string{"sleep", "infinity"},
		HostConfigModifier: func(h *container.HostConfig) {
			h.Privileged = true // nobody gets into it
			h.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyAlways}
			h.Ulimits = ulimits
			h.Sysctls = map[string]string{"net.ipv4.ip_unprivileged_port_start": "0"} // the node's sshd is not root here
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
	return req
}

func start(ctx context.Context, req testcontainers.ContainerRequest) error {
	_, err := testcontainers.GenericContainer(ctx, testcontainers.GenericContainerRequest{ContainerRequest: req, Started: true})
	return err
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}

// awaitSSH waits until the node executes a command.
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

// PowerCut kills a node at once, as if its plug were pulled, and starts it again.
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

// Exec runs a shell script in a node as root, to take its disk away for example; the
// node's own user cannot become root.
func (l *Lab) Exec(ctx context.Context, node string, w io.Writer, script string) error {
	if err := l.known(node); err != nil {
		return err
	}
	return l.Engine.Podman(ctx, w, "exec", containerName(node), "/bin/sh", "-euc", script)
}

// Cable runs a shell script where a node's network is: it can take eth0 down as if its cable
// were pulled, which the node itself cannot.
func (l *Lab) Cable(ctx context.Context, node string, w io.Writer, script string) error {
	if err := l.known(node); err != nil {
		return err
	}
	return l.Engine.Podman(ctx, w, "exec", cableName(node), "/bin/sh", "-euc", script)
}

// Logs writes the node's console.
func (l *Lab) Logs(ctx context.Context, node string, w io.Writer) error {
	if err := l.known(node); err != nil {
		return err
	}
	return l.Engine.Podman(ctx, w, "logs", containerName(node))
}

func (l *Lab) known(node string) error {
	for _, m := range machines() {
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

// ports are those that the node publishes.
func (c *inspected) ports() (out []int) {
	for _, p := range strings.Fields(c.Config.Labels[portsLabel]) {
		if n, err := strconv.Atoi(p); err == nil {
			out = append(out, n)
		}
	}
	return out
}

// inspect returns a node's container, or nil if there is none.
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
	for _, c := range []string{containerName(node), cableName(node)} {
		if err := l.do(ctx, http.MethodDelete, "/containers/%s?force=true&timeout=0", c); err != nil {
			return fmt.Errorf("removing node %s: %w", node, err)
		}
	}
	for v := range disks {
		if err := l.do(ctx, http.MethodDelete, "/volumes/%s?force=true", containerName(node)+v); err != nil {
			return fmt.Errorf("removing the disk of node %s: %w", node, err)
		}
	}
	return nil
}
