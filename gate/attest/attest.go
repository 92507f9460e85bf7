// Package attest owns what a run is trusted by: the in-toto statement that follows from
// its plan, its results and its waivers, the signatures on it, and their verification.
// Verification recomputes the verdict; edited results are rejected.
package attest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/proof"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/gate/verdict"
	"github.com/archipelago-cloud/archipelago/reports"
)

// ErrAttestation is wrapped when a run cannot be signed as a release, or when a signed
// attestation does not hold.
var ErrAttestation = errors.New("attestation")

const (
	statementType  = proof.PayloadType
	maxAttestation = proof.MaxSize
)

// DefaultMaxAge is how old a run that releases something may be, counted from the oldest of
// its results that count.
const DefaultMaxAge = 14 * 24 * time.Hour

// Trust is what a verifier demands of a run, and whose word counts.
type Trust struct {
	Policy          reports.Policy   // that the run must meet, whatever it was planned under; zero: the default one
	Keys            []sign.PublicKey // of gates
	Threshold       int              // how many of them must have signed
	Waivers         []sign.PublicKey // of those who may excuse a failure; none: nobody may
	WaiverThreshold int
	MaxAge          time.Duration // of a run, which is as old as the oldest of its results that count

	// Set holds the digests of the manifests of a channel, by application. A run must have
	// tested each of them, as it is there; nil: any.
	Set map[string]string
}

// Statement judges a run from its plan, its results and the waivers in its directory,
// and gives its report and the statement that follows from them.
func Statement(dir string) (*reports.Report, []byte, error) {
	_, r, s, err := judge(dir)
	return r, s, err
}

func judge(dir string) (*plan.Plan, *reports.Report, []byte, error) {
	if err := reports.Own(dir); err != nil {
		return nil, nil, nil, err
	}
	planned, err := os.ReadFile(filepath.Join(dir, reports.PlanFile))
	if err != nil {
		return nil, nil, nil, err
	}
	p, err := plan.Parse(planned)
	if err != nil {
		return nil, nil, nil, err
	}
	raw, err := os.ReadFile(filepath.Join(dir, reports.ResultsFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil, err
	}
	results, err := reports.ReadResults(dir)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := p.Check(results); err != nil {
		return nil, nil, nil, err
	}
	if len(p.Shards) > 0 {
		if err := follows(dir, p, raw); err != nil {
			return nil, nil, nil, err
		}
	}
	r := verdict.Judge(p, results)
	r.Results = reports.Digest(raw)
	if err := sameEvidence(dir, results); err != nil {
		return nil, nil, nil, err
	}
	if r.Waivers, err = waivers(context.Background(), dir, nil, 0); err != nil {
		return nil, nil, nil, err
	}
	s, err := encode(r, planned, raw)
	return p, r, s, err
}

// sameEvidence refuses evidence that is not what the results say it is. Of a file that two
// results name, the last one wrote it.
func sameEvidence(dir string, results []reports.Result) error {
	want := map[string]string{}
	for _, r := range results {
		maps.Copy(want, r.Digests)
	}
	for _, file := range slices.Sorted(maps.Keys(want)) {
		if !filepath.IsLocal(file) {
			return fmt.Errorf("evidence %s is not in the run's directory", file)
		}
		have, err := reports.FileDigest(filepath.Join(dir, file))
		if err != nil {
			return fmt.Errorf("evidence: %w", err)
		}
		if have != want[file] {
			return fmt.Errorf("evidence %s was changed after it was collected", file)
		}
	}
	return nil
}

// Sign signs a run's statement if the run can release something: green, or excused cell
// by cell, under its whole policy. Signatures that the run has of the same statement are
// kept, so that each gate's key can be on a machine of its own.
func Sign(ctx context.Context, dir string, now time.Time, signers ...*sign.Signer) ([]byte, error) {
	r, s, err := Statement(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAttestation, err)
	}
	if err := releasable(r, now); err != nil {
		return nil, err
	}
	before, err := os.ReadFile(filepath.Join(dir, reports.SignedFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrAttestation, err)
	}
	return sign.Resign(ctx, before, maxAttestation, statementType, s, signers...)
}

func releasable(r *reports.Report, now time.Time) error {
	if err := verdict.Releasable(r, now); err != nil {
		return fmt.Errorf("%w: %w", ErrAttestation, err)
	}
	return nil
}

// Verify checks the signed attestation of a run: signed by as many trusted keys as
// demanded, no older than allowed, under a policy no weaker than the verifier's, and
// exactly the statement that follows from the plan and the results. It gives the
// recomputed report.
func Verify(ctx context.Context, dir string, trust Trust, now time.Time) (*reports.Report, error) {
	p, r, follows, err := judge(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAttestation, err)
	}
	envelope, err := os.ReadFile(filepath.Join(dir, reports.SignedFile))
	if err != nil {
		if why := releasable(r, now); why != nil {
			return nil, why // this says more: there is nothing to sign
		}
		return nil, fmt.Errorf("%w: the run is not signed: %w", ErrAttestation, err)
	}
	payload, err := sign.Verify(ctx, envelope, maxAttestation, statementType, trust.Keys, trust.Threshold)
	if errors.Is(err, sign.ErrMalformed) {
		return nil, fmt.Errorf("%w: %s: %w; a gate replaces it whole, so it was changed or damaged since: sign the run again ('gate sign')", ErrAttestation, filepath.Join(dir, reports.SignedFile), err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAttestation, err)
	}
	var signed statement
	if err := sign.Decode(payload, maxAttestation, &signed); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAttestation, err)
	}
	if !bytes.Equal(payload, follows) {
		return nil, fmt.Errorf("%w: the signed statement is not the one that follows from %s and %s: one of them was changed since, or belongs to another run", ErrAttestation, reports.PlanFile, reports.ResultsFile)
	}
	if err := releasable(r, now); err != nil {
		return nil, err
	}
	if sum := plan.PolicyDigest(p.Policy); r.Judge.Policy != sum {
		return nil, fmt.Errorf("%w: the run was judged by another policy (%.12s…) than the one it records (%.12s…)", ErrAttestation, r.Judge.Policy, sum)
	}
	for _, id := range slices.Sorted(maps.Keys(trust.Set)) {
		if tested := r.Subject.Manifests[id]; tested != trust.Set[id] {
			return nil, fmt.Errorf("%w: run %s did not test %s as the channel has it (%.12s…), but %s", ErrAttestation, r.Run, id, trust.Set[id], cmp.Or(tested, "not at all"))
		}
	}
	policy := trust.Policy
	if policy.Cycles == 0 {
		policy = plan.Default()
	}
	if why := p.Missing(policy); len(why) > 0 {
		return nil, fmt.Errorf("%w: the run was made under a weaker policy than is demanded here: %s", ErrAttestation, strings.Join(why, "; "))
	}
	if why := p.TooRed(policy); why != "" {
		return nil, fmt.Errorf("%w: %s", ErrAttestation, why)
	}
	if len(r.Waivers) > 0 {
		if len(trust.Waivers) == 0 {
			return nil, fmt.Errorf("%w: %s is excused by a waiver, and nobody is trusted to give one (--trust-waivers)", ErrAttestation, r.Waivers[0].App)
		}
		if _, err := waivers(ctx, dir, trust.Waivers, trust.WaiverThreshold); err != nil {
			return nil, err
		}
	}
	switch age := now.Sub(r.Oldest); {
	case now.Before(r.Finished.Add(-time.Hour)):
		return nil, fmt.Errorf("%w: the run ended in the future, at %s", ErrAttestation, r.Finished.Format(time.RFC3339))
	case age > trust.MaxAge:
		return nil, fmt.Errorf("%w: the run is %s old, by its oldest result; at most %s is allowed, and a resumption makes none of them younger: start a new run", ErrAttestation, age.Round(time.Hour), trust.MaxAge)
	}
	return r, nil
}
