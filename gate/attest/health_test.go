package attest

import (
	"errors"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/reports"
)

// TestARunOnANodeThatLeaksIsNotSigned: every cell passed, a waiver could excuse none, and the
// statement says what grew.
func TestARunOnANodeThatLeaksIsNotSigned(t *testing.T) {
	for leak, want := range map[float64]string{0: "PASSED", 1: "FAILED"} {
		dir := runDir(t, func(p *plan.Plan, r []reports.Result) []reports.Result {
			p.Looks = true
			for k := range p.Asked.Cycles + 1 {
				for _, n := range p.Asked.Nodes {
					r = append(r, reports.NodeResult(n, k, reports.Vitals{Measures: map[string]float64{"containers": leak * float64(k)}}, ended))
				}
			}
			return r
		})
		if p := stated(t, dir); p.Result != want || len(p.Health) != 2 || len(p.Health[0].Trends) != 1 {
			t.Errorf("%s: %+v", p.Result, p.Health)
		}
		_, err := Sign(t.Context(), dir, ended, newSigner(t))
		if want == "FAILED" && (!errors.Is(err, ErrAttestation) || !strings.Contains(err.Error(), "node .228: containers went from 1.0 to 20.0")) || want == "PASSED" && err != nil {
			t.Error(err)
		}
	}
}
