package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/fleet"
	"github.com/archipelago-cloud/archipelago/reports"
)

// TestMain has this program stand for the compiled suite when a runner starts it.
func TestMain(m *testing.M) {
	s, ok, err := matrix.ReadShard()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if ok {
		suite(s)
	}
	os.Exit(m.Run())
}

// planted names what goes wrong, in the environment of the suite: "STATUS APP STEP", or
// "dies APP STEP".
const planted = "RUNNER_TEST_PLANTED"

// suite passes every cell of a shard but the planted one.
func suite(s *matrix.Shard) {
	results := json.NewEncoder(os.NewFile(3, "results"))
	for _, m := range s.Apps {
		for _, step := range s.Steps {
			r := reports.Result{Cell: reports.Cell{App: m.ID, Node: s.Node.Name, Cycle: s.Cycle, Step: step}, Status: matrix.Running}
			results.Encode(r)
			r.Status, r.At = reports.Passed, time.Now()
			if slices.Contains(s.Resumed, m.ID) {
				r.Note = "resumed"
			}
			what, cell, _ := strings.Cut(os.Getenv(planted), " ")
			if cell == m.ID+" "+step {
				if what == "dies" {
					os.Exit(1)
				}
				r.Status, r.Reason = reports.Status(what), "planted"
			}
			results.Encode(r)
		}
	}
	os.Exit(0)
}

// record is an observer that keeps the order of what it is told.
type record struct {
	mu   sync.Mutex
	told []string
}

func (r *record) add(what string, c reports.Cell) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, fmt.Sprintf("%s %s", what, c))
}

func (r *record) Started(c reports.Cell)  { r.add("started", c) }
func (r *record) Done(res reports.Result) { r.add(string(res.Status), res.Cell) }

var steps = []string{matrix.Install, matrix.Stop, matrix.RebootSurvive, matrix.Uninstall}

// newRunner prepares two cycles of two applications on two nodes, in dir.
func newRunner(t *testing.T, dir string) (*Runner, *record) {
	t.Helper()
	cat := catalog.Catalog{"a": {Manifest: &manifest.Manifest{ID: "a"}}, "b": {Manifest: &manifest.Manifest{ID: "b"}}}
	known := []reports.Node{{Name: "x"}, {Name: "y"}}
	p, err := plan.New("run", "v", plan.Request{Cycles: 2, Steps: steps}, cat, known)
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet.Fleet{Published: cat}
	for _, n := range known {
		f.Nodes = append(f.Nodes, &fleet.Node{Node: &nodes.Node{Name: n.Name, Address: "127.0.0.77"}})
	}
	results, err := reports.ReadResults(dir)
	if err != nil {
		t.Fatal(err)
	}
	store, err := reports.OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	seen := &record{}
	return &Runner{Plan: p, Fleet: f, Dir: dir, Suite: os.Args[0], Store: store, Results: results, Observer: seen}, seen
}

// statuses gives the last status of each cell on disk.
func statuses(t *testing.T, dir string) map[reports.Cell]reports.Result {
	t.Helper()
	results, err := reports.ReadResults(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[reports.Cell]reports.Result{}
	for _, r := range results {
		out[r.Cell] = r
	}
	return out
}

func TestEveryCellOfThePlanIsRunInTheOrderOfItsCycle(t *testing.T) {
	dir := t.TempDir()
	r, seen := newRunner(t, dir)
	if err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := statuses(t, dir)
	for _, c := range r.Plan.Cells() {
		if got[c].Status != reports.Passed {
			t.Errorf("%s is %+v", c, got[c])
		}
	}
	at := func(c reports.Cell) int {
		return slices.Index(seen.told, fmt.Sprintf("%s %s", reports.Passed, c))
	}
	for _, c := range r.Plan.Cells() {
		if started := slices.Index(seen.told, "started "+c.String()); started < 0 || started > at(c) {
			t.Errorf("%s was not started before it was done", c)
		}
		// What all of a node go through together comes after each has been through its own.
		other := c
		other.App = map[string]string{"a": "b", "b": "a"}[c.App]
		if other.Step = matrix.Stop; c.Step == matrix.RebootSurvive && at(other) > at(c) {
			t.Errorf("%s came after %s", other, c)
		}
		if other.Step = matrix.RebootSurvive; c.Step == matrix.Uninstall && at(other) > at(c) {
			t.Errorf("%s came after %s", other, c)
		}
		if other.Step, other.Cycle = matrix.Uninstall, 1; c.Cycle == 2 && at(other) > at(c) {
			t.Errorf("%s came after %s", other, c)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "suite", "*.json")); len(left) > 0 {
		t.Errorf("files with the access token are left: %q", left)
	}
}

func TestAfterAFailureTheCycleOfThatApplicationIsNotRun(t *testing.T) {
	t.Setenv(planted, "failed a "+matrix.Stop)
	dir := t.TempDir()
	r, _ := newRunner(t, dir)
	if err := r.Run(t.Context()); err != nil {
		t.Errorf("a red cell is no failure of the gate: %v", err)
	}
	got := statuses(t, dir)
	for _, c := range r.Plan.Cells() {
		want := reports.Result{Status: reports.Passed}
		switch {
		case c.App == "b", c.Step == matrix.Install:
		case c.Step == matrix.Stop:
			want = reports.Result{Status: reports.Failed, Reason: "planted"}
		default:
			want = reports.Result{Status: reports.NotRun, Reason: "stop failed earlier in the cycle"}
		}
		if got[c].Status != want.Status || got[c].Reason != want.Reason {
			t.Errorf("%s is %+v, expected %+v", c, got[c], want)
		}
	}
}

func TestASuiteThatDiesLeavesCellsThatWereNotRun(t *testing.T) {
	t.Setenv(planted, "dies a "+matrix.Stop)
	dir := t.TempDir()
	r, _ := newRunner(t, dir)
	if err := r.Run(t.Context()); !errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), "the suite ended before it") {
		t.Errorf("%v", err)
	}
	got := statuses(t, dir)
	if c := (reports.Cell{App: "a", Node: "x", Cycle: 1, Step: matrix.Stop}); got[c].Status != reports.NotRun || !strings.Contains(got[c].Reason, "exit status 1") {
		t.Errorf("%+v", got[c])
	}
	if c := (reports.Cell{App: "b", Node: "x", Cycle: 1, Step: matrix.Stop}); got[c].Status != reports.Passed {
		t.Errorf("the other application: %+v", got[c])
	}

	t.Setenv(planted, "")
	r, seen := newRunner(t, dir)
	if err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	got = statuses(t, dir)
	for _, c := range r.Plan.Cells() {
		if got[c].Status != reports.Passed {
			t.Errorf("resumed, %s is %+v", c, got[c])
		}
	}
	if again := "started " + (reports.Cell{App: "b", Node: "x", Cycle: 1, Step: matrix.Stop}).String(); slices.Contains(seen.told, again) {
		t.Error("a cell that had passed was run again")
	}
	if c := (reports.Cell{App: "a", Node: "x", Cycle: 1, Step: matrix.Stop}); got[c].Note != "resumed" {
		t.Errorf("the suite was not told that %s may have been left in mid-step", c)
	}
}

func TestAnInterruptedRunBeginsNothingMore(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("interrupted")
	cancel(gone)
	r, seen := newRunner(t, t.TempDir())
	if err := r.Run(ctx); !errors.Is(err, gone) || errors.Is(err, ErrIncomplete) {
		t.Errorf("%v", err)
	}
	if len(seen.told) > 0 {
		t.Errorf("it began %q", seen.told)
	}
}

func TestASuiteIsToldWhoRequiresAnApplicationAndWhatThatHasSet(t *testing.T) {
	needs := func(id string, config map[string]string) *catalog.Entry {
		return &catalog.Entry{Manifest: &manifest.Manifest{ID: id, Requires: []manifest.Requirement{{App: "chain", Config: config}}}}
	}
	r := &Runner{Fleet: &fleet.Fleet{Published: catalog.Catalog{
		"chain": {Manifest: &manifest.Manifest{ID: "chain"}}, "index": needs("index", map[string]string{"txindex": "1"}), "wallet": needs("wallet", map[string]string{"prune": "0"}),
	}}}
	r.done = map[reports.Cell]reports.Status{
		{App: "index", Node: "x", Cycle: 2, Step: matrix.Install}:  reports.Passed,
		{App: "wallet", Node: "x", Cycle: 1, Step: matrix.Install}: reports.Passed,
		{App: "wallet", Node: "y", Cycle: 2, Step: matrix.Install}: reports.Passed,
	}
	apps, config := r.requirers("chain", "x", 2)
	if !slices.Equal(apps, []string{"index", "wallet"}) || len(config) != 1 || config["txindex"] != "1" {
		t.Errorf("%q have set %q", apps, config)
	}
	if apps, config := r.requirers("wallet", "x", 2); len(apps)+len(config) > 0 {
		t.Errorf("%q have set %q", apps, config)
	}
}
