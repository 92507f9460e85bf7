package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
)

func (a *app) tokens() *cobra.Command {
	c := &cobra.Command{
		Use: "tokens", Short: "Give programs tokens of their own, which may do less than the node's, and end",
		Long: `Give programs tokens of their own, which may do less than the node's, and end. Each has a
scope:
  read     see applications, backups, their use and the node, and read /metrics
  operate  also start, stop, restart and back up applications, refresh the catalog, read logs
  admin    also install, configure, update, remove and restore, and see credentials
Who has access, and which daemon runs, is said with the node's own token alone. These commands
need that, too.`,
		Example: "  archy tokens add prometheus\n  archy tokens add backup-timer --scope operate --days 365\n  archy tokens list",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(a.addToken(), a.listTokens(), a.removeToken())
	return c
}

func (a *app) addToken() *cobra.Command {
	req := &api.AddTokenRequest{}
	c := &cobra.Command{
		Use: "add NAME", Short: "Make a token, and print it this once",
		Example: "  archy tokens add prometheus > token\n  archy tokens add backup-timer --scope operate --days 365",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Name = args[0]
			return ask(a, cmd, (*client.Client).AddToken, req, func(r *api.AddTokenResponse) error {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s has the scope %s until %s; this is the token, which is shown this once:\n", r.Token.Name, r.Token.Scope, minute(r.Token.Ends))
				_, err := fmt.Fprintln(cmd.OutOrStdout(), r.Secret)
				return err
			})
		},
	}
	c.Flags().StringVar(&req.Scope, "scope", "read", "read, operate or admin")
	c.Flags().Uint32Var(&req.Days, "days", 90, "days until it ends, 3650 at most")
	return c
}

func (a *app) listTokens() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the tokens of programs",
		Example: "  archy tokens list --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return ask(a, cmd, (*client.Client).ListTokens, &api.ListTokensRequest{}, func(r *api.ListTokensResponse) error {
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
				fmt.Fprintln(w, "NAME\tSCOPE\tMADE\tENDS\tUSED")
				for _, t := range r.Tokens {
					ends := minute(t.Ends)
					if !t.Ends.AsTime().After(time.Now()) {
						ends += " (ended)"
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", t.Name, t.Scope, minute(t.Made), ends, day(t.Used))
				}
				return w.Flush()
			})
		},
	}
}

func (a *app) removeToken() *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "Have a token open nothing from now on",
		Example: "  archy tokens remove prometheus",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(a, cmd, (*client.Client).RemoveToken, &api.RemoveTokenRequest{Name: args[0]}, func(*api.RemoveTokenResponse) error {
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s opens nothing any more\n", args[0])
				return err
			})
		},
	}
}
