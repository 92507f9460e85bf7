package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"
)

const (
	coinsAddress = ":8335"
	maturity     = 100 // blocks after its own before a coinbase can be spent
	coinsTimeout = 2 * time.Minute
)

// serveCoins gives applications coins of simnet, which are worth nothing, to try things with:
// 'POST /coins?address=…' mines a block that pays the address, and those after which it can be
// spent. It asks for what the RPC asks for.
func serveCoins(ctx context.Context) error {
	c, err := newClient()
	if err != nil {
		return err
	}
	s := &http.Server{Addr: coinsAddress, Handler: coins(c), ReadHeaderTimeout: 10 * time.Second, WriteTimeout: coinsTimeout, MaxHeaderBytes: 16 << 10}
	go func() {
		<-ctx.Done()
		s.Close()
	}()
	if err := s.ListenAndServeTLS("/run/secrets/rpc-cert", "/run/secrets/rpc-key"); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func coins(c *client) http.Handler {
	want := sha256.Sum256([]byte(c.password))
	var one sync.Mutex // at a time
	mux := http.NewServeMux()
	mux.HandleFunc("POST /coins", func(w http.ResponseWriter, r *http.Request) {
		_, given, _ := r.BasicAuth()
		if sum := sha256.Sum256([]byte(given)); subtle.ConstantTimeCompare(sum[:], want[:]) != 1 {
			http.Error(w, "the password of the RPC is wanted", http.StatusUnauthorized)
			return
		}
		one.Lock()
		defer one.Unlock()
		if err := give(r.Context(), c, r.URL.Query().Get("address")); err != nil {
			fmt.Fprintln(os.Stderr, "node: coins:", err)
			http.Error(w, err.Error(), http.StatusBadGateway)
		}
	})
	return mux
}

func give(ctx context.Context, c *client, address string) error {
	pay, err := c.script(ctx, address)
	if err != nil {
		return err
	}
	return mine(ctx, c, 1+maturity, "", pay, time.Now())
}

// script pays an address, which is one of a witness program of version 0 (BIP 173).
func (c *client) script(ctx context.Context, address string) ([]byte, error) {
	var a struct {
		Version *int   `json:"witness_version"`
		Program string `json:"witness_program"`
	}
	if err := c.call(ctx, "validateaddress", &a, address); err != nil {
		return nil, err
	}
	program, err := hex.DecodeString(a.Program)
	if err != nil || len(program) == 0 || a.Version == nil || *a.Version != 0 {
		return nil, fmt.Errorf("%q is no address of a witness program on simnet", address)
	}
	return append([]byte{0}, push(program)...), nil
}
