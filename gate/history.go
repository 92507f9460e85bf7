package gate

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

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
	var todo []string
	for _, d := range dirs {
		if !d.IsDir() || d.Name() == filepath.Base(e.dir) {
			continue
		}
		run := filepath.Join(e.Out, d.Name())
		if _, err := os.Stat(filepath.Join(run, reports.PlanFile)); errors.Is(err, fs.ErrNotExist) {
			continue // it came to nothing
		}
		todo = append(todo, run)
	}
	// What was merged is looked at shard by shard. The same one may be here several times, perhaps
	// with what came later: the longest counts.
	type record struct {
		dir   string
		plan  *plan.Plan
		bytes int64
	}
	found := map[string]record{}
	for len(todo) > 0 {
		run := todo[0]
		todo = todo[1:]
		_, p, err := open(e.Out, run)
		if err != nil {
			return nil, nil, fmt.Errorf("an earlier run: %w; or move that run away", err)
		}
		for i := range p.Shards {
			todo = append(todo, filepath.Join(run, filepath.FromSlash(plan.ShardDir(i))))
		}
		one := record{dir: run, plan: p}
		if info, err := os.Stat(filepath.Join(run, reports.ResultsFile)); err == nil {
			one.bytes = info.Size()
		}
		if before, twice := found[p.Run]; len(p.Shards) == 0 && (!twice || one.bytes > before.bytes) {
			found[p.Run] = one
		}
	}
	for _, run := range slices.Sorted(maps.Keys(found)) {
		one, err := sameDigests(found[run].dir, found[run].plan, e.plan)
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
