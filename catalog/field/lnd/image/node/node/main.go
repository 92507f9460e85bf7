// Node runs lnd in its container: on the chain of the Bitcoin node beside it, and with a
// wallet that it makes at the first start.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

const usage = `usage: node run            run lnd; at its first start, make a wallet
       node health         whether lnd has opened its wallet
       node ready          on simnet, whether the wallet has been given coins
       node keep TEXT      keep a text as an invoice and as the label of a payment to oneself
       node kept           the texts that are kept as both`

// The places of what lnd and its companions have, beside lnd.conf.
const (
	dataDir         = "/data"
	certificateFile = dataDir + "/tls.cert" // lnd makes it
	credentialsDir  = "/credentials"        // what permits everything
	limitedDir      = "/limited"            // what permits to look, and to be paid
	retry           = 2 * time.Second
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err := command(ctx, os.Args[1:])
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.Exited():
		os.Exit(exit.ExitCode())
	case err != nil:
		fmt.Fprintln(os.Stderr, "node:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "run":
		return run(ctx)
	case len(args) == 1 && args[0] == "health":
		return health(ctx)
	case len(args) == 1 && args[0] == "ready":
		return ready(ctx)
	case len(args) == 2 && args[0] == "keep":
		return keepText(ctx, args[1])
	case len(args) == 1 && args[0] == "kept":
		return keptTexts(ctx, os.Stdout)
	}
	return errors.New(usage)
}

// run is the container's first process: lnd ends by the signal that it passes on.
func run(ctx context.Context) error {
	network, err := waitForChain(ctx)
	if err != nil {
		return err
	}
	args := []string{"--configfile=/etc/lnd/lnd.conf", "--bitcoin." + network}
	for name, in := range map[string]string{"admin": credentialsDir, "readonly": limitedDir, "invoice": limitedDir} {
		dir, err := macaroonDir(in, network)
		if err != nil {
			return err
		}
		args = append(args, "--"+name+"macaroonpath="+filepath.Join(dir, name+".macaroon"))
	}
	cmd := exec.CommandContext(ctx, "/usr/local/bin/lnd", args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Start(); err != nil {
		return err
	}
	making, end := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := attend(making, network)
		if err == nil && network == "simnet" {
			err = wantCoins(making)
		}
		if err != nil && making.Err() == nil {
			fmt.Fprintln(os.Stderr, "node:", err)
			cmd.Process.Signal(syscall.SIGTERM)
		}
	}()
	err = cmd.Wait()
	end()
	<-done
	switch {
	case ctx.Err() != nil && cmd.ProcessState.Success():
		return nil // it was asked to stop
	case err == nil:
		return errors.New("lnd has ended")
	}
	return err
}

// macaroonDir makes the directory of a network's macaroons, which current beside it leads to
// from now on.
func macaroonDir(in, network string) (string, error) {
	dir, current := filepath.Join(in, network), filepath.Join(in, "current")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	if to, err := os.Readlink(current); err == nil && to == network {
		return dir, nil
	}
	if err := os.Remove(current + ".new"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if err := os.Symlink(network, current+".new"); err != nil {
		return "", err
	}
	return dir, os.Rename(current+".new", current)
}

// pause waits between two attempts.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(retry):
		return nil
	}
}
