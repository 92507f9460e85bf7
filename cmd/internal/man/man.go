// Package man writes the man pages of a command, for its package.
package man

import (
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
)

// Command is the hidden command that writes a man page for the root command, and for each
// command below it, into a directory. Their date is SOURCE_DATE_EPOCH, or now.
func Command() *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Short: "Write the man pages into a directory", Hidden: true,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			root, dir := cmd.Root(), args[0]
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return usage.Wrap(err)
			}
			root.DisableAutoGenTag = true
			return doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "Archipelago " + root.Version, Manual: "Archipelago"}, dir)
		},
	}
}
