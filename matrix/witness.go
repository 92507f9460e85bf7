package matrix

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containers/podman/v5/pkg/bindings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

const (
	witnessTimeout = 30 * time.Second
	portTimeout    = 2 * time.Second // for a connection
	answerTimeout  = 5 * time.Second // for the first byte of an answer

	maxInspection = 16 << 20 // bytes of an answer of Podman's

	attempts = 3 // to look at containers of which one ends meanwhile
)

// Witness looks at one node, without trusting its daemon.
type Witness struct {
	ssh     *nodes.Client
	address string
	program string // file here of what is asked on the node

	bringing sync.Mutex
	brought  bool // the program is on the node

	mu   sync.Mutex
	conn context.Context // Podman's bindings, over SSH
	stop func()

	images map[string]*image // by id
}

// NewWitness looks at a node over ssh, and at its ports at address. program is the file of
// command look, for the node: what is asked on the node itself is asked by it.
func NewWitness(ssh *nodes.Client, address, program string) *Witness {
	return &Witness{ssh: ssh, address: address, program: program}
}

// podman connects Podman's bindings to the user's socket on the node, through a
// local socket that SSH forwards there.
func (w *Witness) podman(ctx context.Context) (*bindings.Connection, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn == nil {
		local, stop, err := w.ssh.ForwardUnix("/run/user/$UID/podman/podman.sock")
		if err != nil {
			return nil, err
		}
		conn, err := bindings.NewConnection(context.WithoutCancel(ctx), "unix://"+local)
		if err != nil {
			stop()
			return nil, fmt.Errorf("%s: %w: Podman's API over SSH: %w", w.ssh.Node, nodes.ErrLost, err)
		}
		w.conn, w.stop = conn, stop
	}
	return bindings.GetClient(w.conn)
}

// Close ends the connection to Podman; the next look makes another.
func (w *Witness) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stop != nil {
		w.stop()
		w.conn, w.stop = nil, nil
	}
}

func (w *Witness) get(ctx context.Context, path string, query url.Values, out any, args ...string) ([]byte, error) {
	conn, err := w.podman(ctx)
	if err != nil {
		return nil, err
	}
	resp, err := conn.DoRequest(ctx, nil, http.MethodGet, path, query, nil, args...)
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("%s: asking Podman: %w", w.ssh.Node, err)
	}
	body := resp.Body
	defer body.Close()
	resp.Body = io.NopCloser(nodes.Bounded(resp.Body, maxInspection))
	var raw json.RawMessage
	if err := resp.Process(&raw); err != nil {
		return nil, err
	}
	return raw, json.Unmarshal(raw, out)
}

type listed struct {
	ID     string `json:"Id"`
	Names  []string
	Labels map[string]string
	Pid    int
	State  string
	Status string // of its health check

	Networks []string
}

// Look takes a snapshot of an application; since is how far back logs are searched
// for secrets. A look that has no answer to something it asked is ErrIncomplete. Where a
// container ends between Podman's answer and the kernel's, it looks again.
func (w *Witness) Look(ctx context.Context, m *manifest.Manifest, since time.Time) (*Snapshot, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, witnessTimeout, fmt.Errorf("%w: the witnesses had no answer from the node within %s", nodes.ErrLost, witnessTimeout))
	defer cancel()
	return again(func() (*Snapshot, error) { return w.once(ctx, m, since) })
}

// again looks until no container ends meanwhile, a few times.
func again(look func() (*Snapshot, error)) (s *Snapshot, err error) {
	for range attempts {
		if s, err = look(); !errors.Is(err, errEnded) {
			break
		}
	}
	return s, err
}

// once takes a snapshot, in which a container may have ended.
func (w *Witness) once(ctx context.Context, m *manifest.Manifest, since time.Time) (*Snapshot, error) {
	s := newSnapshot()
	inspected, err := w.containers(ctx, m, s)
	if err != nil {
		return nil, err
	}
	if err := w.leftovers(ctx, m, s); err != nil {
		return nil, err
	}
	if err := w.disk(ctx, m, s, inspected, since); err != nil {
		return nil, err
	}
	if err := w.ports(ctx, m, s); err != nil {
		return nil, err
	}
	return s, nil
}

// ports adds which TCP ports answer, and where.
func (w *Witness) ports(ctx context.Context, m *manifest.Manifest, s *Snapshot) error {
	webs := m.WebPorts()
	for _, c := range m.Containers {
		for _, p := range c.Ports {
			port := strconv.Itoa(p.Host)
			outside := func() (net.Conn, error) {
				return (&net.Dialer{Timeout: portTimeout}).DialContext(ctx, "tcp", net.JoinHostPort(w.address, port))
			}
			switch {
			case p.Protocol == "udp":
			case slices.Contains(webs, p):
				conn, err := w.ssh.Dial(ctx, "tcp", net.JoinHostPort("127.0.0.1", port))
				if errors.Is(err, nodes.ErrLost) || errors.Is(err, nodes.ErrRefused) {
					return err
				}
				s.Open[p.Host] = err == nil && answersHTTP(conn)
				if err == nil && !s.Open[p.Host] && nodes.Lost(ctx, conn) {
					return fmt.Errorf("asking port %d on the node: %w", p.Host, nodes.ErrLost)
				}
				conn, err = outside()
				s.Exposed[p.Host] = err == nil && answersHTTP(conn)
				if !s.Open[p.Host] { // what is there is asked by whoever uses it
					s.Proxied[p.Host] = proxied(ctx, net.JoinHostPort(w.address, strconv.Itoa(p.Host+manifest.ProxyOffset)), pathAt(m, p))
				}
			default:
				conn, err := outside()
				s.Open[p.Host] = err == nil && answers(conn)
			}
		}
	}
	return context.Cause(ctx) // a port that there was no time to ask is not closed
}

// containers adds what Podman shows of the containers. Of those that are not another
// application's, it adds everything, and gives the whole inspection too.
func (w *Witness) containers(ctx context.Context, m *manifest.Manifest, s *Snapshot) (inspected *bytes.Buffer, err error) {
	var list []listed
	if _, err := w.get(ctx, "/containers/json", url.Values{"all": {"true"}}, &list); err != nil {
		return nil, err
	}
	inspected = &bytes.Buffer{}
	for _, l := range list {
		name := strings.Join(l.Names, ",")
		app := l.Labels[manifest.LabelApp]
		_, member := m.Container(name)
		if app != "" && app != m.ID && !member {
			s.Containers = append(s.Containers, Seen{ID: l.ID, Name: name, App: app, Networks: l.Networks, pid: process(l.Pid)})
			continue // another application's, which is looked at in its own cells
		}
		var c inspection
		raw, err := w.get(ctx, "/containers/%s/json", nil, &c, l.ID)
		if err != nil {
			if strings.Contains(err.Error(), "no such container") {
				continue // gone between the two calls
			}
			return nil, err
		}
		inspected.Write(raw)
		seen := c.seen(name, app)
		seen.Networks = l.Networks
		if seen.running != nil {
			if seen.running.image, err = w.image(ctx, c.Image); err != nil {
				return nil, err
			}
		}
		s.Containers = append(s.Containers, seen)
	}
	return inspected, nil
}

// seen is a container as its inspection shows it.
func (c inspection) seen(name, app string) Seen {
	out := Seen{ID: c.ID, Name: name, App: app, State: c.State.Status, Health: c.State.Health.Status, StartedAt: c.State.StartedAt,
		Privileged: c.HostConfig.Privileged, NetworkMode: c.HostConfig.NetworkMode, pid: process(c.State.Pid)}
	for _, mount := range c.Mounts {
		out.Mounts = append(out.Mounts, mount.Source)
	}
	if out.pid != "" {
		out.running = &Details{inspection: c, Limits: map[string]string{}, Parent: map[string]string{}, Inside: map[string]InsideSeen{}, Texts: map[string]string{}}
	}
	return out
}

func process(pid int) string {
	if pid == 0 {
		return ""
	}
	return strconv.Itoa(pid)
}

// image gives an image by its id, which is that of its content: it is asked for once.
func (w *Witness) image(ctx context.Context, id string) (*image, error) {
	w.mu.Lock()
	known := w.images[id]
	w.mu.Unlock()
	if known != nil || id == "" {
		return known, nil
	}
	known = &image{}
	if _, err := w.get(ctx, "/images/%s/json", nil, known, id); err != nil {
		return nil, fmt.Errorf("looking at image %.12s: %w", id, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.images == nil {
		w.images = map[string]*image{}
	}
	w.images[id] = known
	return known, nil
}

// leftovers adds what outlives containers in Podman: networks and secrets.
func (w *Witness) leftovers(ctx context.Context, m *manifest.Manifest, s *Snapshot) error {
	var networks []struct {
		Name     string            `json:"name"`
		Internal bool              `json:"internal"`
		Options  map[string]string `json:"options"`
	}
	if _, err := w.get(ctx, "/networks/json", nil, &networks); err != nil {
		return err
	}
	for _, n := range networks {
		s.Networks = append(s.Networks, n.Name)
		s.Bridges[n.Name] = Bridge{n.Internal, n.Options["isolate"]}
	}
	var stored []struct{ Spec struct{ Name string } }
	if _, err := w.get(ctx, "/secrets/json", nil, &stored); err != nil {
		return err
	}
	for _, sec := range stored {
		if strings.HasPrefix(sec.Spec.Name, m.ID+".") {
			s.Stored = append(s.Stored, sec.Spec.Name)
		}
	}
	return w.volumes(ctx, m, s)
}

// answers tells a listening application from a forwarder with nothing behind it,
// which takes a connection and closes it at once.
func answers(conn net.Conn) bool {
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	_, err := conn.Read(make([]byte, 1))
	ne, timeout := err.(net.Error)
	return err == nil || timeout && ne.Timeout()
}

// answersHTTP tells whether a request is answered, be it by a single byte. A forwarder with
// nothing behind it takes the connection and ends it. Not every connection knows
// deadlines: one over SSH is closed instead.
func answersHTTP(conn net.Conn) bool {
	end := time.AfterFunc(answerTimeout, func() { conn.Close() })
	defer end.Stop()
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		return false
	}
	n, _ := conn.Read(make([]byte, 1))
	return n > 0
}
