package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/description"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/root"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
	"github.com/archipelago-cloud/archipelago/cmd/internal/keys"
	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
	"github.com/archipelago-cloud/archipelago/gate/attest"
	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
)

func rootCommand() *cobra.Command {
	var signers keys.Flags
	var from, rootKeys, catalogKeys, gateKeys []string
	var out string
	var life time.Duration
	var p root.Policy
	c := &cobra.Command{
		Use: "root", Short: "Make a root document: which keys are trusted, and how many of them must sign",
		Long:    "Make a root document. Version 1 is given to nodes by their owners. Each successor is\nsigned by as many keys of the version before as its threshold asks, and by as many of\nits own, so that keys can change without anyone touching a node. Those whose keys are\non other machines add their signatures with 'catalog sign'. With --from, what is not\nsaid stays as it is.\n\nEntries of channels user and beta count only with the word of a gate that the root\nnames (--gate-key). A gate whose key is taken out proves nothing any more: promote its\nentries on a run of another one first.",
		Example: "  catalog root --root-key a.pub --root-key b.pub --root-threshold 2 --catalog-key c.pub --gate-key gate.key.pub --key a.key --key b.key --identity id.txt --output root.json\n  catalog root --from root.json --gate-key gate.key.pub --key a.key --key b.key --identity id.txt --output root2.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			var last *root.Policy
			policy := root.Policy{Version: 1, Root: root.Role{Threshold: 1}, Catalog: root.Role{Threshold: 1}, Gate: root.Role{Threshold: 1}}
			if len(from) > 0 {
				if last, err = lastRoot("--from", from); err != nil {
					return err
				}
				policy = *last
				policy.Version++
			}
			set := cmd.Flags().Changed
			if set("version") {
				policy.Version = p.Version
			}
			for _, r := range []struct {
				name  string
				files []string
				asked int
				role  *root.Role
			}{{"root", rootKeys, p.Root.Threshold, &policy.Root}, {"catalog", catalogKeys, p.Catalog.Threshold, &policy.Catalog}, {"gate", gateKeys, p.Gate.Threshold, &policy.Gate}} {
				if len(r.files) > 0 {
					if r.role.Keys, err = keys.Read(r.files...); err != nil {
						return err
					}
				} else if len(from) == 0 && r.role != &policy.Gate {
					return usage.Wrap(fmt.Errorf("--%s-key: name the file of the public keys, or --from a root document that has them", r.name))
				}
				if set(r.name+"-threshold") || r.role.Threshold == 0 {
					r.role.Threshold = r.asked
				}
			}
			by, err := signers.Open()
			if err != nil {
				return err
			}
			if err := counting(&policy, last, by, "--key"); err != nil {
				return err
			}
			policy.Expires = time.Now().Add(life)
			b, err := root.Sign(policy, by...)
			if err != nil {
				return usage.Wrap(err)
			}
			if err := atomicfile.Write(out, b, 0o644); err != nil {
				return err
			}
			if len(policy.Gate.Keys) == 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s names no gate, so nothing can be promoted under it; add one with --gate-key\n", out)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: root %d, good until %s\n", out, policy.Version, policy.Expires.Format(time.DateOnly))
			return err
		},
	}
	signers.Add(c)
	f := c.Flags()
	f.StringArrayVar(&from, "from", nil, "file of the root document that this one succeeds; those after it follow in order")
	f.Int64Var(&p.Version, "version", 1, "1 for the first, one more for each successor; default with --from: the next")
	f.StringArrayVar(&rootKeys, "root-key", nil, "file of public keys that may sign the next root")
	f.IntVar(&p.Root.Threshold, "root-threshold", 1, "how many of them must")
	f.StringArrayVar(&catalogKeys, "catalog-key", nil, "file of public keys that may sign catalogs, and releases of the daemon")
	f.IntVar(&p.Catalog.Threshold, "catalog-threshold", 1, "how many of them must")
	f.StringArrayVar(&gateKeys, "gate-key", nil, "file of public keys of gates, whose runs prove entries of channels user and beta")
	f.IntVar(&p.Gate.Threshold, "gate-threshold", 1, "how many of them must sign a run")
	f.DurationVar(&life, "life", 365*24*time.Hour, "how long it is good for")
	f.StringVarP(&out, "output", "o", "root.json", "file to write")
	return c
}

// lastRoot is the policy of the last in a chain of root documents. It may have expired:
// then a successor is what is needed.
func lastRoot(flag string, files []string) (*root.Policy, error) {
	var chain [][]byte
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, usage.Wrap(fmt.Errorf("%s: %w", flag, err))
		}
		chain = append(chain, b)
	}
	p, err := root.Verify(time.Time{}, chain[0], chain[1:]...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return p, nil
}

// counting refuses signers whose signature on a root document would count for nothing.
func counting(p, before *root.Policy, signers []*sign.Signer, where string) error {
	for _, s := range signers {
		if err := p.Counts(before, s.PublicKey); err != nil {
			return usage.Wrap(fmt.Errorf("%s: %w", where, err))
		}
	}
	return nil
}

// addToRoot adds signatures to a root document.
func addToRoot(file string, b []byte, roots *rootFlags, signers []*sign.Signer) ([]byte, error) {
	p, err := root.Peek(b)
	if err != nil {
		return nil, err
	}
	var before *root.Policy
	remedy := fmt.Sprintf("%s (a key of the version before it signs with --root, which names that one)", file)
	if len(roots.files) > 0 {
		if before, err = lastRoot("--root", roots.files); err != nil {
			return nil, err
		}
		remedy = file
	}
	if err := counting(p, before, signers, remedy); err != nil {
		return nil, err
	}
	return root.Add(b, signers...)
}

func signCommand() *cobra.Command {
	var flags keys.Flags
	var roots rootFlags
	c := &cobra.Command{
		Use: "sign FILE", Short: "Sign a catalog, a root document, a release or a waiver in place",
		Long:    "Sign a new catalog, or add a signature to a signed catalog, a root document, the\ndescription of a release (release.dsse.json) or a waiver (waivers/APP.dsse.json of a\nrun). The signatures of others stay. Review the changes first: catalog diff.\n\nA root document takes the keys of its own root role, and no others but those of the\nversion that it succeeds, which --root names.\n\nThe catalog of channel user or beta is signed only if each entry carries the proof of\na gate that --root names; 'catalog promote' puts it there.",
		Example: "  catalog sign feature.json --key release.key --identity id.txt\n  catalog sign beta.json --root root.json --key agent:release@example.org\n  catalog sign root.json --key second-root.key --identity id.txt\n  catalog sign root2.json --root root.json --key old-root.key --identity id.txt",
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
			signed, err := addSignatures(cmd, args[0], b, &roots, signers)
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
	roots.addOptional(c)
	return c
}

// addSignatures signs whatever of this project can be signed.
func addSignatures(cmd *cobra.Command, file string, b []byte, roots *rootFlags, signers []*sign.Signer) ([]byte, error) {
	ctx := cmd.Context()
	_, notRelease := description.Peek(b)
	if notRelease == nil {
		return sign.Add(ctx, b, description.MaxSize, signers...)
	}
	if waiver, err := attest.Cosign(ctx, b, signers...); err == nil || errors.Is(err, attest.ErrAttestation) {
		return waiver, err
	}
	d, notDocument := document.Peek(b)
	if notDocument != nil {
		_, notRoot := root.Peek(b)
		if notRoot == nil {
			return addToRoot(file, b, roots, signers)
		}
		return nil, usage.Wrap(fmt.Errorf("%s: neither a catalog (%w) nor a root document (%w) nor the description of a release (%w)", file, notDocument, notRoot, notRelease))
	}
	var p *root.Policy
	if catalog.NeedsProof(d.Channel) {
		if len(roots.files) == 0 {
			return nil, usage.Wrap(fmt.Errorf("%s: entries of channel %s need a gate's proof: --root names the root document that says which gates count", file, d.Channel))
		}
		var err error
		if _, p, err = roots.read(); err != nil {
			return nil, err
		}
	}
	if err := sound(ctx, file, d, p, cmd.ErrOrStderr()); err != nil {
		return nil, err
	}
	if _, notEnvelope := sign.Unverified(b, document.MaxSize, document.PayloadType); notEnvelope == nil {
		return sign.Add(ctx, b, document.MaxSize, signers...)
	}
	return document.Sign(ctx, d, signers...)
}
