package reports

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jstemmer/go-junit-report/v2/junit"

	"github.com/archipelago-cloud/archipelago/internal/plain"
)

// Render writes every rendering of a report into the run's directory.
func Render(dir string, r *Report) error {
	page, err := HTML(dir, r)
	if err != nil {
		return err
	}
	suites, err := JUnit(r)
	if err != nil {
		return err
	}
	errs := []error{
		WriteJSON(filepath.Join(dir, ReportFile), r),
		Write(dir, HTMLFile, page),
		Write(dir, JUnitFile, suites),
		Write(dir, SummaryFile, []byte(Summary(r))),
	}
	for i := range r.Apps {
		one := *r
		one.Apps = r.Apps[i : i+1]
		page, err := HTML(dir, &one)
		if err != nil {
			return err
		}
		errs = append(errs, Write(dir, filepath.Join("apps", r.Apps[i].ID+".html"), page))
	}
	return errors.Join(errs...)
}

// JUnit gives the results in the format that Jenkins and GitLab read: a suite for each
// application and node, a case for each cell.
func JUnit(r *Report) ([]byte, error) {
	var all junit.Testsuites
	for _, a := range r.Apps {
		for _, node := range r.Asked.Nodes {
			s := junit.Testsuite{Name: a.ID + " on " + node, Hostname: node}
			if r.Smoke {
				s.AddProperty("smoke", strings.Join(r.SmokeWhy, "; "))
			}
			if len(r.Unfit) > 0 {
				s.AddProperty("unfit", strings.Join(r.Unfit, "; "))
			}
			if len(r.AnotherPolicy) > 0 {
				s.AddProperty("policy", "another policy than the built-in one: "+strings.Join(r.AnotherPolicy, "; "))
			}
			total := 0.0
			for _, c := range a.Cells {
				if c.Node != node {
					continue
				}
				total += c.Seconds
				tc := junit.Testcase{Name: fmt.Sprintf("%s, cycle %d", c.Step, c.Cycle), Classname: a.ID + "." + strings.TrimPrefix(node, "."), Time: fmt.Sprintf("%.3f", c.Seconds)}
				switch c.Status {
				case Failed:
					tc.Failure = &junit.Result{Message: c.Reason, Type: "failed", Data: strings.Join(append([]string{r.Reproduce(c.Cell)}, c.Evidence...), "\n")}
				case Passed:
				default:
					// Not run is not green: an error, not a skip that is easily overlooked.
					tc.Error = &junit.Result{Message: c.Reason, Type: string(c.Status)}
				}
				s.AddTestcase(tc)
			}
			s.Time = fmt.Sprintf("%.3f", total)
			if len(s.Testcases) > 0 || len(r.Shards) == 0 { // a machine of a merged run has some of the applications
				all.AddSuite(s)
			}
		}
	}
	for _, h := range r.Health {
		s := junit.Testsuite{Name: "node " + h.Node, Hostname: h.Node}
		tc := junit.Testcase{Name: "health", Classname: "node." + strings.TrimPrefix(h.Node, ".")}
		if len(h.Problems) > 0 {
			var all []string
			for _, problem := range h.Problems {
				all = append(all, problem.String())
			}
			tc.Failure = &junit.Result{Message: all[0], Type: "failed", Data: strings.Join(all, "\n")}
		}
		s.AddTestcase(tc)
		all.AddSuite(s)
	}
	var b bytes.Buffer
	b.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")
	if err := all.WriteXML(&b); err != nil {
		return nil, err
	}
	return []byte(plain.Text(b.String())), nil
}

// Summary gives a page of Markdown, for a CI job or a release note.
func Summary(r *Report) string {
	var b strings.Builder
	p := func(format string, args ...any) {
		for i, a := range args {
			switch a.(type) {
			case int, float64:
			default: // text, whoever wrote it
				args[i] = plain.Markdown(fmt.Sprint(a))
			}
		}
		fmt.Fprintf(&b, format+"\n", args...)
	}
	p("# %s\n", Headline(r))
	if r.Smoke {
		p("This is a SMOKE, and can release nothing: %s.\n", strings.Join(r.SmokeWhy, "; "))
	}
	p("Run %s, %d cycles of %s on %s, %.0f s.\n", r.Run, r.Asked.Cycles, strings.Join(r.Asked.Apps, ", "), strings.Join(r.Asked.Nodes, " and "), r.Seconds)
	for _, s := range r.Shards {
		p("- %s", s)
	}
	if len(r.Shards) > 0 {
		p("")
	}
	if r.First != nil {
		p("First failure: **%s**: %s\n", r.First.Cell, r.First.Reason)
		p("Again: `%s`\n", r.Reproduce(r.First.Cell))
	}
	if again := Again(r); again != "" {
		p("%s.\n", again)
	}
	p("| app | version | verdict | level | passed | failed | not run |\n| --- | --- | --- | --- | ---: | ---: | ---: |")
	for _, a := range r.Apps {
		n := map[Status]int{}
		for _, c := range a.Cells {
			n[c.Status]++
		}
		verdict := string(a.Verdict)
		if len(a.Flaky) > 0 {
			verdict += ", flaky at " + strings.Join(a.Flaky, ", ")
		}
		p("| %s | %s | %s | %s | %d | %d | %d |", a.ID, a.Version, verdict, a.Level, n[Passed], n[Failed], n[NotRun])
	}
	p("\n| step | cells | p50 s | p95 s | engine s | app s | witness s | browser s | gate s |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
	for _, t := range r.Timing {
		p("| %s | %d | %.1f | %.1f | %.0f | %.0f | %.0f | %.0f | %.0f |", t.Step, t.Cells, t.P50, t.P95, t.Timing.Engine, t.Timing.App, t.Timing.Witness, t.Timing.Browser, t.Timing.Gate)
	}
	p("")
	if r.CPU != nil {
		p("%s.\n", r.CPU.Says())
	}
	for _, c := range r.Checklist {
		box, why := "x", ""
		if !c.Met {
			box, why = " ", " ("+c.Why+")"
		}
		p("- [%s] %s%s", box, c.Text, why)
	}
	p("")
	for _, h := range r.Health {
		p("- %s", h.Says())
		for _, problem := range h.Problems {
			p("\n**NODE** %s: %s\n", h.Node, problem)
		}
	}
	for _, a := range r.Apps {
		p("- %s", a.Proves())
	}
	if r.Bare > 0 {
		p("- Cycle %d started from nodes without any image.", r.Bare)
	}
	for _, n := range r.Notes() {
		p("- %s, %s, noted on %d: %s", n.App, n.Step, n.Cells, n.Note)
	}
	for _, again := range r.Reruns {
		p("- Run again: %s (%s): %s", again.Cell, again.Cause, again.Reason)
	}
	for _, why := range r.Unfit {
		p("\n**UNFIT** for a release: %s", why)
	}
	for _, w := range r.Waivers {
		p("\n**WAIVER**: %s", w)
	}
	for _, w := range r.Warnings {
		p("\n> %s", w)
	}
	return b.String()
}

// Proves says what the cycles of an application prove.
func (a App) Proves() string {
	p := a.Proof
	runs := ""
	if p.Runs > 1 {
		runs = fmt.Sprintf(" of %d runs of the same digests", p.Runs)
	}
	upwards := math.Ceil(1000*p.Bound) / 10
	says := fmt.Sprintf("%s: %d green and %d red cycles%s; with 95 %% confidence, it fails in at most %.1f %% of cycles like these", a.ID, p.Green, p.Red, runs, upwards)
	if a.Update != "" {
		says += "; " + a.Update
	}
	return says
}

// Again says the how manyth run of the very same bits this is, and what came of those before; and
// which others were red with an application of this one, in the same daemon. It is empty where
// there were none.
func Again(r *Report) string {
	if len(r.Before) == 0 {
		return ""
	}
	same, red, open := 0, 0, 0
	var others []string
	for _, b := range r.Before {
		if b.Other {
			others = append(others, b.RedWith())
			continue
		}
		same++
		switch b.Verdict {
		case Red:
			red++
		case "", Incomplete:
			open++
		}
	}
	s := fmt.Sprintf("Run %d of this subject; %d red before", same+1, red)
	if open > 0 {
		s += fmt.Sprintf(", %d not run to the end", open)
	}
	if len(others) > 0 {
		s += "; red before with the same daemon and application, in a run of another subject: " + strings.Join(others, ", ")
	}
	return s
}

// String says who tested what.
func (s Shard) String() string {
	return fmt.Sprintf("%s (run %s, gate on %s): %s on %s", s.Machine, s.Run, cmp.Or(s.Host, "a machine without a name"), strings.Join(s.Apps, ", "), strings.Join(s.Nodes, " and "))
}

// Reproduce is the command, in the directory of the source, that runs a cell again by itself: a
// cycle of its application on its node up to its step, with the programs of this run. What
// comes of it diagnoses; the cell stays what it is.
func (r *Report) Reproduce(c Cell) string {
	steps := r.Asked.Steps
	if i := slices.Index(steps, c.Step); i >= 0 {
		steps = steps[:i+1]
	}
	run, node := r.Run, c.Node
	for _, s := range r.Shards { // its machine has the programs, and knows the node by a shorter name
		if slices.Contains(s.Nodes, c.Node) {
			run, node = s.Run, strings.TrimPrefix(c.Node, s.Machine+"/")
		}
	}
	bin := ""
	if len(r.Judge.Suite) > 0 {
		bin = fmt.Sprintf(" --daemon out/gate/%[1]s/bin/archipelago --suite out/gate/%[1]s/bin/matrix.test", run)
	}
	return fmt.Sprintf("out/bin/gate run --cycles 1 --apps %s --only %s --steps %s%s", c.App, node, strings.Join(steps, ","), bin)
}

// Headline is the verdict in a few words, with SMOKE in front if it is one. A verdict under
// a policy that demands less than the built-in one says what it is worth.
func Headline(r *Report) string {
	s := strings.ToUpper(string(r.Verdict))
	if r.Smoke {
		s = "SMOKE " + s
	}
	if len(r.AnotherPolicy) > 0 {
		s += " under another policy: " + strings.Join(r.AnotherPolicy, "; ")
	}
	return s
}
