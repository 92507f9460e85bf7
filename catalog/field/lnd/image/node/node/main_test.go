package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestATextIsKeptOnlyIfBothHaveIt(t *testing.T) {
	var k kept
	for _, answer := range []string{
		`{"invoices": [{"memo": "both"}, {"memo": "asked"}, {"memo": ""}]}`,
		`{"transactions": [{"label": ""}, {"label": "paid"}, {"label": "both"}]}`,
	} {
		if err := json.Unmarshal([]byte(answer), &k); err != nil {
			t.Fatal(err)
		}
	}
	if got := k.texts(); !slices.Equal(got, []string{"both"}) {
		t.Error(got)
	}
}

func TestMacaroonsAreThoseOfTheNetworkOfNow(t *testing.T) {
	in := t.TempDir()
	for _, network := range []string{"simnet", "mainnet", "mainnet", "simnet"} {
		dir, err := macaroonDir(in, network)
		if err != nil {
			t.Fatal(err)
		}
		if to, err := os.Readlink(filepath.Join(in, "current")); err != nil || to != network || dir != filepath.Join(in, network) {
			t.Errorf("%s: %s, %s, %v", network, dir, to, err)
		}
	}
}
