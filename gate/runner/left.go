package runner

import (
	"path/filepath"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/reports"
)

// Left tells whether a session of the run in dir would have anything to do: a cell that could
// still be run, one that a killed gate had under way, or a node that was not looked at after
// its last cycle. It changes nothing.
func Left(p *plan.Plan, dir string) (bool, error) {
	results, err := reports.ReadResults(dir)
	if err != nil {
		return true, err
	}
	under, err := filepath.Glob(filepath.Join(dir, "suite", "*.json"))
	if err != nil || len(under) > 0 {
		return true, err
	}
	r := &Runner{Plan: p, Dir: dir, Results: results}
	if err := r.recall(); err != nil {
		return true, err
	}
	for _, c := range p.Cells() { // of one application and cycle in the order of its steps
		if _, known := r.done[c]; known {
			continue
		}
		if r.blocked(c) == "" {
			return true, nil
		}
		r.done[c] = reports.NotRun
	}
	for _, n := range p.Asked.Nodes {
		if seen, _ := r.looked(n); p.Looks && seen < p.Asked.Cycles {
			return true, nil
		}
	}
	return false, nil
}
