package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"
)

// waitForChain waits until the Bitcoin node answers and gives its network.
func waitForChain(ctx context.Context) (string, error) {
	for said := ""; ; {
		network, err := chain(ctx)
		if err == nil || ctx.Err() != nil {
			return network, err
		}
		if err.Error() != said {
			said = err.Error()
			fmt.Fprintln(os.Stderr, "node: waiting for the Bitcoin node:", said)
		}
		if err := pause(ctx); err != nil {
			return "", err
		}
	}
}

func chain(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var a struct {
		Result struct{ Chain string }
		Error  *struct{ Message string }
	}
	question := map[string]any{"jsonrpc": "1.0", "id": 1, "method": "getblockchaininfo", "params": []any{}}
	if err := askBitcoin(ctx, os.Getenv("CHAIN"), question, &a); err != nil {
		return "", err
	}
	switch {
	case a.Error != nil:
		return "", errors.New(a.Error.Message)
	case a.Result.Chain != "mainnet" && a.Result.Chain != "simnet":
		return "", fmt.Errorf("its chain is %q; expected mainnet or simnet", a.Result.Chain)
	}
	return a.Result.Chain, nil
}

// askBitcoin asks a service of the Bitcoin node's, with its password.
func askBitcoin(ctx context.Context, url string, question, answer any) error {
	password, err := os.ReadFile("/run/secrets/btcd-password")
	if err != nil {
		return err
	}
	client, err := trusting("/run/secrets/btcd-cert")
	if err != nil {
		return err
	}
	return ask(ctx, client, http.MethodPost, url, question, answer, func(r *http.Request) {
		r.SetBasicAuth("archipelago", strings.TrimSpace(string(password)))
	})
}

// trusting is a client that trusts the certificate in a file and no other.
func trusting(file string) (*http.Client, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}, nil
}
