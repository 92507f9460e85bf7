package runner

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// Generator makes services of Quadlet files and gives its output (nodes.Client.Generate).
type Generator interface {
	Generate(ctx context.Context, files map[string]string) (string, error)
}

// CheckGenerated has the daemon under test render the applications, and a node's own
// generator of Podman's make services of that: they must start each container as is meant.
// wrong is what they would do otherwise.
func CheckGenerated(ctx context.Context, daemon string, g Generator, apps ...*manifest.Manifest) (wrong []string, err error) {
	files, all := map[string]string{}, map[string]*manifest.Manifest{}
	for _, m := range apps {
		all[m.ID] = m
	}
	for _, m := range apps {
		var others []*manifest.Manifest
		for _, r := range m.Requires {
			for _, app := range r.Apps() {
				if all[app] != nil {
					others = append(others, all[app])
				}
			}
		}
		rendered, err := matrix.Render(ctx, daemon, m, nil, others...)
		if err != nil {
			return nil, err
		}
		maps.Copy(files, rendered)
	}
	output, err := g.Generate(ctx, files)
	if err != nil {
		return nil, err
	}
	for _, m := range apps {
		e, err := matrix.ExpectationOf(m, matrix.Facts{DataDir: nodes.DataDir, Node: matrix.RenderedFor, Apps: all})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.ID, err)
		}
		for _, w := range matrix.CheckGenerated(e, output) {
			wrong = append(wrong, m.ID+": "+w)
		}
	}
	slices.Sort(wrong)
	return wrong, nil
}
