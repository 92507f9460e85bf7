package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

func (a *app) appShell() *cobra.Command {
	var ssh string
	c := &cobra.Command{
		Use: "shell APP [CONTAINER] [-- COMMAND...]", Short: "Open a shell in a container of an application, or run one command there",
		Long: "Open a shell in a container of an application, or run one command there: by 'podman\nexec' on the node, as the daemon's user, to whom OpenSSH takes you. The daemon itself\nopens no shell to anybody. CONTAINER is by default the one with the application's name.\n\n" +
			"An image without a shell has none; name a command that it has.",
		Example: "  archy app shell photos\n  archy app shell photos photos-db -- psql -U photos",
		Args:    cobra.MinimumNArgs(1),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, s string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return a.completeContainers(cmd, args[0])
			}
			return a.completeApps(cmd, args, s)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			command := []string{"sh"}
			if i := cmd.ArgsLenAtDash(); i >= 0 {
				args, command = args[:i], args[i:]
			}
			if len(args) < 1 || len(args) > 2 || len(command) == 0 {
				return usage.Wrap(fmt.Errorf("expected APP, a container of it, and a command after --\nusage: %s", cmd.UseLine()))
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			r, err := c.GetApp(cmd.Context(), connect.NewRequest(&api.GetAppRequest{Id: args[0]}))
			if err != nil {
				return err
			}
			name := args[len(args)-1]
			names := running(r.Msg)
			switch {
			case len(names) == 0:
				return fmt.Errorf("no container of %s runs: 'archy app logs %s' shows its last words", args[0], args[0])
			case !slices.Contains(names, name):
				return usage.Wrap(fmt.Errorf("%s has no container %q that runs: there is %s", args[0], name, strings.Join(names, ", ")))
			}
			way, err := a.reach(ssh)
			if err != nil {
				return err
			}
			exec := "podman exec -i "
			if term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd())) {
				exec, way = "podman exec -it ", way.terminal()
			}
			exec += quoted(name)
			for _, word := range command {
				exec += " " + quoted(word)
			}
			return become(way[0], append(way[1:], exec)...)
		},
	}
	reachFlag(c, &ssh)
	return c
}

// running are the names of an application's containers that run.
func running(app *api.App) (names []string) {
	for _, c := range app.Containers {
		if c.State == "running" {
			names = append(names, c.Name)
		}
	}
	return names
}

func (a *app) completeContainers(cmd *cobra.Command, id string) ([]string, cobra.ShellCompDirective) {
	c, err := a.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	r, err := c.GetApp(cmd.Context(), connect.NewRequest(&api.GetAppRequest{Id: id}))
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return running(r.Msg), cobra.ShellCompDirectiveNoFileComp
}
