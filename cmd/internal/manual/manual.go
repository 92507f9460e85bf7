// Package manual makes the manual pages of a command, for packages of it.
package manual

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// Command is the hidden command 'docs', with which packages are made.
func Command() *cobra.Command {
	c := &cobra.Command{Use: "docs", Short: "Write the documentation that packages of this command have", Hidden: true}
	c.AddCommand(&cobra.Command{
		Use: "man DIR", Short: "Write manual pages into a directory, one for each command",
		Long:    "Write manual pages into a directory, one for each command. Their date is that of the\nvariable SOURCE_DATE_EPOCH, in seconds, so that the same source gives the same bytes.",
		Example: "  SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) archy docs man out/man",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return write(cmd.Root(), args[0]) },
	})
	return c
}

func write(root *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	prepare(root)
	err := doc.GenManTreeFromOpts(root, doc.GenManTreeOptions{
		Path: dir, CommandSeparator: "-",
		Header: &doc.GenManHeader{Section: "1", Source: root.Name() + " " + root.Version, Manual: "Archipelago"},
	})
	if err != nil {
		return fmt.Errorf("writing manual pages: %w", err)
	}
	return nil
}

// prepare has indented lines of descriptions stay as they are: in Markdown, from which the
// pages are made, those are a block where they are indented by four.
func prepare(c *cobra.Command) {
	c.DisableAutoGenTag = true
	var long strings.Builder
	block := false
	for line := range strings.Lines(c.Long) {
		if indented := strings.HasPrefix(line, "  "); indented != block {
			block = indented
			long.WriteString("\n")
		}
		if block {
			long.WriteString("  ")
		}
		long.WriteString(line)
	}
	c.Long = long.String()
	for _, sub := range c.Commands() {
		prepare(sub)
	}
}
