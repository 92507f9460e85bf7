package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/orchestrator/engine"
)

// doctorCommand looks at the node without asking the daemon, which may be what does not run.
func doctorCommand() *cobra.Command {
	var dataDir string
	c := &cobra.Command{
		Use: "doctor", Short: "Check whether this node has what applications need, even if the daemon does not run",
		Long: `Check whether this node has what applications need, even if the daemon does not run.
Run this as the daemon's user, on the node. 'archy doctor' asks a daemon that runs.

Exit status: 0 nothing is missing; 1 something is, or it cannot be told.`,
		Example: "  archipelago doctor",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := unprivileged(os.Geteuid()); err != nil {
				return err
			}
			eng, err := engine.Open(cmd.Context())
			if err != nil {
				return err
			}
			defer eng.Close()
			found, problems := eng.Doctor(cmd.Context(), dataDir), 0
			for _, f := range found {
				if f.OK {
					fmt.Fprintf(cmd.OutOrStdout(), "ok       %s: %s\n", f.Name, f.Detail)
					continue
				}
				problems++
				fmt.Fprintf(cmd.OutOrStdout(), "problem  %s: %s\n", f.Name, f.Detail)
				if f.Remedy != "" {
					fmt.Fprintf(cmd.OutOrStdout(), "         remedy: %s\n", f.Remedy)
				}
			}
			if problems > 0 {
				return fmt.Errorf("%d of %d checks found a problem", problems, len(found))
			}
			return nil
		},
	}
	dataFlag(c, &dataDir)
	return c
}
