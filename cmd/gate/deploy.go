package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/gate"
	"github.com/archipelago-cloud/archipelago/gate/runner"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/fleet"
	"github.com/archipelago-cloud/archipelago/nodes/lab"
)

// deployCommand brings the daemon and the catalog onto nodes for a developer to try, and
// keeps the registry within their reach.
func (a *app) deployCommand() *cobra.Command {
	var take []string
	c := &cobra.Command{
		Use: "deploy", Short: "Bring the daemon and the catalog onto the nodes and serve images until interrupted",
		Long:    "Bring the daemon and the catalog onto the nodes, and serve images until interrupted. The\nnodes are held meanwhile, as by a run. A node with applications or a daemon that no gate\nput there is an owner's, and refused unless --take names it. No data is deleted.",
		Example: "  gate lab up && gate deploy",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.ErrOrStderr()
			cat, err := a.catalog(cmd.Context())
			if err != nil {
				return err
			}
			l, err := lab.Open(out)
			if err != nil {
				return err
			}
			if a.inventory == "" {
				release, err := l.Hold("gate deploy")
				if err != nil {
					return err
				}
				defer release()
			}
			inv, err := gate.Inventory(a.inventory)
			if err != nil {
				return err
			}
			for _, name := range take {
				if _, err := inv.Node(name); err != nil {
					return fmt.Errorf("--take: %w", err)
				}
			}
			f, err := fleet.Assemble(cmd.Context(), inv.Nodes)
			if err != nil {
				return err
			}
			defer f.Close()
			unlock, err := runner.Lock(cmd.Context(), f, "deploy")
			if err != nil {
				return err
			}
			defer unlock()
			if err := f.Visit(cmd.Context(), take...); err != nil {
				return err
			}
			if err := f.Equip(cmd.Context(), a.daemon, cat, l.Engine, nil, out); err != nil {
				return err
			}
			if a.inventory == "" {
				for _, m := range f.Nodes {
					if err := l.Engine.GiveBase(cmd.Context(), m.SSH, out); err != nil {
						return err
					}
				}
			}
			for _, m := range f.Nodes {
				fmt.Fprintf(out, "node %s: %s\n  sign in: gate lab ssh %s cat %s/%s/state/token | archy login %s --fingerprint %s\n", m.Name, m.RPC(), m.Name, nodes.DataDir, manifest.OwnDir, m.RPC(), m.Authority.Fingerprint())
			}
			fmt.Fprintln(out, "serving images to the nodes; Ctrl-C ends it")
			<-cmd.Context().Done()
			return nil
		},
	}
	c.Flags().StringArrayVar(&take, "take", nil, "name of an owner's node to deploy to all the same; may be given again")
	return c
}
