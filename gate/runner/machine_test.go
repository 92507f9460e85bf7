package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/fleet"
	"github.com/archipelago-cloud/archipelago/reports"
)

// fake is a node that does as it is told.
type fake struct {
	mu     sync.Mutex
	boot   func(asked int) string // which boot it is on; nil: always the same
	asked  int
	images []string // what was done to its images
	left   []string
	full   error

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

func (f *fake) Pull(_ context.Context, images []fleet.Image) error {
	f.images = append(f.images, fmt.Sprintf("pulled %d", len(images)))
	return f.full
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
