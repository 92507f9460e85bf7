// Command gate runs every application of the catalog through its full lifecycle on real
// nodes, and says whether the release may ship.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
	"github.com/archipelago-cloud/archipelago/cmd/internal/keys"
	"github.com/archipelago-cloud/archipelago/cmd/internal/manual"
	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
	"github.com/archipelago-cloud/archipelago/gate/attest"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/gate/runner"
	"github.com/archipelago-cloud/archipelago/internal/plain"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/fleet"
	"github.com/archipelago-cloud/archipelago/nodes/lab"
	"github.com/archipelago-cloud/archipelago/reports"
)

// version is set by the linker.
var version = "0.0.0-dev"

// Exit statuses.
const (
	exitGreen      = 0
	exitRed        = 1
	exitUsage      = 2
	exitIncomplete = 3
)

// verdictStatus is what a verdict means to a script.
func verdictStatus(v reports.Verdict) int {
	switch v {
	case reports.Green:
		return exitGreen
	case reports.Red:
		return exitRed
	}
	return exitIncomplete
}

// app holds what all commands share.
type app struct {
	catalogDirs []string
	document    string
	roots       []string
	previous    string
	inventory   string
	daemon      string
	suite       string
	look        string
	out         string
}

// verdictError carries a verdict's exit status through cobra. It has been printed.
type verdictError struct{ status int }

func (verdictError) Error() string { return "not green" }

func main() {
	matrix.BecomeBrowser()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	root := (&app{}).command()
	root.SetOut(plain.ForTerminal(os.Stdout))
	root.SetErr(plain.ForTerminal(os.Stderr))
	err := root.ExecuteContext(ctx)
	stop()
	os.Exit(exitStatus(err))
}

// exitStatus prints an error and gives its exit status.
func exitStatus(err error) int {
	var v verdictError
	switch {
	case err == nil:
		return exitGreen
	case errors.As(err, &v):
		return v.status
	}
	fmt.Fprintln(os.Stderr, "gate:", plain.Block(err.Error()))
	switch {
	case errors.Is(err, attest.ErrAttestation):
		return exitRed
	case usage.Is(err), errors.Is(err, plan.ErrUsage), errors.Is(err, fleet.ErrOccupied), errors.Is(err, keys.ErrUsage), errors.Is(err, nodes.ErrInventory), errors.Is(err, nodes.ErrRefused),
		errors.Is(err, runner.ErrHeld), errors.Is(err, lab.ErrInUse), errors.Is(err, catalog.ErrInvalid), errors.Is(err, sign.ErrKey):
		return exitUsage
	}
	return exitIncomplete
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "gate",
		Short: "The production gate: only green ships",
		Long: `The production gate runs every application of the catalog through its full
lifecycle (install, UI, stop, start, restart, reinstall, reboot, daemon restart,
uninstall) on real nodes: 20 times on two of them, unless --policy says otherwise.

Exit status: 0 all that was asked for passed; 1 red; 2 usage or bad input,
nothing was run; 3 incomplete: the gate or a node failed, 'gate resume' goes on.`,
		Example:      "  gate run\n  gate run --cycles 1 --apps APP\n  gate report",
		Version:      version,
		SilenceUsage: true, SilenceErrors: true,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	beside := "out/bin"
	if self, err := os.Executable(); err == nil {
		beside = filepath.Dir(self)
	}
	f := root.PersistentFlags()
	f.StringArrayVar(&a.catalogDirs, "catalog", []string{"catalog/apps", "catalog/field"}, "directory of manifests; may be repeated")
	f.StringVar(&a.document, "document", "", "a signed catalog instead of directories: exactly what is to be released")
	f.StringVar(&a.previous, "previous", "", "the channel's last releases, a signed catalog or a directory of manifests: in cycles 4, 14, … an install installs that one first and updates it, and back; default: no update is tried")
	f.StringArrayVar(&a.roots, "root", nil, "with --document, or a signed catalog as --previous: file of the root document that says whose signatures count; successors follow in order")
	f.StringVar(&a.inventory, "nodes", "", "inventory of nodes; default: the lab's, which is brought up")
	f.StringVar(&a.daemon, "daemon", filepath.Join(beside, "archipelago"), "the daemon's binary")
	f.StringVar(&a.suite, "suite", filepath.Join(beside, "matrix.test"), "the compiled suite")
	f.StringVar(&a.look, "look", "", "what the witnesses run on the nodes, built for those; default: look, beside the suite")
	f.StringVar(&a.out, "out", "out/gate", "directory of runs")
	root.AddCommand(a.planCommand(), a.runCommand(), a.resumeCommand(), a.reportCommand(), a.mergeCommand(), keys.Command("gate"), a.signCommand(), a.waiveCommand(), a.releaseCommand(), a.verifyCommand(), a.labCommand(), a.nodesCommand(), a.deployCommand(), a.trendsCommand(), a.bisectCommand(), a.badgeCommand(), a.cleanCommand(), setupCommand(), versionCommand(), manual.Command())
	usage.Mark(root)
	return root
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "The gate's version",
		Example: "  gate version",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "gate", version)
			return err
		},
	}
}
