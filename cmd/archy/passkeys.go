package main

import (
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
)

func (a *app) passkeys() *cobra.Command {
	c := &cobra.Command{
		Use: "passkeys", Short: "List the passkeys that sign in to My Apps, or remove them",
		Long: `List the passkeys that sign in to My Apps, or remove them.

They are added in My Apps, on the page System. Each is for one name of the node, and stays
when the password changes.`,
		Example: "  archy passkeys\n  archy passkeys remove kq3v7m2a\n  archy passkeys remove --all",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return ask(a, cmd, (*client.Client).ListPasskeys, &api.ListPasskeysRequest{}, func(r *api.ListPasskeysResponse) error {
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
				fmt.Fprintln(w, "ID\tADDED\tUSED\tHOST\tNAME")
				for _, p := range r.Passkeys {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", p.Id, minute(p.Added), minute(p.Used), p.Host, p.Name)
				}
				return w.Flush()
			})
		},
	}
	var all bool
	remove := &cobra.Command{
		Use: "remove ID|--all", Short: "Have a passkey sign in no more, or all of them",
		Long: `Have a passkey sign in no more, or all of them, also where they cannot be read. Browsers
that one has signed in stay so: 'archy sessions' lists them.`,
		Example: "  archy passkeys remove kq3v7m2a\n  archy passkeys remove --all",
		Args: func(_ *cobra.Command, args []string) error {
			if one := len(args) == 1 && args[0] != ""; one == all || len(args) > 1 {
				return errors.New("expected the ID of one passkey ('archy passkeys' lists them), or --all")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var id string // of all
			if !all {
				id = args[0]
			}
			return ask(a, cmd, (*client.Client).RemovePasskeys, &api.RemovePasskeysRequest{Id: id}, func(r *api.RemovePasskeysResponse) error {
				fmt.Fprintf(cmd.OutOrStdout(), "removed: %d\n", r.Removed)
				return nil
			})
		},
	}
	remove.Flags().BoolVar(&all, "all", false, "remove all passkeys")
	c.AddCommand(remove)
	return c
}
