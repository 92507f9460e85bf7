package gate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/gate/attest"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

// onMachines has a machine each make a run of a shard of a, b and c, under a policy of one cycle on
// one node, and gives the runs' directories. came changes results of a shard; nil: all pass.
func onMachines(t *testing.T, dir, attempt string, came func(shard int, results []reports.Result) []reports.Result) (runs []string) {
	t.Helper()
	cat := catalog.Catalog{}
	for _, id := range []string{"a", "b", "c"} {
		cat[id] = &catalog.Entry{Manifest: &manifest.Manifest{ID: id, Version: "1"}}
	}
	policy := reports.Policy{Cycles: 1, Nodes: []string{".228"}, Roles: []string{"only"}, Steps: []string{matrix.Install, matrix.Stop}}
	for i := range 3 {
		p, err := plan.New(fmt.Sprintf("%s-%d", attempt, i+1), "v", plan.Request{Policy: policy, Slice: plan.Slice{Number: i + 1, Of: 3}}, cat, []reports.Node{{Name: ".228", HostKey: "k"}})
		if err != nil {
			t.Fatal(err)
		}
		p.Subject = reports.Subject{Daemon: "d0", Manifests: map[string]string{}, Images: map[string]string{}}
		for _, a := range p.Asked.Apps {
			p.Subject.Manifests[a] = a + "0"
		}
		out := filepath.Join(dir, fmt.Sprintf("machine%d", i+1))
		e := &execution{Options: Options{Out: out}, plan: p, dir: filepath.Join(out, p.Run)}
		if err := os.MkdirAll(e.dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := e.enterBegin(); err != nil {
			t.Fatal(err)
		}
		p.Sessions = []plan.Session{{Started: time.Unix(1, 0).UTC(), Finished: time.Unix(2, 0).UTC()}}
		var results []reports.Result
		for _, c := range p.Cells() {
			results = append(results, reports.Result{Cell: c, Status: reports.Passed, Seconds: 1, At: time.Unix(2, 0)})
		}
		if came != nil {
			results = came(i+1, results)
		}
		if len(results) > 0 {
			if err := reports.Write(e.dir, "evidence/seen.txt", []byte("seen")); err != nil {
				t.Fatal(err)
			}
			results[0].Evidence, results[0].Digests = []string{"evidence/seen.txt"}, map[string]string{"evidence/seen.txt": reports.Digest([]byte("seen"))}
		}
		lines, err := reports.Encode(results)
		if err := errors.Join(err, reports.WriteJSON(filepath.Join(e.dir, reports.PlanFile), p), reports.Write(e.dir, reports.ResultsFile, lines)); err != nil {
			t.Fatal(err)
		}
		r, _, err := attest.Statement(e.dir)
		if err := errors.Join(err, e.enterEnd(r)); err != nil {
			t.Fatal(err)
		}
		runs = append(runs, e.dir)
	}
	return runs
}

// failing has a cell of a shard fail.
func failing(shard int) func(int, []reports.Result) []reports.Result {
	return func(i int, r []reports.Result) []reports.Result {
		if i == shard {
			r[0].Status, r[0].Reason = reports.Failed, "planted"
		}
		return r
	}
}

func TestRunsOfAllMachinesBecomeOne(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	o, err := Merge(out, onMachines(t, dir, "r", nil)...)
	if err != nil {
		t.Fatal(err)
	}
	r := o.Report
	if r.Verdict != reports.Green || r.Smoke || len(r.Unfit) > 0 || len(r.Apps) != 3 || len(r.Shards) != 3 || len(r.Before) > 0 {
		t.Errorf("%s %v %q %q, %d applications of %d shards", r.Verdict, r.Smoke, r.SmokeWhy, r.Unfit, len(r.Apps), len(r.Shards))
	}
	if latest, err := Find(out, ""); err != nil || latest != o.Dir {
		t.Errorf("%s, %v", latest, err)
	}
	for _, f := range []string{reports.ReportFile, reports.HTMLFile, reports.JUnitFile, reports.SummaryFile, reports.AttestationFile, "apps/b.html", "shards/2/evidence/seen.txt"} {
		if _, err := os.Stat(filepath.Join(o.Dir, f)); err != nil {
			t.Error(err)
		}
	}
	for i := range r.Shards {
		if _, err := Report(out, filepath.Join(o.Dir, filepath.FromSlash(plan.ShardDir(i)))); err != nil { // which writes beside what was merged
			t.Errorf("shard %d is no run by itself: %v", i+1, err)
		}
	}
	if again, err := Report(out, ""); err != nil || again.Report.Verdict != reports.Green || again.Report.Results != r.Results {
		t.Errorf("judged again: %+v, %v", again, err)
	}
	summary, err := os.ReadFile(filepath.Join(o.Dir, reports.SummaryFile))
	if want := "shard-2 (run r-2, gate on a machine without a name): b on shard-2/.228"; err != nil || !strings.Contains(string(summary), want) {
		t.Errorf("%s, %v", summary, err)
	}
	page, err := os.ReadFile(filepath.Join(o.Dir, reports.HTMLFile))
	if err != nil || !strings.Contains(string(page), "3 apps × 2 steps × 1 cycle on nodes of 3 machines: 6 cells passed") || !strings.Contains(string(page), "shard-2 (run r-2, ") {
		t.Errorf("the page does not say who tested what: %v", err)
	}
	junit, err := os.ReadFile(filepath.Join(o.Dir, reports.JUnitFile))
	if err != nil || strings.Count(string(junit), "<testsuite ") != 3 {
		t.Errorf("%s, %v", junit, err)
	}
	if _, err := Merge(out, o.Dir); !errors.Is(err, plan.ErrUsage) || !strings.Contains(err.Error(), "was merged already; name the runs of its shards") {
		t.Errorf("merged again: %v", err)
	}
	if _, err := Resume(t.Context(), o.Dir, Options{Out: out}); !errors.Is(err, plan.ErrUsage) || !strings.Contains(err.Error(), "was merged from r-1, r-2, r-3; resume those") {
		t.Errorf("resumed: %v", err)
	}
}

func TestWhatAMachineSawIsTheVerdictOfAll(t *testing.T) {
	dir := t.TempDir()
	runs := onMachines(t, dir, "r", failing(2))
	o, err := Merge(filepath.Join(dir, "out"), runs...)
	if err != nil || o.Report.Verdict != reports.Red || o.Report.First.Node != "shard-2/.228" || o.Report.First.Evidence[0] != "shards/2/evidence/seen.txt" {
		t.Fatalf("%+v, %v", o, err)
	}
	if len(o.Report.Before) > 0 {
		t.Errorf("its own shards are runs before it: %+v", o.Report.Before)
	}
	if got := o.Report.Reproduce(o.Report.First.Cell); !strings.Contains(got, "--apps b --only .228 --steps install") {
		t.Error(got)
	}
	dir = t.TempDir()
	o, err = Merge(filepath.Join(dir, "out"), onMachines(t, dir, "r", func(i int, r []reports.Result) []reports.Result { return r[:3-min(i, 2)] })...)
	if err != nil || o.Report.Verdict != reports.Incomplete {
		t.Fatalf("%+v, %v", o, err)
	}
}

func TestWhatIsNotMergedLeavesNoRun(t *testing.T) {
	edit := func(dir, name, old, with string) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil && !strings.Contains(string(b), old) {
			err = fmt.Errorf("no %s", old)
		}
		if err := errors.Join(err, os.WriteFile(filepath.Join(dir, name), []byte(strings.Replace(string(b), old, with, 1)), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		change func(runs []string) []string
		why    string
	}{
		"a machine is missing":           {func(r []string) []string { return r[:2] }, "no run is named of 3"},
		"a machine is named twice":       {func(r []string) []string { return append(r, r[0]) }, "are both shard 1 of 3"},
		"no such run":                    {func(r []string) []string { return append(r, "x") }, "no such run"},
		"another daemon":                 {func(r []string) []string { edit(r[1], reports.PlanFile, `"daemon": "d0"`, `"daemon": "d1"`); return r }, "does not know run r-2"},
		"the ledger did not come along":  {func(r []string) []string { os.Remove(filepath.Join(filepath.Dir(r[1]), ledgerFile)); return r }, "run r-2 is without its machine's ledger"},
		"the ledger of another machine":  {func(r []string) []string { return append(r[:1], move(t, r[1], r[0]), r[2]) }, "does not know run r-2"},
		"a ledger that was begun anew":   {func(r []string) []string { anew(t, r[1]); return r }, "does not know run r-2"},
		"a ledger that was edited":       {func(r []string) []string { edit(filepath.Dir(r[1]), ledgerFile, "d0", "d1"); return r }, "does not follow the line before it"},
		"results that were edited":       {func(r []string) []string { edit(r[1], reports.ResultsFile, "passed", "failed"); return r }, "damaged results"},
		"evidence that was edited":       {func(r []string) []string { edit(r[1], "evidence/seen.txt", "seen", "none"); return r }, "was changed after it was collected"},
		"evidence that is elsewhere":     {func(r []string) []string { elsewhere(t, r[1]); return r }, "is not in the run's directory"},
		"a run that is not of any shard": {func(r []string) []string { edit(r[1], reports.PlanFile, `"shard"`, `"x"`); return r }, "is of no shard"},
	} {
		dir := t.TempDir()
		out := filepath.Join(dir, "out")
		_, err := Merge(out, c.change(onMachines(t, dir, "r", nil))...)
		if err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, expected %q", name, err, c.why)
		}
		if left, _ := filepath.Glob(filepath.Join(out, "*", "*")); len(left) > 0 {
			t.Errorf("%s: it left %q", name, left)
		}
	}
}

// elsewhere has a run's results name a file outside its directory.
func elsewhere(t *testing.T, run string) {
	t.Helper()
	results, err := reports.ReadResults(run)
	if err != nil {
		t.Fatal(err)
	}
	results[0].Evidence = []string{"../" + ledgerFile}
	lines, err := reports.Encode(results)
	if err := errors.Join(err, reports.Write(run, reports.ResultsFile, lines)); err != nil {
		t.Fatal(err)
	}
}

// anew replaces the ledger of a run's machine by one that knows another run of the same subject.
func anew(t *testing.T, run string) {
	t.Helper()
	_, p, err := open("", run)
	if err := errors.Join(err, os.Remove(filepath.Join(filepath.Dir(run), ledgerFile))); err != nil {
		t.Fatal(err)
	}
	if _, err := enter(filepath.Dir(run), entry{Run: "another", Subject: plan.SubjectDigest(p.Subject)}); err != nil {
		t.Fatal(err)
	}
}

// move puts a run beside another one.
func move(t *testing.T, run, beside string) string {
	t.Helper()
	to := filepath.Join(filepath.Dir(beside), filepath.Base(run))
	if err := os.Rename(run, to); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestSplittingDoesNotGoAroundTheLimitOnRedRuns has the same bits be red, on a machine or another,
// before all shards are green.
func TestSplittingDoesNotGoAroundTheLimitOnRedRuns(t *testing.T) {
	whole := map[string]string{"a": "a0", "b": "b0", "c": "c0"}
	for name, c := range map[string]struct {
		before func(t *testing.T, dir string)
		want   string
	}{
		"nothing":                        {func(*testing.T, string) {}, ""},
		"a shard was red on its machine": {func(t *testing.T, dir string) { onMachines(t, dir, "old", failing(2)) }, "old-2 (b)"},
		// What was red then is tested elsewhere now, and this machine's own run does not mention it.
		"an application of another shard was red on a machine": {func(t *testing.T, dir string) {
			covering(t, filepath.Join(dir, "machine3"), "old", "d0", whole, []string{"a"}, reports.Red)
		}, "old"},
		// No shard alone is all of it.
		"the node was red with the whole release": {func(t *testing.T, dir string) {
			covering(t, filepath.Join(dir, "machine1"), "old", "d0", whole, nil, reports.Red)
		}, "old"},
		"it was red where runs are merged": {func(t *testing.T, dir string) {
			covering(t, filepath.Join(dir, "out"), "old", "d0", map[string]string{"b": "b0"}, []string{"b"}, reports.Red)
		}, "old (b)"},
		"another daemon was red": {func(t *testing.T, dir string) {
			covering(t, filepath.Join(dir, "machine1"), "old", "d1", whole, []string{"a"}, reports.Red)
		}, ""},
		"red, and merged: one run": {func(t *testing.T, dir string) {
			o, err := Merge(filepath.Join(dir, "out"), onMachines(t, dir, "old", failing(2))...)
			if err != nil {
				t.Fatal(err)
			}
			// The next one is of the same second, and would have the same name.
			file := filepath.Join(dir, "out", ledgerFile)
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			all, err := wholeLedger(file, b)
			if err != nil {
				t.Fatal(err)
			}
			for i := range all {
				if all[i].Run == o.Report.Run {
					all[i].Run = "old-merged"
				}
			}
			if err := errors.Join(os.Remove(file), os.RemoveAll(o.Dir), joinLedgers(filepath.Dir(file), all)); err != nil {
				t.Fatal(err)
			}
		}, "old-merged"},
		"red, and nobody has brought another run, or its ledger": {func(t *testing.T, dir string) {
			runs := onMachines(t, dir, "old", failing(2))
			if err := os.Remove(filepath.Join(dir, "machine1", ledgerFile)); err != nil {
				t.Fatal(err)
			}
			for _, names := range [][]string{{runs[0], runs[1], runs[2]}, {filepath.Join(dir, "none"), runs[1]}} {
				if err := os.RemoveAll(filepath.Join(dir, "out")); err != nil {
					t.Fatal(err)
				}
				if _, err := Merge(filepath.Join(dir, "out"), names...); !errors.Is(err, plan.ErrUsage) {
					t.Fatal(err)
				}
			}
			for i := range 3 { // the machines are new ones since
				if err := os.RemoveAll(filepath.Join(dir, fmt.Sprintf("machine%d", i+1))); err != nil {
					t.Fatal(err)
				}
			}
		}, "old-2 (b)"},
		"red, and the merge was refused": {func(t *testing.T, dir string) {
			runs := onMachines(t, dir, "old", failing(2))
			if _, err := Merge(filepath.Join(dir, "out"), runs[:2]...); !errors.Is(err, plan.ErrUsage) {
				t.Fatal(err)
			}
			for i := range 3 { // the machines are new ones since
				if err := os.RemoveAll(filepath.Join(dir, fmt.Sprintf("machine%d", i+1))); err != nil {
					t.Fatal(err)
				}
			}
		}, "old-2 (b)"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, machine := range []string{"machine1", "machine2", "machine3", "out"} {
				if err := os.Mkdir(filepath.Join(dir, machine), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			c.before(t, dir)
			out := filepath.Join(dir, "out")
			o, err := Merge(out, onMachines(t, dir, "r", nil)...)
			if err != nil {
				t.Fatal(err)
			}
			_, p, err := open(out, o.Dir)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(p.RedBefore(), ", ")
			if got != c.want {
				t.Errorf("red before: %q, expected %q", got, c.want)
			}
			if unfit := slices.ContainsFunc(o.Report.Unfit, func(why string) bool { return strings.Contains(why, "were red before") }); unfit != (c.want != "") || o.Report.Verdict != reports.Green {
				t.Errorf("%s, %q", o.Report.Verdict, o.Report.Unfit)
			}
		})
	}
}

// TestLedgersAreJoinedOnce merges the same runs twice, also beside where they were made.
func TestLedgersAreJoinedOnce(t *testing.T) {
	dir := t.TempDir()
	runs := onMachines(t, dir, "r", nil)
	out := filepath.Dir(runs[0])
	count := func() int {
		b, err := os.ReadFile(filepath.Join(out, ledgerFile))
		if err != nil {
			t.Fatal(err)
		}
		all, err := wholeLedger(ledgerFile, b)
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	if n := count(); n != 2 {
		t.Fatalf("%d lines of the first machine", n)
	}
	for i := range 2 {
		if _, err := Merge(out, runs[:2]...); !errors.Is(err, plan.ErrUsage) {
			t.Fatal(err)
		}
		if n := count(); n != 4 {
			t.Errorf("%d lines of two machines, the %dth time", n, i+1)
		}
	}
	if _, err := Merge(out, runs...); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 8 {
		t.Errorf("%d lines, of three machines and the merged run", n)
	}
}

// TestACycleOfAShardCountsOnce has a run beside those of shards, and beside what they were merged
// into, of which one shard was gone on with since.
func TestACycleOfAShardCountsOnce(t *testing.T) {
	dir := t.TempDir()
	runs := onMachines(t, dir, "r", func(i int, r []reports.Result) []reports.Result { return r[:3-min(i, 2)] })
	out := filepath.Join(dir, "out")
	if _, err := Merge(out, runs...); err != nil {
		t.Fatal(err)
	}
	full := onMachines(t, filepath.Join(dir, "again"), "r", nil)
	if err := os.Rename(full[1], filepath.Join(out, "r-2")); err != nil { // with one result more
		t.Fatal(err)
	}
	now := &plan.Plan{Run: "now", Asked: reports.Policy{Cycles: 1, Nodes: []string{"x"}, Steps: []string{matrix.Install, matrix.Stop}, Apps: []string{"a", "b", "c"}},
		Subject: reports.Subject{Daemon: "d0", Manifests: map[string]string{"a": "a0", "b": "b0", "c": "c0"}}}
	e := &execution{Options: Options{Out: out}, plan: now, dir: filepath.Join(out, "now")}
	_, earlier, err := e.history()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]reports.Tally{}
	for _, one := range earlier {
		for app, tally := range one.Cycles {
			got[one.Run+" "+app] = tally
		}
	}
	if want := (reports.Tally{Green: 1}); len(got) != 2 || got["r-1 a"] != want || got["r-2 b"] != want {
		t.Errorf("%+v", got)
	}
}
