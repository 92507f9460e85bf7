package gate

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/archipelago-cloud/archipelago/gate/attest"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/gate/runner"
	"github.com/archipelago-cloud/archipelago/reports"
)

// Merge joins the runs of all shards of a release into one run in out, with copies of theirs, and
// judges it. What the ledgers beside those runs know goes into the one in out first, whatever
// becomes of the merge: no red run is forgotten because another shard, or its ledger, is missing.
func Merge(out string, names ...string) (*Outcome, error) {
	type shard struct {
		dir  string
		plan *plan.Plan
	}
	var shards []shard
	var lines []entry
	var wrong []error
	for _, name := range names {
		dir, p, err := open(out, name)
		var known []entry
		if err == nil {
			known, err = ledgerOf(dir, p)
		}
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		shards, lines = append(shards, shard{dir, p}), append(lines, known...)
	}
	if len(lines) > 0 {
		if err := os.MkdirAll(out, 0o755); err != nil {
			return nil, fmt.Errorf("%w: %w", runner.ErrIncomplete, err)
		}
		if err := joinLedgers(out, lines); err != nil {
			return nil, fmt.Errorf("%w: the ledger: %w", runner.ErrIncomplete, err)
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	for _, s := range shards {
		if err := s.plan.IsShard(); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(shards, func(a, b shard) int { return cmp.Compare(a.plan.Shard.Number, b.plan.Shard.Number) })
	run := newName()
	dir := filepath.Join(out, run)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("%w: %w", runner.ErrIncomplete, err)
	}
	m, err := func() (*plan.Plan, error) {
		for i, s := range shards {
			to := filepath.Join(dir, filepath.FromSlash(plan.ShardDir(i)))
			err := copyShard(s.dir, to)
			if err == nil {
				_, _, err = attest.Statement(to)
			}
			if err != nil {
				return nil, fmt.Errorf("%w: run %s: %w", runner.ErrIncomplete, s.plan.Run, err)
			}
		}
		m, results, err := attest.Merge(dir, run, len(shards))
		if err != nil {
			return nil, err
		}
		joined, err := reports.Encode(results)
		if err == nil {
			err = reports.Write(dir, reports.ResultsFile, joined)
		}
		return m, err
	}()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir)) // it is no run yet
	}
	e := &execution{Options: Options{Out: out}, plan: m, dir: dir}
	if err := e.enterBegin(); err != nil {
		return nil, fmt.Errorf("%w: the ledger: %w", runner.ErrIncomplete, err)
	}
	if err := errors.Join(reports.WriteJSON(filepath.Join(dir, reports.PlanFile), m), makeLatest(out, dir)); err != nil {
		return nil, fmt.Errorf("%w: %w", runner.ErrIncomplete, err)
	}
	r, err := conclude(dir, m)
	if err != nil {
		return nil, err
	}
	if err := e.enterEnd(r); err != nil {
		return nil, fmt.Errorf("%w: the ledger: %w", runner.ErrIncomplete, err)
	}
	return &Outcome{dir, r}, nil
}

// ledgerOf reads the ledger of the machine that a run was made on. One that does not know the run is
// another one, or was begun anew since: then what it knew is lost.
func ledgerOf(dir string, p *plan.Plan) ([]entry, error) {
	file := filepath.Join(filepath.Dir(dir), ledgerFile)
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: run %s is without its machine's ledger, which knows of red runs before it; copy it to %s", plan.ErrUsage, p.Run, file)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", runner.ErrIncomplete, err)
	}
	all, err := wholeLedger(file, b)
	if err != nil {
		return nil, err
	}
	subject := plan.SubjectDigest(p.Subject)
	if !slices.ContainsFunc(all, func(e entry) bool { return e.Run == p.Run && e.Subject == subject }) {
		return nil, fmt.Errorf("%w: %s does not know run %s: it is not the ledger of its machine, or was begun anew since", plan.ErrUsage, file, p.Run)
	}
	return all, nil
}

// joinLedgers appends to the ledger in out the lines of others that it does not have.
func joinLedgers(out string, lines []entry) error {
	_, err := enterAll(out, func(before []entry) (more []entry) {
		seen := map[string]bool{}
		says := func(e entry) string {
			e.Prev = "" // which depends on the ledger
			b, err := json.Marshal(e)
			if err != nil {
				panic(err) // it was read as JSON
			}
			return string(b)
		}
		for _, e := range before {
			seen[says(e)] = true
		}
		for _, e := range lines {
			if s := says(e); !seen[s] {
				seen[s] = true
				more = append(more, e)
			}
		}
		return more
	})
	return err
}

// copyShard copies of a run what a verdict follows from: its plan, its results and their evidence;
// and what was tested.
func copyShard(from, to string) error {
	keep := func(name string) error {
		b, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return err
		}
		return reports.Write(to, name, b)
	}
	if err := keep(reports.PlanFile); err != nil {
		return err
	}
	if err := keep(reports.ResultsFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	manifests, err := fs.Glob(os.DirFS(from), reports.ManifestsDir+"/*.json")
	if err != nil {
		return err
	}
	for _, file := range manifests {
		if err := keep(file); err != nil {
			return err
		}
	}
	results, err := reports.ReadResults(to)
	if err != nil {
		return err
	}
	for _, r := range results {
		for _, file := range slices.Compact(slices.Sorted(slices.Values(slices.AppendSeq(slices.Clone(r.Evidence), maps.Keys(r.Digests))))) {
			if !filepath.IsLocal(file) {
				return fmt.Errorf("%w: the evidence %q of %s is not in the run's directory", plan.ErrUsage, file, r.Cell)
			}
			if err := keep(file); err != nil && !errors.Is(err, fs.ErrNotExist) { // what is missing and counts is found by its digest
				return err
			}
		}
	}
	return nil
}
