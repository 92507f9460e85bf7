package reports

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jstemmer/go-junit-report/v2/junit"

	"github.com/archipelago-cloud/archipelago/internal/plain"
)

//go:embed report.html
var reportHTML string

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

// heat is one square of the heat map of applications and steps.
type heat struct {
	App, Step                     string
	Passed, Failed, NotRun, Total int
	Class                         string
}

type shot struct {
	App, Node string
	Data      template.URL
}

type failure struct {
	Result
	Links []link
}

type link struct{ Name, Href string }

type view struct {
	*Report
	Single   bool // one application's page, a folder below
	Heat     [][]heat
	Failures []failure
	Shots    []shot
	Max      float64 // longest p95
	Counts   map[string]int
}

// Href is where a page finds a file of the run.
func (v view) Href(file string) string {
	if v.Single {
		file = "../" + file
	}
	return filepath.ToSlash(file)
}

// HTML gives one self-contained page, with the screenshots from dir in it.
func HTML(dir string, r *Report) ([]byte, error) {
	v := view{Report: r, Single: len(r.Apps) == 1 && len(r.Asked.Apps) > 1, Counts: map[string]int{}}
	for _, a := range r.Apps {
		row := make([]heat, len(r.Asked.Steps))
		shots := map[string]string{}
		for _, c := range a.Cells {
			i := slices.Index(r.Asked.Steps, c.Step)
			h := &row[i]
			h.App, h.Step = a.ID, c.Step
			h.Total++
			v.Counts[string(c.Status)]++
			switch c.Status {
			case Passed:
				h.Passed++
			case Failed:
				h.Failed++
				f := failure{Result: c}
				for _, e := range c.Evidence {
					f.Links = append(f.Links, link{filepath.Base(e), v.Href(e)})
				}
				v.Failures = append(v.Failures, f)
			default:
				h.NotRun++
			}
			for _, e := range c.Evidence {
				if filepath.Base(e) == "screenshot.png" {
					shots[c.Node] = e // the last cycle's
				}
			}
		}
		for i := range row {
			switch h := &row[i]; {
			case h.Failed > 0:
				h.Class = "failed"
			case h.NotRun > 0:
				h.Class = "notrun"
			default:
				h.Class = "passed"
			}
		}
		v.Heat = append(v.Heat, row)
		for _, node := range r.Asked.Nodes {
			file, ok := shots[node]
			if !ok {
				continue
			}
			b, err := readFile(dir, file)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			v.Shots = append(v.Shots, shot{a.ID, node, template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(b))})
		}
	}
	slices.SortFunc(v.Failures, func(a, b failure) int { return a.At.Compare(b.At) })
	for _, t := range r.Timing {
		v.Max = max(v.Max, t.P95)
	}
	t, err := template.New("report").Funcs(template.FuncMap{
		"upper":    strings.ToUpper,
		"headline": Headline,
		"again":    Again,
		"seconds":  func(s float64) string { return fmt.Sprintf("%.1f", s) },
		"share": func(part, whole float64) float64 {
			if whole == 0 {
				return 0
			}
			return 100 * part / whole
		},
		"join":  strings.Join,
		"short": func(s string) string { return s[:min(12, len(s))] },
		"lasted": func(s float64) string {
			return fmt.Sprintf("%d min %02d s", int(s)/60, int(s)%60)
		},
	}).Parse(reportHTML)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, v); err != nil {
		return nil, err
	}
	return []byte(plain.Text(b.String())), nil
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
			all.AddSuite(s)
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

// Reproduce is the command, in the directory of the source, that runs a cell again by itself: a
// cycle of its application on its node up to its step, with the programs of this run. What
// comes of it diagnoses; the cell stays what it is.
func (r *Report) Reproduce(c Cell) string {
	steps := r.Asked.Steps
	if i := slices.Index(steps, c.Step); i >= 0 {
		steps = steps[:i+1]
	}
	bin := ""
	if len(r.Judge.Suite) > 0 {
		bin = fmt.Sprintf(" --daemon out/gate/%[1]s/bin/archipelago --suite out/gate/%[1]s/bin/matrix.test", r.Run)
	}
	return fmt.Sprintf("out/bin/gate run --cycles 1 --apps %s --only %s --steps %s%s", c.App, c.Node, strings.Join(steps, ","), bin)
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
