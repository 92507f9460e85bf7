package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
)

// client asks a node as btcd answers.
type client struct {
	url, user, password string
	http                *http.Client
}

// newClient trusts the certificate in a file and no other.
func newClient(url, user, passwordFile, certificateFile string) (*client, error) {
	password, err := secret(passwordFile)
	if err != nil {
		return nil, err
	}
	trust := &tls.Config{RootCAs: x509.NewCertPool()}
	certificate, err := os.ReadFile(certificateFile)
	switch {
	case err != nil:
		return nil, err
	case !trust.RootCAs.AppendCertsFromPEM(certificate):
		return nil, fmt.Errorf("%s holds no certificate", certificateFile)
	}
	return &client{url, user, password, &http.Client{Transport: &http.Transport{TLSClientConfig: trust}}}, nil
}

// refusal is what the node says instead of an answer.
type refusal struct {
	Code    int
	Message string
}

func (r *refusal) Error() string { return r.Message }

// maxAnswer bounds what a node may answer, in bytes.
const maxAnswer = 16 << 20

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
	r.SetBasicAuth(c.user, c.password)
	r.Header.Set("Content-Type", "application/json")
	answer, err := c.http.Do(r)
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	var a struct {
		Result json.RawMessage
		Error  *refusal
	}
	switch err := json.Unmarshal(b, &a); {
	case answer.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("%s: the node refuses the password", method)
	case err != nil:
		return fmt.Errorf("%s: %s", method, answer.Status)
	case a.Error != nil:
		return fmt.Errorf("%s: %w", method, a.Error)
	}
	if err := json.Unmarshal(a.Result, result); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}
