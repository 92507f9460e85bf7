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
			requires[id] = append(requires[id], r.App)
		}
	}
	out := map[string]error{}
	for id, path := range manifest.Cycles(requires) {
		out[id] = fmt.Errorf("%w: %s", ErrCycle, path)
	}
	return out
}

// dangling says which texts refer to interfaces that other applications of the catalog do not
// have, or not where those that require them reach them.
func (c Catalog) dangling() (problems []error) {
	for _, id := range c.IDs() {
		uses := c[id].Uses()
		for _, app := range slices.Sorted(maps.Keys(uses)) {
			other, ok := c[app]
			if !ok {
				continue // it may be in another catalog
			}
			main, _ := other.Container(app)
			for _, name := range uses[app] {
				file := filepath.Join(c[id].Dir, "manifest.yaml")
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
