package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// client asks btcd in the same container.
type client struct {
	url, password string
	http          *http.Client
}

func newClient() (*client, error) {
	password, err := os.ReadFile("/run/secrets/rpc-password")
	if err != nil {
		return nil, err
	}
	certificate, err := os.ReadFile("/run/secrets/rpc-cert")
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(certificate) {
		return nil, errors.New("/run/secrets/rpc-cert holds no certificate")
	}
	return &client{
		"https://localhost:8334/", strings.TrimSpace(string(password)),
		&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}},
	}, nil
}

// call makes one call; result may be nil.
func (c *client) call(ctx context.Context, method string, result any, params ...any) error {
	if params == nil {
		params = []any{}
	}
	body, err := json.Marshal(map[string]any{"jsonrpc": "1.0", "id": 1, "method": method, "params": params})
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.SetBasicAuth("archipelago", c.password)
	r.Header.Set("Content-Type", "application/json")
	answer, err := c.http.Do(r)
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, 16<<20))
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	var a struct {
		Result json.RawMessage
		Error  *struct{ Message string }
	}
	switch err := json.Unmarshal(b, &a); {
	case err != nil:
		return fmt.Errorf("%s: %s", method, answer.Status)
	case a.Error != nil:
		return fmt.Errorf("%s: %s", method, a.Error.Message)
	case result == nil:
		return nil
	}
	if err := json.Unmarshal(a.Result, result); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}

// header is what getblockheader says of a block.
type header struct {
	Hash          string
	Confirmations int64
	Height        int64
	Time          int64
	Previous      string `json:"previousblockhash"`
}

func (c *client) tip(ctx context.Context) (h header, err error) {
	var hash string
	if err := c.call(ctx, "getbestblockhash", &hash); err != nil {
		return h, err
	}
	err = c.call(ctx, "getblockheader", &h, hash, true)
	return h, err
}
