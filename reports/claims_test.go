package reports

import (
	"strings"
	"testing"
)

func TestTheReportOfARedCellSaysTheCommandThatReproducesIt(t *testing.T) {
	cell := Cell{App: "feeds", Node: ".198", Cycle: 7, Step: "stop"}
	red := Result{Cell: cell, Status: Failed, Reason: "planted"}
	r := &Report{Run: "r1", Verdict: Red, Asked: Policy{Cycles: 20, Nodes: []string{".228", ".198"}, Steps: []string{"install", "stop", "start"}, Apps: []string{"feeds"}}, Judge: Judge{Suite: "s"},
		Apps: []App{{ID: "feeds", Cells: []Result{red}}}, First: &red}
	want := "out/bin/gate run --cycles 1 --apps feeds --only .198 --steps install,stop --daemon out/gate/r1/bin/archipelago --suite out/gate/r1/bin/matrix.test"
	page, err := HTML(t.TempDir(), r)
	if err != nil {
		t.Fatal(err)
	}
	suites, err := JUnit(r)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"page": string(page), "summary": Summary(r), "JUnit": string(suites)} {
		if !strings.Contains(text, want) {
			t.Errorf("the %s does not say %q", name, want)
		}
	}
}

func TestTheReportSaysWhatGreenCyclesProve(t *testing.T) {
	for _, c := range []struct {
		proof Proof
		want  string
	}{ // bounds of package verdict, rounded upwards
		{Proof{Tally{Green: 20}, 1, 0.1391083}, "feeds: 20 green and 0 red cycles; with 95 % confidence, it fails in at most 14.0 % of cycles like these"},
		{Proof{Tally{Green: 40}, 2, 0.0721575}, "feeds: 40 green and 0 red cycles of 2 runs of the same digests; with 95 % confidence, it fails in at most 7.3 % of cycles like these"},
	} {
		r := &Report{Verdict: Green, Apps: []App{{ID: "feeds", Proof: c.proof}}}
		page, err := HTML(t.TempDir(), r)
		if err != nil || !strings.Contains(string(page), c.want) || !strings.Contains(Summary(r), c.want) {
			t.Errorf("not said: %s (%v)", c.want, err)
		}
	}
}

func TestARunOfBitsThatWereRedBeforeSaysSoInEveryOutput(t *testing.T) {
	r := &Report{Verdict: Green, Before: []PastRun{{Run: "r1", Verdict: Red}, {Run: "r2", Verdict: Green}, {Run: "r3"}}}
	const want = "Run 4 of this subject; 1 red before, 1 not run to the end"
	page, err := HTML(t.TempDir(), r)
	if err != nil || !strings.Contains(string(page), want) || !strings.Contains(Summary(r), want) {
		t.Errorf("not said: %v", err)
	}
	if again := Again(&Report{}); again != "" {
		t.Errorf("of the first run: %q", again)
	}
}
