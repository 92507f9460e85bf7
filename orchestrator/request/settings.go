package request

import (
	"fmt"
	"maps"
	"slices"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// configure merges settings into those of an application; one that it or those
// that require it cannot have is refused. Of a secret one it leaves the value in Typed.
func (d *deciding) configure(rec *state.Desired, change map[string]string) error {
	if len(change) == 0 {
		return nil
	}
	if rec.Manifest == nil {
		return fmt.Errorf("%w: the record of %s holds no manifest; install it again", ErrRefused, rec.App)
	}
	config := maps.Clone(rec.Config)
	if config == nil {
		config = map[string]string{}
	}
	var typed map[string]string
	for _, k := range slices.Sorted(maps.Keys(change)) {
		s, _ := rec.Manifest.Setting(k)
		if !s.Secret || change[k] == "" {
			config[k] = change[k]
			continue
		}
		if err := s.Takes(change[k]); err != nil {
			return fmt.Errorf("%w: setting %s of %s: %w", ErrRefused, k, rec.App, err)
		}
		if typed == nil {
			typed = map[string]string{}
		}
		typed[k] = change[k]
	}
	if _, err := rec.Manifest.With(config, manifest.Node{}); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	for _, other := range slices.Concat(d.records.All, d.decided) {
		for _, m := range versions(other) {
			need, _ := m.Need(rec.App, other.Chosen)
			for _, k := range slices.Sorted(maps.Keys(need.Config)) {
				if v, changed := change[k]; changed && v != need.Config[k] {
					return fmt.Errorf("%w: %s requires %s=%q of %s", ErrRefused, other.App, k, need.Config[k], rec.App)
				}
			}
		}
	}
	rec.Config, rec.Typed = config, typed
	return nil
}

// kept gives what stands for the secret settings that an uninstallation, which may be
// under way still, left of an application.
func (d *deciding) kept(m *manifest.Manifest) map[string]string {
	rec, err := d.records.Get(m.ID)
	switch {
	case err != nil || rec.Manifest == nil:
		return m.SecretRefs(d.records.Data[m.ID].Settings)
	case rec.Purge:
		return nil
	}
	return m.SecretRefs(rec.Manifest.SecretRefs(rec.Config))
}
