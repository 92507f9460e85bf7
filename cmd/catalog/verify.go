package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/internal/plain"
)

func verifyCommand() *cobra.Command {
	var roots rootFlags
	var channel string
	c := &cobra.Command{
		Use: "verify FILE|DIR|URL", Short: "Check a signed catalog as a node does, or the files of a release",
		Long:    "Check a signed catalog as a node does: signatures, age, and every entry with its proof. Of a\nrelease, in a directory or at an address, check its description by the same keys, and every\nfile by the description. If a node would refuse anything, the exit status is 1 and every\nreason is printed.",
		Example: "  catalog verify beta.json --root root.json\n  catalog verify Downloads/1.0 --root root.json",
		Args:    cobra.ExactArgs(1),
	}
	roots.add(c)
	c.Flags().StringVar(&channel, "channel", "", "channel that it must be of")
	asJSON := jsonFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		_, p, err := roots.read()
		if err != nil {
			return err
		}
		if isRelease(args[0]) {
			d, err := verifyRelease(cmd.Context(), args[0], p)
			if err != nil {
				return err
			}
			if *asJSON {
				return printJSON(cmd, map[string]any{"version": d.Version, "commit": d.Commit, "created": d.Created, "files": d.Files})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: release %s is valid: %d files, built from commit %s\n", args[0], d.Version, len(d.Files), d.Commit)
			return err
		}
		d, _, err := readVerified(cmd.Context(), args[0], p, channel)
		if err != nil {
			return err
		}
		problems := []error{d.Proven(cmd.Context(), p)}
		for i := range d.Entries {
			e := &d.Entries[i]
			if e.ImageOnly() {
				continue // only a node that has the manifest can tell
			}
			if _, err := e.Parse(); err != nil {
				problems = append(problems, err)
			}
		}
		if err := errors.Join(problems...); err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd, map[string]any{"channel": d.Channel, "serial": d.Serial, "created": d.Created, "expires": d.Expires, "entries": len(d.Entries), "revoked": d.Revoked, "digest": d.Digest})
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: catalog %s is valid: %d applications, %d revoked versions, good until %s\n", args[0], d.Head(), len(d.Entries), len(d.Revoked), d.Expires.Format(time.RFC3339))
		return err
	}
	return c
}

func diffCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "diff [OLD] NEW", Short: "Show what another catalog would change on a node, privileges and ports first",
		Example: "  catalog diff beta.json beta.new.json",
		Args:    cobra.RangeArgs(1, 2),
	}
	asJSON := jsonFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		var before *document.Document
		after, err := peek(args[len(args)-1])
		if err == nil && len(args) == 2 {
			before, err = peek(args[0])
		}
		if err != nil {
			return err
		}
		changes := document.Diff(before, after)
		if *asJSON {
			return printJSON(cmd, changes)
		}
		// Nobody has verified it: what it says begins no line, and hides none.
		p := func(format string, args ...any) {
			io.WriteString(cmd.OutOrStdout(), plain.Block(fmt.Sprintf(format, args...))+"\n")
		}
		for _, c := range changes {
			switch {
			case c.From == c.To && len(c.Lines) == 0:
				p("%s %s, the same manifest", c.ID, c.To)
			case c.From == "":
				p("%s %s, new", c.ID, c.To)
			case c.To == "":
				p("%s %s is removed", c.ID, c.From)
			default:
				p("%s %s -> %s", c.ID, c.From, c.To)
			}
			for _, l := range []struct{ label, text string }{{"REVOKED", c.Revoked}, {"WAIVER", c.Waiver}, {"notes", c.Notes}} {
				if l.text != "" {
					p("  %-9s  %s", l.label, l.text)
				}
			}
			for _, w := range c.Words {
				p("  %-9s  %s", "entry", w)
			}
			if c.From == "" || c.To == "" {
				continue
			}
			for _, l := range c.Lines {
				p("  %-9s  %s: %s -> %s", l.Kind, l.Path, cmp.Or(l.Old, "nothing"), cmp.Or(l.New, "nothing"))
			}
		}
		if len(changes) == 0 {
			p("nothing changes")
		}
		return nil
	}
	return c
}
