package request

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/fault"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// stage prepares an update to what the catalog holds; the same version is no update.
// What the new version may do and the old may not needs consent, all of it; consent to
// what is not asked for is of no account. One that begins by itself only goes forward.
func (d *deciding) stage(rec *state.Desired, r Request) error {
	entry, err := d.offer.Update(rec.App, rec.Source, rec.Digest, d.now)
	if err != nil {
		return err
	}
	to := entry.Manifest
	if fault.Planted(fault.UpdateKeepsImage) && rec.Manifest != nil {
		to = withImagesOf(rec.Manifest, to)
	}
	switch {
	case len(rec.Adopted) > 0:
		return fmt.Errorf("%w: %s runs in a container that archipelago does not manage; restart it first", ErrRefused, rec.App)
	case rec.Manifest == nil:
		return fmt.Errorf("%w: the record of %s holds no manifest; install it again", ErrRefused, rec.App)
	case to.Migration < rec.Manifest.Migration:
		return formatRefused(rec.App, rec.Manifest.Migration, to)
	case d.offer.Digest(rec.App) == rec.Digest:
		return nil
	case r.Automatic && !entry.Source.Forward(to.Version, catalog.ParseSource(rec.Source), rec.Manifest.Version):
		return fmt.Errorf("%w: version %s of %s, from %s, is no step forward from %s, from %s; only its owner goes back", ErrRefused, to.Version, rec.App, entry.Source, rec.Manifest.Version, rec.Source)
	case r.Automatic && rec.Held != "" && rec.Held == d.offer.Digest(rec.App):
		return fmt.Errorf("%w: the owner of %s has gone back from version %s; it does not come again by itself", ErrRefused, rec.App, to.Version)
	}
	return d.begin(rec, r, &state.Update{To: to, Source: entry.Source.String()})
}

// begin puts an update on record that the owner may want, unless what it needs is refused.
func (d *deciding) begin(rec *state.Desired, r Request, u *state.Update) error {
	to := u.To
	for _, k := range slices.Sorted(maps.Keys(rec.Config)) {
		if rec.Config[k] != "" && to.Secret(k) != rec.Manifest.Secret(k) {
			return fmt.Errorf("%w: the setting %s of %s is secret in one of the versions %s and %s only; clear it with 'archy configure %s %s=', and set it again afterwards", ErrRefused, k, rec.App, rec.Manifest.Version, to.Version, rec.App, k)
		}
	}
	if _, err := to.With(rec.Config, manifest.Node{}); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	asked := d.offer.NewPrivileges(rec.Manifest, to, d.records, d.now)
	if err := d.used(to); err != nil {
		return err
	}
	if err := d.admit(rec, to); err != nil {
		return err
	}
	for _, along := range append(slices.Clone(d.decided), state.Desired{App: rec.App, Manifest: to, Config: rec.Config}) {
		if err := d.devices(along.App, along.Manifest, along.Config); err != nil {
			return err
		}
		if err := d.folders(along.App, along.Manifest); err != nil {
			return err
		}
	}
	if missing := without(asked, r.Consent); len(missing) > 0 {
		return fmt.Errorf("%w: %w: %s %s asks for more than %s: %s; look at it and agree with 'archy %s %s' or in My Apps", ErrRefused, &Unagreed{missing}, rec.App, to.Version, rec.Manifest.Version, strings.Join(missing, "; "), r.Verb, rec.App)
	}
	u.Phase, u.Had, u.Copy = state.Staged, d.records.Data[rec.App].Volumes, rec.FreeCopy()
	rec.Update, rec.Note = u, ""
	return nil
}

// without are the privileges to which there is no consent.
func without(asked, consent []string) []string {
	return slices.DeleteFunc(asked, func(p string) bool { return slices.Contains(consent, p) })
}

// withImagesOf is a fault: a manifest whose containers have the images of another one's.
func withImagesOf(old, m *manifest.Manifest) *manifest.Manifest {
	out := *m
	out.Containers = slices.Clone(m.Containers)
	for i := range out.Containers {
		if c, there := old.Container(out.Containers[i].Name); there {
			out.Containers[i].Image = c.Image
		}
	}
	return &out
}
