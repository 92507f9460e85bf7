package matrix

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// node makes a directory that stands for a node's disk, with the programs that the
// witnesses' script asks, and gives what runs the script there.
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
		cmd := exec.Command("bash", "-c", script, "look", "pair", data, manifest.LabelApp, "@0", "pair-db.service pair.service", data+"/pair/db "+data+"/pair/gone", "")
		cmd.Env = append(os.Environ(), "HOME="+root, "PATH="+filepath.Join(root, "bin")+":"+os.Getenv("PATH"))
		cmd.Stdin = strings.NewReader(inspected)
		facts, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, facts)
		}
		s := &Snapshot{Units: map[string]UnitSeen{}, Volumes: map[string]VolSeen{}, Secrets: map[string]FileSeen{}, Open: map[int]bool{}}
		// Whoever runs the test may have no subordinate ids.
		if err := s.read(string(facts)+"\nids 1000 100000 100000\n", 0); err != nil {
			t.Fatal(err)
		}
		return s
	}
	return write, look
}

func TestTheScriptReadsSystemdAndTheDisk(t *testing.T) {
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

func TestTheScriptFindsASecretWhereverItLeaks(t *testing.T) {
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
func TestTheScriptReadsWhatAProcessMayDo(t *testing.T) {
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
	facts, err := exec.Command("bash", "-c", script, "look", "pair", t.TempDir(), manifest.LabelApp, "@0", "", "", pid).Output()
	if err != nil {
		t.Fatal(err)
	}
	s := &Snapshot{Containers: []Seen{{Name: "pair", pid: pid}, {Name: "pair-db", pid: "x"}}, Units: map[string]UnitSeen{}}
	if err := s.read(string(facts)+"\nids 1000 100000 100000\n", 1); err != nil {
		t.Fatal(err)
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
