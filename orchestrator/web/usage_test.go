package web

import (
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/usage"
)

func TestChartsSayInWordsWhatTheyDraw(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 5, 0, 0, time.Local)
	span := now.Unix() / int64(usage.Span.Seconds())
	points := []usage.Point{
		{Span: span - 500, Milli: 9000, Memory: 1 << 40, Received: 1 << 40, Sent: 0, Disk: 1 << 40}, // longer ago than is shown
		{Span: span - 5, Milli: 20, Memory: 100 << 20, Received: 3 << 20, Sent: 1 << 20, Disk: usage.Unknown},
		{Span: span - 4, Milli: 500, Memory: 300 << 20, Received: usage.Unknown, Sent: usage.Unknown, Disk: 5 << 30},
		{Span: span - 1, Milli: 5, Memory: 200 << 20, Received: 1 << 10, Sent: 0, Disk: 5 << 30},
		{Span: span + 9, Milli: 9000, Memory: 1 << 40, Received: 0, Sent: 0, Disk: 0}, // of a clock that went back
	}
	all := charts(english, points, now)
	said := map[string]string{}
	for _, c := range all {
		said[c.Name] = c.Value + " | " + c.Said
		if strings.Count(c.Line, "M") != strings.Count(c.Area, "Z") || strings.Contains(c.Line, "NaN") || strings.Contains(c.Line, "-") {
			t.Errorf("%s: %s, %s", c.Name, c.Line, c.Area)
		}
	}
	for name, want := range map[string]string{
		"Processor": "0.5 % | on average 18 % in 24 hours; most at 11:20: 50 %",
		"Memory":    "200 MiB | on average 200 MiB in 24 hours; most at 11:20: 300 MiB",
		"Network":   "4.0 MiB | 3.0 MiB received and 1.0 MiB sent in 24 hours; most at 11:10: 4.0 MiB in 10 minutes",
		"Disk":      "5.0 GiB | of data; looked at once a day",
	} {
		if said[name] != want {
			t.Errorf("%s: %q, not %q", name, said[name], want)
		}
	}
	if n := strings.Count(all[0].Line, "M"); n != 2 {
		t.Errorf("a time that nobody has seen is drawn: %s", all[0].Line)
	}
	if all := charts(english, nil, now); all != nil {
		t.Errorf("of nothing: %+v", all)
	}
}
