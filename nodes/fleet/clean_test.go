package fleet

import (
	"errors"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/nodes"
)

// engine stands for Podman and systemctl, of which only the calls matter here: it writes
// them down, and lists what a node could hold.
const engine = `#!/bin/sh
echo "${0##*/} $*" >>"$CALLS"
case "${0##*/} $*" in
"podman unshare "*) shift; exec "$@" ;;
"podman rm --all "*) exit 125 ;;
"podman ps "*"{{.Names}}"*) printf '%b' "$HELD" ;;
"podman images "*) printf '%b' "$IMAGES" ;;
"podman ps "*) echo c1 ;;
"podman network ls "*) echo n1 ;;
"podman secret ls "*) printf 'page.key\nforeign\n' ;;
esac
`

// machine is a home and a data directory for a script to run on.
type machine struct {
	t          *testing.T
	home, data string

	held, images string // containers and images, as Podman lists them
}

func newMachine(t *testing.T, files ...string) *machine {
	t.Helper()
	m := &machine{t: t, home: t.TempDir(), data: t.TempDir()}
	for _, f := range append(files, "~/bin/podman", "~/bin/systemctl") {
		f = m.path(f)
		body, mode := "", os.FileMode(0o644)
		if filepath.Base(filepath.Dir(f)) == "bin" {
			body, mode = engine, 0o755
		}
		if strings.HasPrefix(filepath.Base(f), "page") {
			body = "[Unit]\n[Container]\nLabel=\"io.archipelago.app=page\"\n"
		}
		if err := os.MkdirAll(filepath.Dir(f), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f, []byte(body), mode); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// path gives a file in the home, ~/…, or in the data directory.
func (m *machine) path(name string) string {
	if below, ok := strings.CutPrefix(name, "~/"); ok {
		return filepath.Join(m.home, below)
	}
	return filepath.Join(m.data, name)
}

// run executes a command as a node's shell would, and gives its output and the calls of
// Podman and systemctl.
func (m *machine) run(command string) (out string, calls []string) {
	m.t.Helper()
	log := filepath.Join(m.t.TempDir(), "calls")
	cmd := exec.CommandContext(m.t.Context(), "sh", "-c", command)
	cmd.Env = []string{"HELD=" + m.held, "IMAGES=" + m.images, "HOME=" + m.home, "PATH=" + filepath.Join(m.home, "bin") + ":" + os.Getenv("PATH"), "CALLS=" + log}
	cmd.Dir = m.home
	b, err := cmd.CombinedOutput()
	if err != nil {
		m.t.Fatalf("%v: %s", err, b)
	}
	made, err := os.ReadFile(log)
	if err != nil && !os.IsNotExist(err) {
		m.t.Fatal(err)
	}
	return string(b), strings.Split(strings.TrimSpace(string(made)), "\n")
}

func TestResetTakesWhatIsOfApplicationsAndNothingElse(t *testing.T) {
	const units = "~/.config/containers/systemd/"
	gone := []string{units + "page.container", units + "page.network", "page/data/file", "two words/file",
		"_daemon/state/desired/page.json", "_daemon/state/data/page.json", "_daemon/state/observed.json", "_daemon/state/accept.json", "_daemon/secrets/page/key", "_daemon/snapshots/page", "_daemon/files/page/key.0123456789abcdef"}
	kept := []string{units + "foreign.container", "_gate", "_daemon/state/token", "_daemon/catalog/page/manifest.yaml", "lost+found/file"}
	const dropIn, own = "~/.config/systemd/user/page.service.d/archipelago.conf", "~/.config/systemd/user/podman.service.d/archipelago.conf"
	m := newMachine(t, slices.Concat(gone, kept, []string{dropIn, own})...)
	if err := os.WriteFile(m.path(dropIn), []byte("[Service]\nExecStopPost=\nExecStopPost=-podman rm --cidfile=%t/%N.cid\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, calls := m.run(bash(reset, m.data))
	gone, kept = append(gone, path.Dir(dropIn)), append(kept, own)
	if out != "" {
		t.Errorf("it said %q", out)
	}
	for _, f := range gone {
		if _, err := os.Stat(m.path(f)); !os.IsNotExist(err) {
			t.Errorf("%s is still there (%v)", f, err)
		}
	}
	for _, f := range kept {
		if _, err := os.Stat(m.path(f)); err != nil {
			t.Errorf("%s is gone: %v", f, err)
		}
	}
	for _, want := range []string{"systemctl --user stop archipelago.service", "systemctl --user stop page.service", "systemctl --user stop page-network.service",
		"podman rm -f -t 2 c1", "podman network rm -f n1", "podman secret rm page.key"} {
		if !slices.Contains(calls, want) {
			t.Errorf("no call %q in %q", want, calls)
		}
	}
	for _, c := range calls {
		if strings.Contains(c, "foreign") {
			t.Errorf("it touched what is not an application's: %s", c)
		}
	}
}

func TestDataIsNamedUnlessAGateHasEmptiedTheNodeBefore(t *testing.T) {
	m := newMachine(t, "photos/file", "_daemon/state/desired/page.json", "lost+found/file")
	check := func(want ...string) {
		t.Helper()
		out, _ := m.run(bash(occupied, m.data, m.path("_gate")))
		if got := strings.Fields(out); !slices.Equal(got, want) {
			t.Errorf("%q, expected %q", got, want)
		}
	}
	check("photos", "page.json")
	if err := os.WriteFile(m.path("_gate"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	check()
	m = newMachine(t, "_daemon/state/token")
	check()
}

func TestScriptsReachTheNodesShellWhole(t *testing.T) {
	m := newMachine(t)
	if out, _ := m.run(bash(`printf '%s|' "$1" "$2"`, "it's", "two words")); out != "it's|two words|" {
		t.Errorf("%q", out)
	}
	if !strings.Contains(bash(reset, nodes.DataDir), nodes.Quote(nodes.DataDir)) {
		t.Error("the data directory is not passed on")
	}
}

func TestWhatHasASayBesideTheGateIsRefused(t *testing.T) {
	const page, pinned = `page page\n`, `localhost:5000/page/page:<none>\nlocalhost/archipelago/base:local2\n`
	for _, c := range []struct {
		name, held, images string
		files              []string
		want               string // in the error; empty: accepted
	}{
		{name: "nothing but applications", held: page, images: pinned},
		{name: "nothing at all"},
		{name: "an image of the node's own", images: pinned + `localhost/page/page:local\n`, want: "the image localhost/page/page:local would take the place of a pinned one"},
		{name: "a followed channel", files: []string{"_daemon/state/subscription/subscription.json"}, want: "follows a channel"},
		{name: "a foreign container", held: page + `stranger \n`, want: "the container stranger is not of an application"},
	} {
		m := newMachine(t, c.files...)
		m.held, m.images = c.held, c.images
		out, _ := m.run(bash(foreign, m.data))
		if err := judgeForeign(out); (err == nil) != (c.want == "") || err != nil && (!errors.Is(err, ErrOccupied) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v (%q)", c.name, err, out)
		}
	}
	if err := judgeForeign("container x\n"); err == nil || errors.Is(err, ErrOccupied) {
		t.Errorf("a look that did not end: %v", err)
	}
}

func TestAnOwnersNodeIsRefusedUntilItIsNamed(t *testing.T) {
	for _, c := range []struct {
		name  string
		files []string
		want  string // in the error; empty: accepted
	}{
		{name: "an empty machine"},
		{name: "a machine without a daemon", files: []string{"lost+found/file", "_gate.lock/holder"}},
		{name: "data", files: []string{"photos/file", "two words/file"}, want: "with photos, two words that no gate put there; '--take .7' replaces"},
		{name: "applications without data", files: []string{"_daemon/state/desired/page.json"}, want: "with page.json that"},
		{name: "a daemon without applications", files: []string{"_daemon/state/token"}, want: "with its own daemon that"},
		{name: "a gate's", files: []string{"photos/file", "_daemon/state/token", "_gate"}},
		{name: "one that a gate has visited", files: []string{"photos/file", "_daemon/state/token", "_deployed"}},
	} {
		m := newMachine(t, c.files...)
		out, calls := m.run(bash(owned, m.data, m.path("_gate"), m.path("_deployed")))
		if err := judgeOwned(".7", out); (err == nil) != (c.want == "") || err != nil && (!errors.Is(err, ErrOccupied) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v (%q)", c.name, err, out)
		}
		if len(calls) > 1 || calls[0] != "" {
			t.Errorf("%s: it did something: %q", c.name, calls)
		}
	}
	// What a developer installs after a visit is not a run's to delete.
	m := newMachine(t, "photos/file", "_deployed")
	if out, _ := m.run(bash(occupied, m.data, m.path("_gate"))); strings.TrimSpace(out) != "photos" {
		t.Errorf("a run would delete it: %q", out)
	}
}

func TestOnlyTheGatesOwnChannelIsTakenOff(t *testing.T) {
	const dir = "_daemon/state/subscription/"
	for _, own := range []bool{false, true} {
		files := []string{dir + "subscription.json", dir + "catalog.json", "_daemon/state/token"}
		if own {
			files = append(files, dir+"_gate")
		}
		m := newMachine(t, files...)
		out, calls := m.run(bash(unfollow, m.path(dir+"_gate")))
		_, err := os.Stat(m.path(dir + "subscription.json"))
		_, token := os.Stat(m.path("_daemon/state/token"))
		if out != "" || own != os.IsNotExist(err) || token != nil {
			t.Errorf("the gate's own: %v; %v, %v, said %q", own, err, token, out)
		}
		want := []string{""}
		if own {
			want = []string{"systemctl --user stop archipelago.service", "systemctl --user start archipelago.service"}
		}
		if !slices.Equal(calls, want) {
			t.Errorf("%q, expected %q", calls, want)
		}
	}
	if !strings.HasPrefix(nodes.OfferedMark, nodes.DataDir+"/"+dir) {
		t.Errorf("the mark %s is not where the daemon keeps what it follows", nodes.OfferedMark)
	}
}
