package matrix

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/reports"
)

const probeTimeout = 10 * time.Second

// Group is the applications of one node that go through a step side by side: all of
// them in a survival step, one in any other. What fails for one application ends the
// step for it alone.
type Group struct {
	*Session
	step  Step
	cells []*cell
	ended bool // what was done to the node failed: nothing more is done to it
}

// cell is one application's way through the step.
type cell struct {
	env *Environment
	rec *Recorder
	err error // the first one
	// certain: err names what a whole look has shown, whatever became of the node since.
	certain bool
}

// outcome is what the report of a cell says beside its verdict.
type outcome struct {
	Seconds  float64         `json:"seconds"`
	Timing   reports.Timing  `json:"split"`
	Note     string          `json:"note,omitempty"`
	Updated  string          `json:"updated_from,omitempty"` // version
	Evidence []string        `json:"evidence,omitempty"`
	Cause    reports.Cause   `json:"cause,omitempty"` // of a cell that was not run
	Kind     reports.Failure `json:"kind,omitempty"`  // of one that failed
}

// Each does work for every application that has not failed, side by side.
func (g *Group) Each(ctx context.Context, work Work) { g.few(ctx, len(g.cells), work) }

// few does the same for so many at a time: a command in a container has ten seconds, whatever
// the others do.
func (g *Group) few(ctx context.Context, most int, work Work) {
	turns := make(chan struct{}, most)
	do := func(c *cell) {
		turns <- struct{}{}
		defer func() { <-turns }()
		defer c.rec.stopClock()
		if c.err == nil {
			c.err = work(ctx, c.env, c.rec)
		}
	}
	if len(g.cells) == 1 {
		do(g.cells[0]) // in this goroutine, so that Ginkgo catches a panic
		return
	}
	var wg sync.WaitGroup
	for _, c := range g.cells {
		wg.Go(func() { do(c) })
	}
	wg.Wait()
}

// Once does to the node what all applications go through; each of them has the time
// it took on its engine's account. A failure is everyone's.
func (g *Group) Once(ctx context.Context, act func(context.Context) error) {
	if g.ended {
		return
	}
	begin := time.Now()
	err := act(ctx)
	spent := time.Since(begin).Seconds()
	g.ended = err != nil
	for _, c := range g.cells {
		switch {
		case c.err != nil:
		case err != nil:
			c.err = err
		default:
			c.rec.timing.Engine += spent
		}
	}
}

// perform takes the group through its step: what must hold beforehand, the step
// itself, and the invariants in every snapshot that was taken.
func (g *Group) perform(ctx context.Context) {
	if err := g.prepare(ctx); err != nil {
		for _, c := range g.cells {
			c.err = err
			c.rec.stopClock()
		}
		return
	}
	if before := g.step.Before; before != nil {
		g.Each(ctx, func(ctx context.Context, env *Environment, rec *Recorder) error {
			return wrap("before the step", before(ctx, env, rec))
		})
	}
	if g.step.RunAll != nil {
		g.step.RunAll(ctx, g)
	} else {
		g.Each(ctx, g.step.Run)
	}
	for _, c := range g.cells {
		violated, certain := g.invariants(c)
		switch {
		case violated == nil:
		case c.err == nil:
			c.err, c.certain = violated, certain
		case !broken(c.err):
			c.err, c.certain = fmt.Errorf("%w; %w", c.err, violated), certain // which may be the reason
		case certain && !errors.Is(c.err, ErrFixture):
			// It was seen before the gate or the node failed. To run it again would hide it.
			c.err, c.certain = fmt.Errorf("%w; then %v", violated, c.err), true
		}
	}
}

// invariants are what must hold in every snapshot; what runs in it must be as meant, and
// the daemon must say of it what is. What the daemon says, and fails to say, is not certain:
// the node may have been lost meanwhile.
func (g *Group) invariants(c *cell) (violated error, certain bool) {
	for _, s := range c.rec.held {
		meant, err := c.env.expectation(s.Host)
		if err != nil {
			return err, false
		}
		if !g.step.Reboots && s.Boot != c.rec.held[0].Boot {
			return fmt.Errorf("%w: boot identity %s, before %s", errRebooted, s.Boot, c.rec.held[0].Boot), false
		}
		if violated, certain = checkAlways(c.env.App, meant, s); violated != nil {
			return violated, certain
		}
	}
	return nil, false
}

// checkAlways judges a snapshot by what must hold in each; certain is an error that is not about
// the daemon's words alone. No waiver excuses it.
func checkAlways(m *manifest.Manifest, meant *Expectation, s *Snapshot) (err error, certain bool) {
	seen := slices.Concat(CheckInvariants(m, s), CheckAsMeant(meant, s))
	if err = Verdict(seen, s.lies); err != nil {
		err = ofKind(reports.Invariant, fmt.Errorf("invariant: %w", err))
	}
	return err, len(seen) > 0
}

// conclude gives what became of the i-th application. A nil error is a passed cell;
// for a red one, evidence is collected.
func (g *Group) conclude(ctx context.Context, i int) (outcome, error) {
	c := g.cells[i]
	seconds, timing := c.rec.total()
	err := g.blame(ctx, c)
	if err != nil && !broken(err) {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), evidenceTimeout)
		collect(bounded, c.env, c.rec)
		cancel()
	}
	o := outcome{Seconds: seconds, Timing: timing, Note: c.rec.note, Updated: c.rec.updatedFrom, Evidence: c.rec.files, Cause: cause(err)}
	if err != nil && !broken(err) {
		o.Kind = KindOf(err)
	}
	return o, err
}

// errRebooted is a failure: nobody asked the node for it, and its applications went down.
var errRebooted = errors.New("the node rebooted by itself during the step")

// blame tells a failure of what is tested from the loss of its node. Whatever failed:
// a node that does not answer on a new connection is lost, and one that is on
// another boot than the cell began on rebooted by itself, which is a failure. One that the
// gate rebooted, and that is away since, failed, too. What an
// application requires, and has failed in the same step, is not held against it.
func (g *Group) blame(ctx context.Context, c *cell) error {
	if c.err == nil || broken(c.err) || errors.Is(c.err, errNotBack) {
		return c.err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
	defer cancel()
	boot, gone := g.probe(ctx)
	switch {
	case c.certain:
	case gone != nil:
		return fmt.Errorf("%w: %w (%w)", nodes.ErrLost, gone, c.err)
	case !g.step.Reboots && len(c.rec.held) > 0 && c.rec.held[0].Boot != boot:
		return fmt.Errorf("%w: boot identity %s, before %s (%w)", errRebooted, boot, c.rec.held[0].Boot, c.err)
	}
	for _, other := range g.cells {
		if _, needs := c.env.App.Requirement(other.env.App.ID); needs && other.err != nil {
			return fmt.Errorf("%w: %s, which it requires: %w (%w)", ErrFixture, other.env.App.ID, other.err, c.err)
		}
	}
	return c.err
}

// cause says what kept a cell from its end, of an error that does not speak of what is
// tested.
func cause(err error) reports.Cause {
	switch {
	case err == nil || !broken(err):
		return ""
	case errors.Is(err, context.Canceled):
		return reports.Interrupted
	case errors.Is(err, ErrBrowser):
		return reports.Browser
	case errors.Is(err, ErrFixture) && !errors.Is(err, nodes.ErrLost) && !errors.Is(err, nodes.ErrRefused):
		return "" // it was not begun
	}
	return reports.Lost
}

// broken recognises errors that speak of the gate or the node, not of what is
// tested: such a cell is not run, never red.
func broken(err error) bool {
	return errors.Is(err, nodes.ErrLost) || errors.Is(err, nodes.ErrRefused) || errors.Is(err, ErrIncomplete) || errors.Is(err, ErrBrowser) || errors.Is(err, ErrFixture) || errors.Is(err, context.Canceled)
}
