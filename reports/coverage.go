package reports

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/internal/plain"
)

// Coverage is what the last full run showed, one under the whole built-in policy: the release
// checklist, and how far each application came.
type Coverage struct {
	Run       string      `json:"run,omitempty"` // empty: there has been none
	Started   time.Time   `json:"started,omitzero"`
	Verdict   Verdict     `json:"verdict,omitempty"`
	Daemon    string      `json:"daemon,omitempty"` // SHA-256
	Cycles    int         `json:"cycles,omitempty"`
	Nodes     []Node      `json:"nodes,omitempty"`
	Releases  bool        `json:"releases,omitempty"` // what it tested may go to the channels that demand proof
	Checklist []Criterion `json:"checklist"`
	Apps      []Covered   `json:"apps,omitempty"`
}

// Covered is an application that the run tested: of its cells, by level, how many passed of how many.
type Covered struct {
	ID      string         `json:"id"`
	Version string         `json:"version"`
	Written string         `json:"written"` // SHA-256 of its manifest without where its images are
	Levels  map[string]Out `json:"levels"`  // L1 to L3
}

// Out is how many passed, out of how many.
type Out struct {
	Passed int `json:"passed"`
	Cells  int `json:"cells"`
}

// Offered is an application that there is now; Written as in Covered.
type Offered struct{ ID, Version, Dir, Written string }

var levels = []string{"L1", "L2", "L3"}

// Full tells whether a run is one under the whole built-in policy, to its end: there is a result of
// every cell, be it that something else kept it from being run.
func (r *Report) Full() bool {
	open := slices.ContainsFunc(r.Apps, func(a App) bool {
		return slices.ContainsFunc(a.Cells, func(c Result) bool { return c.Status == NotRun && c.At.IsZero() })
	})
	return !r.Smoke && len(r.AnotherPolicy) == 0 && (r.Verdict == Green || r.Verdict == Red) && !open
}

// Covers gives what a full run showed; level says which level a step belongs to, and written how each
// manifest was.
func (r *Report) Covers(level func(step string) string, written map[string]string) *Coverage {
	c := &Coverage{Run: r.Run, Started: r.Started.UTC(), Verdict: r.Verdict, Daemon: r.Subject.Daemon, Cycles: r.Asked.Cycles, Nodes: r.Nodes,
		Releases: r.Verdict == Green && len(r.Unfit) == 0, Checklist: slices.Clone(r.Checklist)}
	for i, criterion := range c.Checklist {
		c.Checklist[i].Why = plain.Clip(criterion.Why, maxTold)
	}
	for _, a := range r.Apps {
		one := Covered{ID: a.ID, Version: a.Version, Written: written[a.ID], Levels: map[string]Out{}}
		for _, cell := range a.Cells {
			o := one.Levels[level(cell.Step)]
			o.Cells++
			if cell.Status == Passed {
				o.Passed++
			}
			one.Levels[level(cell.Step)] = o
		}
		c.Apps = append(c.Apps, one)
	}
	return c
}

// Markdown gives the checklist and a row for each application that there is now. What the run
// did not test, or tested as another version or with another manifest, it says nothing of.
func (c *Coverage) Markdown(offered []Offered) string {
	var b strings.Builder
	if c.Run == "" {
		b.WriteString("No full run has been recorded.\n\n")
	} else {
		var nodes []string
		for _, n := range c.Nodes {
			nodes = append(nodes, plain.Markdown(fmt.Sprintf("%s (%s)", n.Name, n.Kind)))
		}
		fmt.Fprintf(&b, "Run %s of %s, %s: %d cycles on %s, daemon `%.12s`.\n\n", plain.Markdown(c.Run), c.Started.Format(time.DateOnly), c.Verdict, c.Cycles, strings.Join(nodes, " and "), c.Daemon)
	}
	for _, criterion := range c.Checklist {
		box, why := "x", ""
		if !criterion.Met {
			box = " "
		}
		if criterion.Why != "" {
			why = " (" + plain.Markdown(criterion.Why) + ")"
		}
		fmt.Fprintf(&b, "- [%s] %s%s\n", box, plain.Markdown(criterion.Text), why)
	}
	b.WriteString("\n| application | version | in | L0 | L1 | L2 | L3 | feature | user | beta |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, o := range offered {
		fmt.Fprintf(&b, "| %s | %s | `%s` | ✓ |", o.ID, plain.Markdown(o.Version), o.Dir)
		covered, proven := c.of(o), "–"
		for _, l := range levels {
			out := covered.Levels[l]
			switch {
			case out.Cells == 0:
				b.WriteString(" – |")
			case out.Passed == out.Cells:
				fmt.Fprintf(&b, " ✓ %d |", out.Cells)
			default:
				fmt.Fprintf(&b, " ✗ %d of %d |", out.Passed, out.Cells)
			}
		}
		if c.Releases && covered.ID != "" {
			proven = "✓"
		}
		fmt.Fprintf(&b, " ✓ | %s | %s |\n", proven, proven)
	}
	return b.String()
}

// of gives what the run showed of an application as it is now.
func (c *Coverage) of(o Offered) Covered {
	for _, a := range c.Apps {
		if a.ID == o.ID && a.Version == o.Version && a.Written == o.Written {
			return a
		}
	}
	return Covered{}
}
