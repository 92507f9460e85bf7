package nodes

import (
	"encoding/json"
	"encoding/pem"
	"net/http/httptest"
	"testing"
)

func TestAnAuthoritySurvivesTheShardItIsWrittenInto(t *testing.T) {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	type shard struct {
		Trusted Authority `json:"trusted,omitzero"`
	}
	var out, in shard
	if b, err := json.Marshal(out); err != nil || string(b) != "{}" {
		t.Errorf("none is written as %s, %v", b, err)
	}
	if err := out.Trusted.UnmarshalText(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &in); err != nil {
		t.Fatal(err)
	}
	if in.Trusted.IsZero() || in.Trusted.Fingerprint() != out.Trusted.Fingerprint() || in.Trusted.KeyHash() != out.Trusted.KeyHash() || len(in.Trusted.Fingerprint()) != 64 {
		t.Errorf("read again it is %q %q, expected %q %q", in.Trusted.Fingerprint(), in.Trusted.KeyHash(), out.Trusted.Fingerprint(), out.Trusted.KeyHash())
	}
	for _, bad := range []string{"", "text", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if err := new(Authority).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is read as a certificate", bad)
		}
	}
}
