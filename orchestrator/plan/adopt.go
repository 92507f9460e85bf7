package plan

import (
	"github.com/archipelago-cloud/archipelago/orchestrator/render"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// adopted plans an application that unmanaged containers serve as: they are left
// as they are until a restart is due, and then converted.
func (p *planning) adopted(d *state.Desired, r *render.Rendering) (out Plan) {
	whole := d.Goal == state.Running && d.Restart <= d.Restarted
	for _, name := range r.Members {
		theirs, ok := d.Adopted[name]
		whole = whole && ok && p.Observed.Containers[theirs].State == "running"
	}
	if !whole {
		out.add(d, r, Convert, "what was adopted is to be restarted, or does not run")
		return out
	}
	p.link(&out, d, r)
	return out
}
