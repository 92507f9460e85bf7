package gate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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

// DefaultMaxAge is how old a run may be that releases something.
const DefaultMaxAge = 14 * 24 * time.Hour

// Trust says whose word counts.
type Trust struct {
	Keys            []sign.PublicKey // of gates
	Threshold       int              // how many of them must have signed
	Waivers         []sign.PublicKey // of those who may excuse a failure; none: nobody may
	WaiverThreshold int
	MaxAge          time.Duration // of a run
}

// Statement judges a run anew from its plan, its results and the waivers that lie
// with it, and gives its report and the statement that follows from them.
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
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	results, err := reports.ReadResults(dir)
	if err != nil {
		return nil, nil, err
	}
	r := Judge(&p, results)
	if r.Waivers, err = waivers(context.Background(), dir, nil, 0); err != nil {
		return nil, nil, err
	}
	s, err := Attest(r, plan, raw)
	return r, s, err
}

// SignRun signs a run's statement, where it can release something: green, or excused
// cell by cell, under the whole policy.
func SignRun(ctx context.Context, dir string, now time.Time, signers ...*sign.Signer) ([]byte, error) {
	r, s, err := Statement(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAttestation, err)
	}
	if err := releasable(r, now); err != nil {
		return nil, err
	}
	return sign.Sign(ctx, statementType, s, signers...)
}

// releasable tells why a run can release nothing; the reason names what stands in the way.
func releasable(r *reports.Report, now time.Time) error {
	hosts := map[string]string{}
	for _, n := range r.Nodes {
		if other, twice := hosts[n.HostKey]; twice {
			return fmt.Errorf("%w: nodes %s and %s have the same host key: they are one machine under two names", ErrAttestation, other, n.Name)
		}
		hosts[n.HostKey] = n.Name
	}
	for _, w := range r.Waivers {
		if !now.Before(w.Until) {
			return fmt.Errorf("%w: the waiver for the %s of %s ended on %s (%s)", ErrAttestation, strings.Join(w.Steps, ", "), w.App, w.Until.Format(time.DateOnly), w.Tracker)
		}
	}
	for _, status := range []reports.Status{reports.Failed, ""} { // a failure says more than what came of it
		for _, a := range r.Apps {
			for _, c := range a.Cells {
				if c.Status != reports.Passed && (status == "" || c.Status == status) && !waived(r, c.Cell) {
					return fmt.Errorf("%w: the run is %s: %s is %s: %s", ErrAttestation, r.Verdict, c.Cell, c.Status, c.Reason)
				}
			}
		}
	}
	switch {
	case len(r.Apps) == 0:
		return fmt.Errorf("%w: the run is about no application", ErrAttestation)
	case r.Smoke:
		return fmt.Errorf("%w: the run is a SMOKE (%s) and can release nothing", ErrAttestation, r.SmokeWhy[0])
	case len(r.Nodes) < len(r.Policy.Nodes):
		return fmt.Errorf("%w: %d nodes are recorded, the policy asks %d", ErrAttestation, len(r.Nodes), len(r.Policy.Nodes))
	}
	return nil
}

// VerifyRun checks a signed attestation against the run that it lies in: signed by
// as many trusted keys as asked, no older than allowed, and exactly the statement
// that follows from the plan and the results. It gives the report judged anew.
func VerifyRun(ctx context.Context, dir string, trust Trust, now time.Time) (*reports.Report, error) {
	r, follows, err := Statement(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAttestation, err)
	}
	envelope, err := os.ReadFile(filepath.Join(dir, reports.SignedFile))
	if err != nil {
		if why := releasable(r, now); why != nil {
			return nil, why // it says more: there is nothing that could be signed
		}
		return nil, fmt.Errorf("%w: the run is not signed: %w", ErrAttestation, err)
	}
	payload, err := sign.Verify(ctx, envelope, maxAttestation, statementType, trust.Keys, trust.Threshold)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAttestation, err)
	}
	var signed statement
	if err := sign.Decode(payload, maxAttestation, &signed); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAttestation, err)
	}
	if !bytes.Equal(payload, follows) {
		return nil, fmt.Errorf("%w: what was signed is not what follows from %s and %s: one of them has been changed since, or belongs to another run", ErrAttestation, reports.PlanFile, reports.ResultsFile)
	}
	if err := releasable(r, now); err != nil {
		return nil, err
	}
	if len(r.Waivers) > 0 {
		if len(trust.Waivers) == 0 {
			return nil, fmt.Errorf("%w: %s is excused by a waiver, and nobody is trusted to give one", ErrAttestation, r.Waivers[0].App)
		}
		if _, err := waivers(ctx, dir, trust.Waivers, trust.WaiverThreshold); err != nil {
			return nil, err
		}
	}
	switch age := now.Sub(signed.Predicate.Finished); {
	case age < -time.Hour:
		return nil, fmt.Errorf("%w: the run ended in the future, at %s", ErrAttestation, signed.Predicate.Finished.Format(time.RFC3339))
	case age > trust.MaxAge:
		return nil, fmt.Errorf("%w: the run is %s old; at most %s is allowed", ErrAttestation, age.Round(time.Hour), trust.MaxAge)
	}
	return r, nil
}
