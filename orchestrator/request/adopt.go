package request

import (
	"fmt"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// adopt has unmanaged containers serve as the application's members. Where adoption
// was asked for, one of a member's own name will do, and there must be one.
func (d *deciding) adopt(rec *state.Desired, asked bool) error {
	found := adoptable(rec.Manifest, d.observed, asked)
	if len(found) > 0 {
		rec.Adopted = found
	} else if asked {
		return fmt.Errorf("%w: no unmanaged container can serve as %s: none of its members' names and none that its manifest adopts exists", ErrRefused, rec.App)
	}
	return nil
}

// adoptable finds, for each member, an unmanaged container that can serve as it: one
// that the manifest names, or, with sameName, one of the member's own name.
func adoptable(m *manifest.Manifest, obs host.Observation, sameName bool) map[string]string {
	out := map[string]string{}
	unmanaged := func(name string) bool {
		c, ok := obs.Containers[name]
		return ok && c.App == ""
	}
	for _, a := range m.Adopts {
		member := a.As
		if member == "" {
			member = m.ID
		}
		if _, done := out[member]; !done && unmanaged(a.Container) {
			out[member] = a.Container
		}
	}
	for _, c := range m.Containers {
		if _, done := out[c.Name]; !done && sameName && unmanaged(c.Name) {
			out[c.Name] = c.Name
		}
	}
	return out
}
