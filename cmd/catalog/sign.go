package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/catalog/description"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/root"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
	"github.com/archipelago-cloud/archipelago/cmd/internal/keys"
	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
)

func rootCommand() *cobra.Command {
	var signers keys.Flags
	var rootKeys, catalogKeys []string
	var out string
	var life time.Duration
	p := root.Policy{}
	c := &cobra.Command{
		Use: "root", Short: "Make a root document: which keys are trusted, and how many of them must sign",
		Long:    "Make a root document. Version 1 is given to nodes by their owners. Each successor is\nsigned by as many keys of the version before as its threshold asks, and by as many of\nits own, so that keys can change without anyone touching a node. Those whose keys are\non other machines add their signatures with 'catalog sign'.",
		Example: "  catalog root --version 1 --root-key a.pub --root-key b.pub --root-threshold 2 --catalog-key c.pub --key a.key --key b.key --identity id.txt --output root.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if p.Root.Keys, err = keys.Read(rootKeys...); err != nil {
				return err
			}
			if p.Catalog.Keys, err = keys.Read(catalogKeys...); err != nil {
				return err
			}
			by, err := signers.Open()
			if err != nil {
				return err
			}
			p.Expires = time.Now().Add(life)
			b, err := root.Sign(p, by...)
			if err != nil {
				return usage.Wrap(err)
			}
			if err := atomicfile.Write(out, b, 0o644); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: root %d, good until %s\n", out, p.Version, p.Expires.Format(time.DateOnly))
			return err
		},
	}
	signers.Add(c)
	f := c.Flags()
	f.Int64Var(&p.Version, "version", 1, "1 for the first, one more for each successor")
	f.StringArrayVar(&rootKeys, "root-key", nil, "file of public keys that may sign the next root")
	f.IntVar(&p.Root.Threshold, "root-threshold", 1, "how many of them must")
	f.StringArrayVar(&catalogKeys, "catalog-key", nil, "file of public keys that may sign catalogs, and releases of the daemon")
	f.IntVar(&p.Catalog.Threshold, "catalog-threshold", 1, "how many of them must")
	f.DurationVar(&life, "life", 365*24*time.Hour, "how long it is good for")
	f.StringVarP(&out, "output", "o", "root.json", "file to write")
	c.MarkFlagRequired("root-key")
	c.MarkFlagRequired("catalog-key")
	return c
}

func signCommand() *cobra.Command {
	var flags keys.Flags
	c := &cobra.Command{
		Use: "sign FILE", Short: "Sign a catalog, a root document or a release in place",
		Long:    "Sign a new catalog, or add a signature to a signed catalog, a root document or the\ndescription of a release (release.dsse.json). Review the changes first: catalog diff.",
		Example: "  catalog sign feature.json --key release.key --identity id.txt\n  catalog sign beta.json --key agent:release@example.org",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			signers, err := flags.Open()
			if err != nil {
				return err
			}
			b, err := os.ReadFile(args[0])
			if err != nil {
				return usage.Wrap(err)
			}
			var signed []byte
			if _, notRelease := description.Peek(b); notRelease == nil {
				signed, err = sign.Add(cmd.Context(), b, description.MaxSize, signers...)
			} else if _, notEnvelope := sign.Unverified(b, document.MaxSize, document.PayloadType); notEnvelope == nil {
				if d, err := peek(args[0]); err != nil {
					return err
				} else if err := d.Cycles(); err != nil {
					return fmt.Errorf("%s: %w", args[0], err)
				}
				signed, err = sign.Add(cmd.Context(), b, document.MaxSize, signers...)
			} else if d, notDocument := document.Decode(b); notDocument == nil {
				signed, err = document.Sign(cmd.Context(), d, signers...)
			} else if signed, err = root.Add(b, signers...); err != nil {
				return usage.Wrap(fmt.Errorf("%s: neither a catalog (%w) nor a root document (%w) nor the description of a release (%w)", args[0], notDocument, err, notRelease))
			}
			if err != nil {
				return err
			}
			if err := atomicfile.Write(args[0], signed, 0o644); err != nil {
				return err
			}
			for _, s := range signers {
				fmt.Fprintf(cmd.OutOrStdout(), "%s: signed by %s\n", args[0], s.PublicKey)
			}
			return nil
		},
	}
	flags.Add(c)
	return c
}
