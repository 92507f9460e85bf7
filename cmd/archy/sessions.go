package main

import (
	"cmp"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
)

func (a *app) sessions() *cobra.Command {
	c := &cobra.Command{
		Use: "sessions", Short: "List the browsers that are signed in to My Apps, or sign them out",
		Example: "  archy sessions\n  archy sessions end kq3v7m2a\n  archy sessions end --all",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return ask(a, cmd, (*client.Client).ListSessions, &api.ListSessionsRequest{}, func(r *api.ListSessionsResponse) error {
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
				fmt.Fprintln(w, "ID\tUSER\tBEGUN\tENDS\tADDRESS\tBROWSER")
				for _, s := range r.Sessions {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", s.Id, cmp.Or(s.User, "-"), minute(s.Begun), minute(s.Ends), s.Address, cmp.Or(s.Browser, "-"))
				}
				return w.Flush()
			})
		},
	}
	var all bool
	end := &cobra.Command{
		Use: "end ID|--all", Short: "Sign a browser out, or all of them",
		Example: "  archy sessions end kq3v7m2a\n  archy sessions end --all",
		Args: func(_ *cobra.Command, args []string) error {
			if one := len(args) == 1 && args[0] != ""; one == all || len(args) > 1 {
				return errors.New("expected the ID of one session ('archy sessions' lists them), or --all")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var id string // of all
			if !all {
				id = args[0]
			}
			return ask(a, cmd, (*client.Client).EndSessions, &api.EndSessionsRequest{Id: id}, func(r *api.EndSessionsResponse) error {
				fmt.Fprintf(cmd.OutOrStdout(), "signed out: %d\n", r.Ended)
				return nil
			})
		},
	}
	end.Flags().BoolVar(&all, "all", false, "sign all browsers out")
	c.AddCommand(end)
	return c
}
