package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
	"github.com/archipelago-cloud/archipelago/dist"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/upgrade"
)

const upgradeTimeout = 3 * time.Minute // three starts of the unit, and then some

// upgradeCommand takes a program that nobody has signed. It is a command of the node's own
// shell, because whoever has that can replace the program anyway; the RPC has no such call.
func upgradeCommand() *cobra.Command {
	var unsigned bool
	var dataDir string
	c := &cobra.Command{
		Use: "upgrade --unsigned FILE", Short: "Replace the daemon with a program that nobody has signed; for its user, on the node itself",
		Long: `Replace the daemon with the program in FILE, whoever built it, and wait until it
serves. Run this as the daemon's user, on the node. Applications keep running. If the new
daemon does not come up, the old one returns by itself. A release is signed: it comes
over the network, with 'archy upgrade'.

Exit status: 0 the new daemon serves; 1 it was refused, or the old one has returned; 2
usage or bad input.`,
		Example: "  archipelago upgrade --unsigned ./archipelago",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !unsigned {
				return usage.Wrap(errors.New("a signed release comes over the network, with 'archy upgrade FILE'; --unsigned takes FILE whoever built it"))
			}
			program, err := ownDaemon()
			if err != nil {
				return usage.Wrap(err)
			}
			f, err := os.Open(args[0])
			if err != nil {
				return usage.Wrap(err)
			}
			defer f.Close()
			h := sha256.New()
			if _, err := io.Copy(h, f); err != nil {
				return usage.Wrap(err)
			}
			if _, err := f.Seek(0, io.SeekStart); err != nil {
				return err
			}
			sum := fmt.Sprintf("%x", h.Sum(nil))
			says, err := upgrade.Stage(cmd.Context(), program, f, sum, "")
			noted := state.Audit(stateDir(dataDir), "the node's shell", "", "upgrade the daemon to "+says+", unsigned, SHA-256 "+sum, err)
			if noted != nil {
				fmt.Fprintln(cmd.ErrOrStderr(), "archipelago:", noted)
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%s is on trial\n", says)
			if out, err := exec.CommandContext(cmd.Context(), "systemctl", "--user", "restart", "--no-block", dist.Unit).CombinedOutput(); err != nil {
				return fmt.Errorf("restarting %s: %w: %s; it starts the new program when it is restarted", dist.Unit, err, out)
			}
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), upgradeTimeout, fmt.Errorf("waited %s", upgradeTimeout))
			defer cancel()
			if err := upgrade.Await(ctx, program, sum); err != nil {
				return fmt.Errorf("%w (journalctl --user -u %s says why)", err, dist.Unit)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "the daemon is %s\n", says)
			return nil
		},
	}
	c.Flags().BoolVar(&unsigned, "unsigned", false, "take FILE whoever built it")
	dataFlag(c, &dataDir)
	return c
}

// ownDaemon is the path of the daemon's program, if it belongs to whoever asks.
func ownDaemon() (string, error) {
	u, err := user.Current()
	if err != nil {
		return "", err
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	program := filepath.Join(home, dist.Program)
	info, err := os.Stat(program)
	if err != nil {
		return "", fmt.Errorf("%s has no daemon here: %w; run this as the daemon's user, on the node", u.Username, err)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); !ok || int(owner.Uid) != os.Geteuid() {
		return "", fmt.Errorf("%s does not belong to %s; run this as the daemon's user", program, u.Username)
	}
	return program, nil
}
