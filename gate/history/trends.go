package history

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/gate/trend"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

// Trends are what all runs together show. Everything in it is in an order that the same runs
// always give.
type Trends struct {
	Runs    []Run      `json:"runs"` // the oldest first
	Rates   []Rate     `json:"rates"`
	Bad     []FirstBad `json:"bad"`
	Growth  []Growth   `json:"growth"` // what grew most first
	Flakes  []Flake    `json:"flakes"`
	Boots   []Boot     `json:"boots"`
	Nodes   []NodeBad  `json:"nodes,omitempty"`   // in the order of the runs
	Skipped []string   `json:"skipped,omitempty"` // runs that cannot be read
}

// Rate is how often an application passed a step, of the cells that were run, with the bounds
// of Wilson's interval of 95 %.
type Rate struct {
	App    string  `json:"app"`
	Step   string  `json:"step"`
	Passed int     `json:"passed"`
	Cells  int     `json:"cells"`
	Rate   float64 `json:"rate"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// FirstBad is the run since which an application has failed at a step, or did last.
type FirstBad struct {
	App      string    `json:"app"`
	Step     string    `json:"step"`
	Run      string    `json:"run"`
	Started  time.Time `json:"started"`
	Reason   string    `json:"reason"`
	LastGood string    `json:"last_good,omitempty"` // empty: it has never passed before
	Changes  []Change  `json:"changes,omitempty"`   // since that
	Good     string    `json:"good,omitempty"`      // the run since which it passes again; empty: it does not
}

// Growth is how the time of a step grew over the runs: the medians of each run, the line
// through them (Theil and Sen), and the chance of such a rise without a trend (Mann and Kendall).
type Growth struct {
	App     string    `json:"app"`
	Step    string    `json:"step"`
	Runs    []string  `json:"runs"`
	Medians []float64 `json:"medians_seconds"`
	Grew    float64   `json:"grew_seconds"` // from the first run to the last, by the line
	Chance  float64   `json:"chance"`
}

// Flake is an application that passed and failed at a step with the very same bits: daemon,
// manifest, and the manifests of what it requires.
type Flake struct {
	App    string `json:"app"`
	Step   string `json:"step"`
	Daemon string `json:"daemon"`
	Bits   string `json:"bits"`   // of the manifests
	Passed int    `json:"passed"` // cells
	Failed int    `json:"failed"`
	Runs   int    `json:"runs"`
	Reason string `json:"reason"` // of one that failed
}

// Boot is how long applications took to be back after the reboots of a node in a run, from the
// request to the last look.
type Boot struct {
	Run     string  `json:"run"`
	Node    string  `json:"node"`
	Median  float64 `json:"median_seconds"`
	Max     float64 `json:"max_seconds"`
	Slowest string  `json:"slowest"` // application
}

// NodeBad is what turned a run red without being any application's.
type NodeBad struct {
	Run   string `json:"run"`
	Node  string `json:"node"`
	Cycle int    `json:"cycle,omitempty"` // none: it is that of all cycles
	What  string `json:"what"`
}

func (n NodeBad) String() string {
	return fmt.Sprintf("%s, node %s: %s", n.Run, n.Node, reports.Problem{Cycle: n.Cycle, What: n.What})
}

// z is the quantile of the normal distribution for an interval of 95 %.
const z = 1.959963984540054

// Wilson gives the bounds of the share that k of n come from (E. B. Wilson, Probable inference,
// JASA 22, 1927). Of no observations, nothing is known.
func Wilson(k, n int) (low, high float64) {
	if n == 0 {
		return 0, 1
	}
	p, m := float64(k)/float64(n), float64(n)
	middle := p + z*z/(2*m)
	half := z * math.Sqrt(p*(1-p)/m+z*z/(4*m*m))
	return max(0, (middle-half)/(1+z*z/m)), min(1, (middle+half)/(1+z*z/m))
}

// Trends gives what all runs together show; of one application, unless that is empty.
func (h *History) Trends(ctx context.Context, app string) (*Trends, error) {
	t := &Trends{}
	var err error
	if t.Runs, err = h.Runs(ctx); err != nil {
		return nil, err
	}
	for _, part := range []func(context.Context, string, *Trends) error{h.rates, h.bad, h.growth, h.flakes, h.boots, h.nodes} {
		if err := part(ctx, app, t); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (h *History) rates(ctx context.Context, app string, t *Trends) error {
	rows, err := h.db.QueryContext(ctx, `SELECT app, step, sum(status = 'passed'), count(*) FROM counted WHERE app = ?1 OR ?1 = '' GROUP BY app, step`, app)
	err = each(rows, err, func(rows *sql.Rows) error {
		var r Rate
		err := rows.Scan(&r.App, &r.Step, &r.Passed, &r.Cells)
		r.Rate = float64(r.Passed) / float64(r.Cells)
		r.Low, r.High = Wilson(r.Passed, r.Cells)
		t.Rates = append(t.Rates, r)
		return err
	})
	slices.SortFunc(t.Rates, func(a, b Rate) int { return cmp.Or(cmp.Compare(a.App, b.App), byStep(a.Step, b.Step)) })
	return err
}

// byStep compares steps as they follow each other in a cycle.
func byStep(a, b string) int {
	names := matrix.StepNames()
	return cmp.Compare(slices.Index(names, a), slices.Index(names, b))
}

// outcome is what became of an application at a step in a run.
type outcome struct {
	run       string
	started   int64
	failed    bool
	reason    string
	needs     string
	app, step string
}

func (h *History) bad(ctx context.Context, app string, t *Trends) error {
	// Of the columns beside a single max() SQLite gives those of the row that has it: a reason.
	rows, err := h.db.QueryContext(ctx, `SELECT c.app, c.step, c.run, c.started, a.needs, max(c.status = 'failed'), c.reason
		FROM counted c JOIN apps a ON a.run = c.run AND a.app = c.app
		WHERE c.app = ?1 OR ?1 = '' GROUP BY c.app, c.step, c.run ORDER BY c.app, c.step, c.started, c.run`, app)
	var all []outcome
	if err := each(rows, err, func(rows *sql.Rows) error {
		var o outcome
		err := rows.Scan(&o.app, &o.step, &o.run, &o.started, &o.needs, &o.failed, &o.reason)
		all = append(all, o)
		return err
	}); err != nil {
		return err
	}
	for series := range chunks(all, func(a, b outcome) bool { return a.app == b.app && a.step == b.step }) {
		b, needs := lastBad(series)
		if b == nil {
			continue
		}
		if b.LastGood != "" {
			if b.Changes, err = h.Changes(ctx, b.LastGood, b.Run, append(needs, b.App)...); err != nil {
				return err
			}
		}
		t.Bad = append(t.Bad, *b)
	}
	slices.SortStableFunc(t.Bad, func(a, b FirstBad) int {
		return cmp.Or(b.Started.Compare(a.Started), cmp.Compare(a.App, b.App), byStep(a.Step, b.Step))
	})
	return nil
}

// chunks gives the stretches of a list whose neighbours are alike.
func chunks[T any](all []T, alike func(a, b T) bool) func(yield func([]T) bool) {
	return func(yield func([]T) bool) {
		for begin := 0; begin < len(all); {
			end := begin + 1
			for end < len(all) && alike(all[begin], all[end]) {
				end++
			}
			if !yield(all[begin:end]) {
				return
			}
			begin = end
		}
	}
}

// lastBad finds the beginning of the last stretch of runs that failed; nil if none did.
func lastBad(series []outcome) (b *FirstBad, needs []string) {
	i := len(series) - 1
	for i >= 0 && !series[i].failed {
		i--
	}
	if i < 0 {
		return nil, nil
	}
	good := ""
	if i+1 < len(series) {
		good = series[i+1].run
	}
	for i > 0 && series[i-1].failed {
		i--
	}
	o := series[i]
	b = &FirstBad{App: o.app, Step: o.step, Run: o.run, Started: time.Unix(0, o.started).UTC(), Reason: o.reason, Good: good}
	if i > 0 {
		b.LastGood = series[i-1].run
	}
	if o.needs != "" {
		needs = strings.Split(o.needs, ",")
	}
	return b, needs
}

// minGrowth is how many runs it takes to speak of growth.
const minGrowth = 4

func (h *History) growth(ctx context.Context, app string, t *Trends) error {
	type cell struct {
		app, step, run string
		seconds        float64
	}
	rows, err := h.db.QueryContext(ctx, `SELECT app, step, run, seconds FROM counted
		WHERE status = 'passed' AND (app = ?1 OR ?1 = '') ORDER BY app, step, started, run, seconds`, app)
	var all []cell
	if err := each(rows, err, func(rows *sql.Rows) error {
		var c cell
		err := rows.Scan(&c.app, &c.step, &c.run, &c.seconds)
		all = append(all, c)
		return err
	}); err != nil {
		return err
	}
	for series := range chunks(all, func(a, b cell) bool { return a.app == b.app && a.step == b.step }) {
		g := Growth{App: series[0].app, Step: series[0].step}
		var points []trend.Point
		for one := range chunks(series, func(a, b cell) bool { return a.run == b.run }) {
			median := one[(len(one)-1)/2].seconds // they are in order
			points = append(points, trend.Point{X: float64(len(points)), Y: median})
			g.Runs, g.Medians = append(g.Runs, one[0].run), append(g.Medians, median)
		}
		if len(points) < minGrowth {
			continue
		}
		g.Grew = trend.TheilSen(points, 0.05).Slope * float64(len(points)-1)
		g.Chance = trend.MannKendall(g.Medians)
		if g.Grew > 0 {
			t.Growth = append(t.Growth, g)
		}
	}
	slices.SortStableFunc(t.Growth, func(a, b Growth) int {
		return cmp.Or(cmp.Compare(b.Grew, a.Grew), cmp.Compare(a.App, b.App), byStep(a.Step, b.Step))
	})
	return nil
}

func (h *History) flakes(ctx context.Context, app string, t *Trends) error {
	rows, err := h.db.QueryContext(ctx, `SELECT c.app, c.step, a.bits, c.daemon, sum(c.status = 'passed'), sum(c.status = 'failed'), count(DISTINCT c.run), max(CASE c.status WHEN 'failed' THEN c.reason ELSE '' END)
		FROM counted c JOIN apps a ON a.run = c.run AND a.app = c.app
		WHERE c.app = ?1 OR ?1 = '' GROUP BY c.app, c.step, c.daemon, a.bits HAVING min(c.status) <> max(c.status)`, app)
	err = each(rows, err, func(rows *sql.Rows) error {
		var f Flake
		err := rows.Scan(&f.App, &f.Step, &f.Bits, &f.Daemon, &f.Passed, &f.Failed, &f.Runs, &f.Reason)
		t.Flakes = append(t.Flakes, f)
		return err
	})
	slices.SortFunc(t.Flakes, func(a, b Flake) int {
		return cmp.Or(cmp.Compare(b.Failed, a.Failed), cmp.Compare(a.App, b.App), byStep(a.Step, b.Step), cmp.Compare(a.Daemon+a.Bits, b.Daemon+b.Bits))
	})
	return err
}

func (h *History) boots(ctx context.Context, app string, t *Trends) error {
	type cell struct {
		run, node, app string
		seconds        float64
	}
	rows, err := h.db.QueryContext(ctx, `SELECT run, node, app, seconds FROM counted
		WHERE step = ?2 AND status = 'passed' AND (app = ?1 OR ?1 = '') ORDER BY started, run, node, seconds, app`, app, matrix.RebootSurvive)
	var all []cell
	if err := each(rows, err, func(rows *sql.Rows) error {
		var c cell
		err := rows.Scan(&c.run, &c.node, &c.app, &c.seconds)
		all = append(all, c)
		return err
	}); err != nil {
		return err
	}
	for one := range chunks(all, func(a, b cell) bool { return a.run == b.run && a.node == b.node }) {
		slowest := one[len(one)-1]
		t.Boots = append(t.Boots, Boot{Run: slowest.run, Node: slowest.node, Median: one[(len(one)-1)/2].seconds, Max: slowest.seconds, Slowest: slowest.app})
	}
	return nil
}

// nodes gives what was wrong with nodes, in runs that have the application.
func (h *History) nodes(ctx context.Context, app string, t *Trends) error {
	rows, err := h.db.QueryContext(ctx, `SELECT p.run, p.node, p.cycle, p.what FROM problems p JOIN runs r USING (run)
		WHERE ?1 = '' OR EXISTS (SELECT 1 FROM apps a WHERE a.run = p.run AND a.app = ?1) `+order+`, p.node, p.cycle, p.what`, app)
	return each(rows, err, func(rows *sql.Rows) error {
		var n NodeBad
		err := rows.Scan(&n.Run, &n.Node, &n.Cycle, &n.What)
		t.Nodes = append(t.Nodes, n)
		return err
	})
}

// Standing is how an application came out of a run.
type Standing struct {
	Run, Version, Level string
	Verdict             reports.Verdict
	Smoke               bool
	Weaker              bool // the run was made under a policy that demands less than the built-in one
	Nodes               int  // problems of the run's nodes: nobody knows which of its applications they are about
	Cycles              int
	Passed, Cells       int // in all runs; cells that were run
}

// Standing gives how an application came out of the latest run that has it; nil if none does.
func (h *History) Standing(ctx context.Context, app string) (*Standing, error) {
	rows, err := h.db.QueryContext(ctx, `SELECT r.run, a.version, a.level, a.verdict, r.smoke, r.weaker, (SELECT count(*) FROM problems p WHERE p.run = r.run), r.cycles,
		(SELECT count(*) FROM counted WHERE app = ?1 AND status = 'passed'), (SELECT count(*) FROM counted WHERE app = ?1)
		FROM apps a JOIN runs r USING (run) WHERE a.app = ?1 ORDER BY r.started DESC, r.run DESC LIMIT 1`, app)
	var out *Standing
	err = each(rows, err, func(rows *sql.Rows) error {
		out = &Standing{}
		return rows.Scan(&out.Run, &out.Version, &out.Level, &out.Verdict, &out.Smoke, &out.Weaker, &out.Nodes, &out.Cycles, &out.Passed, &out.Cells)
	})
	return out, err
}
