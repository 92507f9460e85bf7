package perform

import (
	"context"

	"github.com/archipelago-cloud/archipelago/orchestrator/plan"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
)

type linkEngine interface {
	Join(ctx context.Context, container, alias string, network quadlet.Bridge) error
	Leave(ctx context.Context, container, network string) error
}

// link has a container that others reach, which runs on, join and leave networks.
func (p *Performer) link(ctx context.Context, app string, a plan.Action) error {
	for _, container := range a.Units {
		p.say(app, "linking %s", container)
		for _, n := range a.Join {
			if err := p.engine.Join(ctx, container, a.Alias, n); err != nil {
				return err
			}
		}
		for _, n := range a.Leave {
			if err := p.engine.Leave(ctx, container, n); err != nil {
				return err
			}
		}
	}
	return nil
}
