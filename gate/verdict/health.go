package verdict

import (
	"fmt"
	"slices"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/gate/trend"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

const (
	// fewest cycles from which anything is said of a trend: the clearest rise of eight values
	// has a chance of 1/40320, which is below its share of alpha for up to 400 series.
	fewest = 8
	// alpha is the chance that a healthy run has of being red for a trend of one kind; each of
	// its series has an equal share of it (Bonferroni). So many series of start times and so
	// many of measures are tested that 0.01 for each would be red in every other run.
	alpha = 0.01

	mebi = 1 << 20

	// A start may take this much longer at the end of the run than at its beginning: a fifth,
	// and in any case what a node that is busier by chance adds to a short one.
	growsBy    = 0.2
	growsByMin = 1.0 // seconds
)

// measure is something of a node that must not grow from cycle to cycle: each ends as it
// began, with the applications gone, or installed as before.
type measure struct {
	name, text, unit string
	limit            float64 // how much it may grow over a run, in units
	per              float64 // what is measured, for each unit
}

// measures of package vitals. A limit is what a node may gain in a run for reasons of its own.
func measures() []measure {
	return []measure{
		// One may be under way or left by a cell that failed; a leak of one a cycle is 19.
		{"containers", "containers", "", 3, 1},
		{"volumes", "volumes", "", 3, 1},
		{"networks", "networks", "", 3, 1},
		{"secrets", "Podman's secrets", "", 3, 1},
		// Sessions of the gate, helpers and pause processes come and go by a few.
		{"processes", "processes", "", 10, 1},
		{"files", "open files", "", 100, 1},
		// Connections to the daemon: the gate's own, and two per application that is proxied.
		{"daemon-files", "open files of the daemon", "", 20, 1},
		// The collectors of garbage hold back this much by chance.
		{"daemon-memory", "memory of the daemon", "MiB", 32, mebi},
		{"podman-memory", "memory of Podman's service", "MiB", 64, mebi},
		// Podman's database, records and logs of the daemon.
		{"disk", "disk", "MiB", 64, mebi},
	}
}

// health judges the nodes of a run, or of one machine of a merged run, as that by itself did: what was found in a cycle, and what grew over all of them.
func health(p *plan.Plan, r *reports.Report, results []reports.Result) (out []reports.NodeHealth) {
	looks := map[string]map[int]reports.Vitals{}
	problems := map[string][]reports.Problem{}
	for _, res := range results {
		if !res.OfNode() || res.Vitals == nil {
			continue
		}
		if looks[res.Node] == nil {
			looks[res.Node] = map[int]reports.Vitals{}
		}
		looks[res.Node][res.Cycle] = *res.Vitals
		if what := anotherDaemon(p, res.Vitals.Program); what != "" {
			problems[res.Node] = append(problems[res.Node], reports.Problem{Cycle: res.Cycle, What: what})
		}
		if res.Status != reports.Passed {
			problems[res.Node] = append(problems[res.Node], reports.Problem{Cycle: res.Cycle, What: res.Reason, Evidence: res.Evidence})
		}
	}
	starts := startTimes(p.Asked.Nodes, r)
	for _, node := range p.Asked.Nodes {
		h := reports.NodeHealth{Node: node, Problems: problems[node]}
		series := map[string][]trend.Point{}
		for k := 0; k <= p.Asked.Cycles; k++ {
			v, seen := looks[node][k]
			if !seen {
				continue
			}
			for _, u := range v.Unread {
				if !slices.Contains(h.Unread, u) {
					h.Unread = append(h.Unread, u)
				}
			}
			if k == 0 {
				continue // before the first cycle, a node has nothing that stays
			}
			h.Cycles++
			for name, y := range v.Measures {
				series[name] = append(series[name], trend.Point{X: float64(k), Y: y})
			}
		}
		share := alpha / float64(len(measures())*len(p.Asked.Nodes))
		for _, m := range measures() {
			// What stays installed may gather data of its own.
			if m.name == "disk" && !slices.Contains(p.Asked.Steps, matrix.Uninstall) || len(series[m.name]) < fewest {
				continue
			}
			h.Trends = append(h.Trends, leak(m, series[m.name], share))
		}
		for _, s := range starts {
			if s.node != node || len(s.points) < fewest {
				continue
			}
			h.Starts++
			if t := slower(s, alpha/float64(len(starts))); t.TooMuch {
				h.Trends = append(h.Trends, t)
			}
		}
		for _, t := range h.Trends {
			if t.TooMuch {
				h.Problems = append(h.Problems, reports.Problem{What: t.Says()})
			}
		}
		if h.Cycles > 0 || len(h.Problems) > 0 || h.Starts > 0 {
			out = append(out, h)
		}
	}
	return out
}

// anotherDaemon says that a node did not run the daemon that the run is about; empty where it
// did.
func anotherDaemon(p *plan.Plan, program string) string {
	switch {
	case !p.Programs || program == p.Subject.Daemon && program != "":
		return ""
	case program == "":
		return "it is not known which daemon ran"
	case program == "none":
		return fmt.Sprintf("no daemon ran; the run is about sha256:%.12s…", p.Subject.Daemon)
	}
	return fmt.Sprintf("another daemon ran than the one the run is about: sha256:%.12s…, and not sha256:%.12s…", program, p.Subject.Daemon)
}

// leak says how a measure went, and that it grew too much if it surely grew, by more than its
// limit, and still did in the second half: what fills up once, or was left once, is no leak.
func leak(m measure, series []trend.Point, alpha float64) reports.Trend {
	for i := range series {
		series[i].Y /= m.per
	}
	l := trend.TheilSen(series, alpha)
	t := rendered(m.text, m.unit, l, series)
	t.Limit = m.limit
	goesOn := trend.TheilSen(series[len(series)/2:], alpha).Slope
	t.TooMuch = l.Low > 0 && t.Last-t.First > m.limit && goesOn >= l.Slope/2
	return t
}

// slower says how the time of a start went, and that it grew too much if chance alone would
// hardly order it so, and the growth is worth a word.
func slower(s starts, alpha float64) reports.Trend {
	l := trend.TheilSen(s.points, alpha)
	t := rendered(s.what, "s", l, s.points)
	t.Limit = max(growsBy*t.First, growsByMin)
	var seconds []float64
	for _, p := range s.points {
		seconds = append(seconds, p.Y)
	}
	t.Chance, t.Alpha = trend.MannKendall(seconds), alpha
	t.TooMuch = t.Chance < alpha && t.Last-t.First > t.Limit
	return t
}

// rendered puts a line into a report's words; series is not empty.
func rendered(what, unit string, l trend.Line, series []trend.Point) reports.Trend {
	span := series[len(series)-1].X - series[0].X
	return reports.Trend{What: what, Unit: unit, First: l.First, Last: l.First + l.Slope*span, Slope: l.Slope, Low: l.Low, High: l.High}
}

// starts are the times that one step took an application on one node, in seconds: without
// the gate's own looks.
type starts struct {
	node, what string
	points     []trend.Point
}

// startTimes gives those of every step that starts an application by itself. An install
// pulls images, and is none of them.
func startTimes(nodes []string, r *reports.Report) (out []starts) {
	for _, a := range r.Apps {
		for _, node := range nodes {
			for _, step := range []string{matrix.Start, matrix.Restart, matrix.RebootSurvive} {
				s := starts{node: node, what: fmt.Sprintf("time of %s of %s", step, a.ID)}
				for _, c := range a.Cells {
					if c.Node == node && c.Step == step && c.Status == reports.Passed && c.Timing != (reports.Timing{}) {
						s.points = append(s.points, trend.Point{X: float64(c.Cycle), Y: c.Timing.Engine + c.Timing.App})
					}
				}
				if len(s.points) > 0 {
					out = append(out, s)
				}
			}
		}
	}
	return out
}
