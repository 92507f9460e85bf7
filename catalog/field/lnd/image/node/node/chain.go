package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// The Bitcoin node, which lnd.conf names as well.
const (
	chainHost = "btcd"
	chainPort = "8334"
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
	if err := keepCertificate(ctx); err != nil {
		return "", err
	}
	password, err := os.ReadFile("/run/secrets/btcd-password")
	if err != nil {
		return "", err
	}
	client, err := trusting(filepath.Join(runDir, "btcd.cert"))
	if err != nil {
		return "", err
	}
	var a struct {
		Result struct{ Chain string }
		Error  *struct{ Message string }
	}
	question := map[string]any{"jsonrpc": "1.0", "id": 1, "method": "getblockchaininfo", "params": []any{}}
	if err := ask(ctx, client, http.MethodPost, "https://"+chainHost+":"+chainPort+"/", question, &a, "archipelago", string(password)); err != nil {
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

// keepCertificate writes down the certificate that the Bitcoin node shows. It is reached
// through a network that nobody else is in.
func keepCertificate(ctx context.Context) error {
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	conn, err := d.DialContext(ctx, "tcp", chainHost+":"+chainPort)
	if err != nil {
		return err
	}
	defer conn.Close()
	shown := conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
	return os.WriteFile(filepath.Join(runDir, "btcd.cert"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: shown.Raw}), 0o600)
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
