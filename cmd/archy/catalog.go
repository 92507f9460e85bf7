package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/root"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
	"github.com/archipelago-cloud/archipelago/cmd/internal/keys"
	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
)

// defaultLife is how long a catalog is good for: a node that is kept from newer ones
// for longer says so and takes nothing new.
const defaultLife = 14 * 24 * time.Hour

func (a *app) catalog() *cobra.Command {
	c := &cobra.Command{Use: "catalog", Short: "Make, sign, check, compare and promote signed catalogs", Args: cobra.NoArgs,
		Long:    "A catalog is one JSON document with whole manifests. It is built for channel\nfeature from directories of manifests, signed, tested by the gate, and promoted\nto user and then to beta entry by entry, each on a green run of the gate over\nexactly its digests.",
		Example: "  archy catalog build --output feature.json\n  archy catalog sign feature.json --key release.key --identity id.txt\n  archy catalog promote miniflux --from feature.json --to user.json --root root.json --run out/gate/latest --trust gate.key.pub",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	c.AddCommand(keys.Command("archy catalog"), a.catalogRoot(), a.catalogBuild(), a.catalogSign(), a.catalogVerify(), a.catalogDiff(), a.catalogPromote(), a.catalogRevoke())
	return c
}

// rootFlags name the chain of root documents.
type rootFlags struct{ files []string }

func (f *rootFlags) add(c *cobra.Command) {
	c.Flags().StringArrayVar(&f.files, "root", nil, "file of the root document; successors follow in order")
	c.MarkFlagRequired("root")
}

func (f *rootFlags) read() ([][]byte, *root.Policy, error) { return keys.Roots(f.files...) }

// verified reads a signed catalog, and gives its envelope too.
func verified(ctx context.Context, file string, p *root.Policy, channel string) (*document.Document, []byte, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, usageError{err}
	}
	if _, err := document.Decode(b); err == nil {
		return nil, nil, fmt.Errorf("%s: %w: it is not signed; sign it with: archy catalog sign %s", file, sign.ErrUntrusted, file)
	}
	d, err := document.Verify(ctx, b, p, document.Expectation{Channel: channel, Now: time.Now()})
	if err != nil {
		err = fmt.Errorf("%s: %w", file, err)
	}
	return d, b, err
}

// goOn is verified for a catalog to go on from, for which an expired one will do.
func goOn(ctx context.Context, file string, p *root.Policy) (*document.Document, error) {
	d, _, err := verified(ctx, file, p, "")
	if errors.Is(err, document.ErrExpired) {
		err = nil
	}
	return d, err
}

// shown reads a catalog to show it, whoever signed it, or before anybody has.
func shown(file string) (*document.Document, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, usageError{err}
	}
	if payload, err := sign.Unverified(b, document.MaxSize, document.PayloadType); err == nil {
		b = payload
	}
	d, err := document.Decode(b)
	if err != nil {
		return nil, usageError{fmt.Errorf("%s: %w", file, err)}
	}
	return d, nil
}

func writeDocument(cmd *cobra.Command, d *document.Document, file string) error {
	b, err := d.Encode()
	if err != nil {
		return err
	}
	if err := atomicfile.Write(file, b, 0o644); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: catalog %s, %d applications, not signed; sign it with: archy catalog sign %s\n", file, d.Head(), len(d.Entries), file)
	return nil
}

// timeFlags say when a document is made and how long it is good for.
type timeFlags struct {
	created string
	life    time.Duration
}

func (f *timeFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.created, "created", "", "time of making, RFC 3339, for the same bytes again; default: now")
	c.Flags().DurationVar(&f.life, "life", defaultLife, "how long it is good for")
}

func (f *timeFlags) time() (time.Time, error) {
	if f.created == "" {
		return time.Now(), nil
	}
	t, err := time.Parse(time.RFC3339, f.created)
	if err != nil {
		return t, usageError{fmt.Errorf("--created: %w", err)}
	}
	return t, nil
}

func (a *app) catalogRoot() *cobra.Command {
	var signers keys.Flags
	var rootKeys, catalogKeys []string
	var out string
	var life time.Duration
	p := root.Policy{}
	c := &cobra.Command{
		Use: "root", Short: "Make a root document: whose signatures count, and how many of them are needed",
		Long:    "Make a root document. The first is version 1 and goes to nodes by their owners'\nhands; each successor is signed by as many keys of the one before as its threshold\nasks, and as many of its own, so that keys change without anyone touching a node.\nKeys that are elsewhere sign with 'archy catalog sign'.",
		Example: "  archy catalog root --version 1 --root-key a.pub --root-key b.pub --root-threshold 2 --catalog-key c.pub --key a.key --key b.key --identity id.txt --output root.json",
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
				return usageError{err}
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
	f.StringArrayVar(&catalogKeys, "catalog-key", nil, "file of public keys that may sign catalogs")
	f.IntVar(&p.Catalog.Threshold, "catalog-threshold", 1, "how many of them must")
	f.DurationVar(&life, "life", 365*24*time.Hour, "how long it is good for")
	f.StringVarP(&out, "output", "o", "root.json", "file to write")
	c.MarkFlagRequired("root-key")
	c.MarkFlagRequired("catalog-key")
	return c
}

func (a *app) catalogSign() *cobra.Command {
	var flags keys.Flags
	c := &cobra.Command{
		Use: "sign FILE", Short: "Sign a catalog or a root document, in place",
		Long:    "Sign a catalog that was just made, or add a signature to a signed catalog or to a\nroot document. Look at what changes first: archy catalog diff.",
		Example: "  archy catalog sign feature.json --key release.key --identity id.txt\n  archy catalog sign beta.json --key agent:release@example.org",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			signers, err := flags.Open()
			if err != nil {
				return err
			}
			b, err := os.ReadFile(args[0])
			if err != nil {
				return usageError{err}
			}
			var signed []byte
			if _, notEnvelope := sign.Unverified(b, document.MaxSize, document.PayloadType); notEnvelope == nil {
				if _, err := shown(args[0]); err != nil {
					return err
				}
				signed, err = sign.Add(cmd.Context(), b, document.MaxSize, signers...)
			} else if d, notDocument := document.Decode(b); notDocument == nil {
				signed, err = document.Sign(cmd.Context(), d, signers...)
			} else if signed, err = root.Add(b, signers...); err != nil {
				return usageError{fmt.Errorf("%s: neither a catalog (%w) nor a root document (%w)", args[0], notDocument, err)}
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

func (a *app) catalogVerify() *cobra.Command {
	var roots rootFlags
	var channel string
	c := &cobra.Command{
		Use: "verify FILE", Short: "Check a signed catalog as a node does: signatures, age, and every entry",
		Long:    "Check a signed catalog as a node does. Exit status 1 where it does not hold, with\nevery reason.",
		Example: "  archy catalog verify beta.json --root root.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, p, err := roots.read()
			if err != nil {
				return err
			}
			d, _, err := verified(cmd.Context(), args[0], p, channel)
			if err != nil {
				return err
			}
			var problems []error
			for i := range d.Entries {
				e := &d.Entries[i]
				if e.ImageOnly() {
					continue // what it makes of a manifest shows on the node that has one
				}
				if _, err := e.Parse(); err != nil {
					problems = append(problems, err)
				}
			}
			if err := errors.Join(problems...); err != nil {
				return err
			}
			if a.json {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{"channel": d.Channel, "serial": d.Serial, "created": d.Created, "expires": d.Expires, "entries": len(d.Entries), "revoked": d.Revoked, "digest": d.Digest})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: catalog %s holds: %d applications, %d revoked versions, good until %s\n", args[0], d.Head(), len(d.Entries), len(d.Revoked), d.Expires.Format(time.RFC3339))
			return err
		},
	}
	roots.add(c)
	c.Flags().StringVar(&channel, "channel", "", "channel that it must be of")
	return c
}

func (a *app) catalogDiff() *cobra.Command {
	return &cobra.Command{
		Use: "diff [OLD] NEW", Short: "What another catalog would change on a node, privileges and ports first",
		Example: "  archy catalog diff beta.json beta.new.json",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var before *document.Document
			after, err := shown(args[len(args)-1])
			if err == nil && len(args) == 2 {
				before, err = shown(args[0])
			}
			if err != nil {
				return err
			}
			changes := document.Diff(before, after)
			w := cmd.OutOrStdout()
			if a.json {
				return json.NewEncoder(w).Encode(changes)
			}
			for _, c := range changes {
				switch {
				case c.From == "":
					fmt.Fprintf(w, "%s %s, new\n", c.ID, c.To)
				case c.To == "":
					fmt.Fprintf(w, "%s %s goes\n", c.ID, c.From)
				default:
					fmt.Fprintf(w, "%s %s -> %s\n", c.ID, c.From, c.To)
				}
				for label, text := range map[string]string{"REVOKED": c.Revoked, "WAIVER": c.Waiver, "notes": c.Notes} {
					if text != "" {
						fmt.Fprintf(w, "  %-9s  %s\n", label, text)
					}
				}
				if c.From == "" || c.To == "" {
					continue
				}
				for _, l := range c.Lines {
					fmt.Fprintf(w, "  %-9s  %s: %s -> %s\n", l.Kind, l.Path, orNothing(l.Old), orNothing(l.New))
				}
			}
			if len(changes) == 0 {
				fmt.Fprintln(w, "nothing changes")
			}
			return nil
		},
	}
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}
