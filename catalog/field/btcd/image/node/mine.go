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
	lookEvery = 2 * time.Second // while btcd does not answer yet; then ten times as long
	// easiest are the bits of a block that follows an old one; then btcd gives no template.
	easiest    = "207fffff"
	maxText    = 64
	uniqueSize = 4
	newest     = 1000 // blocks whose texts are shown
)

// keepMining mines a block now, if there is none of the last ten minutes, and so on.
func keepMining(ctx context.Context) {
	for wait := lookEvery; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		c, err := newClient()
		if err == nil {
			err = mineIfDue(ctx, c)
		}
		if wait = 10 * lookEvery; err != nil {
			wait = lookEvery
		}
	}
}

func mineIfDue(ctx context.Context, c *client) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	t, err := c.tip(ctx)
	if err != nil || time.Since(time.Unix(t.Time, 0)) < blockTime {
		return err
	}
	if err := mine(ctx, c, ""); err != nil {
		fmt.Fprintln(os.Stderr, "node: mining:", err)
		return err
	}
	return nil
}

// mine adds a block with a text to the chain. Another one may be found at the same time,
// and then it is tried again.
func mine(ctx context.Context, c *client, text string) error {
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
	for range 5 {
		t, err := c.tip(ctx)
		if err != nil {
			return err
		}
		var template struct{ Bits string }
		if t.Bits = easiest; c.call(ctx, "getblocktemplate", &template, map[string]any{"capabilities": []string{"coinbasevalue"}}) == nil {
			t.Bits = template.Bits
		}
		block, hash, err := newBlock(t, time.Now(), text)
		if err != nil {
			return err
		}
		if err := c.call(ctx, "submitblock", nil, hex.EncodeToString(block)); err != nil {
			return err
		}
		var h header
		if err := c.call(ctx, "getblockheader", &h, hash, true); err == nil && h.Confirmations > 0 {
			return nil
		}
	}
	return errors.New("btcd took none of five blocks")
}

// newBlock makes a block that follows another one and holds nothing but its coinbase,
// which pays nobody.
func newBlock(tip header, now time.Time, text string) (block []byte, hash string, err error) {
	coinbase, err := newCoinbase(tip.Height+1, text)
	if err != nil {
		return nil, "", err
	}
	previous, err := hex.DecodeString(tip.Hash)
	if err != nil || len(previous) != sha256.Size {
		return nil, "", fmt.Errorf("%q is no hash of a block", tip.Hash)
	}
	slices.Reverse(previous)
	b, err := hex.DecodeString(tip.Bits)
	if err != nil || len(b) != 4 || b[0] < 3 {
		return nil, "", fmt.Errorf("%q are no bits of a block", tip.Bits)
	}
	bits := binary.BigEndian.Uint32(b)
	target := new(big.Int).Lsh(big.NewInt(int64(bits&0x7fffff)), 8*(uint(b[0])-3))

	head := binary.LittleEndian.AppendUint32(nil, 0x20000000)
	head = append(head, previous...)
	root := twice(coinbase)
	head = append(head, root[:]...)
	head = binary.LittleEndian.AppendUint32(head, uint32(max(now.Unix(), tip.Time+1)))
	head = binary.LittleEndian.AppendUint32(head, bits)
	head = append(head, 0, 0, 0, 0)
	for nonce := range uint32(1 << 20) {
		binary.LittleEndian.PutUint32(head[76:], nonce)
		sum := twice(head)
		slices.Reverse(sum[:])
		if new(big.Int).SetBytes(sum[:]).Cmp(target) <= 0 {
			return append(append(head, 1), coinbase...), hex.EncodeToString(sum[:]), nil
		}
	}
	return nil, "", fmt.Errorf("a block of bits %s is too hard to find here", tip.Bits)
}

// newCoinbase is a transaction whose input holds the height (BIP 34), a number that makes
// it unique, and a text.
func newCoinbase(height int64, text string) ([]byte, error) {
	unique := make([]byte, uniqueSize)
	if _, err := rand.Read(unique); err != nil {
		return nil, err
	}
	script := slices.Concat(pushHeight(height), push(unique), push([]byte(text)))
	tx := binary.LittleEndian.AppendUint32(nil, 1)
	tx = append(tx, 1)
	tx = append(tx, make([]byte, sha256.Size)...)
	tx = binary.LittleEndian.AppendUint32(tx, 0xffffffff)
	tx = append(append(tx, byte(len(script))), script...)
	tx = binary.LittleEndian.AppendUint32(tx, 0xffffffff)
	tx = append(tx, 1)
	tx = binary.LittleEndian.AppendUint64(tx, 0)
	tx = append(tx, 1, 0x6a) // OP_RETURN
	return binary.LittleEndian.AppendUint32(tx, 0), nil
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

// texts writes the texts of the newest blocks. It reads transactions by their ids, which
// takes the index of them.
func texts(ctx context.Context, c *client, w io.Writer) error {
	t, err := c.tip(ctx)
	if err != nil {
		return err
	}
	for range newest {
		if t.Height == 0 {
			return nil
		}
		var block struct {
			Tx       []string
			Previous string `json:"previousblockhash"`
		}
		if err := c.call(ctx, "getblock", &block, t.Hash, 1); err != nil {
			return err
		}
		if len(block.Tx) == 0 {
			return fmt.Errorf("the block %s has no transaction", t.Hash)
		}
		var tx struct{ Vin []struct{ Coinbase string } }
		if err := c.call(ctx, "getrawtransaction", &tx, block.Tx[0], 1); err != nil {
			return err
		}
		if len(tx.Vin) == 1 {
			script, err := hex.DecodeString(tx.Vin[0].Coinbase)
			if text := textOf(script); err == nil && text != "" {
				fmt.Fprintln(w, string(bytes.ToValidUTF8([]byte(text), []byte("?"))))
			}
		}
		t.Hash, t.Height = block.Previous, t.Height-1
	}
	return nil
}
