package history

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"slices"
	"strings"

	"github.com/go-analyze/charts"

	"github.com/archipelago-cloud/archipelago/internal/plain"
	"github.com/archipelago-cloud/archipelago/reports"
)

//go:embed trends.html
var trendsHTML string

// Shown bounds the lists that people read; JSON has all.
const Shown = 20

// charted is how many of the latest runs a chart shows, and lines how many steps.
const charted, lines = 60, 5

// HTML gives trends as one page that needs nothing else.
func (t *Trends) HTML() ([]byte, error) {
	page, err := template.New("trends").Funcs(template.FuncMap{
		"percent": func(share float64) string { return fmt.Sprintf("%.1f", 100*share) },
		"seconds": func(s float64) string { return fmt.Sprintf("%.1f", s) },
		"short":   func(s string) string { return s[:min(12, len(s))] },
		"last":    func(all []float64) float64 { return all[len(all)-1] },
	}).Parse(trendsHTML)
	if err != nil {
		return nil, err
	}
	view := struct {
		*Trends
		Passes, Boot, Grown template.HTML // charts
		Shown               int
	}{Trends: t, Shown: Shown}
	for _, c := range []struct {
		to   *template.HTML
		make func() ([]byte, error)
	}{{&view.Passes, t.passChart}, {&view.Boot, t.bootChart}, {&view.Grown, t.growthChart}} {
		svg, err := c.make()
		if err != nil {
			return nil, fmt.Errorf("chart: %w", err)
		}
		*c.to = template.HTML(svg) // the library escapes every text
	}
	var b bytes.Buffer
	if err := page.Execute(&b, view); err != nil {
		return nil, err
	}
	return []byte(plain.Text(b.String())), nil
}

// latest are the runs that charts show, with their names on the axis.
func (t *Trends) latest() (runs []Run, labels []string) {
	runs = t.Runs[max(0, len(t.Runs)-charted):]
	for _, r := range runs {
		labels = append(labels, r.Started.Format("01-02 15:04"))
	}
	return runs, labels
}

func (t *Trends) passChart() ([]byte, error) {
	runs, labels := t.latest()
	var share []float64
	for _, r := range runs {
		v := charts.GetNullValue()
		if n := r.Passed + r.Failed; n > 0 {
			v = 100 * float64(r.Passed) / float64(n)
		}
		share = append(share, v)
	}
	return line("Cells passed, % of those that were run", labels, []string{"all"}, [][]float64{share})
}

func (t *Trends) bootChart() ([]byte, error) {
	runs, labels := t.latest()
	var names []string
	for _, b := range t.Boots {
		if !slices.Contains(names, b.Node) {
			names = append(names, b.Node)
		}
	}
	slices.Sort(names)
	series := make([][]float64, len(names))
	for i, node := range names {
		for _, r := range runs {
			v := charts.GetNullValue()
			if j := slices.IndexFunc(t.Boots, func(b Boot) bool { return b.Run == r.Run && b.Node == node }); j >= 0 {
				v = t.Boots[j].Median
			}
			series[i] = append(series[i], v)
		}
	}
	return line("Back after a reboot, median of the applications, s", labels, names, series)
}

func (t *Trends) growthChart() ([]byte, error) {
	runs, labels := t.latest()
	var names []string
	var series [][]float64
	for _, g := range t.Growth[:min(lines, len(t.Growth))] {
		names = append(names, g.App+" "+g.Step)
		var values []float64
		for _, r := range runs {
			v := charts.GetNullValue()
			if i := slices.Index(g.Runs, r.Run); i >= 0 {
				v = g.Medians[i]
			}
			values = append(values, v)
		}
		series = append(series, values)
	}
	return line("Steps that grow, median of each run, s", labels, names, series)
}

// line draws a chart as SVG; nothing where there is nothing to draw.
func line(title string, labels, names []string, series [][]float64) ([]byte, error) {
	if len(labels) == 0 || len(series) == 0 {
		return nil, nil
	}
	opt := charts.NewLineChartOptionWithData(series)
	opt.Title = charts.TitleOption{Text: title}
	opt.XAxis.Labels, opt.XAxis.LabelCount = labels, min(len(labels), 7) // more would stand on each other
	opt.XAxis.LabelFontStyle.FontSize = 10
	opt.Legend = charts.LegendOption{SeriesNames: names, Offset: charts.OffsetStr{Top: "28"}}
	p := charts.NewPainter(charts.PainterOptions{OutputFormat: charts.ChartOutputSVG, Width: 1100, Height: 320})
	if err := p.LineChart(opt); err != nil {
		return nil, err
	}
	return p.Bytes()
}

// Badge gives an SVG that says how an application came out of the latest run that has it.
func (s *Standing) Badge(app string) ([]byte, error) {
	said, verdict := string(s.Verdict), s.Verdict
	if s.Nodes > 0 && verdict != reports.Red {
		said, verdict = "node red", reports.Red
	}
	if s.Weaker {
		said += " under another policy"
	}
	b := struct {
		Left, Right, Colour, Title string
		LeftWidth, RightWidth      int
	}{Left: app + " " + s.Version, Right: fmt.Sprintf("%s · %s · %d cycles", said, s.Level, s.Cycles)}
	if s.Cycles == 1 {
		b.Right = strings.TrimSuffix(b.Right, "s")
	}
	if s.Smoke {
		b.Right = "smoke " + b.Right
	}
	b.Colour = map[reports.Verdict]string{reports.Green: "#1a7f4b", reports.Red: "#b3261e"}[verdict]
	if b.Colour == "" {
		b.Colour = "#8a5a00"
	}
	low, high := Wilson(s.Passed, s.Cells)
	b.Title = fmt.Sprintf("run %s; %d of %d cells passed in all runs, %.1f to %.1f %%", s.Run, s.Passed, s.Cells, 100*low, 100*high)
	const character, padding = 7, 12 // pixels, of the text at its size; it is stretched to fit
	b.LeftWidth, b.RightWidth = character*len([]rune(b.Left))+padding, character*len([]rune(b.Right))+padding
	t, err := template.New("badge").Funcs(template.FuncMap{"add": func(a, b int) int { return a + b }, "half": func(a int) int { return a / 2 }, "inner": func(a int) int { return a - padding }}).Parse(badgeSVG)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = t.Execute(&out, b)
	return []byte(plain.Text(out.String())), err
}

const badgeSVG = `<svg xmlns="http://www.w3.org/2000/svg" width="{{add .LeftWidth .RightWidth}}" height="20" role="img" aria-label="{{.Left}}: {{.Right}}"><title>{{.Title}}</title>
<rect width="{{add .LeftWidth .RightWidth}}" height="20" rx="3" fill="#17202b"/><rect x="{{.LeftWidth}}" width="{{.RightWidth}}" height="20" rx="3" fill="{{.Colour}}"/>
<g fill="#fff" font-family="system-ui,sans-serif" font-size="11" text-anchor="middle"><text x="{{half .LeftWidth}}" y="14" textLength="{{inner .LeftWidth}}">{{.Left}}</text><text x="{{add .LeftWidth (half .RightWidth)}}" y="14" textLength="{{inner .RightWidth}}">{{.Right}}</text></g></svg>
`
