package attest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/sign"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/reports"
)

// TestKeysSignOneAfterTheOther: who holds another gate's key need not be at the same
// machine at the same time.
func TestKeysSignOneAfterTheOther(t *testing.T) {
	dir := runDir(t, nil)
	a, b := newSigner(t), newSigner(t)
	both := Trust{Keys: []sign.PublicKey{a.PublicKey, b.PublicKey}, Threshold: 2, MaxAge: DefaultMaxAge}
	for i, s := range []*sign.Signer{a, b, a} {
		envelope, err := Sign(t.Context(), dir, ended, s)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, reports.SignedFile), envelope, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(t.Context(), dir, both, ended); (err == nil) != (i > 0) {
			t.Errorf("after %d signatures: %v", i+1, err)
		}
	}
}

func TestAWaiverIsCosigned(t *testing.T) {
	dir := redAt(t, func(*plan.Plan, *reports.Result) {})
	a, b := newSigner(t), newSigner(t)
	w := theme()
	file, err := Waive(t.Context(), dir, w, "", ended, a)
	if err != nil {
		t.Fatal(err)
	}
	keys := []sign.PublicKey{a.PublicKey, b.PublicKey}
	if _, err := waivers(t.Context(), dir, keys, 2); err == nil {
		t.Error("one key of two")
	}
	envelope, err := os.ReadFile(file)
	if err == nil {
		envelope, err = Cosign(t.Context(), envelope, b)
	}
	if err == nil {
		err = os.WriteFile(file, envelope, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := waivers(t.Context(), dir, keys, 2); err != nil {
		t.Error(err)
	}
	empty, err := sign.Sign(t.Context(), waiverType, []byte(`{"app":"a","manifest":"","steps":[],"reason":"","tracker":"","until":"2026-01-01T00:00:00Z"}`), a)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Cosign(t.Context(), empty, b); !errors.Is(err, ErrAttestation) {
		t.Error("what is no waiver was signed:", err)
	}
}
