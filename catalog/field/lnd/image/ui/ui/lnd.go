package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
)

// lnd is asked by REST, with the macaroon that permits reading. Its certificate and its
// macaroons are read anew each time, because it may have made others.
type lnd struct {
	rest               string
	dir, limited       string // of what permits everything, and of what permits to look
	grpcPort, restPort string // of the node, by which it is reached from elsewhere
}

// What lnd answers (lnrpc). Numbers of 64 bits are texts.
type info struct {
	Alias, Version string
	Key            string `json:"identity_pubkey"`
	URIs           []string
	Height         int64 `json:"block_height"`
	Synced         bool  `json:"synced_to_chain"`
	GraphSynced    bool  `json:"synced_to_graph"`
	Peers          int64 `json:"num_peers"`
	Active         int64 `json:"num_active_channels"`
	Inactive       int64 `json:"num_inactive_channels"`
	Pending        int64 `json:"num_pending_channels"`
	Chains         []struct{ Network string }
}

type amount struct{ Sat string }

type channel struct {
	Active   bool
	Private  bool
	Key      string `json:"remote_pubkey"`
	Alias    string `json:"peer_alias"`
	Capacity string
	Local    string `json:"local_balance"`
	Remote   string `json:"remote_balance"`
}

// view is a page.
type view struct {
	Info   info
	Wallet struct {
		Confirmed   string `json:"confirmed_balance"`
		Unconfirmed string `json:"unconfirmed_balance"`
	}
	Balance struct {
		Local  amount `json:"local_balance"`
		Remote amount `json:"remote_balance"`
	}
	Channels []channel
	More     int // channels that are not listed
	Connect  []address
	Problems []string
}

// maxChannels is how many a page lists.
const maxChannels = 200

// maxAnswer bounds what lnd may answer, in bytes.
const maxAnswer = 16 << 20

// look asks all that the first page shows. What cannot be had is a problem on the page, and
// no reason not to show the rest.
func (l *lnd) look(ctx context.Context) *view {
	v := &view{}
	try := func(path string, answer any) bool {
		err := l.get(ctx, path, answer)
		if err != nil {
			v.Problems = append(v.Problems, err.Error())
		}
		return err == nil
	}
	if !try("/v1/getinfo", &v.Info) {
		return v
	}
	try("/v1/balance/blockchain", &v.Wallet)
	try("/v1/balance/channels", &v.Balance)
	var list struct{ Channels []channel }
	try("/v1/channels?peer_alias_lookup=true", &list)
	v.Channels = list.Channels[:min(len(list.Channels), maxChannels)]
	v.More = len(list.Channels) - len(v.Channels)
	return v
}

func macaroon(dir, name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(dir, "current", name+".macaroon"))
}

func (l *lnd) get(ctx context.Context, path string, answer any) error {
	certificate, err := os.ReadFile(filepath.Join(l.dir, "tls.cert"))
	if err != nil {
		return fmt.Errorf("lnd has not started yet: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(certificate) {
		return fmt.Errorf("tls.cert holds no certificate")
	}
	macaroon, err := macaroon(l.limited, "readonly")
	if err != nil {
		return fmt.Errorf("lnd has no wallet yet: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, l.rest+path, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Grpc-Metadata-macaroon", hex.EncodeToString(macaroon))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}
	a, err := client.Do(r)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	b, err := io.ReadAll(io.LimitReader(a.Body, maxAnswer))
	if err != nil {
		return err
	}
	if a.StatusCode != http.StatusOK {
		var said struct{ Message string }
		if json.Unmarshal(b, &said) != nil || said.Message == "" {
			said.Message = a.Status
		}
		return fmt.Errorf("%s: %.300s", r.URL.Path, said.Message)
	}
	return json.Unmarshal(b, answer)
}
