package runner

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/reports"
)

// gateDir, in the environment, has a test be the gate that works on that run.
const gateDir = "RUNNER_TEST_GATE"

func awaitThat(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited 30 s: %s", what)
		}
	}
}

// A suite that outlives its gate acts on the node beside the session that resumes the run.
func TestAKilledGateLeavesNothingThatActs(t *testing.T) {
	if dir := os.Getenv(gateDir); dir != "" {
		r, _ := newRunner(t, dir)
		onOneNode(r, 1)
		r.Run(t.Context())
		return
	}
	dir := t.TempDir()
	gate := exec.Command(os.Args[0], "-test.run=^TestAKilledGateLeavesNothingThatActs$")
	gate.Env = append(os.Environ(), gateDir+"="+dir, planted+"=hangs a "+matrix.Install)
	if err := gate.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { gate.Process.Kill(); gate.Wait() })
	suite := 0
	awaitThat(t, "the suite does not run", func() bool {
		b, err := os.ReadFile(filepath.Join(dir, "suite.pid"))
		if err != nil {
			return false
		}
		suite, err = strconv.Atoi(string(b))
		return err == nil
	})
	t.Cleanup(func() { syscall.Kill(suite, syscall.SIGKILL) })
	if _, runs := probe(suite); !runs {
		t.Fatal("the suite has ended before its gate")
	}
	if err := gate.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	gate.Wait()
	awaitThat(t, "the suite acts on without its gate", func() bool { _, runs := probe(suite); return !runs })

	// What was under way is known, without the node's token, and is run again.
	if err := Disarm(dir); err != nil {
		t.Fatal(err)
	}
	r, _ := newRunner(t, dir)
	onOneNode(r, 1)
	if err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := statuses(t, dir)
	for _, c := range r.Plan.Cells() {
		if c.Node == "x" && c.Cycle == 1 && got[c].Status != reports.Passed {
			t.Errorf("%s: %+v", c, got[c])
		}
	}
	results, err := reports.ReadResults(dir)
	if err != nil {
		t.Fatal(err)
	}
	killed := 0
	for _, res := range results {
		if res.Cause == reports.Interrupted && res.App == "a" && res.Step == matrix.Install {
			killed++
		}
	}
	if killed != 1 {
		t.Errorf("the cell under way is recorded %d times", killed)
	}
}

func TestTokensOfAKilledGateAreRemoved(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "suite"), 0o755); err != nil {
		t.Fatal(err)
	}
	whole, half := filepath.Join(dir, "suite", "x.json"), filepath.Join(dir, "suite", "y.json")
	s := &matrix.Shard{Token: "secret", Node: nodes.Node{Name: "x"}, Cycle: 1, Steps: []string{matrix.Stop}, Apps: []*manifest.Manifest{{ID: "a"}}}
	if err := s.Write(whole); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(half, []byte(`{"token":"secret","ru`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Disarm(dir); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "suite", "*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	b, err := os.ReadFile(whole)
	if err != nil || strings.Contains(string(b), "secret") {
		t.Errorf("%s, %v", b, err)
	}
	var left matrix.Shard
	if err := json.Unmarshal(b, &left); err != nil || left.Node.Name != "x" || left.Steps[0] != matrix.Stop {
		t.Errorf("%+v, %v", left, err)
	}
}
