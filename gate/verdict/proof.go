package verdict

import (
	"math"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/reports"
)

// Tallies counts, by application, the cycles of a run: one for each node and cycle, green
// if every cell asked for passed, red if one failed.
func Tallies(p *plan.Plan, r *reports.Report) map[string]reports.Tally {
	type cycle struct {
		node string
		k    int
	}
	out := map[string]reports.Tally{}
	for _, a := range r.Apps {
		passed, failed := map[cycle]int{}, map[cycle]bool{}
		for _, c := range a.Cells {
			at := cycle{c.Node, c.Cycle}
			switch c.Status {
			case reports.Passed:
				passed[at]++
			case reports.Failed:
				failed[at] = true
			}
		}
		t := reports.Tally{Red: len(failed)}
		for at, n := range passed {
			if n == len(p.Asked.Steps) && !failed[at] {
				t.Green++
			}
		}
		out[a.ID] = t
	}
	return out
}

// confidence is that with which a bound holds.
const confidence = 0.95

// Bound is the share of cycles in which an application fails at most, with 95 % confidence,
// if of n cycles k failed: the exact one-sided bound of the binomial distribution (Clopper
// and Pearson, 1934), the share at which so few failures would have a probability of 5 %.
// Without a failure that is 1-0.05^(1/n). Of no cycles, nothing is known: 1.
func Bound(n, k int) float64 {
	if n == 0 || k >= n {
		return 1
	}
	if k == 0 {
		return 1 - math.Pow(1-confidence, 1/float64(n))
	}
	low, high := 0.0, 1.0
	for range 100 {
		p := (low + high) / 2
		if atMost(n, k, p) > 1-confidence {
			low = p
		} else {
			high = p
		}
	}
	return high
}

// atMost is the probability of at most k failures among n, each of probability p.
func atMost(n, k int, p float64) (sum float64) {
	log := func(i int) float64 { v, _ := math.Lgamma(float64(i + 1)); return v }
	for i := range k + 1 {
		sum += math.Exp(log(n) - log(i) - log(n-i) + float64(i)*math.Log(p) + float64(n-i)*math.Log1p(-p))
	}
	return sum
}

// prove says what the cycles of a run prove, with those of earlier runs of the same digests.
func prove(p *plan.Plan, r *reports.Report) {
	own := Tallies(p, r)
	for i := range r.Apps {
		a := &r.Apps[i]
		a.Proof = reports.Proof{Tally: own[a.ID], Runs: 1}
		for _, e := range p.Earlier {
			if t, ok := e.Cycles[a.ID]; ok {
				a.Proof.Tally = a.Proof.Plus(t)
				a.Proof.Runs++
			}
		}
		a.Proof.Bound = Bound(a.Proof.Green+a.Proof.Red, a.Proof.Red)
	}
}
