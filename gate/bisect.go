package gate

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/gate/history"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/gate/runner"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

// Bisection looks for the daemon with which an application began to fail at a step.
type Bisection struct {
	Out       string
	App, Step string
	Releases  []string // directories of releases, whose daemons are tried, too
	Fresh     bool     // what runs have shown before counts for nothing

	// Try runs one cycle of the application with a daemon, up to the step. An outcome without an
	// error that ends the search is one of a run that was judged.
	Try func(context.Context, history.Daemon) (*Outcome, error)
	Say func(format string, args ...any)
}

// Found is what a bisection has come to.
type Found struct {
	Good, Bad history.Daemon
	Between   []history.Daemon // of which nothing can be told
}

// Steps are those that a try has: as far as the one that is looked for.
func (b *Bisection) Steps() []string {
	all := matrix.StepNames()
	return all[:slices.Index(all, b.Step)+1]
}

// Daemons gives those that are there, the oldest first, with what is known of each.
func (b *Bisection) Daemons(ctx context.Context) (daemons []history.Daemon, err error) {
	if _, known := matrix.FindStep(b.Step); !known {
		return nil, fmt.Errorf("%w: unknown step %q: the steps are %q", plan.ErrUsage, b.Step, matrix.StepNames())
	}
	err = b.ask(ctx, func(h *history.History) error {
		skipped, err := h.Update(ctx)
		for _, s := range skipped {
			b.Say("left out: %v", s)
		}
		if err != nil {
			return err
		}
		if daemons, err = h.Daemons(ctx, b.Releases); err != nil || b.Fresh {
			return err
		}
		bits, err := h.Bits(ctx, b.App)
		if err != nil || bits == "" {
			return err
		}
		return h.Recorded(ctx, b.App, b.Step, bits, daemons)
	})
	return daemons, err
}

func (b *Bisection) ask(ctx context.Context, question func(*history.History) error) error {
	h, err := history.Open(ctx, b.Out)
	if err != nil {
		return fmt.Errorf("%w: %w", plan.ErrUsage, err)
	}
	defer h.Close()
	if err := question(h); err != nil && !errors.Is(err, plan.ErrUsage) {
		return fmt.Errorf("%w: %w", runner.ErrIncomplete, err)
	} else if err != nil {
		return err
	}
	return nil
}

// Search tries daemons until two neighbours are found of which the older one is good and the
// newer one bad. What runs of the same manifests have shown is not tried again.
func (b *Bisection) Search(ctx context.Context) (*Found, error) {
	daemons, err := b.Daemons(ctx)
	if err != nil {
		return nil, err
	}
	if len(daemons) < 2 {
		return nil, fmt.Errorf("%w: %d daemon is there in %s, and it takes two: runs keep theirs in RUN/bin; --release names the directory of a release", plan.ErrUsage, len(daemons), b.Out)
	}
	daemons = narrowed(daemons)
	tried := make([]history.Outcome, len(daemons))
	good, bad, err := history.Search(len(daemons), func(i int) (history.Outcome, error) {
		var err error
		tried[i], err = b.try(ctx, daemons[i])
		return tried[i], err
	})
	switch {
	case errors.Is(err, history.ErrNoneBad), errors.Is(err, history.ErrNoneGood):
		return nil, fmt.Errorf("%w: nothing to look for between %s and %s: %w", plan.ErrUsage, daemons[0], daemons[len(daemons)-1], err)
	case err != nil:
		return nil, err
	}
	return &Found{daemons[good], daemons[bad], daemons[good+1 : bad]}, nil
}

// narrowed leaves, of what is known, the stretch from the last good daemon to the bad one that
// follows it.
func narrowed(daemons []history.Daemon) []history.Daemon {
	is := func(o history.Outcome) func(history.Daemon) bool {
		return func(d history.Daemon) bool { return d.Outcome == o }
	}
	last := func(list []history.Daemon, is func(history.Daemon) bool) int {
		for i, d := range slices.Backward(list) {
			if is(d) {
				return i
			}
		}
		return -1
	}
	bad := last(daemons, is(history.Bad))
	if bad < 0 {
		return daemons
	}
	good := last(daemons[:bad], is(history.Good))
	if good < 0 {
		return daemons[:bad+1]
	}
	return daemons[good : good+2+slices.IndexFunc(daemons[good+1:], is(history.Bad))]
}

// try tells of one daemon. A run that is not judged, as of one that no longer goes with this
// suite, tells nothing.
func (b *Bisection) try(ctx context.Context, d history.Daemon) (history.Outcome, error) {
	if d.Outcome != history.Unknown {
		b.Say("%s: %s, in run %s", d, d.Outcome, d.Run)
		return d.Outcome, nil
	}
	b.Say("%s: trying it", d)
	o, err := b.Try(ctx, d)
	switch {
	case ctx.Err() != nil:
		return history.Unknown, fmt.Errorf("%w: %w", runner.ErrIncomplete, context.Cause(ctx))
	case o == nil && (errors.Is(err, runner.ErrIncomplete) || errors.Is(err, catalog.ErrInvalid)):
		b.Say("%s: nothing can be told: %v", d, err)
		return history.Unknown, nil
	case o == nil:
		return history.Unknown, err
	}
	if ran := o.Report.Subject.Daemon; ran != d.SHA256 {
		return history.Unknown, fmt.Errorf("%w: %s is another program now than when the search began: run %s was of sha256:%.12s…; begin again", plan.ErrUsage, d.File, o.Report.Run, ran)
	}
	if err := b.sameManifests(ctx, o.Report.Run); err != nil {
		return history.Unknown, err
	}
	for _, a := range o.Report.Apps {
		for _, c := range a.Cells {
			if a.ID != b.App || c.Step != b.Step {
				continue
			}
			switch c.Status {
			case reports.Passed:
				b.Say("%s: good, in run %s", d, o.Report.Run)
				return history.Good, nil
			case reports.Failed:
				b.Say("%s: bad, in run %s: %s", d, o.Report.Run, c.Reason)
				return history.Bad, nil
			}
			b.Say("%s: nothing can be told, in run %s: %s", d, o.Report.Run, c.Reason)
		}
	}
	return history.Unknown, nil
}

// sameManifests wants a try to be about the same manifests as the runs whose outcomes count.
func (b *Bisection) sameManifests(ctx context.Context, run string) error {
	if b.Fresh {
		return nil
	}
	return b.ask(ctx, func(h *history.History) error {
		if _, err := h.Update(ctx); err != nil {
			return err
		}
		same, err := h.SameBits(ctx, run, b.App)
		if err == nil && !same {
			err = fmt.Errorf("%w: run %s had another manifest of %s, or of what it requires, than the run before it, whose outcomes count; name that catalog, or leave out what is recorded with --fresh", plan.ErrUsage, run, b.App)
		}
		return err
	})
}
