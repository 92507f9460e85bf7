//go:build lab

package selftest

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/gate/runner"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/orchestrator/fault"
	"github.com/archipelago-cloud/archipelago/reports"
)

//go:embed fixture
var fixture embed.FS

const (
	root     = "../.."
	shipped  = root + "/catalog/apps"
	deadline = 10 * time.Minute // of one run of the gate
)

// bin is where 'make build' puts programs.
func bin(t *testing.T, name string) string {
	t.Helper()
	p, err := filepath.Abs(filepath.Join(root, "out", "bin", name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(p); err != nil {
		t.Fatalf("%v: run 'make build' first", err)
	}
	return p
}

// catalogWith writes the fixture's catalog, page.yaml edited by replacing old by new.
func catalogWith(t *testing.T, replacements ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, id := range []string{"page", "pair"} {
		image, err := fs.Sub(fixture, "fixture/image")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(filepath.Join(dir, id, "image"), image); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, id, "image", "entrypoint"), 0o755); err != nil {
			t.Fatal(err)
		}
		b, err := fixture.ReadFile("fixture/" + id + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		if id == "page" {
			edited := strings.NewReplacer(replacements...).Replace(text)
			if len(replacements) > 0 && edited == text {
				t.Fatalf("nothing in the fixture is %q", replacements[0])
			}
			text = edited
		}
		if err := os.WriteFile(filepath.Join(dir, id, "manifest.yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// gate runs the gate and gives its exit status and report; out is a directory for runs.
func gate(t *testing.T, out string, env []string, args ...string) (int, *reports.Report) {
	t.Helper()
	return gateOf(t, shipped, out, env, args...)
}

// gateOf runs the gate on another catalog than that which is shipped.
func gateOf(t *testing.T, catalog, out string, env []string, args ...string) (int, *reports.Report) {
	t.Helper()
	status, stdout, stderr := runGate(t, catalog, out, env, args...)
	t.Log(stderr)
	var r reports.Report
	t.Cleanup(func() {
		if t.Failed() {
			journals(t, out)
			t.Logf("the first failure, again: %+v", r.First) // a log that is cut off keeps its end
		}
	})
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("exit status %d, no report: %v\n%s", status, err, stderr)
	}
	return status, &r
}

// journals logs the end of what the journals of the nodes said of cells that are red.
func journals(t *testing.T, out string) {
	const most = 8 << 10
	files, err := filepath.Glob(filepath.Join(out, "*", "evidence", "*", "*", "journal*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
			continue
		}
		t.Logf("%s\n%s", strings.TrimPrefix(file, out), b[max(0, len(b)-most):])
	}
}

// runGate runs the gate and gives its exit status, and what it prints.
func runGate(t *testing.T, catalog, out string, env []string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin(t, "gate"), append([]string{"run", "--json", "--out", out, "--catalog", catalog}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	var said, printed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &printed, &said
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), printed.String(), said.String()
}

// faulty is a daemon that was built to be able to commit faults.
func faulty(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "archipelago")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", "faults", "-o", file, "./cmd/archipelago")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the daemon with faults: %v\n%s", err, out)
	}
	return file
}

// planted is a fault, and how the gate must see it.
type planted struct {
	name   string
	fault  string   // of the daemon, as package fault reads it
	edit   []string // of the application: old and new texts, in turns
	app    string
	from   func(t *testing.T, edit ...string) string // its catalog; nil: that of page and pair
	steps  []string
	cycles int    // 0: one
	red    string // step; ofNode: what is said of the node over all cycles
	reason string // in it
	few    bool   // one of the few that 'make gate-selftest' plants; 'make mutants' plants all
}

// rendering is the fault of a daemon that writes another text into its unit files.
func rendering(old, by string) string { return "render:" + old + "=>" + by }

var (
	limited = []string{"budget:", "resources: {memory: 64M}\nbudget:"}
	probe   = `["/usr/bin/busybox","wget","-q","-O","/dev/null","http://127.0.0.1:8080/"]`

	noRestart       = rendering("Restart=always", "Restart=no")
	allCapabilities = rendering("DropCapability=all", "AddCapability=all")
	newPrivileges   = rendering("NoNewPrivileges=true", "")
	undeclaredPort  = rendering("Pull=never", "Pull=never\nPublishPort=18999:18999")
	healthyAnyway   = rendering("HealthCmd="+probe, `HealthCmd=["true","anyway"]`)
	secretsReadable = rendering(",mode=0400", ",mode=0444")
	noMemoryLimit   = rendering("MemoryMax=64M", "")
)

// plantedFaults are some of each kind; 'make mutants' has more.
var plantedFaults = []planted{
	{few: true, name: "nothing starts the unit at boot", fault: fault.UnitWithoutInstall, app: "page",
		steps: []string{matrix.Install}, red: matrix.Install, reason: "container page: its unit's WantedBy is missing, wanted default.target"},
	{few: true, name: "a secret is regenerated at reinstall", fault: fault.SecretRegenerated, app: "page",
		steps: []string{matrix.Install, matrix.Reinstall}, red: matrix.Reinstall, reason: "secret key has another value than before"},
	{name: "the page shows another title", edit: []string{`MARK: "1"`, `TITLE: Welcome`}, app: "page",
		steps: []string{matrix.Install, matrix.UIReachable}, red: matrix.UIReachable, reason: `the title is "Welcome", expected one with "Page"`},
	{few: true, name: "the page has a JavaScript error", edit: []string{`MARK: "1"`, `SCRIPT: "planted()"`}, app: "page",
		steps: []string{matrix.Install, matrix.UIReachable}, red: matrix.UIReachable, reason: "script error: ReferenceError: planted is not defined"},
	{name: "the sign-in refuses the right password", edit: []string{`MARK: "1"`, `REFUSE: "1"`}, app: "page",
		steps: []string{matrix.Install, matrix.UIReachable}, red: matrix.UIReachable, reason: `sign-in: nothing visible matches "#owner"`},
	{few: true, name: "the sign-in refuses the right password after a restart", edit: []string{`MARK: "1"`, `REFUSE: later`}, app: "page",
		steps: []string{matrix.Install, matrix.UIReachable, matrix.Restart}, red: matrix.Restart, reason: `after the restart: proxy: sign-in: nothing visible matches "#owner"`},
	{name: "everybody sees what is the owner's", edit: []string{`MARK: "1"`, `OPEN: "1"`}, app: "page",
		steps: []string{matrix.Install, matrix.UIReachable}, red: matrix.UIReachable, reason: `sign-in: "#owner" with "Signed in as owner" is visible before it, and proves nothing`},
	{name: "the page asks another host", edit: []string{`MARK: "1"`, `SCRIPT: "new Image().src='https://elsewhere.invalid/pixel.png'"`}, app: "page",
		steps: []string{matrix.Install, matrix.UIReachable}, red: matrix.UIReachable, reason: "the page asks elsewhere.invalid, which is not the node and not in expect.hosts"},
	{name: "a part of the page is missing", edit: []string{`MARK: "1"`, `SCRIPT: "fetch('/missing')"`}, app: "page",
		steps: []string{matrix.Install, matrix.UIReachable}, red: matrix.UIReachable, reason: "failed request: /missing: status 404"},
	{few: true, name: "stop leaves a container running", fault: fault.StopLeavesOne, app: "pair",
		steps: []string{matrix.Install, matrix.Stop}, red: matrix.Stop, reason: "container pair-helper is still running"},
	{few: true, name: "the volume is deleted at uninstall without purge", fault: fault.VolumeDeleted, app: "page",
		steps: []string{matrix.Install, matrix.Uninstall}, red: matrix.Uninstall, reason: "the data is gone: volume data was deleted"},
	{few: true, name: "the daemon kills its containers when it restarts", fault: fault.ShutdownKills, app: "page",
		steps: []string{matrix.Install, matrix.RestartSurvive}, red: matrix.RestartSurvive, reason: "after the daemon was restarted: container page is"},
	{few: true, name: "the application answers only after three times its budget", edit: []string{`MARK: "1"`, `DELAY: "15"`, "start: 30s", "start: 5s"}, app: "page",
		steps: []string{matrix.Install}, red: matrix.Install, reason: "not healthy within its budget of 5s"},
	{few: true, name: "the application logs its secret", edit: []string{`MARK: "1"`, `LEAK: "1"`}, app: "page",
		steps: []string{matrix.Install}, red: matrix.Install, reason: "invariant: a secret's value stands in the journal"},
	{few: true, name: "one member of a stack is missing while the others run", fault: fault.MemberMissing, app: "pair",
		steps: []string{matrix.Install}, red: matrix.Install, reason: "member pair-helper is missing"},
	{name: "the unit does not restart", fault: noRestart, app: "page",
		steps: []string{matrix.Install}, red: matrix.Install, reason: "container page: its unit's Restart is no, wanted always"},
	{few: true, name: "the container has every capability", fault: allCapabilities, app: "page",
		steps: []string{matrix.Install}, red: matrix.Install, reason: "container page: bounding capabilities is"},
	{name: "the container may gain privileges", fault: newPrivileges, app: "page",
		steps: []string{matrix.Install}, red: matrix.Install, reason: "container page: no_new_privs is 0, wanted 1"},
	{few: true, name: "a port is published that no manifest declares", fault: undeclaredPort, app: "page",
		steps: []string{matrix.Install}, red: matrix.Install, reason: "container page: listening port 18999/tcp is every address, and none is meant"},
	{name: "the health check is always true", fault: healthyAnyway, app: "page",
		steps: []string{matrix.Install}, red: matrix.Install, reason: `container page: health check is ["CMD","true","anyway"], wanted ["CMD","/usr/bin/busybox"`},
	{name: "everyone in the container can read its secrets", fault: secretsReadable, app: "page",
		steps: []string{matrix.Install}, red: matrix.Install, reason: "container page: secret /run/secrets/key is mode 444 of 1000:1000, with its value, wanted mode 400 of 1000:1000"},
	{name: "the limit of memory is left out", fault: noMemoryLimit, edit: limited, app: "page",
		steps: []string{matrix.Install}, red: matrix.Install, reason: "container page: its unit's MemoryMax is infinity, wanted 67108864"},
	{few: true, name: "the daemon says that a stopped application runs", fault: fault.SaysRunning, app: "page",
		steps: []string{matrix.Install, matrix.Stop}, red: matrix.Stop, reason: `ListApps: the daemon says "running" of page, and it is installed and does not run`},
	{name: "the daemon's list hides an application", fault: fault.HidesOne, app: "page",
		steps: []string{matrix.Install}, red: matrix.Install, reason: "ListApps: the daemon does not list page"},
	{name: "the metrics lie", fault: fault.MetricsLie, app: "page",
		steps: []string{matrix.Install}, red: matrix.Install, reason: `metrics: the daemon says "stopped" of page, and it runs`},
	{few: true, name: "the proxy serves a stopped application from a cache", fault: fault.ProxyAnswers, app: "page",
		steps: []string{matrix.Install, matrix.Stop}, red: matrix.Stop, reason: "the proxy's port 18900 still serves the application: it answers 200"},
	{name: "the application does not start after a crash", edit: []string{`MARK: "1"`, `LOCK: "1"`, "start: 30s", "start: 15s"}, app: "page",
		steps: []string{matrix.Install, matrix.Restart}, red: matrix.Restart, reason: "after its main processes were killed: waited 15s for page to be back, budget 15s"},
	{name: "the application comes back after its uninstall", fault: fault.ComesBack, app: "page",
		steps: []string{matrix.Install, matrix.Uninstall}, red: matrix.Uninstall, reason: "after uninstalling with the data kept: "},
	{few: true, name: "the application shows an earlier value after a restart", edit: []string{`MARK: "1"`, `REPLAY: "1"`, `{volume: {name: data, served: {interface: web, path: "/data/{{canary}}"}}}`,
		`{exec: {container: page, write: [/bin/sh, -c, "echo {{canary}} >/data/canary"], read: [busybox, wget, -q, -O, "-", "http://127.0.0.1:8080/data/canary"]}}`}, app: "page",
		steps: []string{matrix.Install, matrix.Restart, matrix.Reinstall}, red: matrix.Reinstall, reason: "reading the canary back: the answer does not contain it"},
	{name: "the application does not serve what is on its volume", edit: []string{`MARK: "1"`, `HIDE: "1"`}, app: "page",
		steps: []string{matrix.Install, matrix.Restart}, red: matrix.Restart, reason: "reading the canary back: GET /data/canary-"},
	{name: "the application takes connections and says nothing", edit: []string{`MARK: "1"`, `RAW: "1"`, "host: 8900}]", "host: 8900}, {name: raw, container: 8081, host: 8906}]",
		"canary:", "  raw: {port: raw, protocol: tcp, handshake: {expect: welcome}}\ncanary:"}, app: "page",
		steps: []string{matrix.Install, matrix.UIReachable}, red: matrix.UIReachable, reason: "the raw interface takes a connection, and says nothing within"},
	{few: true, name: "the network is left at uninstall", fault: fault.NetworkLeft, app: "page",
		steps: []string{matrix.Install, matrix.Uninstall}, red: matrix.Uninstall, reason: "network archipelago-page is left"},
	{name: "the folder is left after a purge", fault: fault.FolderLeft, app: "page",
		steps: []string{matrix.Install, matrix.Uninstall}, red: matrix.Uninstall, reason: "with purge: the folder page is left after a purge"},
}

// TestPlantedFaultIsRed plants a few faults, one at a time. Half of them go to each node,
// side by side.
func TestPlantedFaultIsRed(t *testing.T) {
	daemon := faulty(t)
	documented, err := os.ReadFile(filepath.Join(root, "TESTING.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range plantedFaults {
		if !strings.Contains(string(documented), "| "+c.name+" | "+c.red+" |") {
			t.Errorf("TESTING.md does not say that %q is red at %s", c.name, c.red)
		}
	}
	free := freeNodes()
	for _, c := range plantedFaults {
		if !c.few {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			node := <-free
			defer func() { free <- node }()
			status, r := c.gate(t, daemon, node)
			if status != 1 || r.Verdict != reports.Red {
				t.Fatalf("exit status %d, verdict %s; expected 1 and red", status, r.Verdict)
			}
			if r.First == nil || r.First.Step != c.red || !strings.Contains(r.First.Reason, c.reason) {
				t.Fatalf("first failure %+v; expected %s: …%s…", r.First, c.red, c.reason)
			}
			if len(r.First.Evidence) == 0 {
				t.Error("the failure left no evidence")
			}
			for _, cell := range r.Apps[0].Cells {
				if cell.Step != c.red && cell.Status == reports.Failed {
					t.Errorf("%s is red too: %s", cell.Cell, cell.Reason)
				}
			}
		})
	}
}

// freeNodes hands out the lab's nodes; whoever took one gives it back.
func freeNodes() chan string {
	free := make(chan string, 2)
	free <- ".228"
	free <- ".198"
	return free
}

// gate runs the gate on a node with the fault planted.
func (c planted) gate(t *testing.T, daemon, node string) (int, *reports.Report) {
	t.Helper()
	from := c.from
	if from == nil {
		from = catalogWith
	}
	args := []string{"--catalog", from(t, c.edit...), "--cycles", strconv.Itoa(max(c.cycles, 1)), "--only", node, "--apps", c.app, "--steps", strings.Join(c.steps, ",")}
	var env []string
	if c.fault != "" {
		args = append(args, "--daemon", daemon)
		env = append(env, "ARCHIPELAGO_FAULT="+c.fault)
	}
	return gate(t, t.TempDir(), env, args...)
}

// TestLevelZeroSeesWhatIsRenderedWrongly has each daemon that renders something wrongly
// looked at without a node.
func TestLevelZeroSeesWhatIsRenderedWrongly(t *testing.T) {
	daemon := faulty(t)
	catalogDir := catalogWith(t, limited...)
	for planted, reason := range map[string]string{
		"":                       "",
		fault.UnitWithoutInstall: "unit file page.container: [Install] WantedBy is missing",
		fault.MemberMissing:      "unit file pair-helper.container is missing",
		noRestart:                "unit file page.container: [Service] Restart is no",
		allCapabilities:          "unit file page.container: [Container] AddCapability is all",
		newPrivileges:            "unit file page.container: [Container] NoNewPrivileges is missing",
		undeclaredPort:           "unit file page.container: [Container] PublishPort 18999/tcp is every address",
		healthyAnyway:            "unit file page.container: [Container] HealthCmd is",
		secretsReadable:          "unit file page.container: [Container] Secret page.key is",
		noMemoryLimit:            "unit file page.container: [Service] MemoryMax is missing",
	} {
		// The daemon gets nothing of the gate's environment, so a script stands for it.
		file := filepath.Join(t.TempDir(), "archipelago")
		if err := os.WriteFile(file, fmt.Appendf(nil, "#!/bin/sh\nARCHIPELAGO_FAULT=%s exec %s \"$@\"\n", nodes.Quote(planted), daemon), 0o755); err != nil {
			t.Fatal(err)
		}
		log := filepath.Join(t.TempDir(), "log")
		err := runner.LevelZero(t.Context(), bin(t, "matrix.test"), file, catalogDir, log)
		if planted == "" {
			if err != nil {
				t.Errorf("red without a fault: %v", err)
			}
			continue
		}
		said, _ := os.ReadFile(log)
		if err == nil || !strings.Contains(string(said), reason) {
			t.Errorf("%s: %v, expected %q in\n%s", planted, err, reason, said)
		}
	}
}

// TestHealthyRunIsGreen wants no false red over all nine steps of all applications on
// both nodes; 'make gate' wants it twenty times.
func TestHealthyRunIsGreen(t *testing.T) {
	out := os.Getenv("ARCHIPELAGO_SELFTEST_OUT")
	if out == "" {
		out = t.TempDir()
	}
	status, r := gate(t, out, nil, "--cycles", "1")
	if status != 0 || r.Verdict != reports.Green {
		t.Fatalf("exit status %d, verdict %s, first failure %+v", status, r.Verdict, r.First)
	}
	if !r.Smoke {
		t.Error("a run of one cycle is a SMOKE, and must say so")
	}
	t.Logf("%.0f s", r.Seconds)
}

// TestOrdinaryBuildCommitsNoFault looks for the faults' switch in the daemon that
// is shipped.
func TestOrdinaryBuildCommitsNoFault(t *testing.T) {
	b, err := os.ReadFile(bin(t, "archipelago"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte("ARCHIPELAGO_FAULT")) {
		t.Error("the daemon reads ARCHIPELAGO_FAULT: it was built with the tag faults")
	}
	f, err := os.ReadFile(faulty(t))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(f, []byte("ARCHIPELAGO_FAULT")) {
		t.Error("the daemon built for the self-test does not read ARCHIPELAGO_FAULT: the test above proves nothing")
	}
}
