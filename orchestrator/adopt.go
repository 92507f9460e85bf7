package orchestrator

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// NotRebootProof is said of an application that someone else's container serves as.
const NotRebootProof = "adopted: it runs in a container made by someone else, which systemd does not know and a reboot may not bring back; restart it to make it reboot-proof"

// adoptable finds, for each member, a container of someone else's that can serve
// as it: one that the manifest names, or, where any is asked for, one of the
// member's own name.
func adoptable(m *manifest.Manifest, obs Observed, sameName bool) map[string]string {
	out := map[string]string{}
	theirs := func(name string) bool {
		c, ok := obs.Containers[name]
		return ok && c.App == ""
	}
	for _, a := range m.Adopts {
		member := a.As
		if member == "" {
			member = m.ID
		}
		if _, done := out[member]; !done && theirs(a.Container) {
			out[member] = a.Container
		}
	}
	for _, c := range m.Containers {
		if _, done := out[c.Name]; !done && sameName && theirs(c.Name) {
			out[c.Name] = c.Name
		}
	}
	return out
}

// retired is the name that a container bears once it has been converted.
func retired(container string) string { return container + "-before-archipelago" }

// convert makes what someone else's containers kept the application's own: secrets
// keep their values, data is copied. The containers and their volumes stay, stopped
// and under another name; nothing is deleted.
func (r *Reconciler) convert(ctx context.Context, d state.Desired, m *manifest.Manifest) error {
	for _, c := range m.Containers {
		if err := r.engine.EnsureImage(ctx, c.Image.Pinned(), func(s string) { r.say(m.ID, "%s", s) }); err != nil {
			return err
		}
	}
	data := r.store.Data(d.App)
	data.App, data.Version, data.Migration = d.App, m.Version, m.Migration
	for _, member := range slices.Sorted(maps.Keys(d.Adopted)) {
		container := d.Adopted[member]
		rule := manifest.Adoption{Container: container}
		if i := slices.IndexFunc(m.Adopts, func(a manifest.Adoption) bool { return a.Container == container }); i >= 0 {
			rule = m.Adopts[i]
		}
		seen, err := r.engine.Inspect(ctx, container)
		if err != nil {
			var again error
			if seen, again = r.engine.Inspect(ctx, retired(container)); again != nil {
				return fmt.Errorf("taking over %s: %w", container, err)
			}
		}
		for _, env := range slices.Sorted(maps.Keys(rule.Secrets)) {
			value := seen.Environment[env]
			if value == "" {
				return fmt.Errorf("taking over %s: its environment has no %s; bring the secret in with 'archy secret import %s %s'", container, env, m.ID, rule.Secrets[env])
			}
			if err := r.secrets.Import(m, rule.Secrets[env], value, false); err != nil {
				return err
			}
		}
		moves, err := r.moves(m, member, rule, seen.Mounts)
		if err != nil {
			return err
		}
		r.say(m.ID, "taking over %s", container)
		if err := r.engine.Retire(ctx, container, retired(container)); err != nil {
			return err
		}
		for _, mv := range moves {
			if err := r.engine.TakeOver(ctx, mv.from, mv.to); err != nil {
				return err
			}
			data.Volumes = union(data.Volumes, []string{mv.volume})
		}
	}
	// What the manifest has beyond the old containers is new to the data.
	if _, err := r.secrets.Ensure(m, false); err != nil {
		return err
	}
	if err := r.store.PutData(data); err != nil {
		return err
	}
	var kept []string
	for _, member := range slices.Sorted(maps.Keys(d.Adopted)) {
		kept = append(kept, retired(d.Adopted[member]))
	}
	note := fmt.Sprintf("taken over; the old containers are kept, stopped: remove them with 'podman rm --volumes %s' once you are content (what their environment holds of secrets can be read until then)", strings.Join(kept, " "))
	return r.update(d.App, func(now *state.Desired) { now.Adopted, now.Note = nil, note })
}

type move struct {
	from, volume string
	to           VolumeOwner
}

// moves pairs a container's mounts with a member's volumes. A mount that no volume
// takes over is an error: its data would be left behind unnoticed.
func (r *Reconciler) moves(m *manifest.Manifest, member string, rule manifest.Adoption, mounts []Mount) ([]move, error) {
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
		out = append(out, move{mount.Source, v.Name, VolumeOwner{Dir: r.renderer.DataDir + "/" + m.ID + "/" + v.Name, UID: v.UID, GID: v.GID}})
	}
	return out, nil
}
