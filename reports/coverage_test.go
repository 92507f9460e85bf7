package reports

import (
	"strings"
	"testing"
	"time"
)

func TestCoverageSaysWhatTheRunShowedOfWhatThereIsNow(t *testing.T) {
	r := sample()
	r.Smoke, r.SmokeWhy = false, nil
	level := func(step string) string { return map[string]string{"install": "L1", "stop": "L3"}[step] }
	now := []Offered{{"broker", "2.0", "catalog/apps", "b0"}, {"feeds", "1.0", "catalog/apps", "f0"}, {"ghost", "1", "catalog/field", "g0"}}
	written := map[string]string{"broker": "b0", "feeds": "f0"}
	says := func(c *Coverage, want ...string) {
		t.Helper()
		got := c.Markdown(now)
		for _, w := range want {
			if !strings.Contains(got, w+"\n") {
				t.Errorf("lacks %q:\n%s", w, got)
			}
		}
	}
	says(r.Covers(level, written), "Run 20260101-120000-0001 of 2026-01-01, red: 1 cycles on .228 (lab), daemon `abababababab`.",
		"- [x] Every manifest is valid", "- [ ] The lifecycle is green (port 8082 still answers &lt;b&gt;&amp;\")",
		"| broker | 2.0 | `catalog/apps` | ✓ | ✓ 2 | – | ✓ 2 | ✓ | – | – |", "| feeds | 1.0 | `catalog/apps` | ✓ | ✓ 2 | – | ✗ 1 of 2 | ✓ | – | – |", "| ghost | 1 | `catalog/field` | ✓ | – | – | – | ✓ | – | – |")
	r.Verdict = Green
	says(r.Covers(level, written), "| broker | 2.0 | `catalog/apps` | ✓ | ✓ 2 | – | ✓ 2 | ✓ | ✓ | ✓ |", "| ghost | 1 | `catalog/field` | ✓ | – | – | – | ✓ | – | – |")
	r.Unfit = []string{"run again too often"}
	says(r.Covers(level, written), "| broker | 2.0 | `catalog/apps` | ✓ | ✓ 2 | – | ✓ 2 | ✓ | – | – |")
	r.Unfit = nil
	now[0].Version = "2.1" // it was another one
	says(r.Covers(level, written), "| broker | 2.1 | `catalog/apps` | ✓ | – | – | – | ✓ | – | – |")
	now[0].Version, now[0].Written = "2.0", "b1"
	says(r.Covers(level, written), "| broker | 2.0 | `catalog/apps` | ✓ | – | – | – | ✓ | – | – |")
	says(&Coverage{}, "No full run has been recorded.")
}

func TestAFullRunIsOneUnderTheWholePolicy(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*Report)
		full bool
	}{
		"red":       {func(*Report) {}, true},
		"green":     {func(r *Report) { r.Verdict = Green }, true},
		"cut short": {func(r *Report) { r.Verdict = Incomplete }, false},
		"red, and cut short": {func(r *Report) {
			c := &r.Apps[0].Cells[0]
			c.Status, c.At = NotRun, time.Time{}
		}, false},
		"red, and what came after it not run": {func(r *Report) { r.Apps[0].Cells[0].Status, r.Apps[0].Cells[0].At = NotRun, time.Unix(1, 0) }, true},
		"a smoke":                             {func(r *Report) { r.Smoke = true }, false},
		"under another policy":                {func(r *Report) { r.AnotherPolicy = []string{"1 of 20 cycles"} }, false},
	} {
		r := sample()
		r.Smoke = false
		if c.edit(r); r.Full() != c.full {
			t.Errorf("%s: full is %v", name, r.Full())
		}
	}
}
