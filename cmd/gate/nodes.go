package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/archipelago-cloud/archipelago/gate"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/gate/runner"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/fleet"
)

func (a *app) nodesCommand() *cobra.Command {
	c := &cobra.Command{Use: "nodes", Short: "The machines of an inventory"}
	var asJSON, yes bool
	check := &cobra.Command{
		Use: "check", Short: "Check whether each machine can be a node, and what stands in the way",
		Example: "  gate nodes check --nodes nodes.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			inv, err := gate.Inventory(a.inventory)
			if err != nil {
				return err
			}
			f, err := fleet.Assemble(cmd.Context(), inv.Nodes)
			if err != nil {
				return err
			}
			defer f.Close()
			var ids []nodes.Identity
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
			for _, m := range f.Nodes {
				ids = append(ids, m.Identity)
				fmt.Fprintf(w, "%s\t%s\t%s\tPodman %s\tsystemd %s\n", m.Identity.Name, m.Identity.Address, m.Identity.OS, m.Identity.Podman, m.Identity.Systemd)
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(ids)
			}
			w.Flush()
			for _, warning := range f.Warnings {
				fmt.Fprintln(cmd.OutOrStdout(), warning)
			}
			return nil
		},
	}
	check.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	trust := &cobra.Command{
		Use: "trust NODE", Short: "Record a node's host key, after showing its fingerprint",
		Long:    "Record a node's host key in the inventory, after showing its fingerprint. Compare it\nwith the one that the node itself prints: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
		Example: "  gate nodes trust .228 --nodes nodes.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.inventory == "" {
				return fmt.Errorf("%w: name the inventory with --nodes; the lab's knows its host keys", plan.ErrUsage)
			}
			inv, err := nodes.LoadInventory(a.inventory)
			if err != nil {
				return err
			}
			n, err := inv.Node(args[0])
			if err != nil {
				return err
			}
			key, err := n.AskHostKey(cmd.Context())
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s shows the host key %s %s\n", n, key.Type(), ssh.FingerprintSHA256(key))
			line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
			if n.HostKey == line {
				fmt.Fprintln(cmd.OutOrStdout(), "that is the one on record")
				return nil
			}
			if !yes {
				fmt.Fprint(cmd.OutOrStdout(), "record it? [y/N] ")
				var answer string
				fmt.Fscanln(cmd.InOrStdin(), &answer)
				if strings.ToLower(answer) != "y" {
					return errors.New("not recorded")
				}
			}
			n.HostKey = line
			return inv.Save(a.inventory)
		},
	}
	trust.Flags().BoolVar(&yes, "yes", false, "record it without asking")
	unlock := &cobra.Command{
		Use: "unlock NODE", Short: "Release a node from a run that is gone",
		Example: "  gate nodes unlock .228",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			inv, err := gate.Inventory(a.inventory)
			if err != nil {
				return err
			}
			n, err := inv.Node(args[0])
			if err != nil {
				return err
			}
			f, err := fleet.Assemble(cmd.Context(), []nodes.Node{*n})
			if err != nil {
				return err
			}
			defer f.Close()
			return runner.Unlock(cmd.Context(), f.Nodes[0])
		},
	}
	c.AddCommand(check, trust, unlock)
	return c
}
