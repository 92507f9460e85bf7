package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// coins are satoshis. The node gives them as a number of bitcoins.
type coins int64

const perBitcoin = 100_000_000

func (c *coins) UnmarshalJSON(b []byte) error {
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil || math.Abs(f) > 21_000_000 {
		return fmt.Errorf("%.40s is no number of bitcoins", b)
	}
	*c = coins(math.Round(f * perBitcoin)) // exact: a float64 has 15 digits
	return nil
}

func (c coins) String() string {
	sign := ""
	if c < 0 {
		sign, c = "-", -c
	}
	return fmt.Sprintf("%s%d.%08d BTC", sign, c/perBitcoin, c%perBitcoin)
}

// movement is a transaction, by what of it concerns an address.
type movement struct {
	Txid          string
	Confirmations int64
	Time          int64
	Vin           []struct {
		PrevOut struct{ Value coins } `json:"prevOut"`
	}
	Vout []struct{ Value coins }
}

// Sum is what the address gained; less than nothing if it paid.
func (m *movement) Sum() (sum coins) {
	for _, in := range m.Vin {
		sum -= in.PrevOut.Value
	}
	for _, out := range m.Vout {
		sum += out.Value
	}
	return sum
}

// account is an address with its movements, the newest first.
type account struct {
	Address, Label string
	Confirmed      coins
	Unconfirmed    coins
	Count          int
	More           bool // than maxMovements: the sums are those of the newest
	Movements      []movement
	Problem        string
}

// Shown are those movements that a page lists.
func (a *account) Shown() []movement { return a.Movements[:min(len(a.Movements), maxShown)] }

const (
	chunk        = 100
	maxMovements = 2000 // of an address, which are looked at
	maxShown     = 100
	maxSummed    = 200 // of an address that is only watched
)

// view is a page.
type view struct {
	Height   int64
	Chain    string
	Index    string
	Query    string
	Found    *account
	Watched  []*account
	Problems []string
}

// nothing is what the node refuses an address with, and one that nobody has paid.
const nothing = -5

var errNoIndex = errors.New("no, set addrindex to 1")

func (c *client) height(ctx context.Context) (height int64, err error) {
	err = c.call(ctx, "getblockcount", &height)
	return height, err
}

// indexed tells whether the node finds the transactions of an address: without an index, it
// refuses even what is no address in other words.
func (c *client) indexed(ctx context.Context) error {
	var found []movement
	err := c.call(ctx, "searchrawtransactions", &found, "")
	var refused *refusal
	switch {
	case errors.As(err, &refused) && refused.Code == nothing:
		return nil
	case errors.As(err, &refused) && strings.Contains(refused.Message, "addrindex"):
		return errNoIndex
	}
	return err
}

// valid tells whether something is an address on the node's network.
func (c *client) valid(ctx context.Context, address string) error {
	var a struct{ IsValid bool }
	if err := c.call(ctx, "validateaddress", &a, address); err != nil {
		return err
	}
	if !a.IsValid {
		return fmt.Errorf("%.100q is no address on this network", address)
	}
	return nil
}

// look asks all that a page shows. What cannot be had is a problem on the page, and no
// reason not to show the rest.
func (c *client) look(ctx context.Context, query string, watched []label) *view {
	v := &view{Query: query}
	problem := func(err error) { v.Problems = append(v.Problems, err.Error()) }
	var info struct{ Chain string }
	height, err := c.height(ctx)
	if err == nil {
		err = c.call(ctx, "getblockchaininfo", &info)
	}
	if err != nil {
		problem(err)
		return v
	}
	v.Height, v.Chain, v.Index = height, info.Chain, "yes"
	if err := c.indexed(ctx); err != nil {
		v.Index = err.Error()
		return v
	}
	if query != "" {
		if err := c.valid(ctx, query); err != nil {
			problem(err)
		} else if v.Found, err = c.account(ctx, query, maxMovements); err != nil {
			problem(err)
		}
	}
	for _, l := range watched {
		a, err := c.account(ctx, l.Ref, maxSummed)
		if err != nil {
			a = &account{Address: l.Ref, Problem: err.Error()}
		}
		a.Label = l.Label
		v.Watched = append(v.Watched, a)
	}
	return v
}

// account asks for the newest movements of an address.
func (c *client) account(ctx context.Context, address string, most int) (*account, error) {
	a := &account{Address: address}
	for len(a.Movements) < most {
		var found []movement
		err := c.call(ctx, "searchrawtransactions", &found, address, 1, len(a.Movements), chunk, 1, true, []string{address})
		var refused *refusal
		if errors.As(err, &refused) && refused.Code == nothing {
			break
		}
		if err != nil {
			return nil, err
		}
		a.Movements = append(a.Movements, found...)
		if len(found) < chunk {
			break
		}
	}
	a.More = len(a.Movements) >= most
	for i := range a.Movements {
		if m := &a.Movements[i]; m.Confirmations > 0 {
			a.Confirmed += m.Sum()
		} else {
			a.Unconfirmed += m.Sum()
		}
	}
	a.Count = len(a.Movements)
	return a, nil
}
