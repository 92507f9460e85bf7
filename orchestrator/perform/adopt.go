package perform

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/plan"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

type adoptEngine interface {
	Inspect(ctx context.Context, container string) (host.Inspection, error)
	Retire(ctx context.Context, container, name string) error
	TakeOver(ctx context.Context, from string, to host.VolumeOwner) error
}

// retired is the name that a container bears once it has been converted.
func retired(container string) string { return container + manifest.Retired }

// convert makes what unmanaged containers kept the application's own: secrets
// keep their values, data is copied. The containers and their volumes stay, stopped
// and under another name; nothing is deleted.
func (p *Performer) convert(ctx context.Context, d state.Desired, m *manifest.Manifest) error {
	for _, c := range m.Containers {
		if err := p.ensureImage(ctx, m.ID, c.Image); err != nil {
			return err
		}
	}
	data := p.store.Data(d.App)
	data.App, data.Version, data.Migration = d.App, m.Version, m.Migration
	for _, member := range slices.Sorted(maps.Keys(d.Adopted)) {
		container := d.Adopted[member]
		rule := manifest.Adoption{Container: container}
		if i := slices.IndexFunc(m.Adopts, func(a manifest.Adoption) bool { return a.Container == container }); i >= 0 {
			rule = m.Adopts[i]
		}
		seen, err := p.engine.Inspect(ctx, container)
		if err != nil {
			// A conversion that was cut off may have renamed it already.
			var again error
			if seen, again = p.engine.Inspect(ctx, retired(container)); again != nil {
				return fmt.Errorf("taking over %s: %w", container, err)
			}
		}
		for _, env := range slices.Sorted(maps.Keys(rule.Secrets)) {
			value := seen.Environment[env]
			if value == "" {
				return fmt.Errorf("taking over %s: its environment has no %s; bring the secret in with 'archy secret import %s %s'", container, env, m.ID, rule.Secrets[env])
			}
			if err := p.secrets.Import(m, rule.Secrets[env], value, false); err != nil {
				return err
			}
		}
		moves, err := p.moves(m, member, rule, seen.Mounts)
		if err != nil {
			return err
		}
		if err := p.expect(data, moves); err != nil {
			return err
		}
		p.say(m.ID, "taking over %s", container)
		if err := p.engine.Retire(ctx, container, retired(container)); err != nil {
			return err
		}
		for _, mv := range moves {
			// On record before it is there: so a conversion that is cut off knows its own.
			data.Volumes = plan.Union(data.Volumes, []string{mv.volume})
			if err := p.store.PutData(data); err != nil {
				return err
			}
			if err := Long(p.observer, m.ID, "taking over "+container+": copying "+mv.volume, func() error { return p.engine.TakeOver(ctx, mv.from, mv.to) }); err != nil {
				return err
			}
		}
	}
	// What the manifest has beyond the old containers is new to the data.
	if _, err := p.secrets.Ensure(m, false); err != nil {
		return err
	}
	if err := p.store.PutData(data); err != nil {
		return err
	}
	var kept []string
	for _, member := range slices.Sorted(maps.Keys(d.Adopted)) {
		kept = append(kept, retired(d.Adopted[member]))
	}
	note := fmt.Sprintf("taken over; the old containers are kept, stopped: remove them with 'podman rm --volumes %s' once you are content (what their environment holds of secrets can be read until then)", strings.Join(kept, " "))
	return p.record(d.App, func(now *state.Desired) { now.Adopted, now.Note = nil, note })
}

// expect refuses to take data over into a volume that is there already, unless an earlier
// attempt made it: what is in it would silently stay in force, and the container's would not.
func (p *Performer) expect(data state.Data, moves []move) error {
	for _, mv := range moves {
		if !slices.Contains(data.Volumes, mv.volume) && exists(mv.to.Dir) {
			return fmt.Errorf("taking over %s: %s is on the disk already, though not on record, and would stay in force; move it away", mv.from, mv.to.Dir)
		}
	}
	return nil
}

type move struct {
	from, volume string
	to           host.VolumeOwner
}

// moves pairs a container's mounts with a member's volumes. A mount that no volume
// takes over is an error: its data would be left behind unnoticed.
func (p *Performer) moves(m *manifest.Manifest, member string, rule manifest.Adoption, mounts []host.Mount) ([]move, error) {
	c, ok := m.Container(member)
	if !ok {
		return nil, fmt.Errorf("%s has no member %s", m.ID, member)
	}
	var out []move
	for _, mount := range mounts {
		if mount.Type != "volume" && mount.Type != "bind" {
			continue
		}
		i := slices.IndexFunc(c.Volumes, func(v manifest.Volume) bool {
			named, ok := rule.Volumes[mount.Destination]
			return ok && named == v.Name || !ok && v.Path == mount.Destination
		})
		if i < 0 {
			return nil, fmt.Errorf("taking over %s: no volume of %s takes what it keeps at %s; name one under adopts", rule.Container, member, mount.Destination)
		}
		v := c.Volumes[i]
		out = append(out, move{mount.Source, v.Name, p.volumeOwner(m, v)})
	}
	return out, nil
}
