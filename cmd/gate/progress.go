package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/bubbles/progress"
	tea "github.com/charmbracelet/bubbletea"

	"github.com/archipelago-cloud/archipelago/gate"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/gate/runner"
	"github.com/archipelago-cloud/archipelago/internal/plain"
	"github.com/archipelago-cloud/archipelago/reports"
)

// display shows a run's progress: bars on a terminal, plain lines elsewhere.
type display struct {
	out   io.Writer
	cells interface {
		runner.Observer
		Close()
	} // nil until cells are run
	judged func(*gate.Outcome, error)
}

func (d *display) Write(line []byte) (int, error) { return d.out.Write(line) }

func (d *display) Running(p *plan.Plan, results []reports.Result) {
	t := tally{plan: p, total: map[string]int{}, done: map[string]int{}, seen: map[reports.Cell]bool{}, began: time.Now()}
	for _, c := range p.Cells() {
		t.total[c.Node]++
	}
	for _, r := range results {
		if r.Status != reports.NotRun && !r.OfNode() {
			t.done[r.Node]++
			t.before++
		}
	}
	if w, terminal := d.out.(plain.Writer); terminal {
		d.cells = newBars(w.Writer, t) // it draws; what it is told, it shows as plain text
	} else {
		d.cells = &lines{out: d.out, tally: t}
	}
}

func (d *display) Started(c reports.Cell) { d.cells.Started(c) }
func (d *display) Done(r reports.Result)  { d.cells.Done(r) }

func (d *display) Judged(o *gate.Outcome, cut error) { d.judged(o, cut) }

// Close ends the display, so that what is printed next stands below it.
func (d *display) Close() {
	if d.cells != nil {
		d.cells.Close()
	}
}

// tally counts cells by node.
type tally struct {
	plan        *plan.Plan
	total, done map[string]int
	seen        map[reports.Cell]bool // whose results are counted: a cell that is run again has two
	before      int                   // cells done in earlier sessions
	began       time.Time
	failed      int
}

func (t *tally) add(r reports.Result) {
	if !t.seen[r.Cell] {
		t.seen[r.Cell] = true
		t.done[r.Node]++
	}
	if r.Status == reports.Failed {
		t.failed++
	}
}

// left estimates the remaining time from the pace so far; 0 as long as there is none.
func (t *tally) left() time.Duration {
	done, total := 0, 0
	for n := range t.total {
		done += t.done[n]
		total += t.total[n]
	}
	if now := done - t.before; now > 0 {
		return (time.Since(t.began) / time.Duration(now) * time.Duration(total-done)).Round(time.Second)
	}
	return 0
}

// lines shows progress in a log: one line for each cell.
type lines struct {
	mu  sync.Mutex
	out io.Writer
	tally
}

func (l *lines) Started(reports.Cell) {}

func (l *lines) Done(r reports.Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add(r)
	fmt.Fprintf(l.out, "%s %-7s %s (%.1f s) [%d/%d]", r.At.Format("15:04:05"), r.Status, r.Cell, r.Seconds, l.done[r.Node], l.total[r.Node])
	if r.Reason != "" {
		fmt.Fprintf(l.out, ": %s", plain.Block(r.Reason))
	}
	fmt.Fprintln(l.out)
}

func (l *lines) Close() {}

// bars shows progress to a person at a terminal.
type bars struct {
	program *tea.Program
	ended   chan struct{}
}

func newBars(out io.Writer, t tally) *bars {
	m := &model{tally: t, bar: progress.New(progress.WithDefaultGradient(), progress.WithWidth(30)), under: map[reports.Cell]time.Time{}}
	// Signals and keys stay with the gate, so that Ctrl-C winds the run up in good order.
	b := &bars{tea.NewProgram(m, tea.WithOutput(out), tea.WithInput(nil), tea.WithoutSignalHandler()), make(chan struct{})}
	go func() {
		defer close(b.ended)
		if _, err := b.program.Run(); err != nil {
			fmt.Fprintln(out, "progress:", err)
		}
	}()
	return b
}

func (b *bars) Started(c reports.Cell) { b.program.Send(c) }
func (b *bars) Done(r reports.Result)  { b.program.Send(r) }
func (b *bars) Close() {
	b.program.Quit()
	<-b.ended
}

type tick time.Time

type model struct {
	tally
	bar      progress.Model
	under    map[reports.Cell]time.Time
	failures []reports.Result
}

func everySecond() tea.Cmd {
	return tea.Tick(time.Second, func(t time.Time) tea.Msg { return tick(t) })
}

func (m *model) Init() tea.Cmd { return everySecond() }

func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch v := msg.(type) {
	case reports.Cell:
		m.under[v] = time.Now()
	case reports.Result:
		delete(m.under, v.Cell)
		m.add(v)
		if v.Status == reports.Failed {
			m.failures = append(m.failures, v)
		}
	case tick:
		return m, everySecond()
	}
	return m, nil
}

const shownFailures = 5

func (m *model) View() string {
	var b strings.Builder
	for _, n := range m.plan.Asked.Nodes {
		fmt.Fprintf(&b, "%-6s %s %d/%d\n", n, m.bar.ViewAs(float64(m.done[n])/float64(max(m.total[n], 1))), m.done[n], m.total[n])
	}
	var now []string
	for c, since := range m.under {
		now = append(now, fmt.Sprintf("%s %s #%d %s %ds", c.Node, c.App, c.Cycle, c.Step, int(time.Since(since).Seconds())))
	}
	slices.Sort(now)
	for _, s := range now {
		fmt.Fprintf(&b, "  %s\n", s)
	}
	for _, f := range m.failures[max(0, len(m.failures)-shownFailures):] {
		fmt.Fprintf(&b, "  FAILED %s: %.140s\n", plain.Block(f.Cell.String()), strings.ReplaceAll(plain.Text(f.Reason), "\n", "; "))
	}
	if left := m.left(); left > 0 {
		fmt.Fprintf(&b, "%d failed · about %s left\n", m.failed, left)
	}
	return b.String()
}
