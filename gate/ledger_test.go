package gate

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/gate/verdict"
	"github.com/archipelago-cloud/archipelago/reports"
)

// session enters a session of a run, as a gate does; verdict is empty for one that was killed.
func session(t *testing.T, out, run, daemon string, came reports.Verdict) *plan.Plan {
	t.Helper()
	p := &plan.Plan{Run: run, Subject: reports.Subject{Daemon: daemon}}
	e := &execution{Options: Options{Out: out}, plan: p, fresh: true}
	if err := e.enterBegin(); err != nil {
		t.Fatal(err)
	}
	if came != "" {
		r := &reports.Report{Verdict: came, Apps: []reports.App{{Cells: []reports.Result{{Status: reports.Passed}, {Status: reports.Failed}}}}}
		if err := e.enterEnd(r); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func TestARerunOfTheSameBitsAfterARedOneIsSeenAndDoesNotRelease(t *testing.T) {
	out := t.TempDir()
	if p := session(t, out, "r1", "d0", reports.Red); len(p.Before) != 0 || p.TooRed(plan.Default()) != "" {
		t.Errorf("the first run: %+v", p.Before)
	}
	session(t, out, "other", "d1", reports.Red)
	session(t, out, "r1", "d0", reports.Green) // a resumption turns nothing green
	session(t, out, "r2", "d0", "")
	if err := os.RemoveAll(filepath.Join(out, "r1")); err != nil {
		t.Fatal(err)
	}
	p := session(t, out, "r3", "d0", reports.Green)
	if len(p.Before) != 2 || p.Before[0].Run != "r1" || p.Before[0].Verdict != reports.Red || p.Before[0].Failed != 1 || p.Before[1].Run != "r2" || p.Before[1].Verdict != "" {
		t.Fatalf("%+v", p.Before)
	}
	p.Policy = plan.Default()
	r := verdict.Judge(p, nil)
	if got := reports.Again(r); got != "Run 3 of this subject; 1 red before, 1 not run to the end" {
		t.Error(got)
	}
	if len(r.Unfit) != 1 || !strings.Contains(r.Unfit[0], "the very same bits were red before, in run r1") {
		t.Errorf("%q", r.Unfit)
	}
	p.Policy.RedRuns = 1
	if r := verdict.Judge(p, nil); len(r.Unfit) != 0 || len(r.Before) != 2 {
		t.Errorf("a policy that allows it: %q", r.Unfit)
	}
	if other := session(t, out, "r4", "d2", ""); len(other.Before) != 0 {
		t.Errorf("other bits: %+v", other.Before)
	}
}

// covering enters a session of a run over several applications, of which some are red; verdict is
// empty for one that was killed right after that.
func covering(t *testing.T, out, run, daemon string, manifests map[string]string, red []string, came reports.Verdict) *plan.Plan {
	t.Helper()
	p := &plan.Plan{Run: run, Subject: reports.Subject{Daemon: daemon, Manifests: manifests}, Policy: plan.Default()}
	e := &execution{Options: Options{Out: out}, plan: p, fresh: true}
	if err := e.enterBegin(); err != nil {
		t.Fatal(err)
	}
	r := &reports.Report{Verdict: came, Subject: p.Subject}
	for app := range manifests {
		a := reports.App{ID: app, Verdict: reports.Green}
		if slices.Contains(red, app) {
			a.Verdict = reports.Red
		}
		r.Apps = append(r.Apps, a)
	}
	for _, app := range red {
		if err := e.runner(nil, nil, nil).Red(app); err != nil {
			t.Fatal(err)
		}
	}
	if came != "" {
		if err := e.enterEnd(r); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// TestATrifleMoreInTheCatalogHidesNoRedRun has runs whose subjects differ, of which some were red
// with what a later one tests again.
func TestATrifleMoreInTheCatalogHidesNoRedRun(t *testing.T) {
	two := map[string]string{"a": "a0", "b": "b0"}
	three := map[string]string{"a": "a0", "b": "b0", "c": "c0"}
	for name, c := range map[string]struct {
		daemon string
		before map[string]string
		red    []string
		came   reports.Verdict
		now    map[string]string
		want   string // of the runs before, as the verdict has it; empty: none
	}{
		"an application more":            {"d0", two, []string{"b"}, reports.Red, three, "r1 (b)"},
		"an application less":            {"d0", three, []string{"c", "b"}, reports.Red, two, "r1 (b)"},
		"it was killed once it was red":  {"d0", two, []string{"b", "a"}, "", three, "r1 (a, b)"},
		"the very same subject":          {"d0", two, []string{"b"}, reports.Red, two, "r1"},
		"what was red is another now":    {"d0", two, []string{"b"}, reports.Red, map[string]string{"a": "a0", "b": "b1"}, ""},
		"what was red is not tested":     {"d0", two, []string{"b"}, reports.Red, map[string]string{"a": "a0", "c": "c0"}, ""},
		"another daemon":                 {"d1", two, []string{"b"}, reports.Red, three, ""},
		"it was green":                   {"d0", two, nil, reports.Green, three, ""},
		"its node was red":               {"d0", two, nil, reports.Red, three, "r1 (its nodes)"},
		"its node was red, and killed":   {"d0", two, []string{""}, "", three, "r1 (its nodes)"},
		"its node was red with another":  {"d0", three, nil, reports.Red, two, ""},
		"its node was red with an older": {"d0", two, nil, reports.Red, map[string]string{"a": "a1", "b": "b0", "c": "c0"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			out := t.TempDir()
			covering(t, out, "r1", c.daemon, c.before, c.red, c.came)
			p := covering(t, out, "r2", "d0", c.now, nil, "")
			if got := strings.Join(p.RedBefore(), ", "); got != c.want {
				t.Errorf("red before: %q, expected %q", got, c.want)
			}
			r := verdict.Judge(p, nil)
			if unfit := slices.ContainsFunc(r.Unfit, func(why string) bool { return strings.Contains(why, "red before, in run "+c.want) }); unfit != (c.want != "") {
				t.Errorf("%q", r.Unfit)
			}
			if again := reports.Again(r); strings.Contains(c.want, "(") && !strings.HasSuffix(again, "Run 1 of this subject; 0 red before; red before with the same daemon and application, in a run of another subject: "+c.want) {
				t.Errorf("%q", again)
			}
		})
	}
}

// TestTheEndOfARunSaysWhatItWasRedFor has a gate end that was not there at the first red result.
func TestTheEndOfARunSaysWhatItWasRedFor(t *testing.T) {
	out := t.TempDir()
	subject := reports.Subject{Daemon: "d0", Manifests: map[string]string{"a": "a0", "b": "b0"}}
	e := &execution{Options: Options{Out: out}, plan: &plan.Plan{Run: "r1", Subject: subject}}
	r := &reports.Report{Verdict: reports.Red, Subject: subject, Apps: []reports.App{{ID: "a", Verdict: reports.Green}, {ID: "b", Verdict: reports.Red}}}
	if err := e.enterEnd(r); err != nil {
		t.Fatal(err)
	}
	p := covering(t, out, "r2", "d0", map[string]string{"b": "b0"}, nil, "")
	if got := p.RedBefore(); !slices.Equal(got, []string{"r1 (b)"}) {
		t.Errorf("red before: %q", got)
	}
}

// TestARunThatIsKilledOnceItIsRedIsRed has a gate be killed at the first red cell, and its run
// removed.
func TestARunThatIsKilledOnceItIsRedIsRed(t *testing.T) {
	out := t.TempDir()
	killed := &execution{Options: Options{Out: out}, plan: &plan.Plan{Run: "r1", Subject: reports.Subject{Daemon: "d0"}}, fresh: true}
	if err := errors.Join(killed.enterBegin(), killed.runner(nil, nil, nil).Red("a")); err != nil {
		t.Fatal(err)
	}
	p := session(t, out, "r2", "d0", "")
	if p.TooRed(plan.Default()) == "" || len(p.Before) != 1 || p.Before[0].Verdict != reports.Red || !p.Before[0].Ended.IsZero() {
		t.Errorf("%+v", p.Before)
	}
	if other := session(t, out, "r3", "d1", ""); other.TooRed(plan.Default()) != "" {
		t.Errorf("other bits: %+v", other.Before)
	}
}

// TestAResumptionKnowsOfTheRunsThatBeganSince has a run be interrupted, another of the same bits
// be red, and the first be gone on with; and one that is red while the other goes on.
func TestAResumptionKnowsOfTheRunsThatBeganSince(t *testing.T) {
	out := t.TempDir()
	p := session(t, out, "r1", "d0", reports.Incomplete)
	session(t, out, "r2", "d0", reports.Red)
	if p.TooRed(plan.Default()) != "" {
		t.Fatalf("%+v", p.Before)
	}
	e := &execution{Options: Options{Out: out, Observer: &told{}}, plan: p, dir: t.TempDir(), added: true}
	if err := e.enterBegin(); err != nil {
		t.Fatal(err)
	}
	if again := p.TooRed(plan.Default()); !strings.Contains(again, "red before, in run r2") {
		t.Errorf("%q, %+v", again, p.Before)
	}
	session(t, out, "r3", "d0", reports.Red)
	p.Sessions = make([]plan.Session, 1)
	o, err := e.judge(nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Report.Before) != 2 || !slices.ContainsFunc(o.Report.Unfit, func(why string) bool { return strings.Contains(why, "red before, in run r2, r3") }) {
		t.Errorf("%+v, %q", o.Report.Before, o.Report.Unfit)
	}
}

func TestAnEditedLedgerStopsTheGate(t *testing.T) {
	out := t.TempDir()
	for _, run := range []string{"r1", "r2", "r3"} {
		session(t, out, run, "d0", reports.Red)
	}
	file := filepath.Join(out, ledgerFile)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(whole, []byte("\n"))
	for name, edited := range map[string][]byte{
		"red made green":     bytes.Replace(whole, []byte(`"red"`), []byte(`"green"`), 1),
		"a line taken out":   bytes.Join(append([][]byte{lines[0]}, lines[2:]...), nil),
		"the first one gone": bytes.Join(lines[1:], nil),
		"two swapped":        bytes.Join([][]byte{lines[1], lines[0], lines[2]}, nil),
		"nonsense":           append([]byte("x\n"), whole...),
	} {
		if err := os.WriteFile(file, edited, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := enter(out, entry{Run: "r4"}); !errors.Is(err, plan.ErrUsage) || !strings.Contains(err.Error(), ledgerFile+":") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A gate that was killed while it wrote leaves half a line, which is none.
	if err := os.WriteFile(file, append(whole, `{"run":"r4","sub`...), 0o644); err != nil {
		t.Fatal(err)
	}
	if before, err := enter(out, entry{Run: "r4", At: time.Unix(1, 0)}); err != nil || len(before) != 6 {
		t.Errorf("%d lines, %v", len(before), err)
	}
	if before, err := enter(out, entry{Run: "r5"}); err != nil || len(before) != 7 {
		t.Errorf("%d lines, %v", len(before), err)
	}
}

func TestTwoGatesShareALedger(t *testing.T) {
	out := t.TempDir()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := enter(out, entry{Run: "r"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if before, err := enter(out, entry{Run: "last"}); err != nil || len(before) != 20 {
		t.Errorf("%d, %v", len(before), err)
	}
}

func TestNothingIsAddedToARunInWhichNothingIsLeftToDo(t *testing.T) {
	for name, c := range map[string]struct {
		results func(cells []reports.Cell) []reports.Result
		left    bool
	}{
		"green": {func(c []reports.Cell) []reports.Result {
			return []reports.Result{{Cell: c[0], Status: reports.Passed}, {Cell: c[1], Status: reports.Passed}}
		}, false},
		"red and blocked": {func(c []reports.Cell) []reports.Result {
			return []reports.Result{{Cell: c[0], Status: reports.Failed}, {Cell: c[1], Status: reports.NotRun}}
		}, false},
		"one was not begun": {func(c []reports.Cell) []reports.Result { return []reports.Result{{Cell: c[0], Status: reports.Passed}} }, true},
		"one was lost": {func(c []reports.Cell) []reports.Result {
			return []reports.Result{{Cell: c[0], Status: reports.Passed}, {Cell: c[1], Status: reports.NotRun, Cause: reports.Lost}}
		}, true},
	} {
		o, _ := options(t, "0")
		dir, p := begun(t, o)
		p.Asked.Steps = []string{"install", "stop"}
		lines, err := reports.Encode(c.results(p.Cells()))
		if err := errors.Join(err, reports.WriteJSON(filepath.Join(dir, reports.PlanFile), p), os.WriteFile(filepath.Join(dir, reports.ResultsFile), lines, 0o644)); err != nil {
			t.Fatal(err)
		}
		planned, _ := os.ReadFile(filepath.Join(dir, reports.PlanFile))
		var seen told
		o.Observer = &seen
		outcome, err := Resume(t.Context(), "r1", o)
		if c.left { // and no node can be reached
			if outcome != nil || err == nil {
				t.Errorf("%s: it was not gone on with: %+v", name, outcome)
			}
			continue
		}
		if err != nil || seen.outcome != outcome || !strings.Contains(seen.String(), "nothing is left to do") {
			t.Errorf("%s: %v, %q", name, err, seen.String())
		}
		after, _ := os.ReadFile(filepath.Join(dir, reports.PlanFile))
		results, _ := os.ReadFile(filepath.Join(dir, reports.ResultsFile))
		if !bytes.Equal(after, planned) || !bytes.Equal(results, lines) {
			t.Errorf("%s: something was added", name)
		}
	}
}

// TestAMergedRunAndItsShardsAreOneRun has shards and what they were merged into be red, before and
// after the merge.
func TestAMergedRunAndItsShardsAreOneRun(t *testing.T) {
	whole := reports.Subject{Daemon: "d0", Manifests: map[string]string{"a": "a0", "b": "b0"}}
	end := func(run string, came reports.Verdict, red map[string]string, shards ...string) entry {
		tested := whole
		if shards == nil { // it is of one application
			tested.Manifests = red
		}
		if came != reports.Red {
			red = nil
		}
		return entry{Run: run, Subject: plan.SubjectDigest(tested), Ended: true, Verdict: came, Daemon: "d0", Red: red, Shards: shards}
	}
	a, b := map[string]string{"a": "a0"}, map[string]string{"b": "b0"}
	otherwise := reports.Subject{Daemon: "d0", Manifests: map[string]string{"a": "a1", "b": "b0"}}
	for name, c := range map[string]struct {
		all     []entry
		subject reports.Subject
		own     []string
		want    string
	}{
		"red, and merged":                     {[]entry{end("s1", reports.Red, a), end("s2", reports.Green, b), end("m", reports.Red, a, "s1", "s2")}, whole, nil, "m"},
		"two of them red, and merged":         {[]entry{end("s1", reports.Red, a), end("s2", reports.Red, b), end("m", reports.Red, whole.Manifests, "s1", "s2")}, whole, nil, "m"},
		"not merged":                          {[]entry{end("s1", reports.Red, a), end("s2", reports.Red, b)}, whole, nil, "s1 (a), s2 (b)"},
		"the run itself, and its shards":      {[]entry{end("s1", reports.Red, a), end("s2", reports.Red, b), end("m", "", whole.Manifests, "s1", "s2")}, whole, []string{"m", "s1", "s2"}, ""},
		"red after it was merged":             {[]entry{end("s2", reports.Incomplete, b), end("m", reports.Incomplete, a, "s1", "s2"), end("s2", reports.Red, b)}, whole, nil, "s2 (b)"},
		"merged red for what is mended since": {[]entry{end("s1", reports.Red, a), end("m", reports.Red, a, "s1", "s2"), end("s2", reports.Red, b)}, otherwise, nil, "s2 (b)"},
	} {
		p := plan.Plan{Before: pastRuns(c.all, c.subject, c.own...)}
		if got := strings.Join(p.RedBefore(), ", "); got != c.want {
			t.Errorf("%s: %q, expected %q", name, got, c.want)
		}
	}
}
