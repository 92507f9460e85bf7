package main

import (
	"cmp"
	"fmt"
	"path"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
)

func (a *app) storage() *cobra.Command {
	c := &cobra.Command{
		Use: "storage", Short: "Name folders of the node that applications may share, with your consent",
		Long: `Name folders of the node that applications may share. An application that wants one asks
for it by its name, and gets it only with your consent. No uninstallation, purge, update
or backup of an application touches a folder.`,
		Example: "  archy storage add photos /srv/photos\n  archy storage list\n  archy storage remove photos",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(a.addStorage(), a.listStorage(), a.removeStorage())
	return c
}

func (a *app) addStorage() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use: "add NAME DIR", Short: "Name a directory of the node, and open it to applications that you give it to",
		Long: `Name a directory of the node, and open it to applications that you give it to: its group
may write, and new files in it are the group's to write. It belongs to the node's user, or
to one of its groups. A file .archipelago-NAME in it is how it is known again: while its
disk is not there, applications that have it wait. To add it again repairs it; a folder
that has moved, with that file, is added under its name again.`,
		Example: "  archy storage add photos /srv/photos\n  archy storage add music /mnt/disk/music --all",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !path.IsAbs(args[1]) {
				return usage.Wrap(fmt.Errorf("%q: expected the absolute path of a directory on the node, such as /srv/%s", args[1], args[0]))
			}
			return ask(a, cmd, (*client.Client).AddStorage, &api.AddStorageRequest{Name: args[0], Dir: args[1], All: all}, func(r *api.AddStorageResponse) error {
				s := r.Storage
				fmt.Fprintf(cmd.OutOrStdout(), "%s is %s\n", s.Name, s.Dir)
				if r.Left > 0 {
					fmt.Fprintf(cmd.ErrOrStderr(), "%d files and directories in it belong to others and stay as they are\n", r.Left)
				}
				return nil
			})
		},
	}
	c.Flags().BoolVar(&all, "all", false, "open what is in it already, too: whatever an application can read and write of a folder, all that have it can")
	return c
}

func (a *app) listStorage() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the folders, who has them, and whether they are there",
		Example: "  archy storage list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return ask(a, cmd, (*client.Client).ListStorage, &api.ListStorageRequest{}, func(r *api.ListStorageResponse) error {
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
				fmt.Fprintln(w, "NAME\tDIRECTORY\tAPPLICATIONS\tPROBLEM")
				for _, s := range r.Storage {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", s.Name, s.Dir, cmp.Or(strings.Join(s.Apps, ", "), "-"), cmp.Or(s.Problem, "-"))
				}
				return w.Flush()
			})
		},
	}
}

func (a *app) removeStorage() *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "Forget a folder that no application has; nothing in it is deleted",
		Example: "  archy storage remove photos",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(a, cmd, (*client.Client).RemoveStorage, &api.RemoveStorageRequest{Name: args[0]}, func(r *api.RemoveStorageResponse) error {
				fmt.Fprintf(cmd.OutOrStdout(), "%s is forgotten; what is in it stays as it is\n", args[0])
				return nil
			})
		},
	}
}
