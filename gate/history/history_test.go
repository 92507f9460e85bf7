package history

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/reports"
)

// made puts the n-th run into out, with two applications of which feeds requires broker; edit
// changes its plan, and its results, which have all passed.
func made(t *testing.T, out string, n int, edit func(*plan.Plan, []reports.Result)) {
	t.Helper()
	p := &plan.Plan{
		Run: fmt.Sprintf("r%d", n), Gate: "1.0", Asked: reports.Policy{Cycles: 2, Nodes: []string{".228"}, Steps: []string{"install", "reboot-survive"}, Apps: []string{"broker", "feeds"}},
		Versions: map[string]string{"broker": "2.0", "feeds": "1.0"}, Requires: map[string][]string{"feeds": {"broker"}},
		Subject: reports.Subject{Daemon: "d0", Manifests: map[string]string{"broker": "b0", "feeds": "f0"}, Images: map[string]string{"broker": "i0", "feeds-db": "j0", "feeds": "k0"}},
		Nodes:   []reports.Node{{Name: ".228", Podman: "5.4.2"}}, Judge: reports.Judge{Gate: "g0", Suite: "s0"},
	}
	began := time.Unix(int64(1000*n), 0).UTC()
	p.Sessions = []plan.Session{{Started: began}}
	var results []reports.Result
	for i, c := range p.Cells() {
		results = append(results, reports.Result{Cell: c, Status: reports.Passed, Seconds: 2, Timing: reports.Timing{App: 1}, At: began.Add(time.Duration(i) * time.Second)})
	}
	if edit != nil {
		edit(p, results)
	}
	lines, err := reports.Encode(results)
	dir := filepath.Join(out, p.Run)
	if err := errors.Join(err, reports.WriteJSON(filepath.Join(dir, reports.PlanFile), p), os.WriteFile(filepath.Join(dir, reports.ResultsFile), lines, 0o644)); err != nil {
		t.Fatal(err)
	}
}

// red fails an application's cells of a step.
func red(app, step, reason string) func(*plan.Plan, []reports.Result) {
	return func(_ *plan.Plan, r []reports.Result) {
		for i := range r {
			if r[i].App == app && r[i].Step == step {
				r[i].Status, r[i].Reason = reports.Failed, reason
			}
		}
	}
}

// opened opens the index of out and brings it up to date.
func opened(t *testing.T, out string) *History {
	t.Helper()
	h, err := Open(t.Context(), out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	if skipped, err := h.Update(t.Context()); err != nil || len(skipped) > 0 {
		t.Fatal(skipped, err)
	}
	return h
}

func trends(t *testing.T, h *History, app string) *Trends {
	t.Helper()
	got, err := h.Trends(t.Context(), app)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestTheIndexFollowsFromTheRunsAlone(t *testing.T) {
	out := t.TempDir()
	for n := range 5 {
		made(t, out, n+1, func(p *plan.Plan, r []reports.Result) {
			if n == 2 {
				red("feeds", "install", "planted")(p, r)
			}
			r[0].Seconds = float64(n)
		})
	}
	h := opened(t, out)
	want := trends(t, h, "")
	if len(want.Runs) != 5 || len(want.Rates) != 4 || len(want.Bad) != 1 || len(want.Flakes) != 1 || len(want.Boots) != 5 {
		t.Fatalf("%+v", want)
	}
	h.Close()
	file := filepath.Join(out, File)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func() error{
		"it is missing": func() error { return os.Remove(file) },
		"it is none":    func() error { return os.WriteFile(file, []byte(strings.Repeat("no database ", 1000)), 0o644) },
		"it is empty":   func() error { return os.Truncate(file, 0) },
		"it was cut":    func() error { return os.Truncate(file, int64(len(whole)/2)) },
		"a page is overwritten": func() error {
			return os.WriteFile(file, slices.Concat(whole[:4096], make([]byte, len(whole)-4096)), 0o644)
		},
		"it is of another format": func() error {
			h, err := Open(t.Context(), out)
			if err == nil {
				_, err = h.db.Exec("DELETE FROM cells; PRAGMA user_version = 99")
				h.Close()
			}
			return err
		},
	} {
		if err := os.WriteFile(file, whole, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := spoil(); err != nil {
			t.Fatal(name, err)
		}
		h := opened(t, out)
		if got := trends(t, h, ""); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, expected %+v", name, got, want)
		}
		h.Close()
	}
}

func TestARunThatWentOnIsTakenOverAgainAndOneThatIsRemovedStaysKnown(t *testing.T) {
	out := t.TempDir()
	made(t, out, 1, func(p *plan.Plan, r []reports.Result) { r[0].Status = reports.NotRun })
	h := opened(t, out)
	if r := trends(t, h, "").Runs; len(r) != 1 || r[0].Verdict != reports.Incomplete || r[0].Passed != 7 {
		t.Fatalf("%+v", r)
	}
	made(t, out, 1, nil)
	h.Close()
	h = opened(t, out)
	if r := trends(t, h, "").Runs; len(r) != 1 || r[0].Verdict != reports.Green || r[0].Passed != 8 {
		t.Fatalf("%+v", r)
	}
	if err := os.RemoveAll(filepath.Join(out, "r1")); err != nil {
		t.Fatal(err)
	}
	h.Close()
	if r := trends(t, opened(t, out), "").Runs; len(r) != 1 {
		t.Fatalf("%+v", r)
	}
}

func TestARunThatCannotBeReadIsNamedAndKeepsNoOtherOut(t *testing.T) {
	out := t.TempDir()
	for n := range 3 {
		made(t, out, n, nil)
	}
	file := filepath.Join(out, "r1", reports.ResultsFile)
	b, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, []byte(strings.Replace(string(b), "passed", "failed", 1)), 0o644)
	}
	if err := errors.Join(err, os.Mkdir(filepath.Join(out, "nothing"), 0o755), os.Symlink("/etc", filepath.Join(out, "r2", "evidence"))); err != nil {
		t.Fatal(err)
	}
	h, err := Open(t.Context(), out)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	skipped, err := h.Update(t.Context())
	if err != nil || len(skipped) != 2 || !errors.Is(skipped[0], reports.ErrDamaged) || !errors.Is(skipped[1], reports.ErrForeign) {
		t.Errorf("%v, %v", skipped, err)
	}
	if r := trends(t, h, "").Runs; len(r) != 1 || r[0].Run != "r0" {
		t.Errorf("%+v", r)
	}
}

// TestACopyOfARunHidesNothing has copies of a red run, before and after it in the directory, that were
// made before it was red.
func TestACopyOfARunHidesNothing(t *testing.T) {
	out := t.TempDir()
	made(t, out, 1, red("feeds", "reboot-survive", "planted"))
	results, err := reports.ReadResults(filepath.Join(out, "r1"))
	if err != nil {
		t.Fatal(err)
	}
	lines, err := reports.Encode(results[:2])
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "z"} {
		dir := filepath.Join(out, name)
		if err := errors.Join(os.CopyFS(dir, os.DirFS(filepath.Join(out, "r1"))), os.WriteFile(filepath.Join(dir, reports.ResultsFile), lines, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	h, err := Open(t.Context(), out)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for range 3 {
		skipped, err := h.Update(t.Context())
		if err != nil || len(skipped) == 0 || !strings.Contains(fmt.Sprint(skipped), "run z: it is a copy of r1") {
			t.Errorf("%v, %v", skipped, err)
		}
		if r := trends(t, h, "").Runs; len(r) != 1 || r[0].Verdict != reports.Red || r[0].Failed != 2 {
			t.Errorf("%+v", r)
		}
	}
}

func TestTwoGatesWriteTheIndex(t *testing.T) {
	out := t.TempDir()
	for n := range 4 {
		made(t, out, n, nil)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			h, err := Open(t.Context(), out)
			if err != nil {
				t.Error(err)
				return
			}
			defer h.Close()
			if skipped, err := h.Update(t.Context()); err != nil || len(skipped) > 0 {
				t.Error(skipped, err)
			}
		})
	}
	wg.Wait()
	if r := trends(t, opened(t, out), "").Runs; len(r) != 4 {
		t.Errorf("%+v", r)
	}
}

func TestAnIndexThatIsWrittenToIsNotRemoved(t *testing.T) {
	out := t.TempDir()
	made(t, out, 1, nil)
	h := opened(t, out)
	tx, err := h.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	before, _ := os.Stat(filepath.Join(out, File))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Open(ctx, out); err == nil {
		t.Error("it was opened")
	}
	if after, err := os.Stat(filepath.Join(out, File)); err != nil || !os.SameFile(before, after) {
		t.Errorf("it was replaced: %v", err)
	}
}

// Wilson's bounds of well-known shares, to four places.
func TestWilson(t *testing.T) {
	for _, c := range []struct {
		k, n      int
		low, high float64
	}{{0, 0, 0, 1}, {0, 10, 0, 0.2775}, {10, 10, 0.7225, 1}, {1, 2, 0.0945, 0.9055}, {81, 263, 0.2553, 0.3662}} {
		low, high := Wilson(c.k, c.n)
		if math.Abs(low-c.low) > 5e-5 || math.Abs(high-c.high) > 5e-5 {
			t.Errorf("%d of %d: %.4f to %.4f, expected %.4f to %.4f", c.k, c.n, low, high, c.low, c.high)
		}
	}
}

func TestWhatWasNotRunCountsInNoRate(t *testing.T) {
	out := t.TempDir()
	made(t, out, 1, func(p *plan.Plan, r []reports.Result) {
		for i := range r {
			switch {
			case r[i].App != "feeds" || r[i].Step != "install":
			case r[i].Cycle == 1:
				r[i].Status = reports.NotRun
			default:
				r[i].Status = reports.Failed
			}
		}
	})
	got := trends(t, opened(t, out), "feeds").Rates
	if len(got) != 2 || got[0].Step != "install" || got[0].Cells != 1 || got[0].Passed != 0 || got[0].Low != 0 || got[0].High > 0.8 || got[1].Cells != 2 || got[1].Rate != 1 {
		t.Errorf("%+v", got)
	}
}

// TestARunThatIsPutTogetherFromOthersCountsOnce has a later run hold the cells of an earlier one, on
// a node that has another name there.
func TestARunThatIsPutTogetherFromOthersCountsOnce(t *testing.T) {
	out := t.TempDir()
	bad := red("feeds", "install", "planted")
	made(t, out, 1, bad)
	h := opened(t, out)
	want := trends(t, h, "")
	h.Close()
	made(t, out, 0, func(p *plan.Plan, r []reports.Result) { // before the other in the directory, and after it in time
		bad(p, r)
		p.Asked.Nodes, p.Sessions[0].Started = []string{"first-.228"}, time.Unix(1001, 0).UTC()
		for i := range r {
			r[i].Node, r[i].At = "first-.228", time.Unix(int64(1000+i), 0).UTC()
		}
	})
	got := trends(t, opened(t, out), "")
	if len(got.Runs) != 2 || !reflect.DeepEqual(got.Rates, want.Rates) || !reflect.DeepEqual(got.Bad, want.Bad) || !reflect.DeepEqual(got.Boots, want.Boots) {
		t.Errorf("%+v, expected %+v", got, want)
	}
}

// TestWhatEndedAtTheSameTimeIsNotTheSame has a failure end when another cell of an earlier run did, or
// neither say when.
func TestWhatEndedAtTheSameTimeIsNotTheSame(t *testing.T) {
	when := time.Unix(5000, 0).UTC()
	failed := reports.Cell{App: "feeds", Node: ".228", Cycle: 1, Step: "install"}
	for name, c := range map[string]struct {
		at    time.Time
		other reports.Cell // of the earlier run
		cells int
	}{
		"the same cell":             {when, failed, 3},
		"the same cell, at no time": {time.Time{}, failed, 4},
		"another step":              {when, reports.Cell{App: "feeds", Node: ".228", Cycle: 1, Step: "reboot-survive"}, 4},
		"another cycle":             {when, reports.Cell{App: "feeds", Node: ".228", Cycle: 2, Step: "install"}, 4},
		"another application":       {when, reports.Cell{App: "broker", Node: ".228", Cycle: 1, Step: "install"}, 4},
	} {
		out := t.TempDir()
		made(t, out, 1, func(_ *plan.Plan, r []reports.Result) {
			for i := range r {
				if r[i].Cell == c.other {
					r[i].At = c.at
				}
			}
		})
		made(t, out, 2, func(_ *plan.Plan, r []reports.Result) {
			for i := range r {
				if r[i].Cell == failed {
					r[i].Status, r[i].At = reports.Failed, c.at
				}
			}
		})
		rate := trends(t, opened(t, out), "feeds").Rates[0]
		if rate.Step != "install" || rate.Cells != c.cells || rate.Passed != 3 {
			t.Errorf("%s: %+v", name, rate)
		}
	}
}

func TestTheFirstBadRunSaysWhatChanged(t *testing.T) {
	out := t.TempDir()
	bad := red("feeds", "install", "port 8082 does not answer")
	made(t, out, 1, bad) // long ago
	made(t, out, 2, nil)
	made(t, out, 3, func(p *plan.Plan, r []reports.Result) {
		bad(p, r)
		p.Subject.Daemon, p.Judge.Gate, p.Nodes[0].Podman = "d1", "g1", "5.6.0"
		p.Subject.Manifests["broker"], p.Subject.Images["feeds-db"], p.Subject.Images["other"] = "b1", "j1", "o1"
	})
	made(t, out, 4, bad)
	h := opened(t, out)
	got := trends(t, h, "").Bad
	if len(got) != 1 || got[0].Run != "r3" || got[0].LastGood != "r2" || got[0].Good != "" || got[0].Reason != "port 8082 does not answer" {
		t.Fatalf("%+v", got)
	}
	var changes []string
	for _, c := range got[0].Changes {
		if c.Kind == "catalog" {
			c.Before, c.After = "x", "y"
		}
		changes = append(changes, c.String())
	}
	want := []string{"daemon: d1, was d0", "manifest broker: b1, was b0", "image feeds-db: j1, was j0", "catalog: y, was x", "node .228 Podman: 5.6.0, was 5.4.2", "gate gate: g1, was g0"}
	if !slices.Equal(changes, want) {
		t.Errorf("%q, expected %q", changes, want)
	}
	h.Close()
	made(t, out, 5, nil)
	if got := trends(t, opened(t, out), "").Bad; len(got) != 1 || got[0].Run != "r3" || got[0].Good != "r5" {
		t.Errorf("%+v", got)
	}
}

func TestAFlakeIsOfTheSameBits(t *testing.T) {
	for name, c := range map[string]struct {
		edit  func(*plan.Plan)
		flaky bool
	}{
		"the same":                        {func(*plan.Plan) {}, true},
		"another gate":                    {func(p *plan.Plan) { p.Judge.Gate = "g1" }, true},
		"another daemon":                  {func(p *plan.Plan) { p.Subject.Daemon = "d1" }, false},
		"another manifest":                {func(p *plan.Plan) { p.Subject.Manifests["feeds"] = "f1" }, false},
		"another one of what it requires": {func(p *plan.Plan) { p.Subject.Manifests["broker"] = "b1" }, false},
	} {
		out := t.TempDir()
		made(t, out, 1, nil)
		made(t, out, 2, func(p *plan.Plan, r []reports.Result) {
			red("feeds", "install", "planted")(p, r)
			c.edit(p)
		})
		got := trends(t, opened(t, out), "").Flakes
		if !c.flaky && len(got) == 0 {
			continue
		}
		if len(got) != 1 || !c.flaky || got[0].App != "feeds" || got[0].Passed != 2 || got[0].Failed != 2 || got[0].Runs != 2 || got[0].Reason != "planted" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestTheStepThatGrewMostComesFirst(t *testing.T) {
	out := t.TempDir()
	for n := range 6 {
		made(t, out, n, func(_ *plan.Plan, r []reports.Result) {
			for i := range r {
				switch {
				case r[i].App == "feeds" && r[i].Step == "install":
					r[i].Seconds = 10 + 2*float64(n)
				case r[i].App == "broker" && r[i].Step == "reboot-survive":
					r[i].Seconds = 40 + float64(n)
				case r[i].App == "broker":
					r[i].Seconds = 40 - float64(n)
				}
			}
		})
	}
	got := trends(t, opened(t, out), "").Growth
	if len(got) != 2 || got[0].App != "feeds" || got[0].Grew != 10 || got[0].Chance > 0.01 || len(got[0].Medians) != 6 || got[1].Grew != 5 {
		t.Errorf("%+v", got)
	}
	boots := trends(t, opened(t, out), "").Boots
	if last := boots[len(boots)-1]; len(boots) != 6 || last != (Boot{Run: "r5", Node: ".228", Median: 2, Max: 45, Slowest: "broker"}) {
		t.Errorf("%+v", boots)
	}
}

// mergedRun has the sessions of a run be those of the machines that it was merged from, of which it
// knows no other.
func mergedRun(p *plan.Plan, r []reports.Result) {
	p.Shards = []plan.Merged{{Shard: reports.Shard{Machine: "shard-1", Run: "one", Apps: p.Asked.Apps, Nodes: []string{"shard-1/.228"}}, Sessions: p.Sessions}}
	p.Sessions, p.Asked.Nodes, p.Nodes[0].Name = nil, []string{"shard-1/.228"}, "shard-1/.228"
	for i := range r {
		r[i].Node = "shard-1/.228"
	}
}

// TestAMergedRunStandsWhereItWasMade has the newest run be a merged one, which is red.
func TestAMergedRunStandsWhereItWasMade(t *testing.T) {
	out := t.TempDir()
	made(t, out, 1, nil)
	made(t, out, 2, nil)
	made(t, out, 3, func(p *plan.Plan, r []reports.Result) {
		red("feeds", "install", "planted")(p, r)
		mergedRun(p, r)
	})
	h := opened(t, out)
	got := trends(t, h, "")
	if last := got.Runs[len(got.Runs)-1]; last.Run != "r3" || !last.Started.Equal(time.Unix(3000, 0)) {
		t.Errorf("the newest run is %+v", last)
	}
	if len(got.Bad) != 1 || got.Bad[0].Run != "r3" || got.Bad[0].LastGood != "r2" || got.Bad[0].Good != "" {
		t.Errorf("%+v", got.Bad)
	}
	if s, err := h.Standing(t.Context(), "feeds"); err != nil || s.Run != "r3" || s.Verdict != reports.Red {
		t.Errorf("%+v, %v", s, err)
	}
	if c, err := h.Compare(t.Context(), "r3"); err != nil || c == nil || c.Run != "r2" {
		t.Errorf("it is compared with %+v, %v", c, err)
	}
}

func TestOfThreeRunsNobodySaysThatAStepGrows(t *testing.T) {
	out := t.TempDir()
	for n := range 3 {
		made(t, out, n, func(_ *plan.Plan, r []reports.Result) {
			for i := range r {
				r[i].Seconds = 10 * float64(n+1)
			}
		})
	}
	if got := trends(t, opened(t, out), "").Growth; len(got) > 0 {
		t.Errorf("%+v", got)
	}
}

func TestAStandingIsThatOfTheLatestRun(t *testing.T) {
	out := t.TempDir()
	made(t, out, 1, red("feeds", "install", "planted"))
	made(t, out, 2, nil)
	h := opened(t, out)
	s, err := h.Standing(t.Context(), "feeds")
	if err != nil || s == nil || s.Run != "r2" || s.Verdict != reports.Green || !s.Smoke || s.Passed != 6 || s.Cells != 8 || s.Version != "1.0" {
		t.Errorf("%+v, %v", s, err)
	}
	h.Close()
	made(t, out, 3, func(p *plan.Plan, _ []reports.Result) { // all that it was to do, under a policy of its own
		p.Policy, p.Release = reports.Policy{Cycles: 2, Nodes: p.Asked.Nodes, Roles: []string{"only"}, Steps: p.Asked.Steps}, p.Asked.Apps
	})
	h = opened(t, out)
	if s, err := h.Standing(t.Context(), "feeds"); err != nil || s.Run != "r3" || s.Smoke || !s.Weaker {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := h.Standing(t.Context(), "ghost"); err != nil || s != nil {
		t.Errorf("%+v, %v", s, err)
	}
}
