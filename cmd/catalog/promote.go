package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/channel"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/mirror"
	"github.com/archipelago-cloud/archipelago/catalog/proof"
	"github.com/archipelago-cloud/archipelago/catalog/root"
	"github.com/archipelago-cloud/archipelago/cmd/internal/keys"
	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
	"github.com/archipelago-cloud/archipelago/gate/attest"
	"github.com/archipelago-cloud/archipelago/gate/release"
	"github.com/archipelago-cloud/archipelago/reports"
)

func promoteCommand() *cobra.Command {
	var roots rootFlags
	var trust keys.Trust
	var validity validityFlags
	var from, to, out, run, daemon string
	var drop bool
	c := &cobra.Command{
		Use: "promote APP...", Short: "Move entries to the next channel, on a green run of the gate over exactly their digests",
		Long: "Move entries from one channel to the next: feature, user, beta. This takes a recent\nrun of the gate, signed by the gate keys of the root ('gate sign'), that is green over\nexactly the digests of each entry's manifest and images, under a release policy no\nweaker than the one demanded here: the built-in one, unless --policy names another.\nOtherwise the promotion is refused, and the cell that prevents it is named. What the\ngate has signed goes into the catalog, where signers, publishers and nodes verify it.\nOnly a waiver ('gate waive') can excuse a failure, signed by as many catalog keys of\nthe root as its threshold asks.\n\nWhat the channel has revoked stays revoked, and no entry moves that would take it back\nto an older version, or use a port of a node that another one uses, or with an\nimage in the gate's own registry: that takes a catalog built with --registry.",
		Example: "  catalog promote APP --from feature.json --to user.json --root root.json --run out/gate/latest\n" +
			"  catalog promote APP --from user.json --to beta.json --root root.json --run out/gate/latest",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			_, p, err := roots.read()
			if err != nil {
				return err
			}
			t, err := trust.ReadFor(p)
			if err != nil {
				return err
			}
			v, err := validity.read()
			if err != nil {
				return err
			}
			promotion := channel.Promotion{Channel: mirror.Channel(to)}
			if promotion.From, _, err = readVerified(ctx, from, p, ""); err != nil {
				return err
			}
			if _, err := os.Stat(to); err == nil {
				if promotion.To, err = readPredecessor(ctx, to, p); err != nil {
					return err
				}
				promotion.Channel = promotion.To.Channel
				dropUnproven(cmd, promotion.To, p, drop)
			}
			if err := promotion.Check(); err != nil {
				return fmt.Errorf("%w; --to names the catalog of the next channel, or CHANNEL.json if it has none yet", err)
			}
			for _, id := range args {
				if e := promotion.From.Entry(id); e != nil {
					if err := pullable(promotion.Channel, *e); err != nil {
						return err
					}
				}
			}
			proves, evidence, err := proofOf(ctx, run, daemon, p, t, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			promotion.Evidence = evidence
			d, err := promotion.Promote(args, proves, v)
			if err != nil {
				return err
			}
			return write(cmd, d, cmp.Or(out, to))
		},
	}
	roots.add(c)
	trust.AddPolicy(c)
	validity.add(c)
	f := c.Flags()
	f.StringVar(&from, "from", "", "signed catalog of the channel that they are in")
	f.StringVar(&to, "to", "", "signed catalog of the channel that they move to, or CHANNEL.json if it has none yet")
	f.StringVar(&run, "run", "out/gate/latest", "directory of the gate's run")
	f.StringVar(&daemon, "daemon", "", "SHA-256 of the daemon that the run must have tested; default: any")
	f.StringVarP(&out, "output", "o", "", "file to write; default: the one of --to")
	addDrop(c, &drop)
	c.MarkFlagRequired("from")
	c.MarkFlagRequired("to")
	return c
}

// proofOf verifies a run of the gate, and lets it vouch for what it tested, with what the
// gate has signed. It says to w what the built-in policy demands beyond the run.
func proofOf(ctx context.Context, run, daemon string, p *root.Policy, trust attest.Trust, w io.Writer) (channel.Proof, *proof.Evidence, error) {
	dir, err := filepath.EvalSymlinks(run)
	if err != nil {
		return nil, nil, usage.Wrap(fmt.Errorf("--run: %w", err))
	}
	if len(p.Gate.Keys) == 0 {
		return nil, nil, fmt.Errorf("root %d names no gate whose word counts; make its successor: catalog root --from ROOT --gate-key gate.key.pub --key ROOT-KEY", p.Version)
	}
	r, err := attest.Verify(ctx, dir, trust, time.Now())
	if err != nil {
		return nil, nil, err
	}
	if daemon != "" && r.Subject.Daemon != daemon {
		return nil, nil, fmt.Errorf("run %s tested another daemon (%.12s…) than %.12s…", r.Run, r.Subject.Daemon, daemon)
	}
	if len(r.AnotherPolicy) > 0 {
		fmt.Fprintf(w, "run %s is %s\n", r.Run, reports.Headline(r))
	}
	envelope, err := os.ReadFile(filepath.Join(dir, reports.SignedFile))
	if err != nil {
		return nil, nil, err
	}
	evidence, err := proof.Open(ctx, envelope, p)
	if err != nil {
		return nil, nil, err
	}
	return func(e *document.Entry) (*catalog.Waiver, error) { return release.Proves(r, e) }, evidence, nil
}

func addDrop(c *cobra.Command, drop *bool) {
	c.Flags().BoolVar(drop, "drop-unproven", false, "leave out the channel's entries without a valid proof, such as those from before it was needed; nodes hold them back anyway")
}

// dropUnproven leaves out what nobody could sign, where that was asked for, and says so.
func dropUnproven(cmd *cobra.Command, d *document.Document, p *root.Policy, drop bool) {
	if drop {
		for _, why := range d.DropUnproven(cmd.Context(), p) {
			fmt.Fprintf(cmd.ErrOrStderr(), "left out: %v\n", why)
		}
	}
}

func revokeCommand() *cobra.Command {
	var roots rootFlags
	var validity validityFlags
	var in, out, reason string
	var drop bool
	c := &cobra.Command{
		Use: "revoke APP VERSION", Short: "Withdraw a version: it is never installed again, and nodes that run it say so",
		Example: "  catalog revoke APP 2.2.6 --reason 'CVE-2026-0001' --in beta.json --root root.json",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, p, err := roots.read()
			if err != nil {
				return err
			}
			v, err := validity.read()
			if err != nil {
				return err
			}
			before, err := readPredecessor(cmd.Context(), in, p)
			if err != nil {
				return err
			}
			dropUnproven(cmd, before, p, drop)
			d, err := channel.Revoke(before, args[0], args[1], reason, v)
			if err != nil {
				return err
			}
			return write(cmd, d, cmp.Or(out, in))
		},
	}
	roots.add(c)
	validity.add(c)
	c.Flags().StringVar(&in, "in", "", "signed catalog of the channel")
	c.Flags().StringVar(&reason, "reason", "", "why; owners of nodes read it")
	c.Flags().StringVarP(&out, "output", "o", "", "file to write; default: the one of --in")
	addDrop(c, &drop)
	c.MarkFlagRequired("in")
	c.MarkFlagRequired("reason")
	return c
}
