package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The states of lnd that matter here (lnrpc.WalletState).
const (
	noWallet = "NON_EXISTING"
	unlocked = "UNLOCKED"
	rpcUp    = "RPC_ACTIVE"
	serverUp = "SERVER_ACTIVE"
)

// searched is how many addresses are looked at for coins where a wallet is made of a seed
// that was there before it.
const searched = 2500

const rest = "https://localhost:8080"

// answers is how long lnd may take to answer; making a wallet takes it some seconds.
const answers = time.Minute

// attend gives companions the certificate of lnd, which is starting, and makes a wallet if
// it says that it has none.
func attend(ctx context.Context, network string) error {
	for given := false; ; {
		state, err := walletState(ctx)
		if err == nil && !given {
			certificate, err := os.ReadFile(certificateFile)
			for _, dir := range []string{credentialsDir, limitedDir} {
				if err == nil {
					err = keep(filepath.Join(dir, "tls.cert"), certificate)
				}
			}
			if err != nil {
				return err
			}
			given = true
		}
		switch {
		case err == nil && state == noWallet:
			return makeWallet(ctx, network)
		case err == nil && (state == unlocked || state == rpcUp || state == serverUp):
			return nil
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

func health(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	state, err := walletState(ctx)
	if err == nil && state != unlocked && state != rpcUp && state != serverUp {
		err = fmt.Errorf("the wallet is %s", state)
	}
	return err
}

func walletState(ctx context.Context) (string, error) {
	var a struct{ State string }
	err := callLND(ctx, http.MethodGet, "/v1/state", nil, &a)
	return a.State, err
}

// makeWallet makes a wallet of the seed in the volume, which is there before the wallet, so
// that no coins are ever received without it.
func makeWallet(ctx context.Context, network string) error {
	password, err := os.ReadFile("/run/secrets/wallet-password")
	if err != nil {
		return err
	}
	request := map[string]any{"wallet_password": bytes.TrimSpace(password)}
	file := filepath.Join(dataDir, "seed-"+network)
	words, err := os.ReadFile(file)
	switch {
	case err == nil:
		request["recovery_window"] = searched
	case !errors.Is(err, os.ErrNotExist):
		return err
	default:
		var seed struct {
			Words []string `json:"cipher_seed_mnemonic"`
		}
		if err := callLND(ctx, http.MethodGet, "/v1/genseed", nil, &seed); err != nil {
			return err
		}
		words = []byte(strings.Join(seed.Words, " ") + "\n")
		if err := keep(file, words); err != nil {
			return err
		}
	}
	request["cipher_seed_mnemonic"] = strings.Fields(string(words))
	if err := callLND(ctx, http.MethodPost, "/v1/initwallet", request, nil); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "node: made a wallet; its seed is in %s\n", file)
	return nil
}

// keep writes a file that is there, whole, after a power cut.
func keep(file string, b []byte) error {
	f, err := os.OpenFile(file+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(file+".new", file); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// callLND asks lnd itself, which has written its certificate before it answers.
func callLND(ctx context.Context, method, path string, question, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, answers)
	defer cancel()
	client, err := trusting(certificateFile)
	if err != nil {
		return err
	}
	return ask(ctx, client, method, rest+path, question, answer, nil)
}

// callWallet asks as the owner, which takes the wallet.
func callWallet(ctx context.Context, method, path string, question, answer any) error {
	client, err := trusting(certificateFile)
	if err != nil {
		return err
	}
	macaroon, err := os.ReadFile(filepath.Join(credentialsDir, "current", "admin.macaroon"))
	if err != nil {
		return err
	}
	return ask(ctx, client, method, rest+path, question, answer, func(r *http.Request) {
		r.Header.Set("Grpc-Metadata-macaroon", hex.EncodeToString(macaroon))
	})
}

// ask makes a request in JSON, to which sign adds who asks. question, answer and sign may be nil.
func ask(ctx context.Context, client *http.Client, method, url string, question, answer any, sign func(*http.Request)) error {
	var body io.Reader
	if question != nil {
		b, err := json.Marshal(question)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return err
	}
	if sign != nil {
		sign(r)
	}
	r.Header.Set("Content-Type", "application/json")
	a, err := client.Do(r)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	b, err := io.ReadAll(io.LimitReader(a.Body, 1<<20))
	if err != nil {
		return err
	}
	if a.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %.200s", r.URL.Path, a.Status, bytes.TrimSpace(b))
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(b, answer)
}
