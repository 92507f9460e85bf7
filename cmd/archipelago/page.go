package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
	"github.com/archipelago-cloud/archipelago/orchestrator/engine"
	"github.com/archipelago-cloud/archipelago/orchestrator/prober"
)

// pageCommand asks for the page of an application that no port of the node leads to.
func pageCommand() *cobra.Command {
	var as string
	c := &cobra.Command{
		Use: "page CONTAINER PORT PATH", Short: "Ask a container for a page from inside its network, in Podman's user namespace",
		Long: `Ask a container for a page from inside its network, and print its status, its title and
whether scripts run in it, as JSON. The daemon does so where no port is published: when it
starts an application from a backup on trial.`,
		Example: "  podman unshare archipelago page CONTAINER 8080 /",
		Args:    cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			if os.Geteuid() != 0 {
				return errors.New("this runs in Podman's user namespace: podman unshare archipelago page …")
			}
			port, err := strconv.ParseUint(args[1], 10, 16)
			if err != nil || port == 0 {
				return usage.Wrap(fmt.Errorf("%q is no port", args[1]))
			}
			podman, err := engine.OpenPodman()
			if err != nil {
				return err
			}
			seen, err := podman.Inspect(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			in, err := prober.Enter(seen.PID, seen.ID)
			if err != nil {
				return err
			}
			defer in.Close()
			page, err := prober.Page(cmd.Context(), in, int(port), args[2], as)
			if err != nil {
				return err
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(page)
		},
	}
	c.Flags().StringVar(&as, "as", "", "ask as a proxy that has the page under this host by TLS; empty: without one")
	return c
}
