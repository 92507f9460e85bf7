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

// request is one of JSON-RPC, and answer what comes back for it.
type request struct {
	Version string `json:"jsonrpc"`
	ID      int    `json:"id"`
	Method  string `json:"method"`
	Params  []any  `json:"params"`
}

type answer struct {
	ID     int
	Result json.RawMessage
	Error  *struct{ Message string }
}

// call makes one call; result may be nil.
func (c *client) call(ctx context.Context, method string, result any, params ...any) error {
	if params == nil {
		params = []any{}
	}
	var a answer
	if err := c.post(ctx, method, request{"1.0", 1, method, params}, &a); err != nil {
		return err
	}
	return a.into(method, result)
}

// calls makes one call of a method for each of the parameters, over one connection: btcd keeps
// none.
func calls[T any](ctx context.Context, c *client, method string, params [][]any) ([]T, error) {
	requests := make([]request, len(params))
	for i, p := range params {
		requests[i] = request{"1.0", i, method, p}
	}
	var answers []answer
	if err := c.post(ctx, method, requests, &answers); err != nil {
		return nil, err
	}
	results, known := make([]T, len(params)), make([]bool, len(params))
	for _, a := range answers {
		if a.ID < 0 || a.ID >= len(params) || known[a.ID] {
			return nil, fmt.Errorf("%s: an answer to request %d of %d, or a second one", method, a.ID, len(params))
		}
		if err := a.into(method, &results[a.ID]); err != nil {
			return nil, err
		}
		known[a.ID] = true
	}
	if len(answers) < len(params) {
		return nil, fmt.Errorf("%s: %d answers to %d requests", method, len(answers), len(params))
	}
	return results, nil
}

func (a answer) into(method string, result any) error {
	switch {
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

func (c *client) post(ctx context.Context, method string, question, result any) error {
	body, err := json.Marshal(question)
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
	if err := json.Unmarshal(b, result); err != nil {
		return fmt.Errorf("%s: %s", method, answer.Status)
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
