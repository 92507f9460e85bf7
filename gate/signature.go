package gate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/sign"
	"github.com/archipelago-cloud/archipelago/reports"
)

// ErrAttestation is wrapped where a run cannot be signed as a release, or a signed
// attestation does not hold.
var ErrAttestation = errors.New("attestation")

const (
	// statementType is in-toto's payload type for DSSE
	// (https://github.com/in-toto/attestation/blob/main/spec/v1/envelope.md).
	statementType  = "application/vnd.in-toto+json"
	maxAttestation = 16 << 20
)

// Statement judges a run anew from its plan and results, and gives its report and
// the statement that follows from it.
func Statement(dir string) (*reports.Report, []byte, error) {
	plan, err := os.ReadFile(filepath.Join(dir, reports.PlanFile))
	if err != nil {
		return nil, nil, err
	}
	var p Plan
	if err := json.Unmarshal(plan, &p); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", reports.PlanFile, err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, reports.ResultsFile))
	if err != nil {
		return nil, nil, err
	}
	results, err := reports.ReadResults(dir)
	if err != nil {
		return nil, nil, err
	}
	r := Judge(&p, results)
	s, err := Attest(r, plan, raw)
	return r, s, err
}

// SignRun signs a run's statement, where it can release something: green, under
// the whole policy.
func SignRun(ctx context.Context, dir string, signers ...*sign.Signer) ([]byte, error) {
	r, s, err := Statement(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAttestation, err)
	}
	if err := releasable(r); err != nil {
		return nil, err
	}
	return sign.Sign(ctx, statementType, s, signers...)
}

// releasable tells why a run can release nothing; the reason names what stands in the way.
func releasable(r *reports.Report) error {
	hosts := map[string]string{}
	for _, n := range r.Nodes {
		if other, twice := hosts[n.HostKey]; twice {
			return fmt.Errorf("%w: nodes %s and %s have the same host key: they are one machine under two names", ErrAttestation, other, n.Name)
		}
		hosts[n.HostKey] = n.Name
	}
	switch {
	case r.First != nil:
		return fmt.Errorf("%w: the run is %s: %s: %s", ErrAttestation, r.Verdict, r.First.Cell, r.First.Reason)
	case r.Verdict != reports.Green:
		for _, a := range r.Apps {
			for _, c := range a.Cells {
				if c.Status != reports.Passed {
					return fmt.Errorf("%w: the run is %s: %s is %s: %s", ErrAttestation, r.Verdict, c.Cell, c.Status, c.Reason)
				}
			}
		}
		return fmt.Errorf("%w: the run is %s", ErrAttestation, r.Verdict)
	case r.Smoke:
		return fmt.Errorf("%w: the run is a SMOKE (%s) and can release nothing", ErrAttestation, r.SmokeWhy[0])
	case len(r.Nodes) < len(r.Policy.Nodes):
		return fmt.Errorf("%w: %d nodes are recorded, the policy asks %d", ErrAttestation, len(r.Nodes), len(r.Policy.Nodes))
	}
	return nil
}

// VerifyRun checks a signed attestation against the run that it lies in: signed by
// as many trusted keys as asked, no older than maxAge, and exactly the statement
// that follows from the plan and the results. It gives the report judged anew.
func VerifyRun(ctx context.Context, dir string, keys []sign.PublicKey, threshold int, maxAge time.Duration, now time.Time) (*reports.Report, error) {
	envelope, err := os.ReadFile(filepath.Join(dir, reports.SignedFile))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAttestation, err)
	}
	payload, err := sign.Verify(ctx, envelope, maxAttestation, statementType, keys, threshold)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAttestation, err)
	}
	var signed statement
	if err := sign.Decode(payload, maxAttestation, &signed); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAttestation, err)
	}
	r, follows, err := Statement(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAttestation, err)
	}
	if !bytes.Equal(payload, follows) {
		return nil, fmt.Errorf("%w: what was signed is not what follows from %s and %s: one of them has been changed since, or belongs to another run", ErrAttestation, reports.PlanFile, reports.ResultsFile)
	}
	if err := releasable(r); err != nil {
		return nil, err
	}
	switch age := now.Sub(signed.Predicate.Finished); {
	case age < -time.Hour:
		return nil, fmt.Errorf("%w: the run ended in the future, at %s", ErrAttestation, signed.Predicate.Finished.Format(time.RFC3339))
	case age > maxAge:
		return nil, fmt.Errorf("%w: the run is %s old; at most %s is allowed", ErrAttestation, age.Round(time.Hour), maxAge)
	}
	return r, nil
}
