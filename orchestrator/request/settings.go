package request

import (
	"fmt"
	"maps"
	"slices"

	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// configure merges settings into those of an application; one that it or those
// that require it cannot have is refused.
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
	maps.Copy(config, change)
	if _, err := rec.Manifest.With(config); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	for _, other := range slices.Concat(d.records.All, d.decided) {
		for _, m := range versions(other) {
			need, _ := m.Requirement(rec.App)
			for _, k := range slices.Sorted(maps.Keys(need.Config)) {
				if v, changed := change[k]; changed && v != need.Config[k] {
					return fmt.Errorf("%w: %s requires %s=%q of %s", ErrRefused, other.App, k, need.Config[k], rec.App)
				}
			}
		}
	}
	rec.Config = config
	return nil
}
