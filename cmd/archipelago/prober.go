package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/orchestrator/engine"
	"github.com/archipelago-cloud/archipelago/orchestrator/prober"
	"github.com/archipelago-cloud/archipelago/orchestrator/upgrade"
)

const replacedInterval = 10 * time.Second

// proberCommand looks at applications' health. It is this program, so that it is installed
// and rolled back with the daemon, and a process of its own, so that it outlives the daemon.
func proberCommand() *cobra.Command {
	return &cobra.Command{
		Use: "prober", Short: "Look at the health of this node's applications, in Podman's user namespace",
		Long: `Look at the health of this node's applications, and have Podman run their health
checks when that is worth a process. It runs in Podman's user namespace, as a unit of
its own, and ends on SIGTERM or when the daemon's program has been replaced: its unit
then starts the new one.`,
		Example: "  podman unshare archipelago prober",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 {
				return errors.New("the prober runs in Podman's user namespace: podman unshare archipelago prober")
			}
			podman, err := engine.OpenPodman()
			if err != nil {
				return err
			}
			program, err := os.Executable()
			if err != nil {
				return err
			}
			log := slog.New(slog.NewTextHandler(os.Stderr, nil))
			log.Info("probing", "version", version)
			ctx, end := context.WithCancel(cmd.Context())
			var watching sync.WaitGroup
			defer watching.Wait()
			defer end()
			watching.Go(func() {
				defer end()
				tick := time.NewTicker(replacedInterval)
				defer tick.Stop()
				for !upgrade.Replaced(program) {
					select {
					case <-tick.C:
					case <-ctx.Done():
						return
					}
				}
			})
			return (&prober.Prober{Engine: podman, Enter: prober.Enter, Log: log}).Run(ctx)
		},
	}
}
