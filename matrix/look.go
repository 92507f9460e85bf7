package matrix

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// ErrIncomplete is returned for a look to which the node gave no answer, or not to
// everything that was asked. It is the gate's trouble, and proves nothing of what is
// tested: what was not seen is not taken for absent.
var ErrIncomplete = errors.New("the witnesses' look is incomplete")

// errEnded is an ErrIncomplete because a container began or ended meanwhile.
var errEnded = errors.New("a container began or ended while it was looked at")

// programOnNode is where the witnesses' program is on a node (package look), below the home
// directory.
const programOnNode = ".cache/archipelago-gate/look"

// questions are what the program is asked of an application.
type questions struct {
	app, dataDir   string
	since          time.Time
	units, volumes []string // units by name, volumes, those of others too, and folders of the owner's by directory
	mains          []string // main processes of its containers: "PID:PID of conmon"
	others         []string // main processes of other containers
	inside         []string // paths in containers: "PID:/path"
	devices        []string // paths on the node
	texts          []string // files in containers, the same
	lenders        []string // applications whose secrets may be in them
}

// ask gathers the questions to which a snapshot lacks the answers.
func (s *Snapshot) ask(m *manifest.Manifest, dataDir string, since time.Time) questions {
	q := questions{app: m.ID, dataDir: dataDir, since: since}
	for _, c := range m.Containers {
		q.units = append(q.units, c.Name+".service")
	}
	for _, name := range m.Volumes() {
		q.volumes = append(q.volumes, manifest.VolumeDir(dataDir, m.ID, name))
	}
	for _, c := range m.Containers {
		for _, f := range c.Storage {
			if dir := placeOfFolder(f); !slices.Contains(q.volumes, dir) {
				q.volumes = append(q.volumes, dir)
			}
		}
		for _, in := range c.Imports {
			if dir := manifest.VolumeDir(dataDir, in.Of, in.Name); in.Mounts() && !slices.Contains(q.volumes, dir) {
				q.volumes = append(q.volumes, dir)
			}
		}
	}
	q.devices = devicesOf(m)
	for _, seen := range s.Containers {
		if seen.running == nil {
			if seen.pid != "" {
				q.others = append(q.others, seen.pid)
			}
			continue
		}
		q.mains = append(q.mains, seen.pid+":"+strconv.Itoa(seen.running.State.ConmonPid))
		c, member := m.Container(seen.Name)
		if !member {
			continue
		}
		for _, sec := range c.Secrets {
			if sec.Path != "" {
				q.inside = append(q.inside, seen.pid+":"+sec.Path)
				q.texts = append(q.texts, seen.pid+":"+sec.Path)
			}
		}
		for _, in := range c.Imports {
			if in.Path != "" && in.Of != "" {
				q.inside = append(q.inside, seen.pid+":"+in.Path)
			}
			if in.Path != "" && in.Credential() {
				q.texts = append(q.texts, seen.pid+":"+in.Path)
			}
		}
		for _, r := range m.Requires {
			q.lenders = append(q.lenders, r.App)
		}
		for _, f := range c.Files {
			q.inside = append(q.inside, seen.pid+":"+f.Path)
			q.texts = append(q.texts, seen.pid+":"+f.Path)
		}
		for _, v := range c.Volumes {
			q.inside = append(q.inside, seen.pid+":"+v.Path)
		}
		for _, f := range c.Storage {
			q.inside = append(q.inside, seen.pid+":"+f.Path)
		}
	}
	return q
}

func (q questions) arguments() []string {
	list := func(words []string) string { return strings.Join(words, " ") }
	return []string{q.app, q.dataDir, manifest.LabelApp, nodes.Ago(q.since), list(q.units), list(q.volumes), list(q.mains), list(q.others), list(q.inside), list(q.devices), list(q.texts), list(q.lenders)}
}

// disk adds to a snapshot what only the node itself can tell.
func (w *Witness) disk(ctx context.Context, m *manifest.Manifest, s *Snapshot, inspected io.Reader, since time.Time) error {
	q := s.ask(m, nodes.DataDir, since)
	facts, err := w.ask(ctx, inspected, append([]string{"look"}, q.arguments()...)...)
	if err != nil {
		return err
	}
	if err := s.read(facts, q); err != nil {
		return fmt.Errorf("%s: %w", w.ssh.Node, err)
	}
	return nil
}

// ask runs the witnesses' program on the node. Before its first answer to this process, it is
// compared with the file here: nothing that is tested, and no other gate, has left another one
// in its place. That it does not run is the gate's trouble.
func (w *Witness) ask(ctx context.Context, stdin io.Reader, args ...string) (facts string, err error) {
	if err := w.bring(ctx); err != nil {
		return "", err
	}
	var out bytes.Buffer
	err = w.ssh.Stream(ctx, command(args), stdin, &out)
	if exit := (*nodes.ExitError)(nil); errors.As(err, &exit) {
		w.bringing.Lock()
		w.brought = false // it may not be there any more
		w.bringing.Unlock()
		err = fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	return out.String(), err
}

// command is what the node's shell gets.
func command(args []string) string {
	words := []string{"exec ~/" + programOnNode}
	for _, a := range args {
		words = append(words, nodes.Quote(a))
	}
	return strings.Join(words, " ")
}

func (w *Witness) bring(ctx context.Context) error {
	w.bringing.Lock()
	defer w.bringing.Unlock()
	if w.brought {
		return nil
	}
	if _, _, err := w.ssh.Bring(ctx, w.program, programOnNode); err != nil {
		return fmt.Errorf("%w: bringing the witnesses' program onto the node ('make build' builds it): %w", ErrIncomplete, err)
	}
	w.brought = true
	return nil
}

// read takes in the program's facts, which must be answers to everything that was asked.
func (s *Snapshot) read(facts string, q questions) error {
	r := &reading{Snapshot: s, byPID: map[string]*Seen{}}
	for i := range s.Containers {
		if c := &s.Containers[i]; c.pid != "" {
			c.namespaces = map[string]string{}
			r.byPID[c.pid] = c
		}
	}
	if err := r.facts(facts); err != nil {
		return err
	}
	return r.complete(q)
}

func (r *reading) facts(facts string) error {
	for line := range strings.Lines(facts) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if r.done {
			return fmt.Errorf("%w: %q comes after its end", ErrIncomplete, line)
		}
		if err := r.fact(f, strings.TrimSuffix(line, "\n")); err != nil {
			return fmt.Errorf("%w: %w: %q", ErrIncomplete, err, line)
		}
	}
	return nil
}

// reading is a snapshot into which facts are read.
type reading struct {
	*Snapshot
	byPID   map[string]*Seen
	volumes int // of which it was told whether they are there
	folders int // the same
	sockets bool
	done    bool
}

var errForm = errors.New("not a fact")

// fact takes in a line, given as its words and as a whole.
func (r *reading) fact(f []string, line string) error {
	var c *Seen
	run := &Details{}
	if len(f) > 1 {
		if c = r.byPID[f[1]]; c != nil && c.running != nil {
			run = c.running
		}
	}
	switch tag, n := f[0], len(f); {
	case tag == "failed":
		return errors.New("the node could not answer")
	case tag == "gone" && n == 2:
		return errEnded
	case tag == "end" && n == 1:
		r.done = true
	case tag == "boot" && n == 2:
		r.Boot = nodes.BootID(f[1])
	case tag == "host" && n == 2:
		r.Host = f[1]
	case tag == "ids" && n == 4:
		for i, into := range []*int{&r.UserID, &r.SubUID, &r.SubGID} {
			var err error
			if *into, err = strconv.Atoi(f[i+1]); err != nil || *into == 0 {
				return errForm
			}
		}
	case tag == "unit" && n == 6:
		r.Units[f[1]] = UnitSeen{f[2], f[3], f[4], f[5] == "1"}
		r.Properties[f[1]] = map[string]string{}
	case tag == "property" && n >= 3 && r.Properties[f[1]] != nil:
		_, value, _ := strings.Cut(line, " "+f[2]+" ")
		r.Properties[f[1]][f[2]] = strings.TrimSpace(value)
	case tag == "memory" && n == 3:
		r.MemoryMax[f[1]] = f[2]
	case tag == "tasks" && n == 3:
		r.TasksMax[f[1]] = f[2]
	case tag == "file" && n == 2:
		r.Files = append(r.Files, f[1])
	case tag == "volume" && n == 3 && f[2] == "absent":
		r.volumes++
	case tag == "volume" && n == 6:
		r.volumes++
		uid, err := strconv.Atoi(f[3])
		gid, err2 := strconv.Atoi(f[4])
		if errors.Join(err, err2) != nil {
			return errForm
		}
		r.Volumes[f[1]] = VolSeen{f[2], uid, gid, f[5]}
	case tag == "place" && n == 4:
		r.volumes++
		r.Places[f[1]] = PlaceSeen{strings.TrimPrefix(f[2], "absent"), f[3]}
	case tag == "dropin" && n == 4:
		r.DropIns[f[1]+".d/"+f[2]] = f[3]
	case tag == "folder" && n == 3 && f[2] == "absent":
		r.folders++
	case tag == "folder" && n == 3 && f[2] == "there":
		r.folders++
		r.Folders = append(r.Folders, f[1])
	case tag == "secret" && n == 4:
		r.Secrets[f[1]] = FileSeen{f[2], f[3]}
	case tag == "form" && n == 3:
		r.Forms[f[1]] = strings.Split(strings.TrimPrefix(f[2], ","), ",")
	case tag == "ns" && n == 4 && f[1] == "self":
		r.Namespaces[f[2]] = f[3]
	case tag == "ns" && n == 4 && c != nil:
		c.namespaces[f[2]] = f[3]
	case tag == "process" && n == 14 && c != nil:
		return r.process(c, f)
	case tag == "root" && n == 3 && c != nil:
		run.Root = f[2]
		c.Rootless = f[2] != "0"
	case tag == "cgroup" && n == 3 && c != nil:
		run.Cgroup = f[2]
	case tag == "mount" && n == 7 && c != nil:
		run.Mounted = append(run.Mounted, Mount{f[2], f[3], f[4], f[5], f[6]})
	case tag == "limit" && n == 6 && c != nil:
		into := run.Limits
		if f[2] == "parent" {
			into = run.Parent
		}
		into[f[3]] = f[4] + " " + f[5]
	case tag == "inside" && n == 7 && c != nil:
		run.Inside[f[2]] = InsideSeen{f[3], f[4], f[5], f[6]}
	case tag == "device" && n == 3:
		r.Devices[f[1]] = strings.TrimPrefix(f[2], "absent")
	case tag == "elsewhere" && n == 3:
		r.Elsewhere[f[1]] = f[2]
	case tag == "text" && n == 4 && c != nil:
		run.Texts[f[2]] = f[3]
	case tag == "socket" && n == 5:
		return r.socket(f)
	case tag == "sockets" && n == 2:
		r.sockets = f[1] == strconv.Itoa(len(r.Listening))
	case tag == "leak" && n == 2:
		r.Leaks = append(r.Leaks, f[1])
	default:
		return errForm
	}
	return nil
}

// process reads "process MAIN PID PROGRAM UID GID GROUPS", the five sets of capabilities,
// and "NO_NEW_PRIVS SECCOMP".
func (r *reading) process(c *Seen, f []string) error {
	p := Process{PID: f[2], Program: f[3], UID: f[4], GID: f[5], Capabilities: map[string]uint64{}, NoNewPrivs: f[12], Seccomp: f[13]}
	if f[6] != "-" {
		p.Groups = strings.Split(f[6], ",")
	}
	for i, set := range sets {
		bits, err := strconv.ParseUint(f[7+i], 16, 64)
		if err != nil {
			return errForm
		}
		p.Capabilities[set] = bits
	}
	if c.running != nil {
		c.running.Processes = append(c.running.Processes, p)
	}
	if p.PID == c.pid {
		c.Capabilities = p.Capabilities["effective"] | p.Capabilities["bounding"]
	}
	return nil
}

// socket reads "socket PROTOCOL ADDRESS:PORT PROGRAM CGROUP", the address as in
// proc_net_tcp(5): words of four bytes, each in the order of the machine, which is
// little-endian on all that the project is built for.
func (r *reading) socket(f []string) error {
	address, port, ok := strings.Cut(f[2], ":")
	number, err := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || len(address)%8 != 0 {
		return errForm
	}
	var ip net.IP
	for i := 0; i < len(address); i += 8 {
		word, err := strconv.ParseUint(address[i:i+8], 16, 32)
		if err != nil {
			return errForm
		}
		ip = append(ip, byte(word), byte(word>>8), byte(word>>16), byte(word>>24))
	}
	s := Socket{UDP: strings.HasPrefix(f[1], "udp"), Address: ip.String(), Port: int(number)}
	if ip.IsUnspecified() {
		s.Address = "every address"
	}
	if f[3] != "-" {
		s.Program, s.Cgroup = f[3], f[4]
	}
	r.Listening = append(r.Listening, s)
	return nil
}

// complete says what is missing.
func (r *reading) complete(q questions) error {
	lacks := func(what string, args ...any) error {
		return fmt.Errorf("%w: the node said nothing of %s", ErrIncomplete, fmt.Sprintf(what, args...))
	}
	switch {
	case !r.done:
		return lacks("the end: its answer was cut off")
	case r.Boot == "" || r.UserID == 0 || r.Host == "":
		return lacks("its boot, its name, or its user's ids")
	case len(r.Namespaces) < len(namespaces):
		return lacks("its own namespaces")
	case r.volumes != len(q.volumes):
		return lacks("%d of %d volumes", len(q.volumes)-r.volumes, len(q.volumes))
	case r.folders != folders:
		return lacks("%d of its %d folders", folders-r.folders, folders)
	case len(r.Devices) != len(q.devices):
		return lacks("%d of %d devices", len(q.devices)-len(r.Devices), len(q.devices))
	case !r.sockets:
		return lacks("some of the ports that something listens on")
	}
	for _, u := range q.units {
		if _, ok := r.Units[u]; !ok {
			return lacks("unit %s", u)
		}
	}
	for _, c := range r.byPID {
		run := c.running
		switch {
		case run == nil: // another application's
		case !slices.ContainsFunc(run.Processes, func(p Process) bool { return p.PID == c.pid }):
			return lacks("the main process of container %s", c.Name)
		case slices.ContainsFunc(run.Processes, func(p Process) bool { return p.PID == c.pid && p.starting() }):
			return fmt.Errorf("%w: %w: %s is only starting", ErrIncomplete, errEnded, c.Name)
		case run.Root == "" || len(run.Mounted) == 0 || len(run.Limits) == 0 || len(run.Limits) != len(run.Parent) || len(c.namespaces) < len(namespaces):
			return lacks("the mounts, limits or namespaces of container %s", c.Name)
		}
	}
	for _, in := range q.inside {
		pid, path, _ := strings.Cut(in, ":")
		run := r.byPID[pid].running
		mounted := slices.ContainsFunc(run.Mounted, func(m Mount) bool { return m.Target == path })
		if _, ok := run.Inside[path]; mounted && !ok {
			return lacks("%s in container %s", path, r.byPID[pid].Name)
		}
		if _, ok := run.Texts[path]; mounted && !ok && slices.Contains(q.texts, in) {
			return lacks("the text of %s in container %s", path, r.byPID[pid].Name)
		}
	}
	return nil
}
