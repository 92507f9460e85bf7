package attest

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/sign"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/reports"
)

func TestMissingStaleOrPartialCellsBlock(t *testing.T) {
	s := newSigner(t)
	for name, c := range map[string]struct {
		change func(*plan.Plan, []reports.Result) []reports.Result
		want   string
	}{
		"nothing at all":     {func(*plan.Plan, []reports.Result) []reports.Result { return nil }, "is not-run"},
		"a cell is missing":  {func(_ *plan.Plan, r []reports.Result) []reports.Result { return slices.Delete(r, 7, 8) }, "is not-run: the run ended before it"},
		"a cell was lost":    {func(_ *plan.Plan, r []reports.Result) []reports.Result { r[7].Status = reports.NotRun; return r }, "is not-run"},
		"a cell says little": {func(_ *plan.Plan, r []reports.Result) []reports.Result { r[7].Status = ""; return r }, "a on .228"},
		"a node unseen":      {func(p *plan.Plan, r []reports.Result) []reports.Result { p.Looks = true; return r }, "was not looked at after its last cycle"},
		"red before": {func(p *plan.Plan, r []reports.Result) []reports.Result {
			p.Before = []reports.PastRun{{Run: "r0", Verdict: reports.Red}}
			return r
		}, "the very same bits were red before, in run r0"},
	} {
		if _, err := Sign(t.Context(), runDir(t, c.change), ended, s); !errors.Is(err, ErrAttestation) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	dir := runDir(t, nil)
	signRun(t, dir, s)
	trust := Trust{Keys: []sign.PublicKey{s.PublicKey}, Threshold: 1, MaxAge: DefaultMaxAge}
	if _, err := Verify(t.Context(), dir, trust, ended.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(t.Context(), dir, trust, ended.Add(DefaultMaxAge+time.Hour)); !errors.Is(err, ErrAttestation) || !strings.Contains(err.Error(), "old, by its oldest result; at most") {
		t.Errorf("stale: %v", err)
	}
}

func TestAVerifierCountsTheRedRunsBeforeByItsOwnPolicy(t *testing.T) {
	s := newSigner(t)
	dir := runDir(t, func(p *plan.Plan, r []reports.Result) []reports.Result {
		p.Before, p.Policy.RedRuns = []reports.PastRun{{Run: "r0", Verdict: reports.Red}}, 1
		return r
	})
	signRun(t, dir, s)
	trust := Trust{Keys: []sign.PublicKey{s.PublicKey}, Threshold: 1, MaxAge: DefaultMaxAge}
	if _, err := Verify(t.Context(), dir, trust, ended); !errors.Is(err, ErrAttestation) || !strings.Contains(err.Error(), "red before, in run r0") {
		t.Error(err)
	}
	trust.Policy = plan.Default()
	trust.Policy.RedRuns = 1
	if _, err := Verify(t.Context(), dir, trust, ended); err != nil {
		t.Error(err)
	}
}
