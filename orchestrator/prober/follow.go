package prober

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/fault"
)

const (
	startFast = 200 * time.Millisecond // between native probes of what starts, at first
	startSlow = time.Second            // and at last; between Podman's checks of it, always
	startPart = 5                      // the part of the time since the start that passes until the next probe
)

// What Podman says of a container's health.
const (
	healthy   = "healthy"
	unhealthy = "unhealthy"
)

// health is a container's, as far as it is known.
type health struct {
	record string // Podman's word
	passed bool   // Podman's last check
}

// follow looks at a container's health until the context ends, which is when it ends.
func (p *Prober) follow(ctx context.Context, f *followed, inside Inside, record string) {
	h := health{record: record, passed: record == healthy}
	if h.record != healthy && h.record != unhealthy && !p.starting(ctx, f, inside, &h) {
		return
	}
	// The first time is anywhere in the interval, so that forty do not fall together.
	for next := time.Now().Add(rand.N(f.probe.Interval)); wait(ctx, time.Until(next)); {
		if next = next.Add(f.probe.Interval); time.Until(next) < 0 {
			next = time.Now().Add(f.probe.Interval)
		}
		if fault.Planted(fault.ProberRemembers) {
			continue
		}
		switch found := p.ask(ctx, f, inside); {
		case found == serves && h.passed: // all is well, and Podman's record says so
		case found == fails && h.record == unhealthy: // it is not, and the record says so
			h.passed = false
		default:
			p.check(ctx, f, &h)
		}
	}
}

// starting looks often, until Podman's check passes: then Podman tells systemd. It gives
// false if the context ended before.
func (p *Prober) starting(ctx context.Context, f *followed, inside Inside, h *health) bool {
	begin := time.Now()
	checked := begin
	for pause := startFast; wait(ctx, pause); {
		pause = max(startFast, min(startSlow, time.Since(begin)/startPart))
		// One that never comes up is Podman's to judge, at the manifest's interval.
		if p.ask(ctx, f, inside) == fails && time.Since(checked) < f.probe.Interval {
			continue
		}
		if p.check(ctx, f, h); h.passed {
			return true
		}
		checked, pause = time.Now(), startSlow
	}
	return false
}

// check has Podman run its check, and notes what Podman says then.
func (p *Prober) check(ctx context.Context, f *followed, h *health) {
	was := h.record
	passed, err := p.Engine.Check(ctx, f.name, f.probe.Timeout)
	h.passed = passed
	if passed {
		h.record = healthy
	} else if seen, lookErr := p.Engine.Inspect(ctx, f.name); lookErr == nil && seen.ID == f.id {
		h.record = seen.Health // Podman counts the failures
	}
	switch {
	case ctx.Err() != nil || h.record == was:
	case h.record == unhealthy:
		p.Log.Warn("unhealthy", "container", f.name, "error", err)
	case h.record == healthy:
		p.Log.Info("healthy", "container", f.name)
	}
}
