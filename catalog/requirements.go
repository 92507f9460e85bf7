package catalog

import (
	"errors"
	"fmt"

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
