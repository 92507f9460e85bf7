package attest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/proof"
	"github.com/archipelago-cloud/archipelago/gate/verdict"
	"github.com/archipelago-cloud/archipelago/reports"
)

// statement is an in-toto test-result statement
// (https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md).
type statement struct {
	Type          string    `json:"_type"`
	Subject       []Target  `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     predicate `json:"predicate"`
}

// Target is one tested thing, by its digests.
type Target struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// predicate has the fields of in-toto's predicate, and those of the gate.
type predicate struct {
	Result        string           `json:"result"` // PASSED, WARNED or FAILED
	Configuration []configuration  `json:"configuration"`
	PassedTests   []string         `json:"passedTests,omitempty"`
	WarnedTests   []string         `json:"warnedTests,omitempty"` // excused by a waiver
	FailedTests   []string         `json:"failedTests,omitempty"`
	Smoke         bool             `json:"smoke"`
	Policy        reports.Policy   `json:"policy"`
	AnotherPolicy []string         `json:"anotherPolicy,omitempty"` // what the built-in one demands beyond it
	Asked         reports.Policy   `json:"asked"`
	Nodes         []reports.Node   `json:"nodes"`
	Waivers       []reports.Waived `json:"waivers,omitempty"`
	Run           string           `json:"run"`
	Finished      time.Time        `json:"finished"`
	Oldest        time.Time        `json:"oldestResult,omitzero"` // that counts

	Judge    reports.Judge            `json:"judge,omitzero"`
	Warnings []string                 `json:"warnings,omitempty"`
	Bare     int                      `json:"bareCycle,omitempty"` // began on nodes without any image
	Reruns   []reports.Rerun          `json:"reruns,omitempty"`    // cells that were run again
	Proofs   map[string]reports.Proof `json:"proofs,omitempty"`    // by application: how many cycles, and what they prove
	Cells    map[string]int           `json:"cells,omitempty"`     // of this run that passed, by application
	Earlier  []reports.Earlier        `json:"earlier,omitempty"`   // runs whose cycles are among them
	Before   []reports.PastRun        `json:"before,omitempty"`    // other runs of this very subject
	Health   []reports.NodeHealth     `json:"nodeHealth,omitempty"`
	Away     []reports.Away           `json:"rebootedWhileAway,omitempty"`
	Shards   []reports.Shard          `json:"shards,omitempty"`   // runs that it was merged from, each on its own machine
	Previous *reports.Previous        `json:"previous,omitempty"` // earlier releases that were given
	Updates  map[string]string        `json:"updates,omitempty"`  // by application: whether it went through an update
}

// configuration is a file that the results depend on.
type configuration struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// encode makes the statement of a report. plan and results are the contents of plan.json
// and results.jsonl. The same three always give the same bytes.
func encode(r *reports.Report, plan, results []byte) ([]byte, error) {
	digest := func(b []byte) map[string]string {
		sum := sha256.Sum256(b)
		return map[string]string{"sha256": hex.EncodeToString(sum[:])}
	}
	s := statement{
		Type:          "https://in-toto.io/Statement/v1",
		PredicateType: proof.PredicateType,
		Predicate: predicate{
			Smoke: r.Smoke, Policy: r.Policy, AnotherPolicy: r.AnotherPolicy, Asked: r.Asked, Nodes: r.Nodes, Waivers: r.Waivers, Run: r.Run,
			Finished: r.Finished, Oldest: r.Oldest, Away: r.Away, Shards: r.Shards, Previous: r.Previous, Updates: map[string]string{}, Judge: r.Judge, Warnings: r.Warnings, Bare: r.Bare, Reruns: r.Reruns, Earlier: r.Earlier, Before: r.Before, Health: r.Health, Proofs: map[string]reports.Proof{}, Cells: map[string]int{},
			Configuration: []configuration{{reports.PlanFile, digest(plan)}, {reports.ResultsFile, digest(results)}},
		},
	}
	s.Predicate.Result = result(r)
	s.Subject = append(s.Subject, Target{"archipelago", map[string]string{"sha256": r.Subject.Daemon}})
	for _, id := range slices.Sorted(maps.Keys(r.Subject.Manifests)) {
		s.Subject = append(s.Subject, Target{"manifest/" + id, map[string]string{"sha256": r.Subject.Manifests[id]}})
	}
	for _, name := range slices.Sorted(maps.Keys(r.Subject.Images)) {
		s.Subject = append(s.Subject, Target{"image/" + name, map[string]string{"sha256": r.Subject.Images[name]}})
	}
	for _, name := range slices.Sorted(maps.Keys(r.Subject.Installed)) {
		s.Subject = append(s.Subject, Target{"file/" + name, map[string]string{"sha256": r.Subject.Installed[name]}})
	}
	for _, name := range slices.Sorted(maps.Keys(r.Subject.Commands)) {
		s.Subject = append(s.Subject, Target{"command/" + name, map[string]string{"sha256": r.Subject.Commands[name]}})
	}
	for _, a := range r.Apps {
		s.Predicate.Proofs[a.ID], s.Predicate.Updates[a.ID] = a.Proof, a.Update
		s.Predicate.Cells[a.ID] = passedCells(a.Cells)
		switch excused := !slices.ContainsFunc(a.Cells, func(c reports.Result) bool { return c.Status != reports.Passed && !verdict.Excused(r, c) }); {
		case a.Verdict == reports.Green:
			s.Predicate.PassedTests = append(s.Predicate.PassedTests, a.ID)
		case excused:
			s.Predicate.WarnedTests = append(s.Predicate.WarnedTests, a.ID)
		default:
			s.Predicate.FailedTests = append(s.Predicate.FailedTests, a.ID)
		}
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("attestation: %w", err)
	}
	return append(b, '\n'), nil
}

func passedCells(cells []reports.Result) (n int) {
	for _, c := range cells {
		if c.Status == reports.Passed {
			n++
		}
	}
	return n
}

// result is in-toto's word for a run: PASSED, WARNED if every cell that did not pass is
// excused by a waiver, or FAILED.
func result(r *reports.Report) string {
	for _, h := range r.Health {
		if len(h.Problems) > 0 {
			return "FAILED" // no waiver is about a node
		}
	}
	out := "PASSED"
	for _, a := range r.Apps {
		for _, c := range a.Cells {
			switch {
			case c.Status == reports.Passed:
			case verdict.Excused(r, c):
				out = "WARNED"
			default:
				return "FAILED"
			}
		}
	}
	return out
}
