package reports

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"regexp"
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
		Green:  &Comparison{Run: "20251231-120000-0001", Started: at.Add(-24 * time.Hour), Changes: []string{"daemon: abababababab, was cdcdcdcdcdcd"}, Steps: []StepThen{{"stop", 0.5, 1}}},
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

// TestPageNeedsNothingElse wants a page to have one script, which the page itself names by its
// digest so that a browser runs no other, and nothing that a browser would fetch.
func TestPageNeedsNothingElse(t *testing.T) {
	r := sample()
	one := *r
	one.Apps = r.Apps[1:]
	for _, r := range []*Report{r, &one} {
		b, err := HTML(t.TempDir(), r)
		if err != nil {
			t.Fatal(err)
		}
		page := string(b)
		for _, bad := range []string{"http://", "https://", "@import", "url(", "<iframe", "<object", "<form", "javascript:"} {
			if strings.Contains(page, bad) {
				t.Errorf("the page has %q", bad)
			}
		}
		if m := regexp.MustCompile(`(?i)<[^>]*\s(on\w+|srcset)\s*=|<[^>]*\ssrc\s*=\s*"?[^d"]|<script[^>]|<link (?:[^r]|rel="[^i])`).FindString(page); m != "" {
			t.Errorf("the page has %q", m)
		}
		policy := regexp.MustCompile(`<meta http-equiv="Content-Security-Policy" content="([^"]*)">`).FindStringSubmatch(page)
		scripts := regexp.MustCompile(`(?s)<script>(.*?)</script>`).FindAllStringSubmatch(page, -1)
		if policy == nil || len(scripts) != 1 || strings.Count(page, "<script") != 1 {
			t.Fatalf("policy %q, scripts %q", policy, scripts)
		}
		sum := sha256.Sum256([]byte(scripts[0][1]))
		want := "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
		if policy[1] != want || strings.Index(page, policy[0]) > strings.Index(page, "<style>") {
			t.Errorf("the policy is %q, expected %q, before all else", policy[1], want)
		}
		for _, want := range []string{"SMOKE", "RED", "feeds on .198, cycle 1, stop", "port 8082 still answers &lt;b&gt;"} {
			if !strings.Contains(page, want) {
				t.Errorf("the page lacks %q", want)
			}
		}
	}
}

func TestDifferences(t *testing.T) {
	for reason, want := range map[string][]Difference{
		`invariant: container page: its unit's Restart is no, wanted always; container page: secret key is missing, wanted mode 400 of 100`: {
			{"container page: its unit's Restart", "always", "no"}, {"container page: secret key", "mode 400 of 100", "missing"}},
		`container page: extra host other:192.0.2.1 is set, and none is meant`:          {{"container page: extra host other:192.0.2.1", "", "set"}},
		`network page: internal is false and isolate is "", wanted false and "strict"`:  {{"network page: internal", `false and "strict"`, `false and isolate is ""`}},
		`proxy: the title is "Welcome", expected one with "Page"`:                       {{"proxy: the title", `one with "Page"`, `"Welcome"`}},
		`proxy: /: status 404, expected 200`:                                            {{"proxy: /", "200", "status 404"}},
		`port 8082 still answers`:                                                       {{"", "", "port 8082 still answers"}},
		`waited 28.8s for page to be back after the reboot, budget 30s: member is gone`: {{"page to be back after the reboot", "within 30s", "after 28.8s: member is gone"}},
		``: {{}},
	} {
		if got := Differences(reason); !slices.Equal(got, want) {
			t.Errorf("%s: %q, expected %q", reason, got, want)
		}
	}
}

// TestTheWorstFailureComesFirst has data be lost once, among more reasons than a page shows; it says
// what a failure that is none of a kind says, too.
func TestTheWorstFailureComesFirst(t *testing.T) {
	r := sample()
	a := &r.Apps[1]
	fail := func(kind Failure, reason string) {
		a.Cells = append(a.Cells, Result{Cell: Cell{"feeds", ".228", len(a.Cells), "stop"}, Status: Failed, Kind: kind, Reason: reason, At: r.Started.Add(time.Duration(len(a.Cells)) * time.Second)})
	}
	for i := range 2 * maxList {
		for range 2 {
			fail("", "no answer from "+strings.Repeat("x", i+1))
		}
	}
	fail("", "the canary is another one")
	fail(DataLoss, "the canary is another one")
	fail(Invariant, "it runs twice")
	page, err := HTML(t.TempDir(), r)
	if err != nil {
		t.Fatal(err)
	}
	_, kinds, _ := strings.Cut(string(page), "Failures by reason")
	kinds, _, _ = strings.Cut(kinds, "</table>")
	rows := strings.Split(kinds, "<tr data-find")
	if len(rows) != maxList+1 || !strings.Contains(rows[1], "data-loss") || !strings.Contains(rows[1], "the canary is") || !strings.Contains(rows[2], "it runs twice") || !strings.Contains(rows[3], "no answer") {
		t.Errorf("%d rows, the first: %.900s", len(rows), rows[1:])
	}
}

// TestAReasonIsFoundByEachOfItsApplications has more applications fail for one reason than are named
// with it.
func TestAReasonIsFoundByEachOfItsApplications(t *testing.T) {
	r := sample()
	for i := range 2 * maxAt {
		a := App{ID: fmt.Sprintf("app-%02d", i), Verdict: Red}
		a.Cells = []Result{{Cell: Cell{a.ID, ".228", 1, "stop"}, Status: Failed, Reason: "no answer"}}
		r.Apps, r.Asked.Apps = append(r.Apps, a), append(r.Asked.Apps, a.ID)
	}
	page, err := HTML(t.TempDir(), r)
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`<tr data-find="(no answer[^"]*)"`).FindStringSubmatch(string(page))
	if row == nil {
		t.Fatal("there is no such row")
	}
	for _, a := range r.Apps[2:] {
		if !strings.Contains(row[1], " "+a.ID) || !strings.Contains(row[1], " stop") {
			t.Errorf("who looks for %s finds %d bytes without it", a.ID, len(row[1]))
		}
	}
}

// TestEveryRedCellHasItsPlace has an application of which more is red than its page tells in detail:
// the page of the run leads to each of its cells.
func TestEveryRedCellHasItsPlace(t *testing.T) {
	r := sample()
	a := &r.Apps[1]
	for range 100 {
		a.Cells = append(a.Cells, Result{Cell: Cell{"feeds", "shard-1/.228", len(a.Cells), "stop"}, Status: Failed, Evidence: []string{"evidence/e.txt"}, Reason: strings.TrimSuffix(strings.Repeat(strings.Repeat("x", maxTold)+"; ", maxFaults), "; ")})
	}
	r.Apps = r.Apps[1:]
	page, err := HTML(t.TempDir(), r)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range r.Apps[0].Cells {
		if id := (failure{Result: c}).ID(); c.Status == Failed && strings.Count(string(page), `id="`+id+`"`) != 1 {
			t.Errorf("the page has no place %s", id)
		}
	}
}

// A square of which a cell was not run, or that has none, is not green.
func TestASquareThatIsNotWholeIsNotGreen(t *testing.T) {
	r := sample()
	r.Apps[0].Cells[1].Status = NotRun
	r.Asked.Steps = append(r.Asked.Steps, "reboot-survive")
	page, err := HTML(t.TempDir(), r)
	for _, want := range []string{`<td class="notrun" title="broker reboot-survive: 0 passed, 0 failed, 0 not run">`, `<td class="notrun" title="broker stop: 1 passed, 0 failed, 1 not run">`} {
		if err != nil || !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %s, %v", want, err)
		}
	}
}

func TestReasonsAreAlikeWithoutWhatIsParticular(t *testing.T) {
	of := func(app, node, reason string) string {
		return alike(Result{Cell: Cell{App: app, Node: node}, Reason: reason})
	}
	a := of("feeds", ".228", `feeds-db on .228: port 8082 is "x", image sha256:0123456789abcdef`)
	if b := of("broker", ".198", `broker-db on .198: port 1883 is "yy", image sha256:fedcba9876543210`); a != b {
		t.Errorf("%q and %q", a, b)
	}
	if b := of("broker", ".198", `broker-db on .198: port 1883 is closed, image sha256:fedcba9876543210`); a == b {
		t.Errorf("%q", a)
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

func TestARunIsComparedWithTheLastGreenOne(t *testing.T) {
	r := sample()
	says := func(want string) {
		t.Helper()
		page, err := HTML(t.TempDir(), r)
		if err != nil || !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q, %v", want, err)
		}
	}
	says(`<a href="../20251231-120000-0001/report.html">20251231-120000-0001</a>`)
	says("<li>daemon: abababababab, was cdcdcdcdcdcd</li>")
	r.Green.Changes = nil
	says("What is tested, by what and where is the same")
	r.Green = &Comparison{Why: "history: <b>disk full"}
	says("history: &lt;b&gt;disk full")
}

// TestAScreenshotIsMadeSmallerOrLinked has a run keep pictures that are none, or too large.
func TestAScreenshotIsMadeSmallerOrLinked(t *testing.T) {
	var whole bytes.Buffer
	if err := png.Encode(&whole, image.NewGray(image.Rect(0, 0, 1280, 800))); err != nil {
		t.Fatal(err)
	}
	var huge bytes.Buffer
	if err := png.Encode(&huge, image.NewGray(image.Rect(0, 0, 5000, 4000))); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		b    []byte
		made bool
	}{"a page": {whole.Bytes(), true}, "huge": {huge.Bytes(), false}, "no picture": {[]byte("<svg>"), false}, "cut": {whole.Bytes()[:200], false}, "nothing": {nil, false}} {
		dir := t.TempDir()
		r := sample()
		file := "evidence/broker/screenshot.png"
		r.Apps[0].Cells[0].Evidence = []string{file}
		if err := Write(dir, file, c.b); err != nil {
			t.Fatal(err)
		}
		page, err := HTML(dir, r)
		if err != nil {
			t.Fatal(err)
		}
		if made := strings.Contains(string(page), "data:image/jpeg"); made != c.made || !strings.Contains(string(page), `<a href="`+file+`">`) {
			t.Errorf("%s: in the page %v", name, made)
		}
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
