// Package client is how Go programs talk to a node's daemon: archy, the gate and the
// tests all use it.
package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/api/apiconnect"
)

const (
	dialTimeout = 5 * time.Second
	// A backup is answered once the volumes are copied, and a restore once they are unpacked:
	// both take as long as they get on, which is the daemon's to say. A node that is gone is
	// found by TCP's probes.
	answerTimeout = 24 * time.Hour
	maxMessage    = 16 << 20 // bytes of a message of the daemon's
)

// ErrOperation is wrapped when an operation was accepted and then failed.
var ErrOperation = errors.New("operation failed")

// Client calls one daemon.
type Client struct {
	apiconnect.OrchestratorClient
}

// New returns a client of the daemon at base: "https://192.0.2.7:7443", or on the node
// itself "http://127.0.0.1:7070". The fingerprint is that of the node's CA, SHA-256 in
// hex; without one, the node must have a certificate that this machine trusts.
func New(base, token, fingerprint string) *Client {
	return &Client{apiconnect.NewOrchestratorClient(httpClient(base, token, fingerprint), base, connect.WithReadMaxBytes(maxMessage))}
}

func httpClient(base, token, fingerprint string) *http.Client {
	return &http.Client{
		Transport: &bearer{token, Check(base), &http.Transport{
			TLSClientConfig:       pin(fingerprint),
			DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
			MaxIdleConnsPerHost:   8,
			IdleConnTimeout:       30 * time.Second,
			ResponseHeaderTimeout: answerTimeout,
		}},
		// The token is for this daemon, and not for where something else would send it.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// bearer adds the token to requests, unless the address is refused.
type bearer struct {
	token   string
	refused error
	next    http.RoundTripper
}

func (b *bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.refused != nil {
		return nil, b.refused
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(r)
}

// Verbs are the operations on an application, as people type them.
var Verbs = []string{"install", "start", "stop", "restart", "update", "rollback", "adopt", "uninstall"}

// Request requests an operation. When it returns, the daemon has the request on disk.
func (c *Client) Request(ctx context.Context, verb, app string, purge bool) (*api.Operation, error) {
	var resp *connect.Response[api.Operation]
	var err error
	switch verb {
	case "install":
		resp, err = c.Install(ctx, connect.NewRequest(&api.InstallRequest{Id: app}))
	case "start":
		resp, err = c.Start(ctx, connect.NewRequest(&api.StartRequest{Id: app}))
	case "stop":
		resp, err = c.Stop(ctx, connect.NewRequest(&api.StopRequest{Id: app}))
	case "restart":
		resp, err = c.Restart(ctx, connect.NewRequest(&api.RestartRequest{Id: app}))
	case "update":
		resp, err = c.Update(ctx, connect.NewRequest(&api.UpdateRequest{Id: app}))
	case "rollback":
		resp, err = c.Rollback(ctx, connect.NewRequest(&api.RollbackRequest{Id: app}))
	case "adopt":
		resp, err = c.Adopt(ctx, connect.NewRequest(&api.AdoptRequest{Id: app}))
	case "uninstall":
		resp, err = c.Uninstall(ctx, connect.NewRequest(&api.UninstallRequest{Id: app, Purge: purge}))
	default:
		return nil, fmt.Errorf("unknown operation %q", verb)
	}
	if err != nil {
		return nil, err
	}
	return resp.Msg, nil
}

// Await follows an operation to its end. Progress goes to say, which may be nil. If the
// operation fails, the error is an ErrOperation. The last progress says how the time was
// spent.
func (c *Client) Await(ctx context.Context, op *api.Operation, say func(string)) (*api.Progress, error) {
	stream, err := c.Watch(ctx, connect.NewRequest(&api.WatchRequest{App: op.App, Generation: op.Generation}))
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	for stream.Receive() {
		p := stream.Msg()
		switch {
		case p.Done && p.Error != "":
			return p, fmt.Errorf("%w: %s: %s", ErrOperation, op.App, p.Error)
		case p.Done:
			return p, nil
		case say != nil && p.Message != "":
			say(p.Message)
		}
	}
	if err := stream.Err(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%s: the daemon closed the stream before the operation ended", op.App)
}

// Do requests an operation and awaits its end.
func (c *Client) Do(ctx context.Context, verb, app string, purge bool, say func(string)) (*api.Progress, error) {
	op, err := c.Request(ctx, verb, app, purge)
	if err != nil {
		return nil, err
	}
	return c.Await(ctx, op, say)
}
