package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

// What the names in a plan are made of, since files are named after them: applications' as
// manifests have them, nodes' as inventories do.
var (
	appName  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	ofShard  = regexp.MustCompile(`^shard-[1-9][0-9]{0,2}/[A-Za-z0-9.][A-Za-z0-9._-]{0,62}$`) // of a merged run
	nodeName = regexp.MustCompile(`^[A-Za-z0-9.][A-Za-z0-9._-]{0,62}$`)
)

// maxCells is how many cells a run can have, which are all in memory when it is judged.
const maxCells = 2_000_000

// bounded refuses a run of more cells.
func (p *Plan) bounded() error {
	cells := 0.0
	for _, part := range p.Parts() {
		cells += float64(part.Asked.Cycles) * float64(len(part.Asked.Nodes)) * float64(len(part.Asked.Apps)) * float64(len(part.Asked.Steps))
	}
	if cells > maxCells {
		return fmt.Errorf("%w: %.0f cells; at most %d are judged: ask for fewer cycles", ErrUsage, cells, maxCells)
	}
	return nil
}

// Parse reads the plan of a run, whoever made that. All that no gate would have written is
// reported at once, wrapped in ErrUsage.
func Parse(b []byte) (*Plan, error) {
	p := &Plan{}
	if err := json.Unmarshal(b, p); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrUsage, reports.PlanFile, err)
	}
	var problems []error
	check := func(what string, form *regexp.Regexp, names ...string) {
		for _, n := range names {
			if base := path.Base(n); !form.MatchString(n) || base == ".." || base == "." {
				problems = append(problems, fmt.Errorf("%w: %s: %s %q: expected %s", ErrUsage, reports.PlanFile, what, n, form))
			}
		}
	}
	check("run", nodeName, p.Run)
	check("app", appName, slices.Concat(p.Asked.Apps, p.Release, slices.Sorted(maps.Keys(p.Versions)), slices.Sorted(maps.Keys(p.Subject.Manifests)))...)
	for _, app := range slices.Sorted(maps.Keys(p.Requires)) {
		check("app", appName, append(p.Requires[app], app)...)
	}
	for _, app := range slices.Sorted(maps.Keys(p.Alters)) {
		check("app", appName, append(p.Alters[app], app)...)
	}
	node := nodeName
	if len(p.Shards) > 0 {
		node = ofShard
	}
	check("node", node, p.Asked.Nodes...)
	for _, n := range p.Nodes {
		check("node", node, n.Name)
	}
	if p.Shard != nil {
		check("app", appName, slices.Concat(p.Shard.Split...)...)
	}
	for _, s := range p.Asked.Steps {
		if _, known := matrix.FindStep(s); !known {
			problems = append(problems, fmt.Errorf("%w: %s: unknown step %q", ErrUsage, reports.PlanFile, s))
		}
	}
	if p.Asked.Cycles < 0 || p.Asked.Cycles > MaxCycles {
		problems = append(problems, fmt.Errorf("%w: %s: cycles: %d: expected 1 to %d", ErrUsage, reports.PlanFile, p.Asked.Cycles, MaxCycles))
	}
	for _, list := range [][]string{p.Asked.Nodes, p.Asked.Apps, p.Asked.Steps} {
		if sorted := slices.Compact(slices.Sorted(slices.Values(list))); len(sorted) != len(list) {
			problems = append(problems, fmt.Errorf("%w: %s: %d of %d names are named twice", ErrUsage, reports.PlanFile, len(list)-len(sorted), len(list)))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return p, err
	}
	return p, p.bounded()
}

// Check refuses results that the plan's run cannot have given: of an application, a node, a
// cycle or a step that it does not have, or with evidence that is not in its directory.
func (p *Plan) Check(results []reports.Result) error {
	parts := p.Parts()
	for _, r := range results {
		known := slices.ContainsFunc(parts, func(part *Plan) bool {
			return slices.Contains(part.Asked.Nodes, r.Node) && (r.OfNode() || slices.Contains(part.Asked.Apps, r.App) && slices.Contains(part.Asked.Steps, r.Step))
		})
		if !known || r.Cycle < 0 || r.Cycle > MaxCycles {
			return fmt.Errorf("%w: %s: a result of %q, which the plan does not have", ErrUsage, reports.ResultsFile, r.Cell)
		}
		files := slices.Concat(r.Evidence, slices.Collect(maps.Keys(r.Digests)))
		if i := slices.IndexFunc(files, func(f string) bool { return !filepath.IsLocal(f) }); i >= 0 {
			return fmt.Errorf("%w: %s: the evidence %q of %s is not in the run's directory", ErrUsage, reports.ResultsFile, files[i], r.Cell)
		}
	}
	return nil
}
