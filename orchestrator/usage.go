package orchestrator

import (
	"fmt"

	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/usage"
)

// Usage gives what an application has used of the node in the last 24 hours, the oldest first.
func (r *Reconciler) Usage(app string) ([]usage.Point, error) {
	if r.manifest(app) == nil {
		return nil, fmt.Errorf("%w %q", request.ErrUnknownApp, app)
	}
	return r.usage.Of(app), nil
}

// used are the installed applications, as their use of the node is looked at.
func (r *Reconciler) used() map[string]usage.App {
	all := map[string]usage.App{}
	for _, d := range r.store.All() {
		if d.Manifest == nil || d.Goal == state.Absent {
			continue
		}
		a := usage.App{Services: map[string]string{}}
		for _, c := range d.Manifest.Containers {
			a.Services[c.Name] = quadlet.Service(c.Name)
		}
		data := r.store.Data(d.App)
		for _, v := range data.Volumes {
			a.Volumes = append(a.Volumes, data.Dir(r.dataDir, d.App, v))
		}
		all[d.App] = a
	}
	return all
}
