// Command catalog is for those who publish applications: it makes signed catalogs, moves
// entries from channel to channel, and writes mirrors. Owners of nodes use archy.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/channel"
	"github.com/archipelago-cloud/archipelago/catalog/mirror"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
	"github.com/archipelago-cloud/archipelago/cmd/internal/keys"
	"github.com/archipelago-cloud/archipelago/cmd/internal/manual"
	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
	"github.com/archipelago-cloud/archipelago/internal/plain"
)

// version is set by the linker.
var version = "0.0.0-dev"

// Exit statuses.
const (
	exitRefused = 1
	exitUsage   = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	c := command()
	c.SetOut(plain.ForTerminal(os.Stdout))
	c.SetErr(plain.ForTerminal(os.Stderr))
	err := c.ExecuteContext(ctx)
	stop()
	if err != nil { // which may be in the words of a run or a catalog that others made
		fmt.Fprintln(os.Stderr, "catalog:", plain.Block(err.Error()))
		os.Exit(exitStatus(err))
	}
}

func exitStatus(err error) int {
	if usage.Is(err) {
		return exitUsage
	}
	for _, bad := range []error{keys.ErrUsage, sign.ErrKey, catalog.ErrInvalid, channel.ErrInput, mirror.ErrDuplicate} {
		if errors.Is(err, bad) {
			return exitUsage
		}
	}
	return exitRefused
}

func command() *cobra.Command {
	c := &cobra.Command{Use: "catalog", Short: "Build, sign, check, promote and publish signed catalogs", Args: cobra.NoArgs,
		Long: `A catalog is one JSON document that holds complete manifests. The catalog of channel
feature is built from directories of manifests; the gate tests it; and entries are
promoted from feature to user and from user to beta, each on a green run of the gate
over exactly its digests, which the entry carries as its proof. Every catalog
is signed before it is used.

Exit status: 0 done; 1 refused, or failed; 2 usage or bad input.`,
		Example: "  catalog build --output feature.json\n  catalog sign feature.json --key release.key --identity id.txt\n  catalog promote APP --from feature.json --to user.json --root root.json --run out/gate/latest\n  catalog sign user.json --root root.json --key release.key --identity id.txt\n  catalog publish feature.json user.json --root root.json --to /srv/mirror",
		Version: version, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(keys.Command("catalog"), rootCommand(), buildCommand(), signCommand(), verifyCommand(), diffCommand(), promoteCommand(), revokeCommand(), publishCommand(), manual.Command())
	usage.Mark(c)
	return c
}
