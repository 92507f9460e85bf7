package gate

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/archipelago-cloud/archipelago/reports"
)

// statement is an in-toto test-result statement
// (https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md).
type statement struct {
	Type          string            `json:"_type"`
	Subject       []StatementTarget `json:"subject"`
	PredicateType string            `json:"predicateType"`
	Predicate     Predicate         `json:"predicate"`
}

// StatementTarget names one tested thing by digest.
type StatementTarget struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// Predicate holds the predicate's own fields and, in configuration, what the
// results were obtained with.
type Predicate struct {
	Result        string           `json:"result"` // PASSED, WARNED or FAILED
	Configuration []Configuration  `json:"configuration"`
	PassedTests   []string         `json:"passedTests,omitempty"`
	WarnedTests   []string         `json:"warnedTests,omitempty"` // excused by a waiver
	FailedTests   []string         `json:"failedTests,omitempty"`
	Smoke         bool             `json:"smoke"`
	Policy        reports.Policy   `json:"policy"`
	Asked         reports.Policy   `json:"asked"`
	Nodes         []reports.Node   `json:"nodes"`
	Waivers       []reports.Waiver `json:"waivers,omitempty"`
	Run           string           `json:"run"`
	Finished      time.Time        `json:"finished"`
}

// Configuration is a resource that the results depend on.
type Configuration struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// Attest makes the statement of a report; plan and results are the contents of
// plan.json and results.jsonl. The same three always give the same bytes.
func Attest(r *reports.Report, plan, results []byte) ([]byte, error) {
	digest := func(b []byte) map[string]string {
		sum := sha256.Sum256(b)
		return map[string]string{"sha256": hex.EncodeToString(sum[:])}
	}
	s := statement{
		Type:          "https://in-toto.io/Statement/v1",
		PredicateType: "https://in-toto.io/attestation/test-result/v0.1",
		Predicate: Predicate{
			Smoke: r.Smoke, Policy: r.Policy, Asked: r.Asked, Nodes: r.Nodes, Waivers: r.Waivers, Run: r.Run,
			Finished:      r.Finished,
			Configuration: []Configuration{{reports.PlanFile, digest(plan)}, {reports.ResultsFile, digest(results)}},
		},
	}
	s.Predicate.Result = result(r)
	s.Subject = append(s.Subject, StatementTarget{"archipelago", map[string]string{"sha256": r.Subject.Daemon}})
	for _, id := range slices.Sorted(maps.Keys(r.Subject.Manifests)) {
		s.Subject = append(s.Subject, StatementTarget{"manifest/" + id, map[string]string{"sha256": r.Subject.Manifests[id]}})
	}
	for _, name := range slices.Sorted(maps.Keys(r.Subject.Images)) {
		s.Subject = append(s.Subject, StatementTarget{"image/" + name, map[string]string{"sha256": r.Subject.Images[name]}})
	}
	for _, a := range r.Apps {
		switch excused := !slices.ContainsFunc(a.Cells, func(c reports.Result) bool { return c.Status != reports.Passed && !waived(r, c.Cell) }); {
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

// result is the predicate's word for a run: PASSED, WARNED where every cell that did
// not pass is excused by a waiver, or FAILED.
func result(r *reports.Report) string {
	out := "PASSED"
	for _, a := range r.Apps {
		for _, c := range a.Cells {
			switch {
			case c.Status == reports.Passed:
			case waived(r, c.Cell):
				out = "WARNED"
			default:
				return "FAILED"
			}
		}
	}
	return out
}
