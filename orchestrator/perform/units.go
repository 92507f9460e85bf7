package perform

import (
	"context"
	"time"
)

// StopTimeout bounds the stopping of an application.
const StopTimeout = 3 * time.Minute

type unitEngine interface {
	WriteUnits(ctx context.Context, files map[string]string, gone []string) error
	StopUnit(ctx context.Context, unit string) error
}

// stop stops units, one after the other.
func (p *Performer) stop(ctx context.Context, app string, units []string) error {
	ctx, cancel := context.WithTimeout(ctx, StopTimeout)
	defer cancel()
	for _, u := range units {
		p.say(app, "stopping %s", u)
		if err := p.engine.StopUnit(ctx, u); err != nil {
			return err
		}
	}
	return nil
}
