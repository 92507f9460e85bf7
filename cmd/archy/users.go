package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
)

func (a *app) users() *cobra.Command {
	c := &cobra.Command{
		Use: "users", Short: "Say who may use My Apps besides you: guests, and further owners",
		Long: `Say who may use My Apps besides you, each with a password of their own. A guest opens
applications, sees the credentials of those that you share, and neither changes nor sees
anything else. An owner may do everything there; the node's token stays with you.`,
		Example: "  archy users add anna\n  archy users set anna --share APP,APP\n  archy users list",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(a.addUser(), a.listUsers(), a.setUser(), a.resetUser(), a.removeUser())
	return c
}

func (a *app) addUser() *cobra.Command {
	var role string
	c := &cobra.Command{
		Use: "add NAME", Short: "Add a user, and print the invitation by which they choose a password",
		Long: `Add a user, and print the invitation by which they choose a password. Give it to them, and
to nobody else: whoever opens it first has the user's place. It ends when it is used, or
after a week; 'archy users reset' makes another.`,
		Example: "  archy users add anna\n  archy users add bert --role owner",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(a, cmd, (*client.Client).AddUser, &api.AddUserRequest{Name: args[0], Role: role}, invites(cmd, args[0]))
		},
	}
	c.Flags().StringVar(&role, "role", "guest", "guest, who opens applications; or owner, who may do everything")
	return c
}

// invites prints an invitation.
func invites(cmd *cobra.Command, name string) func(*api.Invitation) error {
	return func(i *api.Invitation) error {
		fmt.Fprintf(cmd.OutOrStdout(), "%s chooses a password, once, until %s, at one of\n", name, minute(i.Until))
		for _, link := range i.Links {
			fmt.Fprintf(cmd.OutOrStdout(), "  %s\n", link)
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "or on the page /join of the node, by the code\n  %s\n", i.Code)
		return err
	}
}

func (a *app) listUsers() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List who may use My Apps besides you",
		Example: "  archy users list --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return ask(a, cmd, (*client.Client).ListUsers, &api.ListUsersRequest{}, func(r *api.ListUsersResponse) error {
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
				fmt.Fprintln(w, "NAME\tROLE\tADDED\tINVITED UNTIL\tSHARED")
				for _, u := range r.Users {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", u.Name, u.Role, minute(u.Added), minute(u.Invited), cmp.Or(strings.Join(u.Shared, ","), "-"))
				}
				return w.Flush()
			})
		},
	}
}

func (a *app) setUser() *cobra.Command {
	var set api.SetUserRequest
	var share []string
	c := &cobra.Command{
		Use: "set NAME", Short: "Give a user another role, or share credentials of applications",
		Long: `Give a user another role, which ends the user's sessions, or say which applications'
credentials a guest sees: those that you name, and no others.`,
		Example: "  archy users set anna --share APP,APP\n  archy users set anna --share ''\n  archy users set anna --role owner",
		Args: func(cmd *cobra.Command, args []string) error {
			if set.Role == "" && !cmd.Flags().Changed("share") {
				return errors.New("expected --role, --share, or both")
			}
			return cobra.ExactArgs(1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if set.Name = args[0]; cmd.Flags().Changed("share") {
				set.Shared = &api.Shared{Apps: share}
			}
			return ask(a, cmd, (*client.Client).SetUser, &set, func(r *api.SetUserResponse) error {
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, who sees the credentials of %s\n", r.User.Name, r.User.Role, seen(r.User))
				return err
			})
		},
	}
	c.Flags().StringVar(&set.Role, "role", "", "guest or owner; default: as it is")
	c.Flags().StringSliceVar(&share, "share", nil, "applications whose credentials a guest sees, in place of those before; '' for none")
	return c
}

// seen are the applications whose credentials a user sees.
func seen(u *api.User) string {
	if u.Role == "owner" {
		return "all applications"
	}
	return cmp.Or(strings.Join(u.Shared, ", "), "no application")
}

func (a *app) resetUser() *cobra.Command {
	return &cobra.Command{
		Use: "reset NAME", Short: "Take a user's password away, sign them out, and print another invitation",
		Example: "  archy users reset anna",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(a, cmd, (*client.Client).ResetUser, &api.ResetUserRequest{Name: args[0]}, invites(cmd, args[0]))
		},
	}
}

func (a *app) removeUser() *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "Remove a user, and sign them out",
		Example: "  archy users remove anna",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(a, cmd, (*client.Client).RemoveUser, &api.RemoveUserRequest{Name: args[0]}, func(*api.RemoveUserResponse) error {
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s is no user any more, and is signed out\n", args[0])
				return err
			})
		},
	}
}
