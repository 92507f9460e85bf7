package main

import (
	"context"
	"regexp"
	"strconv"
	"time"
)

// chain is how far a node is.
type chain struct {
	Chain           string
	Blocks, Headers int64
	Best            string `json:"bestblockhash"`
	Difficulty      float64
	Pruned          bool
	Initial         bool `json:"initialblockdownload"`
}

// block is one by its transactions' ids.
type block struct {
	Hash          string
	Next          string `json:"nextblockhash"`
	Previous      string `json:"previousblockhash"`
	Height, Time  int64
	Size, Weight  int64
	Confirmations int64
	Tx            []string
}

type transaction struct {
	Txid          string
	BlockHash     string
	Confirmations int64
	Size, Vsize   int64
	Time          int64
	Vin           []struct {
		Coinbase, Txid string
		Vout           int64
	}
	Vout []struct {
		Value        float64
		N            int64
		ScriptPubKey struct {
			Address, Type string
			Addresses     []string
		}
	}
}

type peer struct {
	Addr    string
	SubVer  string
	Inbound bool
	Start   int64 `json:"startingheight"`
	Since   int64 `json:"conntime"`
}

// Shown are those transactions of a block that a page lists.
func (b *block) Shown() []string { return b.Tx[:min(len(b.Tx), maxTransactions)] }

// view is a page.
type view struct {
	Chain    chain
	Tip      block
	Percent  string
	Synced   bool
	Index    string // whether every transaction can be looked up
	Peers    []peer
	Inbound  int
	Mempool  struct{ Size, Bytes int64 }
	Query    string
	Block    *block
	Found    *transaction
	Label    string // of what is found
	Problems []string
}

// What a page lists at most.
const (
	maxPeers        = 200
	maxTransactions = 100
)

// current is how old the newest block of a synchronised chain is at most.
const current = 24 * time.Hour

func (c *client) chain(ctx context.Context) (out chain, err error) {
	err = c.call(ctx, "getblockchaininfo", &out)
	return out, err
}

// look asks all that a page shows. What cannot be had is a problem on the page, and no
// reason not to show the rest.
func (c *client) look(ctx context.Context, query string) *view {
	v := &view{Query: query}
	try := func(method string, result any, params ...any) bool {
		err := c.call(ctx, method, result, params...)
		if err != nil {
			v.Problems = append(v.Problems, err.Error())
		}
		return err == nil
	}
	if !try("getblockchaininfo", &v.Chain) {
		return v
	}
	v.Percent = percent(v.Chain.Blocks, v.Chain.Headers)
	if try("getblock", &v.Tip, v.Chain.Best, 1) {
		v.Synced = !v.Chain.Initial && v.Chain.Blocks == v.Chain.Headers && time.Since(time.Unix(v.Tip.Time, 0)) < current
		v.Index = c.index(ctx, v.Tip)
	}
	if try("getpeerinfo", &v.Peers) {
		for _, p := range v.Peers {
			if p.Inbound {
				v.Inbound++
			}
		}
		v.Peers = v.Peers[:min(len(v.Peers), maxPeers)]
	}
	try("getmempoolinfo", &v.Mempool)
	if query != "" {
		if err := c.find(ctx, v); err != nil {
			v.Problems = append(v.Problems, err.Error())
		}
	}
	return v
}

// index tells by a confirmed transaction whether the node finds those.
func (c *client) index(ctx context.Context, tip block) string {
	var t transaction
	switch {
	case tip.Height == 0 || len(tip.Tx) == 0:
		return "known after the first block"
	case c.call(ctx, "getrawtransaction", &t, tip.Tx[0], 1) != nil:
		return "no, set txindex to 1"
	}
	return "yes"
}

var (
	number = regexp.MustCompile(`^[0-9]{1,9}$`)
	hash   = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// find looks for a block by height or hash, or for a transaction by its id.
func (c *client) find(ctx context.Context, v *view) error {
	of := v.Query
	switch {
	case number.MatchString(of):
		height, err := strconv.ParseInt(of, 10, 64)
		if err != nil {
			return err
		}
		if err := c.call(ctx, "getblockhash", &of, height); err != nil {
			return err
		}
	case !hash.MatchString(of):
		v.Problems = append(v.Problems, "expected the height or the hash of a block, or the id of a transaction")
		return nil
	}
	var b block
	if c.call(ctx, "getblock", &b, of, 1) == nil {
		v.Block = &b
		return nil
	}
	var t transaction
	if err := c.call(ctx, "getrawtransaction", &t, of, 1); err != nil {
		return err
	}
	v.Found = &t
	return nil
}

// percent is how much of a whole there is; never rounded up to all of it.
func percent(part, whole int64) string {
	if whole <= 0 || part >= whole {
		return "100"
	}
	return strconv.FormatFloat(float64(part*10000/whole)/100, 'f', 2, 64)
}
