package request

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// adopt has unmanaged containers serve as the application's members, where adoption was
// asked for. Their data and secrets become the application's: a manifest alone, which
// may name anybody's container, gets none of it.
func (d *deciding) adopt(rec *state.Desired, asked bool) error {
	found := adoptable(rec.Manifest, d.observed)
	switch {
	case asked && len(found) == 0:
		return fmt.Errorf("%w: no unmanaged container can serve as %s: none of its members' names and none that its manifest adopts exists", ErrRefused, rec.App)
	case asked && len(d.records.Data[rec.App].Volumes) > 0:
		data := d.records.Data[rec.App]
		return fmt.Errorf("%w: %s has data on this node already, kept when its version %s was uninstalled (%s); what the container %s holds would not take its place: install %s for the data that is here, or delete that first with 'archy uninstall %s --purge'", ErrRefused, rec.App, data.Version, strings.Join(data.Volumes, ", "), strings.Join(slices.Sorted(maps.Values(found)), ", "), rec.App, rec.App)
	case asked:
		rec.Adopted = found
	case len(found) > 0:
		names := slices.Sorted(maps.Values(found))
		return fmt.Errorf("%w: the container %s exists that archipelago does not manage, and %s can take it over with its data and secrets: 'archy adopt %s' does so; to begin without them, remove or rename it", ErrRefused, strings.Join(names, ", "), rec.App, rec.App)
	}
	return nil
}

// adoptable finds, for each member, an unmanaged container that can serve as it: one
// that the manifest names, or one of the member's own name.
func adoptable(m *manifest.Manifest, obs host.Observation) map[string]string {
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
		if _, done := out[c.Name]; !done && unmanaged(c.Name) {
			out[c.Name] = c.Name
		}
	}
	return out
}
