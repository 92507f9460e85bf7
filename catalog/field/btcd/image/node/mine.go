package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"slices"
	"time"
)

const (
	// blockTime is how long there is no block on simnet before one is mined, as it is on
	// the network on the average. What follows the chain takes an old tip for a chain that
	// is not synchronised.
	blockTime = 10 * time.Minute
	settled   = 6               // blocks after which most take a transaction for settled
	lookEvery = 2 * time.Second // while btcd does not answer yet; then ten times as long
	// easiest are the bits of a block that follows an old one; then btcd gives no template.
	easiest    = "207fffff"
	noVersion  = 0x20000000 // says nothing (BIP 9)
	maxText    = 64
	uniqueSize = 4
	atOnce     = 200 // blocks that are asked for at once
	// grown is the height of simnet at which segwit and taproot are in force: of its spans of
	// a hundred blocks (BIP 9), the second asks for them, and the fourth has them.
	grown = 400
	past  = 2 * time.Hour // how old the first of these blocks says that it is
	// span is after how many blocks of simnet another version may be in force, and retarget after
	// how many they may be harder or easier to find.
	span     = 100
	retarget = 2016
)

// keepMining mines a block now, if one is due, and so on.
func keepMining(ctx context.Context) {
	whole := false
	for wait := lookEvery; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		c, err := newClient()
		if err == nil && !whole {
			err = giveBack(ctx, c)
			whole = err == nil
		}
		if err == nil {
			err = mineIfDue(ctx, c)
		}
		if wait = 10 * lookEvery; err != nil {
			wait = lookEvery
		}
	}
}

// mineIfDue mines a block, if there is none of the last ten minutes, and some where
// transactions wait for one. At first, it mines those without which wallets can do nothing.
func mineIfDue(ctx context.Context, c *client) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	t, err := c.tip(ctx)
	if err != nil {
		return err
	}
	if t.Height < grown {
		if err := mine(ctx, c, grown-t.Height, "", nil, time.Now().Add(-past)); err != nil {
			return err
		}
	}
	if t, err = c.tip(ctx); err != nil {
		return err
	}
	blocks := int64(1)
	if time.Since(time.Unix(t.Time, 0)) < blockTime {
		var next template
		if err := c.template(ctx, &next); err != nil || len(next.Transactions) == 0 {
			return err
		}
		blocks = settled
	}
	if err := mine(ctx, c, blocks, "", nil, time.Now()); err != nil {
		fmt.Fprintln(os.Stderr, "node: mining:", err)
		return err
	}
	return nil
}

// template is what getblocktemplate says of the next block.
type template struct {
	Bits         string
	Version      uint32 // of the block, which says what it would have in force
	Value        int64  `json:"coinbasevalue"`
	Commitment   string `json:"default_witness_commitment"` // a hash, where BIP 145 has the script of an output
	Transactions []struct{ Data, Txid string }
}

func (c *client) template(ctx context.Context, t *template) error {
	return c.call(ctx, "getblocktemplate", t, map[string]any{"capabilities": []string{"coinbasevalue"}})
}

// commits begins the script of the output that commits to witnesses (BIP 141).
var commits = []byte{0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed}

// mine adds blocks to the chain. The first holds the transactions that wait, and a text; it pays the
// script, or nobody. They say that they are of now, or a second younger than the one before.
func mine(ctx context.Context, c *client, blocks int64, text string, pay []byte, now time.Time) error {
	if len(text) > maxText {
		return fmt.Errorf("a text has at most %d bytes", maxText)
	}
	var info struct{ Chain string }
	if err := c.call(ctx, "getblockchaininfo", &info); err != nil {
		return err
	}
	if info.Chain != "simnet" {
		return fmt.Errorf("the chain is %s; blocks are mined on simnet alone", info.Chain)
	}
	unlock, err := lockChain()
	if err != nil {
		return err
	}
	defer unlock()
	for blocks > 0 {
		added, err := extend(ctx, c, blocks, text, pay, now)
		if err != nil {
			return err
		}
		blocks, text, pay = blocks-added, "", nil
	}
	return nil
}

// extend adds one block or more, and tells how many. Where a peer's block comes first, it is
// tried again.
func extend(ctx context.Context, c *client, most int64, text string, pay []byte, now time.Time) (int64, error) {
	refused := ""
	for range 5 {
		text, pay := text, pay
		t, err := c.tip(ctx)
		if err != nil {
			return 0, err
		}
		next := template{}
		if c.template(ctx, &next) != nil {
			next = template{Bits: easiest, Version: noVersion, Value: subsidy(t.Height + 1)}
		}
		var blocks []mined
		var submit [][]any
		hashes := []string{t.Hash}
		for i := range min(most, alike(t.Height)) {
			if i > 0 {
				next, text, pay = template{Bits: next.Bits, Version: next.Version}, "", nil
			}
			block, hash, err := newBlock(t, next, now, text, pay)
			if err != nil {
				return 0, err
			}
			t = header{Hash: hash, Height: t.Height + 1, Time: max(now.Unix(), t.Time+1)}
			m := mined{t.Height, hex.EncodeToString(block)}
			blocks, submit, hashes = append(blocks, m), append(submit, []any{m.block}), append(hashes, hash)
		}
		answers, err := calls[*string](ctx, c, "submitblock", submit)
		if err != nil {
			return 0, err
		}
		if i := slices.IndexFunc(answers, func(why *string) bool { return why != nil }); i >= 0 {
			refused = ", and says of the last: " + *answers[i]
			blocks, hashes = blocks[:i], hashes[:i+1]
		}
		var h header
		if err := c.call(ctx, "getblockheader", &h, hashes[len(hashes)-1], true); err == nil && h.Confirmations > 0 && len(blocks) > 0 {
			return int64(len(blocks)), note(blocks)
		}
	}
	return 0, errors.New("btcd took none of five blocks" + refused)
}

// alike is how many blocks after one of a height have the same version (BIP 9) and are as hard to
// find: what btcd says of the next is true of them.
func alike(height int64) int64 {
	return min(span-(height+1)%span, retarget-(height+1)%retarget)
}

// subsidy is what a block brings its miner, in satoshis, beside the fees.
func subsidy(height int64) int64 { return 50_0000_0000 >> min(height/210_000, 63) }

// newBlock makes a block that follows another one and holds the transactions of a template.
func newBlock(tip header, next template, now time.Time, text string, pay []byte) (block []byte, hash string, err error) {
	coinbase, id, err := newCoinbase(tip.Height+1, next, text, pay)
	if err != nil {
		return nil, "", err
	}
	ids, body := [][sha256.Size]byte{id}, coinbase
	for _, t := range next.Transactions {
		id, err := reversed(t.Txid)
		if err != nil {
			return nil, "", err
		}
		data, err := hex.DecodeString(t.Data)
		if err != nil {
			return nil, "", fmt.Errorf("the transaction %s: %w", t.Txid, err)
		}
		ids, body = append(ids, id), append(body, data...)
	}
	previous, err := reversed(tip.Hash)
	if err != nil {
		return nil, "", err
	}
	b, err := hex.DecodeString(next.Bits)
	if err != nil || len(b) != 4 || b[0] < 3 {
		return nil, "", fmt.Errorf("%q are no bits of a block", next.Bits)
	}
	bits := binary.BigEndian.Uint32(b)
	target := new(big.Int).Lsh(big.NewInt(int64(bits&0x7fffff)), 8*(uint(b[0])-3))

	head := binary.LittleEndian.AppendUint32(nil, next.Version)
	head = append(head, previous[:]...)
	root := merkleRoot(ids)
	head = append(head, root[:]...)
	head = binary.LittleEndian.AppendUint32(head, uint32(max(now.Unix(), tip.Time+1)))
	head = binary.LittleEndian.AppendUint32(head, bits)
	head = append(head, 0, 0, 0, 0)
	for nonce := range uint32(1 << 20) {
		binary.LittleEndian.PutUint32(head[76:], nonce)
		sum := twice(head)
		slices.Reverse(sum[:])
		if new(big.Int).SetBytes(sum[:]).Cmp(target) <= 0 {
			return slices.Concat(head, size(len(ids)), body), hex.EncodeToString(sum[:]), nil
		}
	}
	return nil, "", fmt.Errorf("a block of bits %s is too hard to find here", next.Bits)
}

// merkleRoot is the root of the tree of a block's transactions.
func merkleRoot(row [][sha256.Size]byte) [sha256.Size]byte {
	for len(row) > 1 {
		if len(row)%2 == 1 {
			row = append(row, row[len(row)-1])
		}
		var above [][sha256.Size]byte
		for pair := range slices.Chunk(row, 2) {
			above = append(above, twice(slices.Concat(pair[0][:], pair[1][:])))
		}
		row = above
	}
	return row[0]
}

// newCoinbase is a transaction whose input holds the height (BIP 34), a number that makes
// it unique, and a text. It pays the script, or nobody. With a commitment to the witnesses of
// others, it has one itself (BIP 141), which its id leaves out.
func newCoinbase(height int64, next template, text string, pay []byte) (tx []byte, id [sha256.Size]byte, err error) {
	unique := make([]byte, uniqueSize)
	if _, err := rand.Read(unique); err != nil {
		return nil, id, err
	}
	script := slices.Concat(pushHeight(height), push(unique), push([]byte(text)))
	in := slices.Concat([]byte{1}, make([]byte, sha256.Size), []byte{0xff, 0xff, 0xff, 0xff, byte(len(script))}, script, []byte{0xff, 0xff, 0xff, 0xff})

	outputs := byte(1)
	out := output(0, []byte{0x6a}) // OP_RETURN
	if pay != nil {
		out = output(next.Value, pay)
	}
	commitment, err := hex.DecodeString(next.Commitment)
	if err != nil || len(commitment) != 0 && len(commitment) != sha256.Size {
		return nil, id, fmt.Errorf("%q is no commitment to witnesses", next.Commitment)
	}
	if len(commitment) > 0 {
		outputs++
		out = append(out, output(0, append(slices.Clone(commits), commitment...))...)
	}
	version, locktime := []byte{1, 0, 0, 0}, []byte{0, 0, 0, 0}
	tx = slices.Concat(version, in, []byte{outputs}, out, locktime)
	id = twice(tx)
	if len(commitment) > 0 {
		witness := slices.Concat([]byte{1, sha256.Size}, make([]byte, sha256.Size))
		tx = slices.Concat(version, []byte{0, 1}, in, []byte{outputs}, out, witness, locktime)
	}
	return tx, id, nil
}

func output(value int64, script []byte) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, uint64(value)), push(script)...)
}

// size is a count as the protocol has it.
func size(n int) []byte {
	if n < 0xfd {
		return []byte{byte(n)}
	}
	return []byte{0xfd, byte(n), byte(n >> 8)} // a block holds fewer than 65,536
}

// reversed are the bytes of a hash, which is written backwards.
func reversed(hash string) (out [sha256.Size]byte, err error) {
	b, err := hex.DecodeString(hash)
	if err != nil || len(b) != sha256.Size {
		return out, fmt.Errorf("%q is no hash", hash)
	}
	slices.Reverse(b)
	return [sha256.Size]byte(b), nil
}

func twice(b []byte) [sha256.Size]byte {
	sum := sha256.Sum256(b)
	return sha256.Sum256(sum[:])
}

func push(b []byte) []byte { return append([]byte{byte(len(b))}, b...) }

// pushHeight is a number as scripts have it: OP_1 to OP_16, or little-endian with a sign.
func pushHeight(h int64) []byte {
	if h <= 16 {
		return []byte{0x50 + byte(h)}
	}
	var b []byte
	for ; h > 0; h >>= 8 {
		b = append(b, byte(h))
	}
	if b[len(b)-1] >= 0x80 {
		b = append(b, 0)
	}
	return push(b)
}

// textOf is the text in a coinbase's script that newCoinbase made; empty in others.
func textOf(script []byte) string {
	var parts [][]byte
	for len(script) > 0 {
		size := int(script[0])
		if len(parts) == 0 && size > 0x50 && size <= 0x60 {
			size = 0 // OP_1 to OP_16
		}
		if size > maxText || len(script) < 1+size {
			return ""
		}
		parts, script = append(parts, script[1:1+size]), script[1+size:]
	}
	if len(parts) != 3 || len(parts[1]) != uniqueSize {
		return ""
	}
	return string(parts[2])
}

// texts writes the texts of all blocks, the newest first. It reads transactions by their ids,
// which takes the index of them.
func texts(ctx context.Context, c *client, w io.Writer) error {
	t, err := c.tip(ctx)
	if err != nil {
		return err
	}
	for newest := t.Height; newest > 0; newest -= atOnce {
		if err := textsOf(ctx, c, newest, max(1, newest-atOnce+1), w); err != nil {
			return err
		}
	}
	return nil
}

// textsOf writes those of the blocks of some heights, both included.
func textsOf(ctx context.Context, c *client, newest, oldest int64, w io.Writer) error {
	var heights, blocks, firsts [][]any
	for h := newest; h >= oldest; h-- {
		heights = append(heights, []any{h})
	}
	hashes, err := calls[string](ctx, c, "getblockhash", heights)
	if err != nil {
		return err
	}
	for _, h := range hashes {
		blocks = append(blocks, []any{h, 1})
	}
	contents, err := calls[struct{ Tx []string }](ctx, c, "getblock", blocks)
	if err != nil {
		return err
	}
	for i, b := range contents {
		if len(b.Tx) == 0 {
			return fmt.Errorf("the block %s has no transaction", hashes[i])
		}
		firsts = append(firsts, []any{b.Tx[0], 1})
	}
	coinbases, err := calls[struct{ Vin []struct{ Coinbase string } }](ctx, c, "getrawtransaction", firsts)
	if err != nil {
		return err
	}
	for _, tx := range coinbases {
		if len(tx.Vin) != 1 {
			continue
		}
		script, err := hex.DecodeString(tx.Vin[0].Coinbase)
		if text := textOf(script); err == nil && text != "" {
			fmt.Fprintln(w, string(bytes.ToValidUTF8([]byte(text), []byte("?"))))
		}
	}
	return nil
}
