package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
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
	matrix.BecomeBrowser()
	s, ok, err := matrix.ReadShard()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if ok {
		suite(s)
	}
	// Under the race detector, each of the hundreds of suites that are run here would pause
	// for a second before it ends.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	os.Exit(m.Run())
}

// planted names what goes wrong, in the environment of the suite: "WHAT APP STEP", where
// WHAT is a status, "dies", "hangs", or "lost". With "once " before it, it happens once per
// node and cycle.
const planted = "RUNNER_TEST_PLANTED"

// plant makes go wrong what is to.
func plant(s *matrix.Shard, r *reports.Result, step, app string) {
	text, once := strings.CutPrefix(os.Getenv(planted), "once ")
	what, cell, _ := strings.Cut(text, " ")
	if cell != app+" "+step {
		return
	}
	mark := filepath.Join(s.Dir, fmt.Sprintf("planted-%s-%d", s.Node.Name, s.Cycle))
	if _, err := os.Stat(mark); once && err == nil {
		return
	}
	os.WriteFile(mark, nil, 0o644)
	switch what {
	case "dies":
		os.Exit(1)
	case "hangs":
		os.WriteFile(filepath.Join(s.Dir, "suite.pid"), fmt.Append(nil, os.Getpid()), 0o644)
		<-time.After(time.Minute) // and no longer, should nobody end it
		os.Exit(1)
	case "lost":
		r.Status, r.Reason, r.Cause = reports.NotRun, "planted: node lost", reports.Lost
	case "loud": // it says more than anyone reads, and is not to be interrupted
		signal.Ignore(os.Interrupt)
		r.Status, r.Reason = reports.Failed, strings.Repeat("x", 2<<20)
	case "blind":
		r.Status, r.Reason = reports.Failed, "planted"
	default:
		r.Status, r.Reason, r.Evidence = reports.Status(what), "planted", []string{"evidence.txt"}
		os.WriteFile(filepath.Join(s.Dir, "evidence.txt"), []byte("planted"), 0o644)
	}
}

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
			if s.Archy != "" {
				r.Note += "archy"
			}
			for _, f := range s.Fixtures {
				r.Note += "+" + f.ID
			}
			for _, a := range s.Absent {
				r.Note += "-" + a.ID
			}
			if s.EvidenceFull {
				r.Note += "full"
			}
			if previous := s.Previous[m.ID]; previous != nil {
				r.Updated = previous.Version
			}
			plant(s, &r, step, m.ID)
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
	return runnerOf(t, dir, catalog.Catalog{"a": {Manifest: &manifest.Manifest{ID: "a"}}, "b": {Manifest: &manifest.Manifest{ID: "b"}}})
}

// runnerOf prepares two cycles of a catalog on two nodes, in dir.
func runnerOf(t *testing.T, dir string, cat catalog.Catalog) (*Runner, *record) {
	t.Helper()
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
	r := &Runner{Plan: p, Fleet: f, Dir: dir, Suite: os.Args[0], Store: store, Results: results, Observer: seen}
	machines := map[string]*fake{"x": {}, "y": {}}
	r.Machine = func(n *fleet.Node) Machine { return machines[n.Name] }
	return r, seen
}

// onOneNode leaves less to do: every job is a process, and those are slow with the race
// detector.
func onOneNode(r *Runner, cycles int) {
	r.Plan.Asked.Nodes, r.Plan.Asked.Cycles = []string{"x"}, cycles
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

// TestARedResultIsKnownElsewhereBeforeAnybodyIsTold has a cell fail: whoever kills the gate at
// the sight of it comes too late. It is once for each application in a session.
func TestARedResultIsKnownElsewhereBeforeAnybodyIsTold(t *testing.T) {
	dir := t.TempDir()
	r, seen := newRunner(t, dir)
	var known []string
	r.Red = func(app string) error {
		known = append(known, app)
		seen.told = append(seen.told, "red")
		return nil
	}
	r.recall()
	c := r.Plan.Cells()
	other := c[slices.IndexFunc(c, func(o reports.Cell) bool { return o.App != c[2].App })]
	for _, res := range []reports.Result{{Cell: c[0], Status: reports.Passed}, {Cell: c[1], Status: reports.NotRun}, {Cell: c[2], Status: reports.Failed}, {Cell: c[3], Status: reports.Failed}, {Cell: other, Status: reports.Failed}} {
		if err := r.record(res); err != nil {
			t.Fatal(err)
		}
	}
	if i := slices.Index(seen.told, "red"); !slices.Equal(known, []string{c[2].App, other.App}) || i != 2 || !strings.HasPrefix(seen.told[3], "failed") {
		t.Errorf("%q are red, %q", known, seen.told)
	}
	r.red, r.Red = nil, func(string) error { return errors.New("no space left") }
	if err := r.keep(reports.NodeResult("x", 1, reports.Vitals{}, time.Now())); err != nil {
		t.Error(err)
	}
	node := reports.NodeResult("x", 1, reports.Vitals{}, time.Now())
	node.Status = reports.Failed
	if err := r.keep(node); !errors.Is(err, errStore) || !strings.Contains(err.Error(), "the ledger: no space left") {
		t.Errorf("a node that is red, and a ledger that is full: %v", err)
	}
}

func TestASuiteThatDiesLeavesCellsThatWereNotRun(t *testing.T) {
	t.Setenv(planted, "once dies a "+matrix.Stop)
	dir := t.TempDir()
	r, seen := newRunner(t, dir)
	onOneNode(r, 1)
	if err := r.Run(t.Context()); err != nil {
		t.Errorf("it was run again, and passed: %v", err)
	}
	stop := reports.Cell{App: "a", Node: "x", Cycle: 1, Step: matrix.Stop}
	for _, c := range r.Plan.Cells() {
		if got := statuses(t, dir)[c]; got.Status != reports.Passed {
			t.Errorf("%s is %+v", c, got)
		}
	}
	results, err := reports.ReadResults(dir)
	if err != nil {
		t.Fatal(err)
	}
	var of []reports.Result
	for _, res := range results {
		if res.Cell == stop {
			of = append(of, res)
		}
	}
	if len(of) != 2 || of[0].Status != reports.NotRun || of[0].Cause != reports.Hung || !strings.Contains(of[0].Reason, "exit status 1") || of[1].Note != "resumed" {
		t.Errorf("%+v", of)
	}
	again := 0
	for _, what := range seen.told {
		if what == "started "+(reports.Cell{App: "b", Node: "x", Cycle: 1, Step: matrix.Stop}).String() {
			again++
		}
	}
	if again != 1 {
		t.Errorf("the other application's stop was begun %d times", again)
	}
}

func TestACellThatIsNotRunTwiceStopsItsApplicationAndNotItsNode(t *testing.T) {
	for _, what := range []string{"dies", "lost"} {
		t.Run(what, func(t *testing.T) {
			t.Setenv(planted, what+" a "+matrix.Stop)
			dir := t.TempDir()
			r, _ := newRunner(t, dir)
			onOneNode(r, 2)
			if err := r.Run(t.Context()); !errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), "a on x, cycle 1, stop: ") {
				t.Errorf("%v", err)
			}
			got := statuses(t, dir)
			for _, c := range r.Plan.Cells() {
				want := reports.Passed
				if c.App == "a" && (c.Step != matrix.Install || c.Cycle == 2) {
					want = reports.NotRun
				}
				if got[c].Status != want {
					t.Errorf("%s is %+v, expected %s", c, got[c], want)
				}
			}
			if c := (reports.Cell{App: "a", Node: "x", Cycle: 1, Step: matrix.Uninstall}); got[c].Reason != "stop was not run earlier in the cycle" {
				t.Errorf("%+v", got[c])
			}
			// It was run again already: no resumption does it once more.
			t.Setenv(planted, "")
			r, seen := newRunner(t, dir)
			onOneNode(r, 2)
			if err := r.Run(t.Context()); err != nil {
				t.Error(err)
			}
			if again := "started " + (reports.Cell{App: "a", Node: "x", Cycle: 1, Step: matrix.Stop}).String(); slices.Contains(seen.told, again) {
				t.Error("it was run a third time")
			}
			if c := (reports.Cell{App: "a", Node: "x", Cycle: 2, Step: matrix.Uninstall}); statuses(t, dir)[c].Status != reports.Passed {
				t.Errorf("the next cycle is not gone on with: %+v", statuses(t, dir)[c])
			}
		})
	}
}

func TestASuiteThatSaysNothingIsEnded(t *testing.T) {
	t.Setenv(planted, "once hangs a "+matrix.Stop)
	dir := t.TempDir()
	r, _ := newRunner(t, dir)
	onOneNode(r, 1)
	r.Silence = 5 * time.Second
	if err := r.Run(t.Context()); err != nil {
		t.Error(err)
	}
	hung := 0
	results, _ := reports.ReadResults(dir)
	for _, res := range results {
		if res.Cause == reports.Hung && strings.Contains(res.Reason, "said nothing for 5s") {
			hung++
		}
	}
	if hung != 1 || statuses(t, dir)[reports.Cell{App: "a", Node: "x", Cycle: 1, Step: matrix.Uninstall}].Status != reports.Passed {
		t.Errorf("%d cells hung", hung)
	}
}

func TestARedCellWithoutItsEvidenceIsAFaultOfTheGate(t *testing.T) {
	t.Setenv(planted, "blind a "+matrix.Stop)
	r, _ := newRunner(t, t.TempDir())
	onOneNode(r, 1)
	if err := r.Run(t.Context()); !errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), "a on x, cycle 1, stop is red without its evidence") {
		t.Error(err)
	}
	t.Setenv(planted, "failed a "+matrix.Stop)
	dir := t.TempDir()
	r, _ = newRunner(t, dir)
	onOneNode(r, 1)
	if err := r.Run(t.Context()); err != nil {
		t.Error(err)
	}
	const sum = "62b05ee9a0a8f9c4d2f1ec1a9c1d4c42"
	if res := statuses(t, dir)[reports.Cell{App: "a", Node: "x", Cycle: 1, Step: matrix.Stop}]; len(res.Digests["evidence.txt"]) != 2*len(sum) {
		t.Errorf("%+v", res)
	}
}

// What fails and says so at such length that nobody can read it has failed: it is not lost,
// to be run again until it passes. And the suite is not kept waiting.
func TestAFailureThatIsTooLongToReadIsRed(t *testing.T) {
	t.Setenv(planted, "loud a "+matrix.Stop)
	dir := t.TempDir()
	r, _ := newRunner(t, dir)
	onOneNode(r, 1)
	begin := time.Now()
	if err := r.Run(t.Context()); !errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), "reading the suite's results") {
		t.Errorf("%v", err)
	}
	if took := time.Since(begin); took > interruptGrace/2 {
		t.Errorf("it took %s", took)
	}
	stop := reports.Cell{App: "a", Node: "x", Cycle: 1, Step: matrix.Stop}
	if res := statuses(t, dir)[stop]; res.Status != reports.Failed || len(res.Digests) != 1 || strings.Contains(res.Reason, "xxx") {
		t.Errorf("%+v", res)
	}
	t.Setenv(planted, "")
	r, _ = newRunner(t, dir)
	onOneNode(r, 1)
	r.Run(t.Context())
	if res := statuses(t, dir)[stop]; res.Status != reports.Failed {
		t.Errorf("resumed: %+v", res)
	}
}

func TestWhatAKilledGateHadUnderWayIsCounted(t *testing.T) {
	dir := t.TempDir()
	stop := reports.Cell{App: "a", Node: "x", Cycle: 1, Step: matrix.Stop}
	kill := func(results ...reports.Result) {
		t.Helper()
		lines, err := reports.Encode(results)
		if err != nil {
			t.Fatal(err)
		}
		shard := &matrix.Shard{Node: nodes.Node{Name: "x"}, Cycle: 1, Steps: []string{matrix.Install, matrix.Stop}, Apps: []*manifest.Manifest{{ID: "a"}}}
		suite := filepath.Join(dir, "suite")
		if err := errors.Join(os.MkdirAll(suite, 0o755), os.WriteFile(filepath.Join(dir, reports.ResultsFile), lines, 0o644), shard.Write(filepath.Join(suite, "x.json")), os.WriteFile(filepath.Join(suite, "half.json"), []byte("{"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	install := reports.Result{Cell: reports.Cell{App: "a", Node: "x", Cycle: 1, Step: matrix.Install}, Status: reports.Passed}
	kill(install)
	r, _ := newRunner(t, dir)
	onOneNode(r, 1)
	if err := r.Run(t.Context()); err != nil {
		t.Error(err)
	}
	results, err := reports.ReadResults(dir)
	if err != nil {
		t.Fatal(err)
	}
	if k := results[1]; k.Cell != stop || k.Cause != reports.Interrupted || !strings.Contains(k.Reason, "killed") {
		t.Errorf("%+v", k)
	}
	if s := statuses(t, dir)[stop]; s.Status != reports.Passed || s.Note != "resumed" {
		t.Errorf("%+v", s)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "suite", "*.json")); len(left) > 0 {
		t.Errorf("files with the access token are left: %q", left)
	}
	// Killed a second time, it is not run any more.
	kill(install, reports.Result{Cell: stop, Status: reports.NotRun, Cause: reports.Lost})
	r, seen := newRunner(t, dir)
	onOneNode(r, 1)
	if err := r.Run(t.Context()); err != nil {
		t.Error(err)
	}
	if slices.Contains(seen.told, "started "+stop.String()) || statuses(t, dir)[stop].Status != reports.NotRun {
		t.Errorf("it was run a third time: %+v", statuses(t, dir)[stop])
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

// TestASuiteOpensPagesWhereverTheRunDoes: after a restart, too, whose process has no step that
// opens one.
func TestASuiteOpensPagesWhereverTheRunDoes(t *testing.T) {
	for _, asked := range [][]string{{matrix.Restart}, {matrix.UIReachable, matrix.Restart}} {
		r, _ := newRunner(t, t.TempDir())
		r.Plan.Asked.Steps = asked
		if err := r.recall(); err != nil {
			t.Fatal(err)
		}
		s := r.describe(r.Fleet.Nodes[0], &plan.Job{Node: "x", Cycle: 1}, []string{"a"}, []string{matrix.Restart})
		if want := slices.Contains(asked, matrix.UIReachable); s.Browse != want {
			t.Errorf("%s: %v", asked, s.Browse)
		}
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
	if len(apps) != 2 || apps[0].App != "index" || apps[1].App != "wallet" || len(config) != 1 || config["txindex"] != "1" {
		t.Errorf("%v have set %q", apps, config)
	}
	if apps, config := r.requirers("wallet", "x", 2); len(apps)+len(config) > 0 {
		t.Errorf("%v have set %q", apps, config)
	}
}
