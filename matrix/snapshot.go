package matrix

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
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
	portTimeout    = 2 * time.Second
)

// Snapshot is what the witnesses saw of one application on a node, all at about
// the same time. Nothing in it was said by the daemon.
type Snapshot struct {
	Boot       nodes.BootID
	Containers []Seen              // every container of the user, from Podman's API
	Units      map[string]UnitSeen // the application's services, from systemd
	Files      []string            // unit files of the application, from the disk
	Volumes    map[string]VolSeen  // by volume name, from the disk
	Secrets    map[string]FileSeen // by secret name, from the disk
	Stored     []string            // the application's secrets in Podman's store
	Networks   []string            // names, from Podman's API
	Open       map[int]bool        // published TCP port -> answers from outside
	UserID     int                 // of the node's user
	SubUID     int                 // first subordinate uid
	SubGID     int
	Leaks      []string // places that hold a secret's value and must not
}

// Seen is a container as Podman's API shows it.
type Seen struct {
	ID, Name, App string
	State, Health string
	StartedAt     time.Time
	Privileged    bool
	NetworkMode   string
	Mounts        []string // sources on the node
	Rootless      bool     // its process is in a user namespace that has no root of the node
}

// UnitSeen is a unit as systemd shows it.
type UnitSeen struct {
	Load, Active, Sub string
	Boot              bool // systemd starts it at boot: default.target wants it
}

// VolSeen is a volume's directory.
type VolSeen struct {
	Inode    string
	UID, GID int
	Mode     string
}

// FileSeen is a secret's file: what identifies the content, and who may read it.
type FileSeen struct {
	SHA256 string
	Mode   string
}

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

// podman gives a connection of Podman's bindings to the user's socket on the node,
// through a local socket that SSH carries there.
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
}

type inspection struct {
	ID    string `json:"Id"`
	Name  string
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
	Config struct{ Labels map[string]string }
}

const appLabel = "io.archipelago.app"

// Look takes a snapshot of an application; since bounds how far back logs are
// searched for secrets.
func (w *Witness) Look(ctx context.Context, m *manifest.Manifest, since time.Time) (*Snapshot, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, witnessTimeout, fmt.Errorf("%w: the witnesses had no answer from the node within %s", nodes.ErrLost, witnessTimeout))
	defer cancel()
	s := &Snapshot{Units: map[string]UnitSeen{}, Volumes: map[string]VolSeen{}, Secrets: map[string]FileSeen{}, Open: map[int]bool{}}
	var list []listed
	if _, err := w.get(ctx, "/containers/json", url.Values{"all": {"true"}}, &list); err != nil {
		return nil, err
	}
	var inspected bytes.Buffer
	var pids []string
	for _, l := range list {
		name := strings.Join(l.Names, ",")
		app := l.Labels[appLabel]
		_, member := m.Container(name)
		if app != "" && app != m.ID && !member {
			s.Containers = append(s.Containers, Seen{ID: l.ID, Name: name, App: app})
			continue // another application's; it has witnesses of its own
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
		seen := Seen{ID: c.ID, Name: name, App: app, State: c.State.Status, Health: c.State.Health.Status, StartedAt: c.State.StartedAt,
			Privileged: c.HostConfig.Privileged, NetworkMode: c.HostConfig.NetworkMode}
		for _, mount := range c.Mounts {
			seen.Mounts = append(seen.Mounts, mount.Source)
		}
		if c.State.Pid > 0 {
			pids = append(pids, strconv.Itoa(c.State.Pid))
		}
		s.Containers = append(s.Containers, seen)
	}
	var networks []struct {
		Name string `json:"name"`
	}
	if _, err := w.get(ctx, "/networks/json", nil, &networks); err != nil {
		return nil, err
	}
	for _, n := range networks {
		s.Networks = append(s.Networks, n.Name)
	}
	var stored []struct{ Spec struct{ Name string } }
	if _, err := w.get(ctx, "/secrets/json", nil, &stored); err != nil {
		return nil, err
	}
	for _, sec := range stored {
		if strings.HasPrefix(sec.Spec.Name, m.ID+".") {
			s.Stored = append(s.Stored, sec.Spec.Name)
		}
	}
	if err := w.disk(ctx, m, s, pids, &inspected, since); err != nil {
		return nil, err
	}
	for _, c := range m.Containers {
		for _, p := range c.Ports {
			if p.Protocol == "udp" {
				continue
			}
			conn, err := (&net.Dialer{Timeout: portTimeout}).DialContext(ctx, "tcp", net.JoinHostPort(w.address, strconv.Itoa(p.Host)))
			s.Open[p.Host] = err == nil && answers(conn)
		}
	}
	return s, nil
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

// leaks looks for the values in $secrets: in what the engine shows of the containers
// (standard input), in $units, in the journal from $since on, in $data's catalog and
// state. A secret that a purge takes away between the listing and the read is no
// value; an empty pattern would be found everywhere.
const leaks = `
values=$(for f in $secrets/*; do cat "$f" 2>/dev/null; echo; done | grep .)
if [ -n "$values" ]; then
  holds() { grep "$@" -qFf <(printf '%s\n' "$values"); }
  holds && echo leak inspect
  holds -r $units 2>/dev/null && echo leak unit-files
  journalctl --user --since $since -o cat 2>/dev/null | holds && echo leak journal
  holds -r $data/_daemon/catalog $data/_daemon/state 2>/dev/null && echo leak catalog-or-state
fi; true`

// disk asks systemd and the file system in one go. The secrets' values stay on
// the node: they are looked for there.
func (w *Witness) disk(ctx context.Context, m *manifest.Manifest, s *Snapshot, pids []string, inspected *bytes.Buffer, since time.Time) error {
	var units, volumes []string
	for _, c := range m.Containers {
		units = append(units, c.Name+".service")
		for _, v := range c.Volumes {
			volumes = append(volumes, nodes.DataDir+"/"+m.ID+"/"+v.Name)
		}
	}
	script := fmt.Sprintf(`
secrets=%[1]s/_daemon/secrets/%[2]s; units=~/.config/containers/systemd
echo boot $(cat /proc/sys/kernel/random/boot_id)/$(sed 's/.*) //' /proc/1/stat | cut -d' ' -f20)
echo ids $(id -u) $(grep "^$(id -un):" /etc/subuid | cut -d: -f2) $(grep "^$(id -un):" /etc/subgid | cut -d: -f2)
systemctl --user show -p Id,LoadState,ActiveState,SubState,WantedBy %[3]s | awk -F= 'function p(){print "unit",v["Id"],v["LoadState"],v["ActiveState"],v["SubState"],(v["WantedBy"]~/default.target/)} /=/{v[$1]=$2} /^$/{p(); delete v} END{p()}'
for f in $(grep -ls '^Label="%[4]s=%[2]s"$' $units/* 2>/dev/null); do echo file ${f##*/}; done
for v in %[5]s; do [ -e $v ] && echo volume ${v##*/} $(stat -c '%%i %%u %%g %%a' $v); done
for f in $secrets/*; do [ -e "$f" ] && echo secret ${f##*/} $(sha256sum < $f | cut -d' ' -f1) $(stat -c %%a $f); done
for p in %[6]s; do echo uidmap $p $(awk 'NR==1{print $2}' /proc/$p/uid_map); done
data=%[1]s; since=@%[7]d
`,
		nodes.DataDir, m.ID, strings.Join(units, " "), appLabel, strings.Join(volumes, " "), strings.Join(pids, " "), since.Unix()) + leaks
	var out bytes.Buffer
	if err := w.ssh.Stream(ctx, "bash -c "+nodes.Quote(script), inspected, &out); err != nil {
		return err
	}
	rootless := 0
	for line := range strings.SplitSeq(out.String(), "\n") {
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
		case f[0] == "uidmap" && len(f) == 3 && f[2] != "0":
			rootless++
		case f[0] == "leak":
			s.Leaks = append(s.Leaks, f[1])
		}
	}
	if s.Boot == "" || s.UserID == 0 {
		return fmt.Errorf("%s: the witnesses' script gave no identity: %q", w.ssh.Node, out.String())
	}
	// A process may have ended between the two looks; it is then not running rootful either.
	for i := range s.Containers {
		s.Containers[i].Rootless = rootless == len(pids)
	}
	return nil
}
