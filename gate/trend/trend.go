// Package trend says whether a series of measurements grows: by how much and with what
// certainty (Theil and Sen), and whether chance alone would order it so (Mann and Kendall).
// It is pure, and knows nothing of what was measured.
package trend

import (
	"math"
	"slices"
)

// Point is a measurement Y at X, in the units of whoever measured.
type Point struct{ X, Y float64 }

// Line is what a series grows by for each unit of X: the median of the slopes between all
// pairs of points, and the bounds of its confidence interval.
type Line struct {
	Slope, Low, High float64
	First            float64 // where the line begins, at the smallest X
}

// TheilSen gives the line through a series, which a few outliers do not move
// (P. K. Sen, Estimates of the regression coefficient based on Kendall's tau, JASA 63, 1968).
// The interval holds the true slope with a probability of 1-alpha (M. Hollander, D. A. Wolfe,
// Nonparametric Statistical Methods, 9.3). Of fewer than two X, all is zero.
func TheilSen(series []Point, alpha float64) Line {
	var slopes []float64
	for i, a := range series {
		for _, b := range series[i+1:] {
			if a.X != b.X {
				slopes = append(slopes, (b.Y-a.Y)/(b.X-a.X))
			}
		}
	}
	if len(slopes) == 0 {
		return Line{}
	}
	slices.Sort(slopes)
	n := len(slopes)
	half := quantile(alpha/2) * math.Sqrt(variance(ordinates(series)))
	low := int(math.Floor((float64(n) - half) / 2)) // one before the bound's rank, from 1
	high := int(math.Ceil((float64(n) + half) / 2))
	l := Line{Slope: median(slopes), Low: slopes[min(max(low-1, 0), n-1)], High: slopes[min(max(high, 0), n-1)]}
	var begins []float64
	least := math.Inf(1)
	for _, p := range series {
		least = min(least, p.X)
	}
	for _, p := range series {
		begins = append(begins, p.Y-l.Slope*(p.X-least))
	}
	slices.Sort(begins)
	l.First = median(begins)
	return l
}

// MannKendall is the probability that a series without a trend would rise as clearly as this
// one does (H. B. Mann, Nonparametric tests against trend, Econometrica 13, 1945; M. G.
// Kendall, Rank Correlation Methods): exact without ties, otherwise by the normal distribution
// with the variance corrected for ties. Values are in the order in which they were measured.
func MannKendall(values []float64) float64 {
	s, ties := 0, false
	for i, a := range values {
		for _, b := range values[i+1:] {
			switch {
			case b > a:
				s++
			case b < a:
				s--
			default:
				ties = true
			}
		}
	}
	if !ties {
		return exact(len(values), s)
	}
	v := variance(values)
	if v == 0 || s <= 0 {
		return 1
	}
	return math.Erfc(float64(s-1)/math.Sqrt(2*v)) / 2
}

// exact is the share of the orders of n values in which the pairs that rise outnumber those
// that fall by at least s: the number of inversions is that of a sum of independent choices.
func exact(n, s int) float64 {
	share := []float64{1} // by number of inversions
	for k := 2; k <= n; k++ {
		next := make([]float64, len(share)+k-1)
		for i, p := range share {
			for j := range k {
				next[i+j] += p / float64(k)
			}
		}
		share = next
	}
	most := (n*(n-1)/2 - s) / 2 // inversions in a series that rises so clearly
	sum := 0.0
	for i := 0; i <= most && i < len(share); i++ {
		sum += share[i]
	}
	return min(sum, 1)
}

// variance of Kendall's S over values, corrected for ties.
func variance(values []float64) float64 {
	of := func(n float64) float64 { return n * (n - 1) * (2*n + 5) }
	sorted := slices.Sorted(slices.Values(values))
	v := of(float64(len(values)))
	for i := 0; i < len(sorted); {
		j := i
		for j < len(sorted) && sorted[j] == sorted[i] {
			j++
		}
		v -= of(float64(j - i))
		i = j
	}
	return v / 18
}

func ordinates(series []Point) (out []float64) {
	for _, p := range series {
		out = append(out, p.Y)
	}
	return out
}

// median of values in ascending order.
func median(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// quantile is the value that a normally distributed one exceeds with probability p.
func quantile(p float64) float64 { return math.Sqrt2 * math.Erfinv(1-2*p) }
