package perform

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/plan"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

type imageEngine interface {
	HasImage(ctx context.Context, name string) (bool, error)
	EnsureImage(ctx context.Context, pinned string, progress func(string)) error
}

type prepareEngine interface {
	EnsureVolumes(context.Context, []host.VolumeOwner) error
	PutSecret(ctx context.Context, name, app, value string) error
	PutFiles(ctx context.Context, dir string, files []host.File) error
}

// prepare has all that the units refer to: images, secrets, files, volumes; all of it for
// every member before the first is created.
func (p *Performer) prepare(ctx context.Context, d state.Desired, m *manifest.Manifest) error {
	overrides, err := p.overrides(ctx, m)
	if err != nil {
		return err
	}
	if !maps.Equal(overrides, d.Overrides) {
		if err := p.record(d.App, func(now *state.Desired) { now.Overrides = overrides }); err != nil {
			return err
		}
		return ErrReplan
	}
	for _, c := range m.Containers {
		if overrides[c.Name] != "" {
			continue // the owner's own is never pulled or replaced
		}
		if err := p.ensureImage(ctx, m.ID, c.Image); err != nil {
			return err
		}
	}
	p.say(m.ID, "preparing secrets and volumes")
	values, err := p.values(d, m)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if err := p.engine.PutSecret(ctx, quadlet.SecretName(m.ID, name), m.ID, values[name]); err != nil {
			return err
		}
	}
	if err := p.sweep(m.ID); err != nil {
		return err
	}
	if err := p.putFiles(ctx, m, values); err != nil {
		return err
	}
	owners, err := p.unmoved(m)
	if err != nil {
		return err
	}
	if err := p.engine.EnsureVolumes(ctx, owners); err != nil {
		return err
	}
	return p.initialised(p.store.Data(m.ID), m, d.Update != nil)
}

// values are those of all secrets, by name; empty for a secret setting that is not set.
func (p *Performer) values(d state.Desired, m *manifest.Manifest) (map[string]string, error) {
	hasData := len(p.store.Data(m.ID).Volumes) > 0 || slices.ContainsFunc(p.volumeOwners(m), func(v host.VolumeOwner) bool { return exists(v.Dir) })
	values, err := p.secrets.Ensure(m, hasData)
	if err != nil {
		return nil, err
	}
	settings, err := p.secrets.Settings(m, d.Config)
	if err != nil {
		return nil, err
	}
	for _, s := range m.Settings {
		if s.Secret {
			values[s.Name] = settings[s.Name]
		}
	}
	return values, nil
}

// sweep deletes values of secret settings that the record does not refer to. It does so
// as a decision that accepts nothing: while one is being made, there may be values that
// are to be referred to.
func (p *Performer) sweep(app string) error {
	_, err := p.store.Decide(func(records state.Records) ([]state.Desired, error) {
		rec, err := records.Get(app)
		if err != nil {
			return nil, err
		}
		return nil, p.secrets.Sweep(app, rec.Config)
	})
	return err
}

// overrides are the images of the owner's own that members run, by member.
func (p *Performer) overrides(ctx context.Context, m *manifest.Manifest) (map[string]string, error) {
	own := map[string]string{}
	for _, c := range m.Containers {
		image := manifest.Override(m.ID, c.Name)
		there, err := p.engine.HasImage(ctx, image)
		if err != nil {
			return nil, err
		}
		if there {
			own[c.Name] = image
		}
	}
	return own, nil
}

func (p *Performer) ensureImage(ctx context.Context, app string, image manifest.Image) error {
	return p.engine.EnsureImage(ctx, image.Pinned(), func(s string) { p.observer.Say(app, s) })
}

// initialised records that the volumes of a manifest have data from now on, and that data
// of an older format is about to get the manifest's: once started, it may be unknown to the
// older version. An update records the format when it is committed.
func (p *Performer) initialised(data state.Data, m *manifest.Manifest, update bool) error {
	volumes := plan.Union(data.Volumes, m.Volumes())
	migrates := data.App == "" || !update && data.Migration < m.Migration
	if !migrates && slices.Equal(volumes, data.Volumes) {
		return nil
	}
	if migrates {
		data.App, data.Version, data.Migration = m.ID, m.Version, m.Migration
	}
	data.Volumes = volumes
	return p.store.PutData(data)
}

func (p *Performer) volumeOwners(m *manifest.Manifest) (owners []host.VolumeOwner) {
	for _, c := range m.Containers {
		for _, v := range c.Volumes {
			if o := p.volumeOwner(m, v); !slices.Contains(owners, o) { // a shared one is there once for each member
				owners = append(owners, o)
			}
		}
	}
	return owners
}

func (p *Performer) volumeOwner(m *manifest.Manifest, v manifest.Volume) host.VolumeOwner {
	return host.VolumeOwner{Dir: p.store.Data(m.ID).Dir(p.dataDir, m.ID, v.Name), UID: v.UID, GID: v.GID}
}

// unmoved are the volumes that may have to be made. One that was moved never is: where it is
// not there, its disk is not, and a new one would be written underneath.
func (p *Performer) unmoved(m *manifest.Manifest) (owners []host.VolumeOwner, err error) {
	moved := map[string]string{}
	for volume, place := range p.store.Data(m.ID).Places {
		moved[place.Dir] = volume
	}
	for _, o := range p.volumeOwners(m) {
		switch volume, is := moved[o.Dir]; {
		case !is:
			owners = append(owners, o)
		case !exists(o.Dir):
			return nil, fmt.Errorf("its volume %s was moved to %s, which is not there; connect and mount its disk", volume, o.Dir)
		}
	}
	return owners, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
