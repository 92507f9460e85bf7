// Command gate takes every application of the catalog through its whole life on
// real nodes, and says whether the release may ship.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

type app struct {
	catalogDirs       []string
	inventory, daemon string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{}
	root := &cobra.Command{Use: "gate", SilenceUsage: true, SilenceErrors: true}
	root.PersistentFlags().StringArrayVar(&a.catalogDirs, "catalog", []string{"catalog/apps"}, "directory of manifests")
	root.PersistentFlags().StringVar(&a.inventory, "nodes", "", "inventory")
	root.PersistentFlags().StringVar(&a.daemon, "daemon", "out/bin/archipelago", "daemon binary")
	root.AddCommand(a.labCommand(), a.deployCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "gate:", err)
		os.Exit(1)
	}
}
