package request

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// require has all that a manifest requires be installed and configured as it needs:
// what is not installed yet comes along, once however many require it. A setting
// that the owner has made otherwise is not changed behind their back. path leads
// from the application of the request to m; a requirement that is on it is refused.
func (d *deciding) require(m *manifest.Manifest, path []string) error {
	for _, need := range m.Requires {
		on := append(slices.Clone(path), need.App)
		if i := slices.Index(path, need.App); i >= 0 {
			return fmt.Errorf("%w: requirements go round in a circle: %s", ErrRefused, strings.Join(on[i:], " requires "))
		}
		rec, installed, err := d.find(need.App)
		if err != nil {
			return err
		}
		if !installed {
			offered, err := d.offer.Entry(need.App, d.now)
			if err != nil {
				return fmt.Errorf("%s requires %s: %w", m.ID, need.App, err)
			}
			if err := d.require(offered.Manifest, on); err != nil {
				return err
			}
			if err := d.collision(offered.Manifest); err != nil {
				return err
			}
			if data := d.records.Data[need.App]; data.Migration > offered.Migration {
				return formatRefused(need.App, data.Migration, offered.Manifest)
			}
			rec = state.Desired{App: need.App, Goal: state.Running, Manifest: offered.Manifest, Source: offered.Source.String()}
		} else if err := d.circle(rec, on); err != nil {
			return err
		}
		change := map[string]string{}
		for _, k := range slices.Sorted(maps.Keys(need.Config)) {
			if v, set := rec.Config[k]; set && v != need.Config[k] {
				return fmt.Errorf("%w: %s requires %s=%q of %s, which is set to %q; change it with 'archy configure %s %s=%s'", ErrRefused, m.ID, k, need.Config[k], need.App, v, need.App, k, need.Config[k])
			} else if !set {
				change[k] = need.Config[k]
			}
		}
		if err := d.configure(&rec, change); err != nil {
			return err
		}
		if !installed || len(change) > 0 {
			d.decide(rec)
		}
	}
	return nil
}

// circle refuses what is installed, or comes along, and leads back to the path.
func (d *deciding) circle(rec state.Desired, path []string) error {
	m := rec.Manifest
	if rec.Update != nil {
		m = rec.Update.To
	}
	if m == nil {
		return nil
	}
	for _, need := range m.Requires {
		on := append(slices.Clone(path), need.App)
		if i := slices.Index(path, need.App); i >= 0 {
			return fmt.Errorf("%w: requirements go round in a circle: %s", ErrRefused, strings.Join(on[i:], " requires "))
		}
		next, installed, err := d.find(need.App)
		if err != nil {
			return err
		}
		if !installed {
			continue
		}
		if err := d.circle(next, on); err != nil {
			return err
		}
	}
	return nil
}

// find gives an application's record as decided so far, or as it stands.
func (d *deciding) find(app string) (rec state.Desired, installed bool, err error) {
	if i := slices.IndexFunc(d.decided, func(r state.Desired) bool { return r.App == app }); i >= 0 {
		return d.decided[i], true, nil
	}
	rec, err = d.records.Get(app)
	if errors.Is(err, state.ErrNotFound) {
		return rec, false, nil
	}
	return rec, err == nil && rec.Goal != state.Absent, err
}

// decide adds a record to those decided, or replaces it among them.
func (d *deciding) decide(rec state.Desired) {
	if i := slices.IndexFunc(d.decided, func(r state.Desired) bool { return r.App == rec.App }); i >= 0 {
		d.decided[i] = rec
		return
	}
	d.decided = append(d.decided, rec)
}
