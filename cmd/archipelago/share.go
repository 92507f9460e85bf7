package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/orchestrator/storage"
)

// shareCommand opens a folder of the owner's to containers. The daemon has it run in
// Podman's user namespace, where files can belong to containers' users.
func shareCommand() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use: "share DIR NAME", Short: "Open a folder to containers, whatever their users, in Podman's user namespace",
		Long: `Open a folder to containers, whatever their users, and mark it. It runs in Podman's user
namespace; the daemon has it run for 'archy storage add'. It prints what the mark holds,
and how many files --all could not open.`,
		Example: "  podman unshare archipelago share /srv/photos photos",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if os.Geteuid() != 0 {
				return errors.New("folders are shared in Podman's user namespace: podman unshare archipelago share DIR NAME")
			}
			id, left, err := storage.Share(args[0], args[1], all, storage.KeepingGroups)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), id, left)
			return nil
		},
	}
	c.Flags().BoolVar(&all, "all", false, "also what is in the folder already")
	return c
}
