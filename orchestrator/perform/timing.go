package perform

import (
	"context"
	"slices"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
)

type timingEngine interface {
	Inspect(ctx context.Context, container string) (host.Inspection, error)
	ActiveSince(ctx context.Context, unit string) (time.Time, error)
}

type span struct{ from, to time.Time }

// waited sums, over the members, the time between a container's start and its
// unit being active: the application's share of a start. Members that wait at the
// same time are counted once.
func (p *Performer) waited(ctx context.Context, m *manifest.Manifest, since time.Time) time.Duration {
	var spans []span
	for _, c := range m.Containers {
		seen, err := p.engine.Inspect(ctx, c.Name)
		if err != nil {
			continue
		}
		from := seen.StartedAt
		to, err := p.engine.ActiveSince(ctx, quadlet.Service(c.Name))
		if err != nil || to.Before(since) || to.Before(from) {
			continue
		}
		spans = append(spans, span{later(from, since), to})
	}
	return covered(spans)
}

// covered is the time that at least one of the spans covers.
func covered(spans []span) (sum time.Duration) {
	slices.SortFunc(spans, func(a, b span) int { return a.from.Compare(b.from) })
	var end time.Time
	for _, s := range spans {
		s.from = later(s.from, end)
		if s.to.After(s.from) {
			sum += s.to.Sub(s.from)
			end = s.to
		}
	}
	return sum
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
