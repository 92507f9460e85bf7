package attest

import (
	"context"
	"fmt"

	"github.com/archipelago-cloud/archipelago/catalog/sign"
	"github.com/archipelago-cloud/archipelago/reports"
)

// Cosign adds signatures to a waiver, for those who hold the other keys that its threshold
// asks for. What is no complete waiver is not signed.
func Cosign(ctx context.Context, envelope []byte, signers ...*sign.Signer) ([]byte, error) {
	payload, err := sign.Unverified(envelope, maxWaiver, waiverType)
	if err != nil {
		return nil, err
	}
	var w reports.Waived
	if err := sign.Decode(payload, maxWaiver, &w); err != nil {
		return nil, fmt.Errorf("%w: waiver: %w", ErrAttestation, err)
	}
	if err := signable(&w); err != nil {
		return nil, err
	}
	return sign.Add(ctx, envelope, maxWaiver, signers...)
}
