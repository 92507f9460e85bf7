package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/fleet"
	"github.com/archipelago-cloud/archipelago/reports"
)

// on has a runner of one node work on f.
func on(t *testing.T, f *fake) (*Runner, string) {
	t.Helper()
	dir := t.TempDir()
	r, _ := newRunner(t, dir)
	onOneNode(r, 2)
	r.Machine = func(*fleet.Node) Machine { return f }
	return r, dir
}

// red gives the red cells, each with a file of evidence that says why.
func red(t *testing.T, dir string) (cells []string) {
	t.Helper()
	for c, res := range statuses(t, dir) {
		if res.Status != reports.Failed {
			continue
		}
		cells = append(cells, c.String())
		if len(res.Evidence) != 1 {
			t.Fatalf("%s has evidence %q", c, res.Evidence)
		}
		if b, err := os.ReadFile(filepath.Join(dir, res.Evidence[0])); err != nil || !strings.Contains(string(b), res.Reason) {
			t.Errorf("%s: %q, %v", res.Evidence[0], b, err)
		}
	}
	slices.Sort(cells)
	return cells
}

func TestAClockThatGoesAstrayIsRed(t *testing.T) {
	f := &fake{clock: func(asked int) time.Duration { return time.Duration(asked-1) * 3 * time.Second }}
	r, dir := on(t, f)
	if err := r.Run(t.Context()); !errors.Is(err, ErrIncomplete) || !errors.Is(err, nodes.ErrRefused) || !strings.Contains(err.Error(), "3s off") {
		t.Error(err)
	}
	if got, want := red(t, dir), []string{"a on x, cycle 1, uninstall", "b on x, cycle 1, uninstall"}; !slices.Equal(got, want) {
		t.Errorf("red: %q", got)
	}
	// At the start, there is nothing to be red: the node is refused.
	f = &fake{clock: func(int) time.Duration { return -time.Minute }}
	r, dir = on(t, f)
	if err := r.Run(t.Context()); !errors.Is(err, nodes.ErrRefused) {
		t.Error(err)
	}
	for c := range statuses(t, dir) {
		if c.App != "" { // the look at the node itself is none
			t.Errorf("%s was run", c)
		}
	}
	f = &fake{clock: func(int) time.Duration { return time.Second }}
	r, dir = on(t, f)
	if err := r.Run(t.Context()); err != nil || f.clocks != 2 || len(red(t, dir)) > 0 {
		t.Errorf("%v, asked %d times", err, f.clocks)
	}
}

func TestANodeThatIsNoneAnyMoreIsRed(t *testing.T) {
	r, dir := on(t, &fake{lacks: fmt.Errorf("x: %w: the user does not linger", nodes.ErrRefused)})
	if err := r.Run(t.Context()); err != nil {
		t.Error(err)
	}
	if got, want := red(t, dir), []string{"a on x, cycle 2, uninstall", "b on x, cycle 2, uninstall"}; !slices.Equal(got, want) {
		t.Errorf("red: %q", got)
	}
	r, dir = on(t, &fake{lacks: nodes.ErrLost})
	if err := r.Run(t.Context()); !errors.Is(err, ErrIncomplete) || len(red(t, dir)) > 0 {
		t.Error(err)
	}
	r, dir = on(t, &fake{warns: []string{"known", "applications start late after a boot"}})
	r.Plan.Warnings = []string{"known"}
	if err := r.Run(t.Context()); err != nil || len(red(t, dir)) > 0 || !slices.Equal(r.Plan.Warnings, []string{"known", "applications start late after a boot (since this run)"}) {
		t.Errorf("%v, warnings %q", err, r.Plan.Warnings)
	}
}

func TestArchyIsAskedInOneJobOfACycle(t *testing.T) {
	r, dir := on(t, &fake{})
	tools := t.TempDir()
	r.Suite = filepath.Join(tools, "suite")
	if err := errors.Join(os.Symlink(os.Args[0], r.Suite), os.WriteFile(filepath.Join(tools, "archy"), nil, 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	asked := map[int]map[string]bool{1: {}, 2: {}}
	for c, res := range statuses(t, dir) {
		if strings.Contains(res.Note, "archy") {
			asked[c.Cycle][c.App] = true
			if c.Step == matrix.RebootSurvive || c.Step == matrix.Uninstall {
				t.Errorf("%s was asked for, too", c)
			}
		}
	}
	if len(asked[1]) != 1 || len(asked[2]) != 1 {
		t.Errorf("archy was asked of %v", asked)
	}
}
