package catalog

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// ErrCycle is wrapped when applications require each other in a circle: none of them
// could ever start.
var ErrCycle = errors.New("requirements go round in a circle")

// Cycles says of each application that requires itself, directly or through others of
// the catalog, by which path.
func (c Catalog) Cycles() map[string]error {
	requires := map[string][]string{}
	for id, e := range c {
		for _, r := range e.Requires {
			requires[id] = append(requires[id], r.Apps()...) // each alternative, and optional ones, too
		}
	}
	out := map[string]error{}
	for id, path := range manifest.Cycles(requires) {
		out[id] = fmt.Errorf("%w: %s", ErrCycle, path)
	}
	return out
}

// dangling says what manifests want of other applications of the catalog that these do not
// offer, or not where those that require them reach it.
func (c Catalog) dangling() (problems []error) {
	for _, id := range c.IDs() {
		file := filepath.Join(c[id].Dir, "manifest.yaml")
		for _, r := range c[id].Requires {
			for _, app := range r.Apps() {
				if other := c[app]; other != nil { // it may be in another catalog
					if err := c[id].Lacks(r, other.Manifest); err != nil {
						problems = append(problems, fmt.Errorf("%s: %w", file, err))
					}
				}
			}
		}
		uses := c[id].Uses()
		for _, app := range slices.Sorted(maps.Keys(uses)) {
			other, ok := c[app]
			if !ok {
				continue
			}
			main, _ := other.Container(app)
			for _, name := range uses[app] {
				if in, ok := other.Interfaces[name]; !ok {
					problems = append(problems, fmt.Errorf("%s: {{app:%s.%s.host}}: %s has no interface named %q", file, app, name, app, name))
				} else if _, reached := main.Port(in.Port); !reached {
					problems = append(problems, fmt.Errorf("%s: {{app:%s.%s.host}}: the interface is not that of the container %s, which alone others reach", file, app, name, app))
				}
			}
		}
	}
	return problems
}
