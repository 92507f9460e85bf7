package verdict

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/gate/trend"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

// looksAt gives a look after every cycle, with a value of one measure for each; cycle 0 is
// far from all others, as a node without any application is.
func looksAt(p *plan.Plan, name string, value func(cycle int) float64) (out []reports.Result) {
	for k := 0; k <= p.Asked.Cycles; k++ {
		for _, n := range p.Asked.Nodes {
			v := -1000.0
			if k > 0 {
				v = value(k)
			}
			out = append(out, reports.NodeResult(n, k, reports.Vitals{Measures: map[string]float64{name: v}}, time.Unix(1, 0)))
		}
	}
	return out
}

func byName(t *testing.T, name string) measure {
	t.Helper()
	i := slices.IndexFunc(measures(), func(m measure) bool { return m.name == name })
	if i < 0 {
		t.Fatal(name)
	}
	return measures()[i]
}

func TestLeaks(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	step := func(k, at int) float64 {
		if k >= at {
			return 1
		}
		return 0
	}
	for _, c := range []struct {
		name, measure string
		cycles        int
		value         func(k int) float64
		leaks         bool
	}{
		{"one container a cycle", "containers", 20, func(k int) float64 { return float64(k) }, true},
		{"one container every other cycle", "containers", 20, func(k int) float64 { return float64(k / 2) }, true},
		{"one container every fourth cycle", "containers", 20, func(k int) float64 { return float64(k / 4) }, true},
		{"in the fewest cycles", "containers", 8, func(k int) float64 { return float64(k) }, true},
		{"in too few cycles", "containers", 7, func(k int) float64 { return float64(k) }, false},
		{"nothing", "containers", 20, func(int) float64 { return 3 }, false},
		{"two in all", "containers", 20, func(k int) float64 { return float64(k) / 10 }, false},
		{"a step in the middle", "containers", 20, func(k int) float64 { return 50 * step(k, 10) }, false},
		{"a step at the beginning", "containers", 20, func(k int) float64 { return 50 * step(k, 2) }, false},
		{"a step at the end", "containers", 20, func(k int) float64 { return 50 * step(k, 20) }, false},
		{"fewer and fewer", "containers", 20, func(k int) float64 { return float64(-k) }, false},
		{"noise", "daemon-memory", 20, func(int) float64 { return (60 + 10*r.NormFloat64()) * mebi }, false},
		{"a leak in noise", "daemon-memory", 20, func(k int) float64 { return (60 + 4*float64(k) + 10*r.NormFloat64()) * mebi }, true},
		{"a small leak", "daemon-memory", 20, func(k int) float64 { return (60 + float64(k) + r.NormFloat64()/10) * mebi }, false},
		{"what fills up", "daemon-memory", 20, func(k int) float64 { return (100 - 80*math.Exp(-float64(k)/4)) * mebi }, false},
		{"disk", "disk", 20, func(k int) float64 { return 10 * float64(k) * mebi }, true},
	} {
		p, err := plan.New("run", "v", plan.Request{Cycles: c.cycles}, cat(), known)
		if err != nil {
			t.Fatal(err)
		}
		j := Judge(p, append(passed(p), looksAt(p, c.measure, c.value)...))
		text := byName(t, c.measure).text
		if red := j.Verdict == reports.Red; red != c.leaks {
			t.Errorf("%s: %s, %+v", c.name, j.Verdict, j.Health)
		}
		if c.leaks && (len(j.Health) != 2 || len(j.Health[0].Problems) != 1 || !strings.HasPrefix(j.Health[0].Problems[0].What, text+" went from")) {
			t.Errorf("%s: %+v", c.name, j.Health)
		}
		if err := Releasable(j, time.Unix(0, 0)); c.leaks && (err == nil || !strings.Contains(err.Error(), "node .228: "+text)) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestWhatStaysInstalledMayFillTheDisk(t *testing.T) {
	p, err := plan.New("run", "v", plan.Request{Cycles: 20, Steps: []string{matrix.Install, matrix.Restart}}, cat(), known)
	if err != nil {
		t.Fatal(err)
	}
	if j := Judge(p, append(passed(p), looksAt(p, "disk", func(k int) float64 { return float64(k) * 1e9 })...)); j.Verdict != reports.Green {
		t.Errorf("%+v", j.Health)
	}
}

func TestStartsThatTakeLongerAndLonger(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, c := range []struct {
		name    string
		cycles  int
		step    string
		seconds func(k int) float64
		red     bool
	}{
		{"the same", 20, matrix.Start, func(int) float64 { return 5 }, false},
		{"noise", 20, matrix.Start, func(int) float64 { return 5 + r.Float64() }, false},
		{"a second a cycle", 20, matrix.Start, func(k int) float64 { return 5 + float64(k) }, true},
		{"a third, in noise", 20, matrix.RebootSurvive, func(k int) float64 { return 30 + float64(k)/2 + r.NormFloat64() }, true},
		{"a tenth, and surely", 20, matrix.Start, func(k int) float64 { return 30 + float64(k)/7 }, false},
		{"a half, of a short one", 20, matrix.Restart, func(k int) float64 { return 1 + float64(k)/40 }, false},
		{"in the fewest cycles", 8, matrix.Start, func(k int) float64 { return 5 + float64(k) }, true},
		{"in too few cycles", 7, matrix.Start, func(k int) float64 { return 5 + float64(k) }, false},
		{"shorter and shorter", 20, matrix.Start, func(k int) float64 { return 50 - float64(k) }, false},
		{"an install, which pulls images", 20, matrix.Install, func(k int) float64 { return 5 + float64(k) }, false},
	} {
		p, err := plan.New("run", "v", plan.Request{Cycles: c.cycles}, cat(), known)
		if err != nil {
			t.Fatal(err)
		}
		results := passed(p)
		for i := range results {
			res := &results[i]
			res.Timing = reports.Timing{Engine: 2, App: 2, Witness: r.Float64() * 100}
			if res.App == "a" && res.Node == ".198" && res.Step == c.step {
				res.Timing = reports.Timing{Engine: 0.5, App: c.seconds(res.Cycle) - 0.5}
			}
		}
		j := Judge(p, results)
		if red := j.Verdict == reports.Red; red != c.red {
			t.Errorf("%s: %s %+v", c.name, j.Verdict, j.Health)
		}
		if c.red && (len(j.Health) != 2 || len(j.Health[1].Problems) != 1 || !strings.HasPrefix(j.Health[1].Problems[0].What, "time of "+c.step+" of a went from")) {
			t.Errorf("%s: %+v", c.name, j.Health)
		}
	}
}

// TestHealthyRunsAreNotRedByChance: thirty applications on two nodes have 180 series of start
// times, each a draw; of 200 such runs, about two may be red, were any growth too much.
func TestHealthyRunsAreNotRedByChance(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	const runs, series = 200, 180
	red := 0
	for range runs {
		any := false
		for range series {
			s := starts{}
			for k := range 20 {
				s.points = append(s.points, trend.Point{X: float64(k), Y: 2 + 3*r.ExpFloat64()})
			}
			any = any || slower(s, alpha/series).TooMuch
		}
		if any {
			red++
		}
	}
	if red > 6 {
		t.Errorf("%d of %d healthy runs are red", red, runs)
	}
	// Memory that goes up and down by more than its limit.
	m, leaks := byName(t, "daemon-memory"), 0
	for range 40 * runs {
		var s []trend.Point
		for k := range 20 {
			s = append(s, trend.Point{X: float64(k), Y: (100 + 60*r.NormFloat64()) * m.per})
		}
		if leak(m, s, alpha/20).TooMuch {
			leaks++
		}
	}
	if leaks > 40*runs/1000 {
		t.Errorf("%d of %d measures without a trend leak", leaks, 40*runs)
	}
}

func TestWhatWasFoundOnANodeIsRedForGood(t *testing.T) {
	p := release(t)
	p.Looks = true
	fine := looksAt(p, "containers", func(int) float64 { return 0 })
	passed := func(p *plan.Plan) []reports.Result {
		out := passed(p)
		out[0].Prev = "a chain"
		return out
	}
	if j := Judge(p, append(passed(p), fine...)); j.Verdict != reports.Green || len(j.Unfit) > 0 {
		t.Errorf("%s %+v %q", j.Verdict, j.Health, j.Unfit)
	}
	bad := reports.NodeResult(".198", 3, reports.Vitals{}, time.Unix(1, 0))
	bad.Status, bad.Reason, bad.Evidence, bad.Digests = reports.Failed, "a process crashed", []string{"f"}, map[string]string{"f": "1"}
	j := Judge(p, append(append(passed(p), bad), fine...))
	if err := Releasable(j, time.Unix(0, 0)); j.Verdict != reports.Red || err == nil || !strings.Contains(err.Error(), "node .198: a process crashed") {
		t.Errorf("%s, %v", j.Verdict, err)
	}
	i := slices.IndexFunc(j.Checklist, func(c reports.Criterion) bool { return c.ID == "nodes" })
	if i < 0 || j.Checklist[i].Met {
		t.Errorf("%+v", j.Checklist)
	}
	bad.Evidence = nil
	if j := Judge(p, append(append(passed(p), fine...), bad)); len(j.Unfit) != 1 {
		t.Errorf("%q", j.Unfit)
	}
	if j := Judge(p, append(passed(p), fine[:len(fine)-1]...)); len(j.Unfit) != 1 || !strings.Contains(j.Unfit[0], "node .198 was not looked at after its last cycle") {
		t.Errorf("%q", j.Unfit)
	}
}

func TestANodeIsLookedAtAfterEveryCycle(t *testing.T) {
	p := release(t)
	p.Looks = true
	looks := looksAt(p, "containers", func(int) float64 { return 0 })
	unfit := func(sessions int, without ...int) []string {
		p.Sessions = make([]plan.Session, sessions)
		results := passed(p)
		results[0].Prev = "a chain"
		for _, l := range looks {
			if l.Node != ".198" || !slices.Contains(without, l.Cycle) {
				results = append(results, l)
			}
		}
		return Judge(p, results).Unfit
	}
	if why := unfit(2, 7); len(why) > 0 { // the first session was cut short after that cycle
		t.Errorf("%q", why)
	}
	for sessions, without := range map[int][]int{1: {7}, 2: {7, 8}} {
		if why := unfit(sessions, without...); len(why) != 1 || !strings.Contains(why[0], fmt.Sprintf("node .198 was looked at after %d of 20 cycles only", 20-len(without))) {
			t.Errorf("%d sessions, without %d: %q", sessions, without, why)
		}
	}
}

func TestAnotherDaemonThanThePinnedOneIsRedForTheNode(t *testing.T) {
	p := release(t)
	p.Looks, p.Programs, p.Subject.Daemon = true, true, "d0d0d0d0d0d0d0d0"
	for program, want := range map[string]string{
		"d0d0d0d0d0d0d0d0": "",
		"d1d1d1d1d1d1d1d1": "another daemon ran than the one the run is about: sha256:d1d1d1d1d1d1…, and not sha256:d0d0d0d0d0d0…",
		"none":             "no daemon ran",
		"":                 "it is not known which daemon ran",
	} {
		looks := looksAt(p, "containers", func(int) float64 { return 0 })
		for i := range looks {
			looks[i].Vitals.Program = p.Subject.Daemon
		}
		looks[len(looks)/2].Vitals.Program = program
		results := passed(p)
		results[0].Prev = "a chain"
		j := Judge(p, append(results, looks...))
		err := Releasable(j, time.Unix(0, 0))
		if want == "" && (j.Verdict != reports.Green) || want != "" && (j.Verdict != reports.Red || err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %s, %v", program, j.Verdict, err)
		}
	}
	p.Programs = false // an older gate's run is judged as it was
	results := passed(p)
	results[0].Prev = "a chain"
	if j := Judge(p, append(results, looksAt(p, "containers", func(int) float64 { return 0 })...)); j.Verdict != reports.Green {
		t.Errorf("%s %+v", j.Verdict, j.Health)
	}
}
