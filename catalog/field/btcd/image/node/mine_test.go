package main

import (
	"bytes"
	"encoding/hex"
	"math/big"
	"slices"
	"testing"
	"time"
)

func TestABlockHoldsItsTextAndIsHardEnough(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	tip := header{Hash: "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206", Height: 16, Time: now.Unix() + 5, Bits: "207fffff"}
	block, hash, err := newBlock(tip, now, "kept")
	if err != nil {
		t.Fatal(err)
	}
	sum := twice(block[:80])
	slices.Reverse(sum[:])
	if hash != hex.EncodeToString(sum[:]) {
		t.Errorf("the hash is said to be %s and is %x", hash, sum)
	}
	if limit := new(big.Int).Lsh(big.NewInt(0x7fffff), 8*(0x20-3)); new(big.Int).SetBytes(sum[:]).Cmp(limit) > 0 {
		t.Errorf("%x is above the target", sum)
	}
	coinbase := block[81:]
	if root := twice(coinbase); !bytes.Equal(block[36:68], root[:]) {
		t.Error("the root is not that of the one transaction")
	}
	script := coinbase[42 : 42+int(coinbase[41])]
	if !bytes.HasPrefix(script, []byte{1, 17}) {
		t.Errorf("%x does not begin with the height 17", script)
	}
	if got := textOf(script); got != "kept" {
		t.Errorf("the text is %q", got)
	}
	if at := int64(block[68]) | int64(block[69])<<8 | int64(block[70])<<16 | int64(block[71])<<24; at != tip.Time+1 {
		t.Errorf("the time is %d; expected one after the block before it", at)
	}
}

func TestHeightsAreWrittenAsScriptsHaveThem(t *testing.T) {
	for height, want := range map[int64]string{1: "51", 16: "60", 17: "0111", 127: "017f", 128: "028000", 255: "02ff00", 256: "020001", 800000: "0300350c"} {
		if got := hex.EncodeToString(pushHeight(height)); got != want {
			t.Errorf("%d: %s; expected %s", height, got, want)
		}
	}
}

func TestCoinbasesOfOthersHaveNoText(t *testing.T) {
	for _, script := range []string{"", "51", "04ffff001d0104", "5104010203", "51040102030404616263640161", "4c", "03aabb"} {
		b, err := hex.DecodeString(script)
		if err != nil {
			t.Fatal(err)
		}
		if got := textOf(b); got != "" {
			t.Errorf("%s: %q", script, got)
		}
	}
}
