package gate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/gate/runner"
	"github.com/archipelago-cloud/archipelago/gate/verdict"
	"github.com/archipelago-cloud/archipelago/reports"
)

// history looks at the runs beside this one: the results of the latest, if they can be read,
// for how long steps take; and the cycles of every run that tested the same daemon and
// manifests, whatever came of it. Each is judged again from its files. One that cannot be
// read stops the run: to leave it out could leave out its failures.
func (e *execution) history() (results []reports.Result, earlier []reports.Earlier, err error) {
	results, _ = reports.ReadResults(filepath.Join(e.Out, latest))
	dirs, err := os.ReadDir(e.Out)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("%w: %w", runner.ErrIncomplete, err)
	}
	for _, d := range dirs {
		if !d.IsDir() || d.Name() == filepath.Base(e.dir) {
			continue
		}
		run := filepath.Join(e.Out, d.Name())
		if _, err := os.Stat(filepath.Join(run, reports.PlanFile)); errors.Is(err, fs.ErrNotExist) {
			continue // it came to nothing
		}
		_, p, err := open(e.Out, run)
		if err != nil {
			return nil, nil, fmt.Errorf("an earlier run: %w; or move that run away", err)
		}
		one, err := sameDigests(run, p, e.plan)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: an earlier run of the same digests: %w; move it away if it is of no account", plan.ErrUsage, err)
		}
		if one != nil {
			earlier = append(earlier, *one)
		}
	}
	return results, earlier, nil
}

// sameDigests gives the cycles of a run for those applications that it tested with the same
// daemon, manifest and steps as another one; nil if there are none.
func sameDigests(dir string, earlier, now *plan.Plan) (*reports.Earlier, error) {
	if earlier.Subject.Daemon != now.Subject.Daemon || len(plan.Without(now.Asked.Steps, earlier.Asked.Steps)) > 0 {
		return nil, nil
	}
	results, err := reports.ReadResults(dir)
	if err != nil || len(results) == 0 {
		return nil, err
	}
	sum, err := reports.FileDigest(filepath.Join(dir, reports.ResultsFile))
	if err != nil {
		return nil, err
	}
	out := &reports.Earlier{Run: earlier.Run, Results: sum, Cycles: map[string]reports.Tally{}}
	for app, t := range verdict.Tallies(earlier, verdict.Judge(earlier, results)) {
		digest, both := now.Subject.Manifests[app]
		if both && digest == earlier.Subject.Manifests[app] && t != (reports.Tally{}) {
			out.Cycles[app] = t
		}
	}
	if len(out.Cycles) == 0 {
		return nil, nil
	}
	return out, nil
}
