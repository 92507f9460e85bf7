package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/archipelago-cloud/archipelago/gate"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/lab"
)

func (a *app) labCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "lab",
		Short: "Two real nodes on this machine",
		Long:  "Two real nodes on this machine, .228 and .198: systemd, sshd and rootless Podman,\nreached over SSH on 127.0.0.228 and 127.0.0.198.",
	}
	c.AddCommand(
		&cobra.Command{
			Use: "up", Short: "Bring both nodes up and wait until they answer",
			Example: "  gate lab up",
			Args:    cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				cat, err := a.catalog(cmd.Context())
				if err != nil {
					return err
				}
				_, err = gate.LabUp(cmd.Context(), cat, cmd.ErrOrStderr())
				return err
			},
		},
		&cobra.Command{
			Use: "down", Short: "Remove both nodes with their data and stop the engine",
			Example: "  gate lab down",
			Args:    cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				l, err := lab.Open(cmd.ErrOrStderr())
				if err != nil {
					return err
				}
				return l.Down(cmd.Context())
			},
		},
		a.labStatusCommand(),
		labSSHCommand(),
		&cobra.Command{
			Use: "logs NODE", Short: "Print the console of a node",
			Example:           "  gate lab logs .228",
			Args:              cobra.ExactArgs(1),
			ValidArgsFunction: labNodes,
			RunE: func(cmd *cobra.Command, args []string) error {
				l, err := lab.Open(io.Discard)
				if err != nil {
					return err
				}
				return l.Logs(cmd.Context(), args[0], cmd.OutOrStdout())
			},
		},
		&cobra.Command{
			Use: "power-cut NODE", Short: "Pull the plug of a node and put it back",
			Example:           "  gate lab power-cut .198",
			Args:              cobra.ExactArgs(1),
			ValidArgsFunction: labNodes,
			RunE: func(cmd *cobra.Command, args []string) error {
				l, err := lab.Open(io.Discard)
				if err != nil {
					return err
				}
				return l.PowerCut(cmd.Context(), args[0])
			},
		},
	)
	return c
}

func labSSHCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "ssh NODE [COMMAND...]", Short: "Open a shell on a node, or run one command",
		Example:           "  gate lab ssh .228 systemctl --user status",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: labNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := lab.Open(io.Discard)
			if err != nil {
				return err
			}
			return sshInto(l.InventoryFile(), args)
		},
	}
	c.Flags().SetInterspersed(false) // those after the node are the command's
	return c
}

func labNodes(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, m := range lab.Nodes {
		names = append(names, m.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) labStatusCommand() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use: "status", Short: "Show the state of each node",
		Example: "  gate lab status --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := lab.Open(io.Discard)
			if err != nil {
				return err
			}
			status, err := l.Status(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(status)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
			for _, s := range status {
				fmt.Fprintf(w, "%s\t%s\t%s\n", s.Name, s.Address, s.State)
			}
			return w.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// sshInto replaces this process with OpenSSH's client, because people expect a terminal
// that behaves. The host key must be the inventory's.
func sshInto(inventory string, args []string) error {
	inv, err := nodes.LoadInventory(inventory)
	if err != nil {
		return err
	}
	n, err := inv.Node(args[0])
	if err != nil {
		return err
	}
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		return errors.New("OpenSSH's client is not installed: apt-get install openssh-client")
	}
	known, err := os.CreateTemp("", "archipelago-known-hosts-")
	if err != nil {
		return err
	}
	defer known.Close()
	fmt.Fprintf(known, "%s %s\n", n.Address, n.HostKey)
	argv := []string{"ssh", "-q"}
	if term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd())) {
		argv = append(argv, "-t") // a command that talks to a person may be a shell
	}
	argv = append(argv, "-i", n.Key, "-p", fmt.Sprint(n.Port), "-o", "StrictHostKeyChecking=yes",
		"-o", "UserKnownHostsFile="+known.Name(), n.User+"@"+n.Address, "--")
	argv = append(argv, args[1:]...)
	return unix.Exec(ssh, argv, os.Environ())
}
