package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// coinsFile says that the wallet of simnet has been given coins.
var coinsFile = filepath.Join(dataDir, "coins-simnet")

// wantCoins has the Bitcoin node pay the wallet of simnet, once: coins to try things with.
func wantCoins(ctx context.Context) error {
	if _, err := os.Stat(coinsFile); err == nil {
		return nil
	}
	for said := ""; ; {
		err := getCoins(ctx)
		if err == nil {
			return keep(coinsFile, nil)
		}
		if ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			fmt.Fprintln(os.Stderr, "node: waiting for coins:", said)
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

func getCoins(ctx context.Context) error {
	var a struct{ Address string }
	if err := callWallet(ctx, http.MethodGet, "/v1/newaddress?type=0", nil, &a); err != nil {
		return err
	}
	return askBitcoin(ctx, os.Getenv("COINS")+"?address="+url.QueryEscape(a.Address), nil, nil)
}

func ready(ctx context.Context) error {
	network, err := os.Readlink(filepath.Join(credentialsDir, "current"))
	if err != nil || network != "simnet" {
		return err
	}
	if _, err := os.Stat(coinsFile); err != nil {
		return fmt.Errorf("the wallet waits for coins of simnet: %w", err)
	}
	return nil
}

// What keepText asks for and pays, in satoshis.
const (
	asked = 1000
	paid  = 10000
)

const (
	keepTimeout = 9 * time.Second // until confirmed coins are there, too
	keepRetry   = 200 * time.Millisecond
	newest      = 1000 // invoices that are looked at
)

// keepText keeps a text where lnd keeps its channels, as an invoice, and in its wallet.
func keepText(ctx context.Context, text string) error {
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	if err := serving(ctx); err != nil {
		return err
	}
	if err := callWallet(ctx, http.MethodPost, "/v1/invoices", map[string]any{"memo": text, "value": strconv.Itoa(asked)}, nil); err != nil {
		return err
	}
	var own struct{ Address string }
	if err := callWallet(ctx, http.MethodGet, "/v1/newaddress?type=0", nil, &own); err != nil {
		return err
	}
	for {
		err := callWallet(ctx, http.MethodPost, "/v1/transactions", map[string]any{"addr": own.Address, "amount": strconv.Itoa(paid), "label": text, "spend_unconfirmed": true, "sat_per_vbyte": "2"}, nil)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(keepRetry):
		}
	}
}

// serving waits until lnd answers questions about the wallet: it opens the wallet before that,
// and is healthy then.
func serving(ctx context.Context) error {
	for {
		state, err := walletState(ctx)
		if err == nil && state == serverUp {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("lnd does not serve yet, it is %q", state), err)
		case <-time.After(keepRetry):
		}
	}
}

func keptTexts(ctx context.Context, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	if err := serving(ctx); err != nil {
		return err
	}
	var k kept
	err := callWallet(ctx, http.MethodGet, "/v1/invoices?reversed=true&num_max_invoices="+strconv.Itoa(newest), nil, &k)
	if err := errors.Join(err, callWallet(ctx, http.MethodGet, "/v1/transactions", nil, &k)); err != nil {
		return err
	}
	for _, text := range k.texts() {
		fmt.Fprintln(w, text)
	}
	return nil
}

// kept is what lnd says of invoices and of payments on the chain.
type kept struct {
	Invoices     []struct{ Memo string }
	Transactions []struct{ Label string }
}

// texts are those that an invoice and a payment have in common.
func (k *kept) texts() (out []string) {
	for _, i := range k.Invoices {
		if i.Memo != "" && slices.ContainsFunc(k.Transactions, func(t struct{ Label string }) bool { return t.Label == i.Memo }) {
			out = append(out, i.Memo)
		}
	}
	return out
}
