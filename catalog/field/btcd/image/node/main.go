// Node runs btcd in its container, and answers for it: whether it is healthy and ready,
// and, on simnet, with blocks of its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

const usage = `usage: node run            run btcd; on simnet, mine blocks for what waits, or one after ten minutes without one, and give coins
       node health         whether the RPC answers
       node ready          whether the newest block is of the last day
       node mine TEXT      on simnet, mine a block that holds a text of at most 64 bytes
       node texts          the texts of all blocks, the newest first`

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
	verb := ""
	if len(args) > 0 {
		verb = args[0]
	}
	if verb == "run" && len(args) == 1 {
		return run(ctx)
	}
	c, err := newClient()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	switch {
	case verb == "health" && len(args) == 1:
		return c.call(ctx, "getblockcount", nil)
	case verb == "ready" && len(args) == 1:
		return ready(ctx, c)
	case verb == "mine" && len(args) == 2:
		return mine(ctx, c, 1, args[1], nil, time.Now())
	case verb == "texts" && len(args) == 1:
		return texts(ctx, c, os.Stdout)
	}
	return errors.New(usage)
}

// run is the container's first process: btcd ends by the signal that it passes on.
func run(ctx context.Context) error {
	args := []string{"--configfile=/etc/btcd/btcd.conf"}
	network := os.Getenv("NETWORK")
	if network != "mainnet" {
		args = append(args, "--"+network)
	}
	cmd := exec.CommandContext(ctx, "/usr/local/bin/btcd", args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Start(); err != nil {
		return err
	}
	if network == "simnet" { // of regtest, btcd deletes the chain at every start
		own, end := context.WithCancel(ctx)
		var running sync.WaitGroup
		running.Add(2)
		go func() { defer running.Done(); keepMining(own) }()
		go func() {
			defer running.Done()
			if err := serveCoins(own); err != nil {
				fmt.Fprintln(os.Stderr, "node: coins:", err)
				cmd.Process.Signal(syscall.SIGTERM)
			}
		}()
		defer func() { end(); running.Wait() }()
	}
	err := cmd.Wait()
	switch {
	case ctx.Err() != nil && cmd.ProcessState.Success():
		return nil // it was asked to stop
	case err == nil:
		return errors.New("btcd has ended")
	}
	return err
}

// ready tells whether the chain is synchronised, as Bitcoin Core does: by the age of the
// newest block. That of simnet has to grow first.
func ready(ctx context.Context, c *client) error {
	t, err := c.tip(ctx)
	if err != nil {
		return err
	}
	if os.Getenv("NETWORK") == "simnet" && t.Height < grown {
		return fmt.Errorf("the chain has %d of its first %d blocks", t.Height, grown)
	}
	if was, err := highest(); err != nil {
		return err
	} else if os.Getenv("NETWORK") == "simnet" && t.Height < was {
		return fmt.Errorf("a power cut took blocks: btcd has %d of %d again", t.Height, was)
	}
	if age := time.Since(time.Unix(t.Time, 0)); age > 24*time.Hour {
		return fmt.Errorf("the newest block, number %d, is of %s", t.Height, time.Unix(t.Time, 0).UTC().Format(time.DateOnly))
	}
	return nil
}
