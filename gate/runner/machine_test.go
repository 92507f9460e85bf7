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
	"github.com/archipelago-cloud/archipelago/gate/verdict"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/fleet"
	"github.com/archipelago-cloud/archipelago/reports"
)

// fake is a node that does as it is told.
type fake struct {
	mu      sync.Mutex
	boot    func(asked int) string // which boot it is on; nil: always the same
	asked   int
	images  []string // what was done to its images
	left    []string
	full    error
	without map[string]string

	vitals func(asked int) string        // more of what it says of itself; nil: nothing is wrong
	since  []string                      // cursors of the looks
	clock  func(asked int) time.Duration // how far ahead it is; nil: not at all
	clocks int
	lacks  error    // at the end of a run
	warns  []string // then
}

func (f *fake) Clock(context.Context) (nodes.Clock, error) {
	f.clocks++
	here := time.Now()
	if f.clock == nil {
		return nodes.Clock{Node: here, Here: here}, nil
	}
	return nodes.Clock{Node: here.Add(f.clock(f.clocks)), Here: here}, nil
}

func (f *fake) Check(context.Context) ([]string, error) { return f.warns, f.lacks }

func (f *fake) Boot(context.Context) (nodes.BootID, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if f.boot == nil {
		return "boot/1", nil
	}
	return nodes.BootID(f.boot(f.asked)), nil
}

func (f *fake) LastWords(context.Context) (string, error) { return "power failure", nil }

func (f *fake) Pull(_ context.Context, images []fleet.Image) (map[string]string, error) {
	f.images = append(f.images, fmt.Sprintf("pulled %d", len(images)))
	return f.without, f.full
}

func (f *fake) Bare(context.Context) ([]string, error) {
	f.images = append(f.images, "bare")
	return f.left, nil
}

func TestANodeThatRebootsByItselfIsRed(t *testing.T) {
	for _, c := range []struct {
		name  string
		asked int // the node is on another boot when it is asked more often than that
		step  string
		cycle int
	}{
		{"before the gate reboots it", 2, matrix.Stop, 1},
		{"between two cycles", 5, matrix.Uninstall, 1},
		{"at the very end", 8, matrix.Uninstall, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			r, _ := newRunner(t, dir)
			onOneNode(r, 2)
			rebooted := &fake{}
			rebooted.boot = func(asked int) string { return fmt.Sprint("boot/", asked > c.asked) }
			r.Machine = func(*fleet.Node) Machine { return rebooted }
			if err := r.Run(t.Context()); err != nil {
				t.Error(err)
			}
			got := statuses(t, dir)
			for _, app := range []string{"a", "b"} {
				res := got[reports.Cell{App: app, Node: "x", Cycle: c.cycle, Step: c.step}]
				if res.Status != reports.Failed || !strings.Contains(res.Reason, "the node rebooted by itself") || len(res.Evidence) != 1 {
					t.Errorf("%+v", res)
					continue
				}
				b, err := os.ReadFile(filepath.Join(dir, res.Evidence[0]))
				if err != nil || !strings.Contains(string(b), "power failure") || res.Digests[res.Evidence[0]] == "" {
					t.Errorf("%q, %v, digests %v", b, err, res.Digests)
				}
			}
			for _, res := range got {
				if res.Status == reports.Failed && (res.Node != "x" || res.Cycle != c.cycle || res.Step != c.step) {
					t.Errorf("%+v", res)
				}
			}
		})
	}
}

// TestARebootWhileTheRunWasAwayIsRecorded takes a run up again that was cut short.
func TestARebootWhileTheRunWasAwayIsRecorded(t *testing.T) {
	for _, c := range []struct {
		name      string
		rebooting bool   // the gate itself had asked for it
		boot      string // that the second session finds
		away      bool
	}{
		{name: "nothing happened", boot: "boot/1"},
		{name: "it rebooted", boot: "boot/2", away: true},
		{name: "the gate was cut while it rebooted the node", rebooting: true, boot: "boot/2"},
		{name: "the gate was cut before it rebooted the node", rebooting: true, boot: "boot/1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			first, _ := newRunner(t, dir)
			onOneNode(first, 1)
			first.Plan.Asked.Steps = []string{matrix.Install, matrix.Stop}
			if err := first.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			kept := keptPlan(t, dir)
			if kept.Boots["x"].ID != "boot/1" || kept.Boots["x"].Rebooting || kept.Boots["x"].At.IsZero() || len(kept.Away) > 0 {
				t.Fatalf("%+v", kept)
			}
			if c.rebooting {
				kept.Reboots("x")
			}
			second, _ := newRunner(t, dir)
			onOneNode(second, 1)
			second.Plan.Boots = kept.Boots
			second.Machine = func(*fleet.Node) Machine { return &fake{boot: func(int) string { return c.boot }} }
			if err := second.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			kept = keptPlan(t, dir)
			if (len(kept.Away) == 1) != c.away || kept.Boots["x"].ID != c.boot || kept.Boots["x"].Rebooting {
				t.Errorf("%+v, %+v", kept.Away, kept.Boots)
			}
			for cell, res := range statuses(t, dir) {
				if res.Status == reports.Failed {
					t.Errorf("%s is red: nobody says that the reboot was the node's own: %s", cell, res.Reason)
				}
			}
			// Nothing is left to do: nothing is asked, and nothing recorded.
			third, _ := newRunner(t, dir)
			onOneNode(third, 1)
			third.Plan.Boots = kept.Boots
			third.Machine = func(*fleet.Node) Machine { return &fake{boot: func(int) string { return "boot/9" }} }
			if err := third.Run(t.Context()); err != nil || len(third.Plan.Away) > 0 || len(third.Results) != len(second.Results) {
				t.Errorf("%v, %+v", err, third.Plan.Away)
			}
		})
	}
}

// TestTheGatesOwnRebootIsAnnounced looks at the record on disk whenever the node is asked for
// its boot: a gate that is killed while it reboots the node leaves it so.
func TestTheGatesOwnRebootIsAnnounced(t *testing.T) {
	dir := t.TempDir()
	r, _ := newRunner(t, dir)
	onOneNode(r, 1)
	var announced []bool
	boot := func(asked int) string {
		if _, err := os.Stat(filepath.Join(dir, reports.PlanFile)); err == nil {
			announced = append(announced, keptPlan(t, dir).Boots["x"].Rebooting)
		}
		return "boot/1"
	}
	machine := &fake{boot: boot}
	r.Machine = func(*fleet.Node) Machine { return machine }
	if err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(announced, []bool{false, false, true, false}) || keptPlan(t, dir).Boots["x"].Rebooting {
		t.Errorf("%v: expected it while the gate waits for the node to be back, and then no more", announced)
	}
}

// keptPlan is the run's record on disk.
func keptPlan(t *testing.T, dir string) (p plan.Plan) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, reports.PlanFile))
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestImagesArePulledOnceAndOneCycleHasNone(t *testing.T) {
	dir := t.TempDir()
	r, _ := newRunner(t, dir)
	r.Fleet.Images = []fleet.Image{{Ref: "i"}}
	x, y := &fake{}, &fake{}
	machines := func(n *fleet.Node) Machine { return map[string]*fake{"x": x, "y": y}[n.Name] }
	r.Machine = machines
	if err := r.Run(t.Context()); err != nil {
		t.Error(err)
	}
	for _, f := range []*fake{x, y} {
		if !slices.Equal(f.images, []string{"pulled 1", "bare"}) {
			t.Errorf("%q", f.images)
		}
	}
	r, _ = newRunner(t, t.TempDir())
	onOneNode(r, 2)
	r.Machine = machines
	x.left = []string{"abc"}
	if err := r.Run(t.Context()); !errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), "cycle 2 starts from no images, and some cannot be removed: [abc]") {
		t.Error(err)
	}
	x.full = errors.New("no room")
	r, seen := newRunner(t, t.TempDir())
	onOneNode(r, 1)
	r.Machine = machines
	if err := r.Run(t.Context()); !errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), "pulling images: no room") {
		t.Error(err)
	}
	if slices.ContainsFunc(seen.told, func(s string) bool { return strings.Contains(s, "on x") }) {
		t.Error("a node without room for the images was worked on")
	}
}

func TestACycleWithoutImagesIsGoneOnWithAsItIs(t *testing.T) {
	dir := t.TempDir()
	r, _ := newRunner(t, dir)
	var results []reports.Result
	for _, c := range r.Plan.Cells() {
		if c.Cycle == 1 || c == (reports.Cell{App: "a", Node: "x", Cycle: 2, Step: matrix.Install}) {
			results = append(results, reports.Result{Cell: c, Status: reports.Passed})
		}
	}
	lines, err := reports.Encode(results)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, reports.ResultsFile), lines, 0o644); err != nil {
		t.Fatal(err)
	}
	r, _ = newRunner(t, dir)
	x, y := &fake{}, &fake{}
	r.Machine = func(n *fleet.Node) Machine { return map[string]*fake{"x": x, "y": y}[n.Name] }
	if err := r.Run(t.Context()); err != nil {
		t.Error(err)
	}
	if len(x.images) > 0 || !slices.Equal(y.images, []string{"pulled 0", "bare"}) {
		t.Errorf("images of the node in the middle of it: %q, of the one before it: %q", x.images, y.images)
	}
}

// An application whose image cannot be had is not run, with the reason, and so is what
// requires it; the others are.
func TestWhatHasNoImageHereIsNotRunAndCoversNothing(t *testing.T) {
	app := func(id string, requires ...string) *catalog.Entry {
		m := &manifest.Manifest{ID: id, Containers: []manifest.Container{{Name: id}}}
		for _, r := range requires {
			m.Requires = append(m.Requires, manifest.Requirement{App: r})
		}
		return &catalog.Entry{Manifest: m}
	}
	dir := t.TempDir()
	r, _ := runnerOf(t, dir, catalog.Catalog{"chain": app("chain"), "wallet": app("wallet", "chain"), "page": app("page")})
	onOneNode(r, 2)
	r.Fleet.Images = []fleet.Image{{Ref: "there", Apps: []string{"page", "wallet"}}, {Ref: "away", Apps: []string{"chain"}}}
	f := &fake{without: map[string]string{"away": "manifest unknown"}}
	r.Machine = func(*fleet.Node) Machine { return f }
	if err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"chain":  "its image away cannot be had here: manifest unknown",
		"wallet": "fixture chain, which it requires: its image away cannot be had here: manifest unknown",
	}
	cells := 0
	for c, res := range statuses(t, dir) {
		switch {
		case res.OfNode():
		case want[c.App] == "" && res.Status != reports.Passed, want[c.App] != "" && (res.Status != reports.NotRun || res.Reason != want[c.App]):
			t.Errorf("%s: %s, %q", c, res.Status, res.Reason)
		default:
			cells++
		}
	}
	if cells != len(r.Plan.Cells()) {
		t.Errorf("%d of %d cells are accounted for", cells, len(r.Plan.Cells()))
	}
	j := verdict.Judge(r.Plan, r.Results)
	verdicts := map[string]reports.Verdict{}
	for _, a := range j.Apps {
		verdicts[a.ID] = a.Verdict
	}
	if j.Verdict != reports.Incomplete || verdicts["chain"] != reports.Incomplete || verdicts["wallet"] != reports.Incomplete || verdicts["page"] != reports.Green {
		t.Errorf("%s, %v", j.Verdict, verdicts)
	}
	if err := verdict.Releasable(j, time.Now()); err == nil {
		t.Error("it can release")
	}
}
