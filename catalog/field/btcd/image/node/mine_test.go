package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestABlockHoldsItsTextAndIsHardEnough(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	tip := header{Hash: "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206", Height: 16, Time: now.Unix() + 5}
	block, hash, err := newBlock(tip, template{Bits: "207fffff"}, now, "kept", nil)
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

// The transactions of block 100,000 of Bitcoin, and its root.
func TestTheRootIsThatOfBitcoin(t *testing.T) {
	var ids [][32]byte
	for _, id := range []string{
		"8c14f0db3df150123e6f3dbbf30f8b955a8249b62ac1d1ff16284aefa3d06d87", "fff2525b8931402dd09222c50775608f75787bd2b87e56995a7bdd30f79702c4",
		"6359f0868171b1d194cbee1af2f16ea598ae8fad666d9b012c8ed2b79a236ec4", "e9a66845e05d5abc0ad04ec80f774a7e585c6e8db975962d069a522137b80c1d",
	} {
		b, err := reversed(id)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, b)
	}
	root := merkleRoot(ids)
	slices.Reverse(root[:])
	if got := hex.EncodeToString(root[:]); got != "f3e94742aca4b5ef85488dc37c06c3282295ffec960994b2c0d5ac2a25a95766" {
		t.Error(got)
	}
}

func TestABlockPaysAndCommitsToWitnesses(t *testing.T) {
	pay := append([]byte{0}, push(bytes.Repeat([]byte{7}, 20))...)
	plain, id, err := newCoinbase(17, template{Value: subsidy(17)}, "", pay)
	if err != nil {
		t.Fatal(err)
	}
	if want := output(50_0000_0000, pay); !bytes.Contains(plain, want) || id != twice(plain) {
		t.Errorf("%x does not pay %x", plain, want)
	}
	commitment := strings.Repeat("07", 32)
	with, id, err := newCoinbase(17, template{Commitment: commitment}, "", pay)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(with[4:6], []byte{0, 1}) || !strings.Contains(hex.EncodeToString(with), "266a24aa21a9ed"+commitment) || id == twice(with) {
		t.Errorf("%x has no witness of its own, or its id covers it", with)
	}
	if _, _, err := newCoinbase(17, template{Commitment: "6a24aa21a9ed" + commitment}, "", pay); err == nil {
		t.Error("a script is taken for a hash")
	}
	for height, want := range map[int64]int64{1: 50_0000_0000, 209_999: 50_0000_0000, 210_000: 25_0000_0000, 210_000 * 64: 0} {
		if got := subsidy(height); got != want {
			t.Errorf("%d: %d", height, got)
		}
	}
}

func TestCoinsAreForThosePermittedAndForAddresses(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"result": {"isvalid": false}, "error": null}`)
	}))
	defer s.Close()
	for password, want := range map[string]int{"": http.StatusUnauthorized, "another": http.StatusUnauthorized, "rpc": http.StatusBadGateway} {
		r := httptest.NewRequest(http.MethodPost, "/coins?address=elsewhere", nil)
		r.SetBasicAuth("archipelago", password)
		w := httptest.NewRecorder()
		coins(&client{s.URL, "rpc", s.Client()}).ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%q: %d %s", password, w.Code, w.Body)
		}
	}
}

// answering is a client of a btcd that gives these results, to one request and to many at once;
// counted are its connections.
func answering(t *testing.T, connections *int, result func(method string, params []any) any) *client {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*connections++
		b, _ := io.ReadAll(r.Body)
		var many []request
		if json.Unmarshal(b, &many) != nil {
			var single request
			if err := json.Unmarshal(b, &single); err != nil {
				t.Error(err)
			}
			json.NewEncoder(w).Encode(map[string]any{"id": single.ID, "result": result(single.Method, single.Params)})
			return
		}
		var answers []any
		for _, q := range many {
			answers = append(answers, map[string]any{"id": q.ID, "result": result(q.Method, q.Params)})
		}
		json.NewEncoder(w).Encode(answers)
	}))
	t.Cleanup(s.Close)
	return &client{s.URL, "rpc", s.Client()}
}

// onDisk has what a container keeps be in a directory of the test's.
func onDisk(t *testing.T) {
	file, lock := minedFile, chainFile
	t.Cleanup(func() { minedFile, chainFile = file, lock })
	dir := t.TempDir()
	minedFile, chainFile = filepath.Join(dir, "mined"), filepath.Join(dir, "lock")
}

// fakeChain takes blocks that follow one another.
type fakeChain struct {
	hashes  []string // by height
	blocks  []string
	refuses int    // the block after which it refuses one, once; 0: none
	peers   string // the hash of a peer's block that comes before the next ones
}

func (f *fakeChain) answer(t *testing.T) func(method string, params []any) any {
	return func(method string, params []any) any {
		switch method {
		case "getblockchaininfo":
			return map[string]any{"chain": "simnet"}
		case "getbestblockhash":
			return f.hashes[len(f.hashes)-1]
		case "getblockheader":
			height := slices.Index(f.hashes, params[0].(string))
			return map[string]any{"hash": params[0], "height": height, "confirmations": max(0, height)}
		case "getblocktemplate":
			return template{Bits: easiest, Version: noVersion, Value: 50_0000_0000}
		case "submitblock":
			if f.peers != "" {
				f.hashes, f.peers = append(f.hashes, f.peers), ""
			}
			block := params[0].(string)
			b, err := hex.DecodeString(block)
			if err != nil {
				t.Error(err)
			}
			before, hash := b[4:36], twice(b[:80])
			slices.Reverse(before)
			slices.Reverse(hash[:])
			switch {
			case f.refuses > 0 && len(f.hashes) == f.refuses+1:
				f.refuses = 0
				return "time-too-new"
			case hex.EncodeToString(before) != f.hashes[len(f.hashes)-1]:
				return "orphan"
			}
			f.hashes, f.blocks = append(f.hashes, hex.EncodeToString(hash[:])), append(f.blocks, block)
		}
		return nil
	}
}

func TestBlocksAreMinedManyAtOnce(t *testing.T) {
	for name, f := range map[string]*fakeChain{
		"one after the other":             {},
		"one is refused in between":       {refuses: 3},
		"a peer's comes first":            {peers: strings.Repeat("07", 32)},
		"the first after a peer's is not": {peers: strings.Repeat("07", 32), refuses: 1},
	} {
		onDisk(t)
		f.hashes = []string{strings.Repeat("0", 64)}
		connections := 0
		if err := mine(t.Context(), answering(t, &connections, f.answer(t)), 250, "kept", nil, time.Now()); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(f.blocks) != 250 || !strings.Contains(f.blocks[0], hex.EncodeToString([]byte("kept"))) || strings.Contains(f.blocks[1], hex.EncodeToString([]byte("kept"))) {
			t.Errorf("%s: %d blocks, and not the first alone holds the text", name, len(f.blocks))
		}
		if connections > 1+5*6 {
			t.Errorf("%s: %d connections", name, connections)
		}
		all, err := journal()
		if err != nil || len(all) != 250 || all[0].height != int64(len(f.hashes)-250) || all[249].height != int64(len(f.hashes)-1) || all[249].block != f.blocks[249] {
			t.Errorf("%s: %d of 250 blocks are kept (%v)", name, len(all), err)
		}
	}
}

// TestBlocksAreAlikeUntilASpanEnds: what btcd says of the next block is true until another version
// may be in force, or blocks may be harder to find.
func TestBlocksAreAlikeUntilASpanEnds(t *testing.T) {
	for height, want := range map[int64]int64{0: 99, 98: 1, 99: 100, 100: 99, 1999: 16, 2014: 1, 2015: 84} {
		if got := alike(height); got != want {
			t.Errorf("after %d: %d; expected %d", height, got, want)
		}
	}
}

// TestATextIsFoundHoweverManyBlocksFollowIt asks a node of 450 blocks, whose first one holds a
// text: whoever is given coins mines a hundred at once.
func TestATextIsFoundHoweverManyBlocksFollowIt(t *testing.T) {
	const height = 450
	connections := 0
	one := func(method string, params []any) any {
		switch method {
		case "getbestblockhash":
			return fmt.Sprint("hash", height)
		case "getblockheader":
			return map[string]any{"height": height}
		case "getblockhash":
			return fmt.Sprint("hash", params[0])
		case "getblock":
			return map[string]any{"tx": []string{"first of " + params[0].(string)}}
		}
		script := append(push([]byte{1, 1}), push([]byte("uniq"))...)
		if params[0] == "first of hash1" {
			script = append(script, push([]byte("kept"))...)
		}
		return map[string]any{"vin": []any{map[string]any{"coinbase": hex.EncodeToString(script)}}}
	}
	c := answering(t, &connections, one)
	var out strings.Builder
	if err := texts(t.Context(), c, &out); err != nil || out.String() != "kept\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
	if connections > 2+3*3 {
		t.Errorf("%d connections", connections)
	}
}

// TestWhatAPowerCutTookIsGivenBack has a chain that was higher than what is left of it.
func TestWhatAPowerCutTookIsGivenBack(t *testing.T) {
	onDisk(t)
	for height := int64(501); height <= 505; height++ {
		if err := note([]mined{{height, fmt.Sprintf("%02d", height-500)}}); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.OpenFile(minedFile, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, "\n506 06") // cut off
	f.Close()
	height := int64(503)
	var given []string
	connections := 0
	c := answering(t, &connections, func(method string, params []any) any {
		switch method {
		case "getbestblockhash":
			return strings.Repeat("0", 64)
		case "getblockheader":
			return map[string]any{"height": height, "time": time.Now().Unix()}
		case "submitblock":
			given = append(given, params[0].(string))
			height++
		}
		return nil
	})
	t.Setenv("NETWORK", "simnet")
	if err := ready(t.Context(), c); err == nil || !strings.Contains(err.Error(), "503 of 505") {
		t.Errorf("while blocks are missing, it is ready: %v", err)
	}
	if err := giveBack(t.Context(), c); err != nil || !slices.Equal(given, []string{"04", "05"}) {
		t.Errorf("given back: %q, %v", given, err)
	}
	if was, err := highest(); was != 505 || err != nil {
		t.Errorf("what btcd has not written yet is not kept: %d, %v", was, err)
	}
	if err := ready(t.Context(), c); err != nil {
		t.Error(err)
	}
	if err := giveBack(t.Context(), c); err != nil || len(given) != 2 {
		t.Errorf("given back twice: %q, %v", given, err)
	}
	if was, err := highest(); was != 0 || err != nil {
		t.Errorf("what btcd has is kept: %d, %v", was, err)
	}
}
