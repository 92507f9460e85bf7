package reports

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files")

func sample() *Report {
	at := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	cell := func(app, node, step string, status Status, reason string, seconds float64) Result {
		return Result{Cell: Cell{app, node, 1, step}, Status: status, Seconds: seconds, Reason: reason, At: at,
			Timing: Timing{Engine: seconds / 2, App: seconds / 2}}
	}
	red := cell("feeds", ".198", "stop", Failed, `port 8082 still answers <b>&"`, 2)
	red.Evidence = []string{"evidence/feeds/cycle1.198-stop/units.txt"}
	return &Report{
		Run: "20260101-120000-0001", Gate: "1.0", Started: at, Finished: at.Add(time.Minute), Seconds: 60, Verdict: Red, Smoke: true, SmokeWhy: []string{"1 of 20 cycles"},
		Policy: Policy{Cycles: 20, Nodes: []string{".228", ".198"}, Steps: []string{"install", "stop"}},
		Asked:  Policy{Cycles: 1, Nodes: []string{".228", ".198"}, Steps: []string{"install", "stop"}, Apps: []string{"broker", "feeds"}},
		Nodes:  []Node{{Name: ".228", Address: "127.0.0.228:22", OS: "Debian", Kernel: "6.12", Podman: "5.4.2", Systemd: "257", Kind: Lab}},
		Judge:  Judge{Gate: strings.Repeat("12", 32), Suite: strings.Repeat("34", 32), Policy: strings.Repeat("56", 32)}, Bare: 2,
		Reruns: []Rerun{{Cell{"broker", ".228", 1, "stop"}, Lost, "node .228: connecting: node lost"}},
		Subject: Subject{Daemon: strings.Repeat("ab", 32), Manifests: map[string]string{
			"broker": strings.Repeat("cd", 32), "feeds": strings.Repeat("ef", 32)}},
		Checklist: []Criterion{{ID: "manifests", Text: "Every manifest is valid", Met: true}, {ID: "lifecycle", Text: "The lifecycle is green", Why: red.Reason}},
		Apps: []App{
			{ID: "broker", Version: "2.0", Verdict: Green, Level: "L1", Proof: Proof{Tally{Green: 2}, 1, 0.7764}, Cells: []Result{cell("broker", ".228", "install", Passed, "", 3), cell("broker", ".228", "stop", Passed, "", 1),
				cell("broker", ".198", "install", Passed, "", 3), cell("broker", ".198", "stop", Passed, "", 1)}},
			{ID: "feeds", Version: "1.0", Verdict: Red, Flaky: []string{"stop"}, Level: "L0", Proof: Proof{Tally{Green: 20, Red: 1}, 2, 0.2074}, Cells: []Result{cell("feeds", ".228", "install", Passed, "", 4), cell("feeds", ".228", "stop", Passed, "", 1),
				cell("feeds", ".198", "install", Passed, "", 4), red}},
		},
		Timing: []StepTime{{Step: "install", Cells: 4, P50: 3, P95: 4, Total: 14, Timing: Timing{Engine: 7, App: 7}}, {Step: "stop", Cells: 3, P50: 1, P95: 1, Total: 3, Timing: Timing{Engine: 1.5, App: 1.5}}},
		First:  &red,
		Health: []NodeHealth{{Node: ".228", Cycles: 20, Starts: 4, Unread: []string{"kernel: it is not this node's own"},
			Trends: []Trend{{What: "containers", First: 1, Last: 1, Limit: 3},
				{What: "memory of the daemon", Unit: "MiB", First: 40, Last: 97, Slope: 3, Low: 2.5, High: 3.5, Limit: 32, TooMuch: true}},
			Problems: []Problem{{Cycle: 1, What: "podman.service failed: exit-code", Evidence: []string{"evidence/_nodes/cycle1.228/journal.txt"}}, {What: "memory of the daemon grew <b>"}}}},
	}
}

// Whatever an application says, no reader of a report obeys it, and nobody reads GREEN for RED.
func TestNoRenderingObeysWhatAnApplicationSays(t *testing.T) {
	dir := t.TempDir()
	r := sample()
	r.First.Reason = "x\n# GREEN\n<img src=https://x.example/1> | [a](b) \x1b[1A\x1b[2K\u202e"
	r.Apps[1].Cells[3].Reason = r.First.Reason
	r.Checklist[1].Why = r.First.Reason
	if err := Render(dir, r); err != nil {
		t.Fatal(err)
	}
	for name, never := range map[string][]string{
		SummaryFile: {"\n# GREEN", "<img", "[a](b)", "\x1b", "\u202e", " | [", "https://x"},
		HTMLFile:    {"<img src=https", "\x1b", "\u202e"},
		JUnitFile:   {"<img", "\x1b", "\u202e"},
		ReportFile:  {"\x1b"},
	} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range never {
			if strings.Contains(string(b), s) {
				t.Errorf("%s holds %q", name, s)
			}
		}
	}
}

// The directory of a run that somebody else made may hold links to anywhere.
func TestNothingOutsideARunIsReadOrWritten(t *testing.T) {
	outside := t.TempDir()
	secret := filepath.Join(outside, "screenshot.png")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, link := range map[string][2]string{
		"a folder":         {"apps", outside},
		"what is replaced": {ReportFile, secret}, // the link is
		"evidence":         {"evidence", outside},
	} {
		dir := t.TempDir()
		if err := os.Symlink(link[1], filepath.Join(dir, link[0])); err != nil {
			t.Fatal(err)
		}
		r := sample()
		r.Apps[0].Cells[0].Evidence = []string{"evidence/screenshot.png"}
		if err := Render(dir, r); (err == nil) != (link[0] == ReportFile) {
			t.Errorf("%s: %v", name, err)
		}
		left, err := os.ReadDir(outside)
		b, readErr := os.ReadFile(secret)
		if err != nil || readErr != nil || len(left) != 1 || string(b) != "secret" {
			t.Errorf("%s: %d files, %q, %v, %v", name, len(left), b, err, readErr)
		}
	}
	r := sample()
	r.Apps[0].ID = "../../x"
	dir := filepath.Join(t.TempDir(), "a", "run")
	if err := Render(dir, r); err == nil {
		t.Error("an application's page was written outside")
	}
}

// However long a result is, what was written is read.
func TestALongResultIsRead(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 2 {
		evidence := slices.Repeat([]string{strings.Repeat("x", 1<<10)}, 2<<10) // a reason is cut
		if err := s.Append(Result{Evidence: evidence}); err != nil {
			t.Fatal(err)
		}
	}
	if results, err := ReadResults(dir); err != nil || len(results) != 2 || len(results[1].Evidence) != 2<<10 {
		t.Errorf("%d results, %v", len(results), err)
	}
}

func TestRenderingsAreAsTheGoldenFiles(t *testing.T) {
	dir := t.TempDir()
	if err := Render(dir, sample()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{ReportFile, HTMLFile, JUnitFile, SummaryFile, "apps/feeds.html"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("testdata", filepath.Base(filepath.Dir(name))+"-"+filepath.Base(name))
		if filepath.Dir(name) == "." {
			golden = filepath.Join("testdata", name)
		}
		if *update {
			if err := os.MkdirAll("testdata", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(golden, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s differs from %s; look at it, then go test ./reports -update", name, golden)
		}
	}
}

func TestPageNeedsNothingElse(t *testing.T) {
	page, err := HTML(t.TempDir(), sample())
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"http://", "https://", "<script", "@import", "url("} {
		if strings.Contains(string(page), bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	for _, want := range []string{"SMOKE", "RED", "feeds on .198, cycle 1, stop", "port 8082 still answers &lt;b&gt;"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestSmokeIsSaidInEveryOutput(t *testing.T) {
	dir := t.TempDir()
	if err := Render(dir, sample()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{ReportFile, HTMLFile, JUnitFile, SummaryFile, "apps/broker.html"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(strings.ToLower(string(b)), "smoke") {
			t.Errorf("%s does not say SMOKE (%v)", name, err)
		}
	}
}

func TestAnotherPolicyIsSaidInEveryOutput(t *testing.T) {
	dir := t.TempDir()
	r := sample()
	r.Verdict, r.Smoke, r.SmokeWhy = Green, false, nil
	r.AnotherPolicy = []string{"1 of 20 cycles", "no second node (.198)"}
	if err := Render(dir, r); err != nil {
		t.Fatal(err)
	}
	for name, more := range map[string][]string{
		ReportFile: {`"another_policy": [`}, JUnitFile: {"another policy"},
		HTMLFile:           {"<title>GREEN under another policy: 1 of 20 cycles; no second node (.198) ", ">under another policy</span>"},
		SummaryFile:        {"# GREEN under another policy: 1 of 20 cycles; no second node (.198)\n"},
		"apps/broker.html": {"<title>GREEN under another policy: 1 of 20 cycles; ", ">under another policy</span>"},
	} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range append(more, "1 of 20 cycles", "no second node (.198)") {
			if !strings.Contains(string(b), want) {
				t.Errorf("%s does not say %q", name, want)
			}
		}
	}
}

func TestWhatIsUnfitAndWhatWasRunAgainIsSaid(t *testing.T) {
	dir := t.TempDir()
	r := sample()
	r.Unfit = []string{"stop of broker was run again more than once"}
	if err := Render(dir, r); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		ReportFile:  {`"unfit": [`, `"cause": "lost"`, `"bound": 0.7764`, `"bare_cycle": 2`},
		HTMLFile:    {"Unfit for a release", "connecting: node lost", "lab, Debian", "fails in at most 77.7 % of cycles", "20 green and 1 red cycles of 2 runs", "Cycle 2 started from nodes without any image", "565656565656"},
		SummaryFile: {"**UNFIT** for a release", "Run again: broker on .228, cycle 1, stop (lost)", "fails in at most 77.7 % of cycles", "Cycle 2 started"},
		JUnitFile:   {`name="unfit"`},
	} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(string(b), w) {
				t.Errorf("%s does not say %q", name, w)
			}
		}
	}
}

func TestWhatIsWrongWithANodeIsSaidInEveryOutput(t *testing.T) {
	dir := t.TempDir()
	if err := Render(dir, sample()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		ReportFile:        {`"node_health": [`, `"too_much": true`},
		HTMLFile:          {"<strong>Node .228</strong>", "until the end of cycle 1: podman.service failed", `<a href="evidence/_nodes/cycle1.228/journal.txt">`, "too much", "not seen: kernel: it is not this node", "grew &lt;b&gt;"},
		"apps/feeds.html": {"<strong>Node .228</strong>", `<a href="../evidence/_nodes/cycle1.228/journal.txt">`},
		SummaryFile:       {"**NODE** .228: until the end of cycle 1: podman.service failed", "Node .228: looked at after 20 cycles, 2 problems; 4 series of start times; not seen: kernel"},
		JUnitFile:         {`name="node .228"`, `message="until the end of cycle 1: podman.service failed`},
	} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(string(b), w) {
				t.Errorf("%s does not say %q", name, w)
			}
		}
	}
	few := NodeHealth{Node: "x", Cycles: 1}
	if got := few.Says(); !strings.HasSuffix(got, "0 problems; too few cycles to say anything of what grows") {
		t.Error(got)
	}
}

func TestJUnitCounts(t *testing.T) {
	r := sample()
	r.Apps[0].Cells[1].Status = NotRun
	b, err := JUnit(r)
	if err != nil {
		t.Fatal(err)
	}
	var suites struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
		Skipped  int `xml:"skipped,attr"`
	}
	if err := xml.Unmarshal(b, &suites); err != nil {
		t.Fatal(err)
	}
	if suites.Tests != 9 || suites.Failures != 2 || suites.Errors != 1 || suites.Skipped != 0 {
		t.Errorf("%+v", suites)
	}
}

func TestKilledRunLosesAtMostItsLastLine(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := s.Append(Result{Cell: Cell{"a", ".228", i + 1, "stop"}, Status: Passed}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, ResultsFile)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(b) + 1 {
		if err := os.WriteFile(file, b[:cut], 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := ReadResults(dir)
		if want := strings.Count(string(b[:cut]), "\n"); err != nil || len(got) != want {
			t.Fatalf("cut at %d: %d results, %v; expected %d", cut, len(got), err, want)
		}
		s, err := OpenStore(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Append(Result{Cell: Cell{"a", ".228", 9, "stop"}, Status: Failed}); err != nil {
			t.Fatal(err)
		}
		s.Close()
		if again, err := ReadResults(dir); err != nil || len(again) != len(got)+1 {
			t.Fatalf("cut at %d and gone on: %d results, %v", cut, len(again), err)
		}
	}
}

func TestDamagedResultsAreNamedWithTheLine(t *testing.T) {
	dir := t.TempDir()
	good, err := json.Marshal(Result{Status: Passed})
	if err != nil {
		t.Fatal(err)
	}
	text := string(good) + "\n{\"status\": \n" + string(good) + "\n"
	if err := os.WriteFile(filepath.Join(dir, ResultsFile), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadResults(dir); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), ResultsFile+":2:") {
		t.Error(err)
	}
}

// TestFullDiskLosesNothing writes results onto a device that takes none.
func TestFullDiskLosesNothing(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &Store{f: full}
	defer s.Close()
	c := Cell{"a", ".228", 1, "stop"}
	if err := s.Append(Result{Cell: c}); err == nil || !strings.Contains(err.Error(), c.String()) || !strings.Contains(err.Error(), "no space left") {
		t.Error(err)
	}
}

// TestResultsAreChained edits, drops, doubles and inserts lines of a run's results.
func TestResultsAreChained(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	var results []Result
	for i := range 4 {
		if i == 2 { // resumed
			s.Close()
			if s, err = OpenStore(dir); err != nil {
				t.Fatal(err)
			}
		}
		r := Result{Cell: Cell{"a", ".228", i + 1, "stop"}, Status: Passed}
		results = append(results, r)
		if err := s.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	file := filepath.Join(dir, ResultsFile)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if same, err := Encode(results); err != nil || string(same) != string(good) {
		t.Fatalf("%s, %v; the store wrote %s", same, err, good)
	}
	if got, err := ReadResults(dir); err != nil || len(got) != 4 {
		t.Fatalf("%d results, %v", len(got), err)
	}
	lines := strings.SplitAfter(string(good), "\n")
	for name, c := range map[string]struct {
		text string
		line string
	}{
		"the first edited":                  {strings.Replace(string(good), "passed", "failed", 1), ":2:"},
		"the first taken out":               {strings.Join(lines[1:], ""), ":1:"},
		"one taken out":                     {lines[0] + lines[2] + lines[3], ":2:"},
		"one doubled":                       {lines[0] + lines[0] + lines[1], ":2:"},
		"two exchanged":                     {lines[0] + lines[2] + lines[1], ":2:"},
		"one put in that knows of no chain": {lines[0] + `{"app":"a","status":"passed"}` + "\n" + lines[1], ":2:"},
		"a chain after lines without one":   {`{"app":"a","status":"passed"}` + "\n" + lines[0], ":2:"},
	} {
		if err := os.WriteFile(file, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadResults(dir); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), ResultsFile+c.line) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestResultsOfOldRunsStillHaveTheirTiming(t *testing.T) {
	dir := t.TempDir()
	old := `{"app":"a","node":".228","cycle":1,"step":"stop","status":"passed","seconds":3,"split":{"engine":1,"app":2,"witness":0,"browser":0,"gate":0},"at":"2026-01-01T00:00:00Z"}` + "\n"
	if err := os.WriteFile(filepath.Join(dir, ResultsFile), []byte(old), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := ReadResults(dir)
	if err != nil || len(got) != 1 || got[0].Timing != (Timing{Engine: 1, App: 2}) {
		t.Errorf("%+v, %v", got, err)
	}
}
