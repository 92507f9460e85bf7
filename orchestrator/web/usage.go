package web

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/usage"
)

// The drawing of a chart, in units of its own.
const (
	chartWidth  = usage.Spans
	chartHeight = 40
)

// chart is how much of one thing an application has used in the last 24 hours.
type chart struct {
	Name, Icon string
	Value      string // of late
	Said       string // all of it, in words
	Line, Area string // paths; empty where there is nothing to draw
}

// Width is that of the drawing.
func (chart) Width() int { return chartWidth }

// Height is that of the drawing.
func (chart) Height() int { return chartHeight }

// charts are those of an application; none where nobody has seen it run.
func charts(l tongue, points []usage.Point, now time.Time) (all []chart) {
	newest := now.Unix() / int64(usage.Span.Seconds())
	points = slices.DeleteFunc(slices.Clone(points), func(p usage.Point) bool {
		return p.Span > newest || p.Span <= newest-int64(chartWidth) // of a clock that was wrong, or of no interest
	})
	for _, c := range []struct {
		name, icon string
		of         func(usage.Point) int64
		least      int64 // that fills the drawing: noise is no mountain
		text       func(int64) string
		total      bool // it is what comes together that counts, not how much there is
	}{
		{l.t("Processor"), "cpu", func(p usage.Point) int64 { return p.Milli }, 100, l.percent, false},
		{l.t("Memory"), "memory-stick", func(p usage.Point) int64 { return p.Memory }, 16 << 20, l.fine, false},
		{l.t("Network"), "network", func(p usage.Point) int64 {
			if p.Received == usage.Unknown || p.Sent == usage.Unknown {
				return usage.Unknown
			}
			return p.Received + p.Sent
		}, 1 << 20, l.fine, true},
		{l.t("Disk"), "hard-drive", func(p usage.Point) int64 { return p.Disk }, 1 << 20, l.fine, false},
	} {
		var late, sum, peak int64
		var at time.Time
		n := 0
		for _, p := range points {
			v := c.of(p)
			if v == usage.Unknown {
				continue
			}
			late, sum, n = v, sum+v, n+1
			if at.IsZero() || v > peak {
				peak, at = v, p.At()
			}
		}
		if n == 0 {
			continue
		}
		one := chart{Name: c.name, Icon: c.icon, Value: c.text(late)}
		one.Line, one.Area = draw(points, newest, max(peak, c.least), c.of)
		when := at.Local().Format("15:04")
		switch {
		case c.total:
			var received, sent int64
			for _, p := range points {
				received, sent = received+max(p.Received, 0), sent+max(p.Sent, 0)
			}
			one.Value = c.text(sum)
			one.Said = l.t("%s received and %s sent in 24 hours; most at %s: %s in %d minutes", c.text(received), c.text(sent), when, c.text(peak), int(usage.Span.Minutes()))
		case c.icon == "hard-drive":
			one.Said = l.t("of data; looked at once a day")
		default:
			one.Said = l.t("on average %s in 24 hours; most at %s: %s", c.text(sum/int64(n)), when, c.text(peak))
		}
		all = append(all, one)
	}
	return all
}

// draw gives the line of values over the last 24 hours, and the area below it. Where nobody
// has looked there is none.
func draw(points []usage.Point, newest, full int64, of func(usage.Point) int64) (line, area string) {
	var l, a strings.Builder
	begun, last := int64(-1), int64(-1)
	end := func() {
		if begun >= 0 {
			fmt.Fprintf(&a, "L%d %dL%d %dZ", last, chartHeight, begun, chartHeight)
		}
		begun = -1
	}
	for _, p := range points {
		v, x := of(p), p.Span-(newest-int64(chartWidth))-1
		if v == usage.Unknown {
			continue
		}
		y := float64(chartHeight-2) * (1 - float64(v)/float64(full))
		if begun >= 0 && x == last+1 {
			fmt.Fprintf(&l, "L%d %.1f", x, y+1)
			fmt.Fprintf(&a, "L%d %.1f", x, y+1)
		} else {
			end()
			begun = x
			fmt.Fprintf(&l, "M%d %.1fh.5", x, y+1) // one that stands alone is to be seen, too
			fmt.Fprintf(&a, "M%d %.1f", x, y+1)
		}
		last = x
	}
	end()
	return l.String(), a.String()
}

// percent is a share of one processor.
func (l tongue) percent(milli int64) string {
	if milli < 10 {
		return l.t("%.1f %%", float64(milli)/10)
	}
	return l.t("%d %%", (milli+5)/10)
}

// fine is a number of bytes as people read it, also where it is small.
func (l tongue) fine(n int64) string {
	if n < 10<<20 {
		if n < 1<<20 {
			return l.t("%d KiB", (n+1<<10-1)>>10)
		}
		return l.t("%.1f MiB", float64(n)/(1<<20))
	}
	return l.size(n)
}
