package matrix

import (
	"bytes"
	"context"
	_ "embed" // the script
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
)

// Witness looks at one node, without trusting its daemon.
type Witness struct {
	ssh     *nodes.Client
	address string

	mu   sync.Mutex
	conn context.Context // Podman's bindings, over SSH
	stop func()
}

// NewWitness looks at a node over ssh, and at its ports at address.
func NewWitness(ssh *nodes.Client, address string) *Witness {
	return &Witness{ssh: ssh, address: address}
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
	defer resp.Body.Close()
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

	Networks []string
}

type inspection struct {
	ID    string `json:"Id"`
	State struct {
		Status    string
		Pid       int
		StartedAt time.Time
		Health    struct{ Status string }
	}
	Mounts     []struct{ Source string }
	HostConfig struct {
		Privileged  bool
		NetworkMode string
	}
}

// Look takes a snapshot of an application; since is how far back logs are searched
// for secrets.
func (w *Witness) Look(ctx context.Context, m *manifest.Manifest, since time.Time) (*Snapshot, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, witnessTimeout, fmt.Errorf("%w: the witnesses had no answer from the node within %s", nodes.ErrLost, witnessTimeout))
	defer cancel()
	s := &Snapshot{Units: map[string]UnitSeen{}, Volumes: map[string]VolSeen{}, Secrets: map[string]FileSeen{}, Open: map[int]bool{}, Exposed: map[int]bool{}}
	pids, inspected, err := w.containers(ctx, m, s)
	if err != nil {
		return nil, err
	}
	if err := w.leftovers(ctx, m, s); err != nil {
		return nil, err
	}
	if err := w.disk(ctx, m, s, pids, inspected, since); err != nil {
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
				conn, err = outside()
				s.Exposed[p.Host] = err == nil && answersHTTP(conn)
			default:
				conn, err := outside()
				s.Open[p.Host] = err == nil && answers(conn)
			}
		}
	}
	return nil
}

// containers adds what Podman shows of the containers. Of those that are not
// another application's, it gives the processes and the whole inspection too.
func (w *Witness) containers(ctx context.Context, m *manifest.Manifest, s *Snapshot) (pids []string, inspected *bytes.Buffer, err error) {
	var list []listed
	if _, err := w.get(ctx, "/containers/json", url.Values{"all": {"true"}}, &list); err != nil {
		return nil, nil, err
	}
	inspected = &bytes.Buffer{}
	for _, l := range list {
		name := strings.Join(l.Names, ",")
		app := l.Labels[manifest.LabelApp]
		_, member := m.Container(name)
		if app != "" && app != m.ID && !member {
			s.Containers = append(s.Containers, Seen{ID: l.ID, Name: name, App: app, Networks: l.Networks})
			continue // another application's, which is looked at in its own cells
		}
		var c inspection
		raw, err := w.get(ctx, "/containers/%s/json", nil, &c, l.ID)
		if err != nil {
			if strings.Contains(err.Error(), "no such container") {
				continue // gone between the two calls
			}
			return nil, nil, err
		}
		inspected.Write(raw)
		seen := Seen{ID: c.ID, Name: name, App: app, State: c.State.Status, Health: c.State.Health.Status, StartedAt: c.State.StartedAt,
			Privileged: c.HostConfig.Privileged, NetworkMode: c.HostConfig.NetworkMode, Networks: l.Networks}
		for _, mount := range c.Mounts {
			seen.Mounts = append(seen.Mounts, mount.Source)
		}
		if c.State.Pid > 0 {
			seen.pid = strconv.Itoa(c.State.Pid)
			pids = append(pids, seen.pid)
		}
		s.Containers = append(s.Containers, seen)
	}
	return pids, inspected, nil
}

// leftovers adds what outlives containers in Podman: networks and secrets.
func (w *Witness) leftovers(ctx context.Context, m *manifest.Manifest, s *Snapshot) error {
	var networks []struct {
		Name string `json:"name"`
	}
	if _, err := w.get(ctx, "/networks/json", nil, &networks); err != nil {
		return err
	}
	for _, n := range networks {
		s.Networks = append(s.Networks, n.Name)
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
	return nil
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

// script asks systemd and the file system in one go.
//
//go:embed look.sh
var script string

// disk adds to a snapshot what only the node itself can tell, by the script.
func (w *Witness) disk(ctx context.Context, m *manifest.Manifest, s *Snapshot, pids []string, inspected io.Reader, since time.Time) error {
	var units, volumes []string
	for _, c := range m.Containers {
		units = append(units, c.Name+".service")
		for _, v := range c.Volumes {
			volumes = append(volumes, manifest.VolumeDir(nodes.DataDir, m.ID, v.Name))
		}
	}
	command := "bash -c " + nodes.Quote(script) + " look"
	for _, arg := range []string{m.ID, nodes.DataDir, manifest.LabelApp, fmt.Sprintf("@%d", since.Unix()), strings.Join(units, " "), strings.Join(volumes, " "), strings.Join(pids, " ")} {
		command += " " + nodes.Quote(arg)
	}
	var out bytes.Buffer
	if err := w.ssh.Stream(ctx, command, inspected, &out); err != nil {
		return err
	}
	if err := s.read(out.String(), len(pids)); err != nil {
		return fmt.Errorf("%s: %w", w.ssh.Node, err)
	}
	return nil
}

// read takes in the script's facts; processes is how many it was asked about.
func (s *Snapshot) read(facts string, processes int) error {
	rootless := 0
	for line := range strings.SplitSeq(facts, "\n") {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch {
		case f[0] == "boot":
			s.Boot = nodes.BootID(f[1])
		case f[0] == "ids" && len(f) == 4:
			s.UserID, _ = strconv.Atoi(f[1])
			s.SubUID, _ = strconv.Atoi(f[2])
			s.SubGID, _ = strconv.Atoi(f[3])
		case f[0] == "unit" && len(f) == 6:
			s.Units[f[1]] = UnitSeen{f[2], f[3], f[4], f[5] == "1"}
		case f[0] == "file":
			s.Files = append(s.Files, f[1])
		case f[0] == "volume" && len(f) == 6:
			uid, _ := strconv.Atoi(f[3])
			gid, _ := strconv.Atoi(f[4])
			s.Volumes[f[1]] = VolSeen{f[2], uid, gid, f[5]}
		case f[0] == "secret" && len(f) == 4:
			s.Secrets[f[1]] = FileSeen{f[2], f[3]}
		case f[0] == "process" && len(f) == 5:
			if f[2] != "0" {
				rootless++
			}
			effective, _ := strconv.ParseUint(f[3], 16, 64)
			bounding, _ := strconv.ParseUint(f[4], 16, 64)
			for i := range s.Containers {
				if s.Containers[i].pid == f[1] {
					s.Containers[i].Capabilities = effective | bounding
				}
			}
		case f[0] == "leak":
			s.Leaks = append(s.Leaks, f[1])
		}
	}
	if s.Boot == "" || s.UserID == 0 {
		return fmt.Errorf("the witnesses' script gave no identity: %q", facts)
	}
	// All or none: a process that is not seen in a user namespace, be it because it
	// ended between the two looks, is not taken for rootless.
	for i := range s.Containers {
		s.Containers[i].Rootless = rootless == processes
	}
	return nil
}
