package history

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/reports"
)

// grown is a directory of runs that have something of everything.
func grown(t *testing.T) *Trends {
	t.Helper()
	out := t.TempDir()
	for n := range 6 {
		made(t, out, n, func(p *plan.Plan, r []reports.Result) {
			for i := range r {
				r[i].Seconds += float64(n)
			}
			if n > 3 {
				red("feeds", "install", "x\x1b[2J<script>alert(1)</script>")(p, r)
			}
			if n == 4 {
				p.Subject.Manifests["feeds"] = "f1"
			}
		})
	}
	return trends(t, opened(t, out), "")
}

func TestThePageOfTrendsNeedsNothingElseAndObeysNobody(t *testing.T) {
	got := grown(t)
	got.Skipped = []string{"run r9: <b>damaged</b>"}
	page, err := got.HTML()
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"<script", "src=", "@import", "url(", "<b>damaged", "\x1b"} {
		if strings.Contains(string(page), bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	if at := regexp.MustCompile(`(?i)\shref="([^d][^"]*)"`).FindStringSubmatch(string(page)); at != nil {
		t.Errorf("the page refers to %q", at[1])
	}
	for _, want := range []string{"Trends over 6 runs", "still", "manifest feeds: f1, was f0", "&lt;script&gt;alert", "feeds reboot-survive", "Steps that grow, median of each run", "Back after a reboot", "Cells passed", "run r9: &lt;b&gt;damaged", "66.7", "surely between"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if n := strings.Count(string(page), "<svg"); n != 3 {
		t.Errorf("%d charts of 3", n)
	}
	if _, err := (&Trends{}).HTML(); err != nil {
		t.Errorf("without a run: %v", err)
	}
}

// wellFormed reads XML to its end.
func wellFormed(b []byte) error {
	d := xml.NewDecoder(strings.NewReader(string(b)))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func TestABadgeSaysWhatCameOut(t *testing.T) {
	for name, c := range map[string]struct {
		s    Standing
		want []string
	}{
		"green":      {Standing{Run: "r1", Version: "1.0", Level: "L3", Verdict: reports.Green, Cycles: 20, Passed: 360, Cells: 360}, []string{"feeds 1.0", "green · L3 · 20 cycles", "#1a7f4b", "360 of 360 cells passed in all runs, 98.9 to 100.0 %"}},
		"weaker":     {Standing{Verdict: reports.Green, Weaker: true, Level: "L3", Cycles: 20}, []string{"green under another policy · L3 · 20 cycles"}},
		"red":        {Standing{Verdict: reports.Red}, []string{"red", "#b3261e"}},
		"incomplete": {Standing{Verdict: reports.Incomplete, Smoke: true}, []string{"smoke incomplete", "#8a5a00"}},
		"hostile":    {Standing{Version: `1"><script>`}, []string{"1&#34;&gt;&lt;script&gt;"}},
	} {
		b, err := c.s.Badge("feeds")
		if err == nil {
			err = wellFormed(b)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, want := range c.want {
			if !strings.Contains(string(b), want) {
				t.Errorf("%s: %s lacks %q", name, b, want)
			}
		}
		if green := strings.Contains(string(b), ">green"); green != (c.s.Verdict == reports.Green) {
			t.Errorf("%s says green: %v", name, green)
		}
	}
}

// TestANodeThatWasRedIsSaid has a run in which all cells passed, and a node was red: whose fault
// that is, nobody knows.
func TestANodeThatWasRedIsSaid(t *testing.T) {
	out := t.TempDir()
	made(t, out, 1, nil)
	made(t, out, 2, nil)
	look := reports.NodeResult(".228", 1, reports.Vitals{}, time.Unix(2001, 0).UTC())
	look.Status, look.Reason = reports.Failed, "archipelago.service failed: <core-dump>"
	dir := filepath.Join(out, "r2")
	results, err := reports.ReadResults(dir)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := reports.Encode(append(results, look))
	if err := errors.Join(err, os.WriteFile(filepath.Join(dir, reports.ResultsFile), lines, 0o644)); err != nil {
		t.Fatal(err)
	}
	h := opened(t, out)
	for _, app := range []string{"", "feeds"} {
		got := trends(t, h, app)
		if want := []NodeBad{{Run: "r2", Node: ".228", Cycle: 1, What: look.Reason}}; got.Runs[1].Verdict != reports.Red || !slices.Equal(got.Nodes, want) {
			t.Errorf("%+v of %+v", got.Nodes, got.Runs)
		}
		page, err := got.HTML()
		if want := "r2, node .228: until the end of cycle 1: archipelago.service failed: &lt;core-dump&gt;"; err != nil || !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q, %v", want, err)
		}
	}
	if got := trends(t, h, "ghost"); len(got.Nodes) > 0 {
		t.Errorf("%+v", got.Nodes)
	}
	s, err := h.Standing(t.Context(), "feeds")
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Badge("feeds")
	if err != nil || !strings.Contains(string(b), ">smoke node red · L0 · 2 cycles<") || strings.Contains(string(b), "#1a7f4b") {
		t.Errorf("%s, %v", b, err)
	}
}

func TestARunIsComparedWithTheLastGreenOneThatHasItsApplications(t *testing.T) {
	out := t.TempDir()
	made(t, out, 1, nil)
	made(t, out, 2, func(p *plan.Plan, r []reports.Result) { // green, and of other applications
		p.Asked.Apps = []string{"feeds"}
		for i := range r {
			r[i].App = "feeds"
		}
	})
	made(t, out, 3, func(p *plan.Plan, r []reports.Result) {
		red("feeds", "install", "planted")(p, r)
		p.Subject.Daemon = "d1"
		for i := range r {
			r[i].Seconds = 5
		}
	})
	made(t, out, 4, nil) // green, and later
	h := opened(t, out)
	c, err := h.Compare(t.Context(), "r3")
	if err != nil || c == nil || c.Run != "r1" || strings.Join(c.Changes, "; ") != "daemon: d1, was d0" || len(c.Steps) != 2 || c.Steps[0] != (reports.StepThen{Step: "install", Then: 2, Now: 5}) {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err := h.Compare(t.Context(), "r1"); err != nil || c != nil {
		t.Errorf("%+v, %v", c, err)
	}
	h.Close()
	made(t, out, 5, red("feeds", "install", "planted"))
	made(t, out, 6, nil)
	if c, err := opened(t, out).Compare(t.Context(), "r6"); err != nil || c == nil || c.Run != "r4" { // the one before it was red
		t.Errorf("%+v, %v", c, err)
	}
}
