package runner

import (
	"maps"
	"slices"

	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

// requirers gives the applications of the run that require one, with what they use of it, and the settings that
// those of them have made which were installed on the node in this cycle. A setting that
// was made stays until the application's data is purged, which ends the cycle.
func (r *Runner) requirers(app, node string, cycle int) (apps []matrix.Requirer, config map[string]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	config = map[string]string{}
	for _, other := range r.Fleet.Published.IDs() {
		need, requires := r.Fleet.Published[other].Requirement(app)
		if !requires || (need.App == "" || need.Optional) && !slices.Contains(r.Plan.Requires[other], app) {
			continue // another alternative, or none at all
		}
		apps = append(apps, matrix.Requirer{App: other, Uses: need.Uses})
		if r.done[reports.Cell{App: other, Node: node, Cycle: cycle, Step: matrix.Install}] == reports.Passed {
			maps.Copy(config, need.Config)
		}
	}
	return apps, config
}
