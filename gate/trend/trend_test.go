package trend

import (
	"math"
	"math/rand/v2"
	"testing"
)

func near(a, b, by float64) bool { return math.Abs(a-b) <= by }

// TestTheilSenAgreesWithPublishedFigures: cloud seeding in five years, example 9.1 of
// Hollander and Wolfe, with a slope of -0.05625. So few values leave the whole range of slopes
// in an interval of 95 %.
func TestTheilSenAgreesWithPublishedFigures(t *testing.T) {
	seeding := []Point{{1, 1.26}, {2, 1.27}, {3, 1.12}, {4, 1.16}, {5, 1.03}}
	l := TheilSen(seeding, 0.05)
	// Slopes in order: -0.15 -0.13 -0.08 -0.07 -0.0575 -0.055 -0.045 -0.0367 0.01 0.04.
	if !near(l.Slope, -0.05625, 1e-4) || l.Low > -0.149 || l.High < 0.039 {
		t.Errorf("%+v", l)
	}
}

// TestMannKendallAgreesWithTables: upper tails of Kendall's K (Hollander and Wolfe, table A.30).
func TestMannKendallAgreesWithTables(t *testing.T) {
	for _, c := range []struct {
		n, s int
		want float64
	}{{4, 6, 0.042}, {4, 4, 0.167}, {5, 8, 0.042}, {5, 10, 0.008}, {6, 11, 0.028}, {7, 13, 0.035}, {8, 16, 0.031}, {8, 28, 1. / 40320}, {10, 21, 0.036}, {10, 25, 0.014}, {10, 0, 0.5}} {
		if got := exact(c.n, c.s); !near(got, c.want, 5.1e-4) && !(c.s == 0 && got >= 0.5) {
			t.Errorf("K of %d values >= %d: %.5f, expected %.3f", c.n, c.s, got, c.want)
		}
	}
	rising, falling := []float64{1, 2, 3, 4, 5, 6, 7, 8}, []float64{8, 7, 6, 5, 4, 3, 2, 1}
	if p := MannKendall(rising); !near(p, 1./40320, 1e-9) {
		t.Error(p)
	}
	if p := MannKendall(falling); !near(p, 1, 1e-9) {
		t.Error(p)
	}
	// With ties: Z = (S-1)/sqrt(V), and V is less by t(t-1)(2t+5)/18 for t equal values
	// (R. O. Gilbert, Statistical Methods for Environmental Pollution Monitoring, 16.4).
	tied := []float64{10, 22, 21, 30, 22, 30, 40, 40}
	s := 0.0
	for i, a := range tied {
		for _, b := range tied[i+1:] {
			s += float64(boolInt(b > a) - boolInt(b < a))
		}
	}
	v := (8*7*21. - 3*2*1*9) / 18 // three pairs of equal values
	if want := 0.5 * math.Erfc((s-1)/math.Sqrt(v)/math.Sqrt2); !near(MannKendall(tied), want, 1e-12) {
		t.Errorf("%v, expected %v", MannKendall(tied), want)
	}
	if p := MannKendall([]float64{5, 5, 5, 5, 5, 5, 5, 5}); p != 1 {
		t.Error(p)
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestIntervalsHoldWhatTheyPromise: of series without a trend, about one in a hundred is
// outside an interval of 99 %, and one in a hundred has a probability below 0.01.
func TestIntervalsHoldWhatTheyPromise(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const runs = 4000
	for _, n := range []int{8, 20} {
		outside, unlikely := 0, 0
		for range runs {
			var series []Point
			for i := range n {
				series = append(series, Point{float64(i), r.NormFloat64()})
			}
			l := TheilSen(series, 0.01)
			outside += boolInt(l.Low > 0 || l.High < 0)
			unlikely += boolInt(MannKendall(ordinates(series)) < 0.01)
		}
		if outside > runs*15/1000 || unlikely > runs*15/1000 || unlikely < runs*4/1000 {
			t.Errorf("%d values: %d of %d intervals without 0, %d probabilities below 0.01", n, outside, runs, unlikely)
		}
	}
}

func TestOutliersDoNotMoveTheLine(t *testing.T) {
	series := []Point{{1, 13}, {2, 15}, {3, 1700}, {4, 19}, {5, 21}, {6, 23}, {7, 25}, {8, 27}}
	if l := TheilSen(series, 0.01); l.Slope != 2 || l.First != 13 {
		t.Errorf("%+v", l)
	}
	if l := TheilSen(series[:1], 0.01); l != (Line{}) {
		t.Errorf("%+v", l)
	}
}
