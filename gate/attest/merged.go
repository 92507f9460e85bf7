package attest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/reports"
)

// Merge gives the plan and the results that follow from the runs of n shards in the directory of a
// merged run.
func Merge(dir, run string, n int) (*plan.Plan, []reports.Result, error) {
	var parts []plan.Part
	for i := range n {
		part, err := readPart(filepath.Join(dir, filepath.FromSlash(plan.ShardDir(i))))
		if err != nil {
			return nil, nil, err
		}
		parts = append(parts, part)
	}
	return plan.Merge(run, parts)
}

func readPart(dir string) (part plan.Part, err error) {
	planned, err := os.ReadFile(filepath.Join(dir, reports.PlanFile))
	if err != nil {
		return part, err
	}
	raw, err := os.ReadFile(filepath.Join(dir, reports.ResultsFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return part, err
	}
	part.PlanSum, part.ResultsSum = reports.Digest(planned), reports.Digest(raw)
	if part.Plan, err = plan.Parse(planned); err != nil {
		return part, err
	}
	if part.Results, err = reports.ReadResults(dir); err != nil {
		return part, err
	}
	return part, part.Plan.Check(part.Results)
}

// follows refuses a merged run whose plan or results are not those that follow from its shards. The
// runs before it are those that the ledgers of all machines know, which stay with them.
func follows(dir string, p *plan.Plan, results []byte) error {
	m, joined, err := Merge(dir, p.Run, len(p.Shards))
	if err != nil {
		return fmt.Errorf("the shards of run %s: %w", p.Run, err)
	}
	m.Before = p.Before
	want, err := json.Marshal(m)
	if err != nil {
		return err
	}
	have, err := json.Marshal(p)
	if err != nil {
		return err
	}
	lines, err := reports.Encode(joined)
	if err != nil {
		return err
	}
	if !bytes.Equal(have, want) || !bytes.Equal(results, lines) {
		return fmt.Errorf("%s and %s of run %s do not follow from its shards: one of them was changed since they were merged", reports.PlanFile, reports.ResultsFile, p.Run)
	}
	return nil
}
