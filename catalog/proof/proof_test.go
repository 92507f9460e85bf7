package proof_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/proof"
	"github.com/archipelago-cloud/archipelago/catalog/prooftest"
	"github.com/archipelago-cloud/archipelago/catalog/root"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
)

// TestAResumptionMakesNoProofYounger promotes on runs that ended an hour ago.
func TestAResumptionMakesNoProofYounger(t *testing.T) {
	gate, err := sign.NewSigner("gate")
	if err != nil {
		t.Fatal(err)
	}
	trusted := &root.Policy{Version: 1, Gate: root.Role{Keys: []sign.PublicKey{gate.PublicKey}, Threshold: 1}}
	d := document.Next(nil, "user", time.Now(), time.Hour)
	digest := strings.Repeat("a", 64)
	d.Entries = []document.Entry{{ID: "page", SHA256: digest, Images: map[string]string{"page": "r/page@sha256:" + digest}}}
	tested := proof.Tested{App: "page", Manifest: digest, Images: d.Entries[0].Images}
	for age, old := range map[time.Duration]bool{0: false, time.Hour: false, 100 * 24 * time.Hour: true} {
		s := prooftest.Statement(d)
		if age > 0 {
			s.Predicate.Oldest = s.Predicate.Finished.Add(-age)
		}
		envelope, err := prooftest.Sign(s, gate)
		if err != nil {
			t.Fatal(err)
		}
		e, err := proof.Open(t.Context(), envelope, trusted)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Of(tested, d.Created); (err != nil) != old || old && (!errors.Is(err, proof.ErrUnproven) || !strings.Contains(err.Error(), "was 2401h0m0s old")) {
			t.Errorf("its oldest result is %s older than its end: %v", age, err)
		}
	}
}

// TestANodeOfAnotherMachineProvesNothingOfAnApplication has a merged run, of which one of two machines
// tested the entry.
func TestANodeOfAnotherMachineProvesNothingOfAnApplication(t *testing.T) {
	gate, err := sign.NewSigner("gate")
	if err != nil {
		t.Fatal(err)
	}
	trusted := &root.Policy{Version: 1, Gate: root.Role{Keys: []sign.PublicKey{gate.PublicKey}, Threshold: 1}}
	d := document.Next(nil, "user", time.Now(), time.Hour)
	digest := strings.Repeat("a", 64)
	d.Entries = []document.Entry{{ID: "page", SHA256: digest, Images: map[string]string{"page": "r/page@sha256:" + digest}}}
	tested := proof.Tested{App: "page", Manifest: digest, Images: d.Entries[0].Images}
	for app, want := range map[string]int{"page": 2, "chain": 0} {
		s := prooftest.Statement(d)
		s.Predicate.Nodes = make([]struct{}, 5)
		s.Predicate.Shards = []proof.Shard{{Apps: []string{"x"}, Nodes: []string{"shard-1/a", "shard-1/b", "shard-1/c"}}, {Apps: []string{app}, Nodes: []string{"shard-2/a", "shard-2/b"}}}
		envelope, err := prooftest.Sign(s, gate)
		if err != nil {
			t.Fatal(err)
		}
		e, err := proof.Open(t.Context(), envelope, trusted)
		if err != nil {
			t.Fatal(err)
		}
		p, err := e.Of(tested, d.Created)
		if p.Nodes != want || (err == nil) != (want > 0) {
			t.Errorf("a shard of %s: %d nodes, %v", app, p.Nodes, err)
		}
	}
}
