package matrix

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// lookProgram builds the witnesses' program from this source, once.
var lookProgram = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "look")
	if err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "look"), "../cmd/look")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return filepath.Join(dir, "look"), nil
})

// homeOf puts the witnesses' program where it is on a node, below a home directory.
func homeOf(t *testing.T, home string) {
	t.Helper()
	program, err := lookProgram()
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(home, programOnNode)
	if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o700), os.Symlink(program, at)); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
}

// node makes a directory that stands for a node's disk, with the programs that the
// witnesses' program asks, and gives what runs that there.
func node(t *testing.T) (write func(name, content string), look func(inspected string) *Snapshot) {
	t.Helper()
	root := t.TempDir()
	write = func(name, content string) {
		t.Helper()
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o600)
		if strings.HasPrefix(name, "bin/") {
			mode = 0o700
		}
		if err := os.WriteFile(file, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("bin/systemctl", "#!/bin/sh\nprintf 'Id=pair-db.service\\nLoadState=loaded\\nActiveState=active\\nSubState=running\\nWantedBy=default.target\\n\\n'\nprintf 'Id=pair.service\\nLoadState=loaded\\nActiveState=failed\\nSubState=failed\\n'\n")
	write("bin/journalctl", "#!/bin/sh\ncat \"$HOME/journal\"\n")
	write("journal", "started\n")
	write(".config/containers/systemd/pair.container", "[Container]\nLabel=\"io.archipelago.app=pair\"\n")
	write(".config/containers/systemd/other.container", "[Container]\nLabel=\"io.archipelago.app=other\"\n")
	write("data/pair/db/table", "rows")
	write("data/_daemon/secrets/pair/password", "s3cret")
	write("data/_daemon/state/desired/pair.json", "{}")
	write("data/_daemon/catalog/pair.yaml", "id: pair")
	look = func(inspected string) *Snapshot {
		t.Helper()
		data := filepath.Join(root, "data")
		q := questions{app: "pair", dataDir: data, units: []string{"pair-db.service", "pair.service"}, volumes: []string{data + "/pair/db", data + "/pair/gone"}}
		s := newSnapshot()
		if err := s.read(ask(t, root, q, inspected), q); err != nil {
			t.Fatal(err)
		}
		return s
	}
	return write, look
}

// ask runs the program as the node's shell does, with a directory that has programs in bin for
// a home.
func ask(t *testing.T, root string, q questions, inspected string) (facts string) {
	t.Helper()
	homeOf(t, root)
	cmd := exec.Command("sh", "-c", command(append([]string{"look"}, q.arguments()...)))
	cmd.Env = append(os.Environ(), "HOME="+root, "PATH="+filepath.Join(root, "bin")+":"+os.Getenv("PATH"))
	cmd.Stdin = strings.NewReader(inspected)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// Whoever runs the test may be root, and have no subordinate ids.
	return regexp.MustCompile("(?m)^ids .*$").ReplaceAllString(string(out), "ids 1000 100000 100000")
}

func TestTheProgramReadsSystemdAndTheDisk(t *testing.T) {
	_, look := node(t)
	s := look("[]")
	if want := (UnitSeen{"loaded", "active", "running", true}); s.Units["pair-db.service"] != want {
		t.Errorf("pair-db.service is %+v, expected %+v", s.Units["pair-db.service"], want)
	}
	if want := (UnitSeen{"loaded", "failed", "failed", false}); s.Units["pair.service"] != want {
		t.Errorf("pair.service is %+v, expected %+v", s.Units["pair.service"], want)
	}
	if !slices.Equal(s.Files, []string{"pair.container"}) {
		t.Errorf("unit files are %q", s.Files)
	}
	if v := s.Volumes["db"]; len(s.Volumes) != 1 || v.Inode == "" || v.UID != os.Getuid() || v.Mode != "700" {
		t.Errorf("volumes are %+v", s.Volumes)
	}
	if p := s.Secrets["password"]; len(s.Secrets) != 1 || p.Mode != "600" || len(p.SHA256) != 64 {
		t.Errorf("secrets are %+v", s.Secrets)
	}
	if s.Boot == "" || len(s.Leaks) > 0 {
		t.Errorf("boot %q, leaks %q", s.Boot, s.Leaks)
	}
}

func TestTheProgramFindsASecretWhereverItLeaks(t *testing.T) {
	for place, file := range map[string]string{
		"inspect":          "",
		"unit-files":       ".config/containers/systemd/pair.container",
		"journal":          "journal",
		"catalog-or-state": "data/_daemon/state/desired/pair.json",
	} {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			write, look := node(t)
			inspected := `{"Env": ["PASSWORD=s3cret"]}`
			if file != "" {
				write(file, "PASSWORD=s3cret\n")
				inspected = "[]"
			}
			if s := look(inspected); !slices.Equal(s.Leaks, []string{place}) {
				t.Errorf("leaks in %q, expected %q", s.Leaks, place)
			}
		})
	}
}

// A process of this test's own stands for a container's.
func TestTheProgramReadsWhatAProcessMayDo(t *testing.T) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip(err) // no Linux
	}
	var want uint64
	for line := range strings.SplitSeq(string(status), "\n") {
		if f := strings.Fields(line); len(f) == 2 && (f[0] == "CapEff:" || f[0] == "CapBnd:") {
			set, err := strconv.ParseUint(f[1], 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			want |= set
		}
	}
	pid := strconv.Itoa(os.Getpid())
	dir := t.TempDir()
	s := newSnapshot()
	s.Containers = []Seen{inspection{State: stateSeen{Pid: os.Getpid(), ConmonPid: os.Getppid()}}.seen("pair", "pair"), {Name: "pair-db"}}
	q := questions{app: "pair", dataDir: dir, mains: []string{pid + ":" + strconv.Itoa(os.Getppid())}, inside: []string{pid + ":" + dir}}
	if err := s.read(ask(t, dir, q, ""), q); err != nil {
		t.Fatal(err)
	}
	c := s.Containers[0]
	if c.running.Root == "" || len(c.running.Mounted) == 0 || c.running.Limits["Max_open_files"] == "" || len(c.running.Parent) != len(c.running.Limits) {
		t.Errorf("%+v", c.running)
	}
	for _, kind := range namespaces {
		if c.namespaces[kind] == "" || c.namespaces[kind] != s.Namespaces[kind] {
			t.Errorf("namespace %s is %q, the node's is %q", kind, c.namespaces[kind], s.Namespaces[kind])
		}
	}
	var dirInode string
	if info, err := os.Stat(dir); err == nil {
		dirInode = fmt.Sprint(info.Sys().(*syscall.Stat_t).Ino)
	}
	if in := c.running.Inside[dir]; in.Inode != dirInode || in.UID != strconv.Itoa(os.Getuid()) || in.Mode != "755" {
		t.Errorf("the directory is seen as %+v, inode %s expected", in, dirInode)
	}
	if got := s.Containers[0].Capabilities; got != want || want == 0 {
		t.Errorf("capabilities %#x, expected %#x", got, want)
	}
	if got := s.Containers[1].Capabilities; got != 0 {
		t.Errorf("another one's capabilities are %#x", got)
	}
}

func TestAnEmptySecretLeaksNowhere(t *testing.T) {
	write, look := node(t)
	write("data/_daemon/secrets/pair/empty", "")
	if s := look("anything\n"); len(s.Leaks) > 0 {
		t.Errorf("leaks in %q", s.Leaks)
	}
}

// What was not searched for secrets is not free of them.
func TestAJournalThatCannotBeReadMakesTheLookIncomplete(t *testing.T) {
	root := t.TempDir()
	for name, content := range map[string]string{"bin/journalctl": "#!/bin/sh\nexit 1\n", "bin/systemctl": "#!/bin/sh\n", "data/_daemon/secrets/pair/password": "s3cret"} {
		file := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(content), 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	q := questions{app: "pair", dataDir: filepath.Join(root, "data")}
	if err := newSnapshot().read(ask(t, root, q, "[]"), q); !errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), "failed journal") {
		t.Errorf("%v, expected it to be incomplete", err)
	}
}

// TestAPortThatThereWasNoTimeToAskIsNotClosed has the time of a look end before its ports.
func TestAPortThatThereWasNoTimeToAskIsNotClosed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	m := &manifest.Manifest{ID: "a", Containers: []manifest.Container{{Name: "a", Ports: []manifest.Port{{Name: "p", Host: l.Addr().(*net.TCPAddr).Port}}}}}
	w := NewWitness(nil, "127.0.0.1", "")
	if err := w.ports(t.Context(), m, newSnapshot()); err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithCancelCause(t.Context())
	cancel(nodes.ErrLost)
	if err := w.ports(over, m, newSnapshot()); !errors.Is(err, nodes.ErrLost) {
		t.Errorf("%v, expected the node to be lost", err)
	}
}
