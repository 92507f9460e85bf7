package attest

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/reports"
)

func TestARunThatWasRunAgainTooOftenIsUnfit(t *testing.T) {
	lost := func(p *plan.Plan, r []reports.Result, cells ...reports.Cell) []reports.Result {
		var out []reports.Result
		for _, c := range cells {
			out = append(out, reports.Result{Cell: c, Status: reports.NotRun, Cause: reports.Lost, Reason: "planted"})
		}
		return append(out, r...)
	}
	cell := func(app, step string, cycle int) reports.Cell {
		return reports.Cell{App: app, Node: ".228", Cycle: cycle, Step: step}
	}
	for name, c := range map[string]struct {
		cells []reports.Cell
		why   string // empty: it is signed
	}{
		"none":                            {},
		"one":                             {[]reports.Cell{cell("a", "stop", 1)}, ""},
		"one of each of two steps":        {[]reports.Cell{cell("a", "stop", 1), cell("a", "start", 1)}, ""},
		"two of one application and step": {[]reports.Cell{cell("a", "stop", 1), cell("a", "stop", 9)}, "stop of a was run again more than once"},
		"the same twice":                  {[]reports.Cell{cell("a", "stop", 1), cell("a", "stop", 1)}, "stop of a was run again more than once"},
	} {
		dir := runDir(t, func(p *plan.Plan, r []reports.Result) []reports.Result { return lost(p, r, c.cells...) })
		_, err := Sign(t.Context(), dir, ended, newSigner(t))
		if (err == nil) != (c.why == "") || err != nil && !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v", name, err)
		}
		_, s, err := Statement(dir)
		if err != nil || strings.Count(string(s), `"cause": "lost"`) != len(c.cells) {
			t.Errorf("%s: %v: the statement does not have every cell that was run again", name, err)
		}
	}
	// Of results that are not chained, some could have been taken out.
	unchained := runDir(t, nil)
	results, err := reports.ReadResults(unchained)
	if err != nil {
		t.Fatal(err)
	}
	var lines bytes.Buffer
	for _, r := range results {
		r.Prev = ""
		if err := json.NewEncoder(&lines).Encode(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(unchained, reports.ResultsFile), lines.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Sign(t.Context(), unchained, ended, newSigner(t)); err == nil || !strings.Contains(err.Error(), "its results are not chained") {
		t.Error(err)
	}
	// More than one in a hundred: three nodes of two hundred cells would have room for six.
	dir := runDir(t, func(p *plan.Plan, r []reports.Result) []reports.Result {
		var cells []reports.Cell
		for _, app := range p.Asked.Apps {
			for _, step := range p.Asked.Steps {
				cells = append(cells, cell(app, step, 3))
			}
		}
		return lost(p, r, cells[:19]...)
	})
	if _, err := Sign(t.Context(), dir, ended, newSigner(t)); err == nil || !strings.Contains(err.Error(), "19 of 1800 cells were run again") {
		t.Error(err)
	}
}

// stated is the predicate of a run's statement.
func stated(t *testing.T, dir string) predicate {
	t.Helper()
	_, text, err := Statement(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got statement
	if err := sign.Decode(text, maxAttestation, &got); err != nil {
		t.Fatal(err)
	}
	return got.Predicate
}

func TestTheStatementSaysWhatJudgedAndWhatItProves(t *testing.T) {
	s := newSigner(t)
	dir := runDir(t, func(p *plan.Plan, r []reports.Result) []reports.Result {
		p.Judge.Gate, p.Judge.Suite = "g0", "s0"
		p.Nodes[0].Kind = reports.Lab
		p.Warnings = []string{"no memory controller"}
		p.Earlier = []reports.Earlier{{Run: "before", Results: "r0", Cycles: map[string]reports.Tally{"a": {Green: 60}}}}
		return r
	})
	p := stated(t, dir)
	if p.Judge.Gate != "g0" || p.Judge.Suite != "s0" || len(p.Judge.Policy) != 64 || p.Nodes[0].Kind != reports.Lab || len(p.Warnings) != 1 || p.Bare != 2 || len(p.Earlier) != 1 {
		t.Errorf("%+v", p)
	}
	if a, b := p.Proofs["a"], p.Proofs["b"]; a.Green != 100 || a.Runs != 2 || b.Green != 40 || b.Runs != 1 || a.Bound > 0.0296 || a.Bound < 0.0295 || b.Bound < 0.0721 || b.Bound > 0.0722 {
		t.Errorf("%+v, %+v", a, b)
	}
	// A policy that is not the one that judged.
	dir = runDir(t, nil)
	file := filepath.Join(dir, reports.PlanFile)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes.Replace(b, []byte(`"policy": "`), []byte(`"policy": "0`), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	signRun(t, dir, s)
	if _, err := Verify(t.Context(), dir, Trust{Keys: []sign.PublicKey{s.PublicKey}, Threshold: 1, MaxAge: time.Hour}, ended); err == nil || !strings.Contains(err.Error(), "judged by another policy") {
		t.Error(err)
	}
}

func signRun(t *testing.T, dir string, s *sign.Signer) {
	t.Helper()
	e, err := Sign(t.Context(), dir, ended, s)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, reports.SignedFile), e, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestEvidenceIsWhatTheResultsSay(t *testing.T) {
	s := newSigner(t)
	dir := runDir(t, func(_ *plan.Plan, r []reports.Result) []reports.Result { return r })
	results, err := reports.ReadResults(dir)
	if err != nil {
		t.Fatal(err)
	}
	evidence(t, dir, &results[0])
	lines, err := reports.Encode(results)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, reports.ResultsFile), lines, 0o644); err != nil {
		t.Fatal(err)
	}
	signRun(t, dir, s)
	trust := Trust{Keys: []sign.PublicKey{s.PublicKey}, Threshold: 1, MaxAge: time.Hour}
	if _, err := Verify(t.Context(), dir, trust, ended); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "evidence.txt")
	if err := os.WriteFile(file, []byte("seen otherwise"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(t.Context(), dir, trust, ended); !errors.Is(err, ErrAttestation) || !strings.Contains(err.Error(), "evidence evidence.txt was changed") {
		t.Error(err)
	}
	os.Remove(file)
	if _, err := Verify(t.Context(), dir, trust, ended); !errors.Is(err, ErrAttestation) {
		t.Error(err)
	}
}

func TestAChannelsSetMustHaveBeenTestedWhole(t *testing.T) {
	s := newSigner(t)
	dir := runDir(t, nil)
	signRun(t, dir, s)
	for name, c := range map[string]struct {
		set  map[string]string
		want string
	}{
		"part of what was tested": {map[string]string{"a": "a0"}, ""},
		"all":                     {map[string]string{"a": "a0", "b": "b0"}, ""},
		"another manifest":        {map[string]string{"a": "a0", "b": "b1"}, "did not test b as the channel has it (b1…), but b0"},
		"one more":                {map[string]string{"a": "a0", "c": "c0"}, "did not test c as the channel has it (c0…), but not at all"},
	} {
		_, err := Verify(t.Context(), dir, Trust{Keys: []sign.PublicKey{s.PublicKey}, Threshold: 1, MaxAge: time.Hour, Set: c.set}, ended)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAWaiverIsRenewedOnceOnly(t *testing.T) {
	person := newSigner(t)
	dir := runDir(t, func(_ *plan.Plan, r []reports.Result) []reports.Result {
		for i := range r {
			if r[i].App == "a" && (r[i].Step == "start" || r[i].Step == "stop") && r[i].Cycle == 3 {
				r[i].Status, r[i].Reason = reports.Failed, "planted"
			}
		}
		return r
	})
	w := reports.Waived{App: "a", Waiver: catalog.Waiver{Steps: []string{"stop"}, Reason: "r", Tracker: "https://tracker.example/1", Until: ended.Add(time.Hour)}}
	beside := filepath.Join(filepath.Dir(dir), "later")
	if err := os.CopyFS(beside, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	third := filepath.Join(filepath.Dir(dir), "last")
	if err := os.CopyFS(third, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	renewed := func(dir string) int {
		r, _, err := Statement(dir)
		if err != nil || len(r.Waivers) != 1 {
			t.Fatalf("%+v, %v", r, err)
		}
		return r.Waivers[0].Renewed
	}
	for i, run := range []string{dir, beside} {
		if _, err := Waive(t.Context(), run, w, "", ended, person); err != nil {
			t.Fatal(err)
		}
		if renewed(run) != i {
			t.Errorf("the waiver of %s has been renewed %d times, expected %d", run, renewed(run), i)
		}
	}
	w.Steps = []string{"start", "stop"}
	if _, err := Waive(t.Context(), third, w, "", ended, person); !errors.Is(err, ErrAttestation) || !strings.Contains(err.Error(), "renewed already") {
		t.Error(err)
	}
	w.Steps = []string{"start"}
	if _, err := Waive(t.Context(), third, w, "", ended, person); err != nil || renewed(third) != 0 {
		t.Errorf("another step is another waiver: %v", err)
	}
}

// TestAnOldRunThatIsResumedStaysOld resumes a run of a hundred days ago: neither that it had
// nothing left to do, nor one cell that it had, makes the other results any younger.
func TestAnOldRunThatIsResumedStaysOld(t *testing.T) {
	s := newSigner(t)
	now := ended.AddDate(0, 0, 100)
	for name, c := range map[string]struct {
		change func(r []reports.Result)
		old    bool
	}{
		"all of it is young":      {func(r []reports.Result) { age(r, now.Add(-time.Hour)) }, false},
		"it is old":               {func(r []reports.Result) { age(r, ended) }, true},
		"all but one cell is old": {func(r []reports.Result) { age(r, ended); r[len(r)-1].At = now }, true},
		"one cell is old":         {func(r []reports.Result) { age(r, now); r[len(r)/2].At = ended }, true},
		"a node's look is old": {func(r []reports.Result) {
			age(r, now)
			r[len(r)-1] = reports.NodeResult(".228", 1, reports.Vitals{}, ended)
		}, true},
		"what was old was run again": {func(r []reports.Result) {
			age(r, now)
			r[len(r)-1] = reports.Result{Cell: r[len(r)-2].Cell, Status: reports.NotRun, Cause: reports.Lost, At: ended}
		}, false},
	} {
		dir := runDir(t, func(p *plan.Plan, r []reports.Result) []reports.Result {
			r = append(r, r[len(r)-1]) // what a change may replace
			c.change(r)
			if last := r[len(r)-1]; last.Status == reports.NotRun {
				r = append([]reports.Result{last}, r[:len(r)-1]...) // it came first
			}
			p.Sessions = []plan.Session{{Started: ended.Add(-time.Hour), Finished: ended}, {Started: now.Add(-time.Hour), Finished: now}}
			return r
		})
		signRun(t, dir, s)
		_, err := Verify(t.Context(), dir, Trust{Keys: []sign.PublicKey{s.PublicKey}, Threshold: 1, MaxAge: DefaultMaxAge}, now)
		if (err != nil) != c.old || err != nil && !strings.Contains(err.Error(), "is 2400h0m0s old, by its oldest result") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// age has all results end at a time.
func age(results []reports.Result, at time.Time) {
	for i := range results {
		results[i].At = at
	}
}

func TestANodeThatRebootedWhileTheRunWasAwayIsSaidAndReleasesNothing(t *testing.T) {
	away := reports.Away{Node: ".228", Before: "boot/1", After: "boot/2", From: ended.Add(-time.Hour), Until: ended}
	dir := runDir(t, func(p *plan.Plan, r []reports.Result) []reports.Result {
		p.Away = []reports.Away{away}
		return r
	})
	if _, err := Sign(t.Context(), dir, ended, newSigner(t)); err == nil || !strings.Contains(err.Error(), "not fit for a release: node .228 rebooted while the run was away, between 2026-01-02 02:04:05 and 2026-01-02 03:04:05 UTC") {
		t.Error(err)
	}
	r, _, err := Statement(dir)
	if err != nil || r.Verdict != reports.Green {
		t.Errorf("%+v, %v: nobody says that the reboot was the node's own", r, err)
	}
	if p := stated(t, dir); len(p.Away) != 1 || p.Away[0] != away {
		t.Errorf("%+v", p.Away)
	}
}
