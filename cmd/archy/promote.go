package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/cmd/internal/keys"
	"github.com/archipelago-cloud/archipelago/gate"
	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
)

func (a *app) catalogPromote() *cobra.Command {
	var roots rootFlags
	var trust keys.Trust
	var times timeFlags
	var from, to, out, run, daemon string
	c := &cobra.Command{
		Use: "promote APP...", Short: "Bring entries to the next channel, on a green run of the gate over exactly their digests",
		Long: "Bring entries from one channel to the next: feature, user, beta. Each needs a signed\nrun of the gate that is green under the whole release policy (20 cycles, two nodes,\nnine steps) over exactly the digests of its manifest and images, by a trusted key and\nnot too old. Otherwise it is refused, and the cell that stands in the way is named.\nA failure can only be excused by a waiver ('gate waive') signed by as many catalog\nkeys of the root as it asks.",
		Example: "  archy catalog promote miniflux --from feature.json --to user.json --root root.json --run out/gate/latest --trust gate.key.pub\n" +
			"  archy catalog promote miniflux --from user.json --to beta.json --root root.json --run out/gate/latest --trust gate.key.pub",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			_, p, err := roots.read()
			if err != nil {
				return err
			}
			t, err := trust.ReadFor(p.Catalog.Keys, p.Catalog.Threshold)
			if err != nil {
				return err
			}
			created, err := times.time()
			if err != nil {
				return err
			}
			source, _, err := verified(ctx, from, p, "")
			if err != nil {
				return err
			}
			channel := strings.TrimSuffix(filepath.Base(to), ".json")
			var before *document.Document
			if _, err := os.Stat(to); err == nil {
				if before, err = goOn(ctx, to, p); err != nil {
					return err
				}
				channel = before.Channel
			}
			if want, ok := document.Before(channel); !ok || source.Channel != want {
				return usageError{fmt.Errorf("entries of channel %q do not go to %q: the channels are %s, one after the other; --to is the channel's catalog, or where there is none yet a file named after it", source.Channel, channel, strings.Join(document.Channels, ", "))}
			}
			dir, err := filepath.EvalSymlinks(run)
			if err != nil {
				return usageError{fmt.Errorf("--run: %w", err)}
			}
			r, err := gate.VerifyRun(ctx, dir, t, time.Now())
			if err != nil {
				return err
			}
			if daemon != "" && r.Subject.Daemon != daemon {
				return fmt.Errorf("run %s tested another daemon (%.12s…) than %.12s…", r.Run, r.Subject.Daemon, daemon)
			}
			d := document.Next(before, channel, created, times.life)
			var problems []error
			for _, id := range args {
				e := source.Entry(id)
				if e == nil {
					problems = append(problems, usageError{fmt.Errorf("%s has no entry of %s", from, id)})
					continue
				}
				moved := *e
				if moved.Waiver, err = gate.Proves(r, e); err == nil {
					err = d.Put(moved)
				}
				problems = append(problems, err)
			}
			if err := errors.Join(problems...); err != nil {
				return err
			}
			if out == "" {
				out = to
			}
			return writeDocument(cmd, d, out)
		},
	}
	roots.add(c)
	trust.Add(c)
	times.add(c)
	f := c.Flags()
	f.StringVar(&from, "from", "", "signed catalog of the channel that they are in")
	f.StringVar(&to, "to", "", "signed catalog of the channel that they go to; CHANNEL.json where there is none yet")
	f.StringVar(&run, "run", "out/gate/latest", "directory of the gate's run")
	f.StringVar(&daemon, "daemon", "", "SHA-256 of the daemon that must have been tested; default: any")
	f.StringVarP(&out, "output", "o", "", "file to write; default: the one of --to")
	c.MarkFlagRequired("from")
	c.MarkFlagRequired("to")
	return c
}

func (a *app) catalogRevoke() *cobra.Command {
	var roots rootFlags
	var times timeFlags
	var in, out, reason string
	c := &cobra.Command{
		Use: "revoke APP VERSION", Short: "Withdraw a version: it is never installed anew, and nodes that run it say so",
		Example: "  archy catalog revoke miniflux 2.2.6 --reason 'CVE-2026-0001' --in beta.json --root root.json",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, p, err := roots.read()
			if err != nil {
				return err
			}
			created, err := times.time()
			if err != nil {
				return err
			}
			before, err := goOn(cmd.Context(), in, p)
			if err != nil {
				return err
			}
			d := document.Next(before, before.Channel, created, times.life)
			if err := d.Revoke(document.Revocation{ID: args[0], Version: args[1], Reason: reason, Since: created}); err != nil {
				return usageError{err}
			}
			if out == "" {
				out = in
			}
			return writeDocument(cmd, d, out)
		},
	}
	roots.add(c)
	times.add(c)
	c.Flags().StringVar(&in, "in", "", "signed catalog of the channel")
	c.Flags().StringVar(&reason, "reason", "", "why; owners of nodes read it")
	c.Flags().StringVarP(&out, "output", "o", "", "file to write; default: the one of --in")
	c.MarkFlagRequired("in")
	c.MarkFlagRequired("reason")
	return c
}

func (a *app) publish() *cobra.Command {
	var roots rootFlags
	var to string
	c := &cobra.Command{
		Use: "publish FILE...", Short: "Write signed catalogs where mirrors serve them from",
		Long:    "Write signed catalogs, and the root documents, into a directory that any web server\ncan serve as a mirror. Each must hold, be of another channel, and have a higher serial\nthan the one there.",
		Example: "  archy publish feature.json beta.json --root root.json --to /srv/mirror",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			chain, p, err := roots.read()
			if err != nil {
				return err
			}
			files := map[string][]byte{}
			var problems []error
			for _, name := range args {
				d, b, err := verified(cmd.Context(), name, p, "")
				if err != nil {
					problems = append(problems, err)
					continue
				}
				file := filepath.Join(to, d.Channel+".json")
				if _, twice := files[file]; twice {
					problems = append(problems, usageError{fmt.Errorf("%s: a second catalog of channel %s", name, d.Channel)})
				}
				if there, err := shown(file); err == nil && there.Serial >= d.Serial && there.Digest != d.Digest {
					problems = append(problems, fmt.Errorf("%s: %w: serial %d; %s has %d", name, document.ErrRollback, d.Serial, file, there.Serial))
				}
				files[file] = b
			}
			if err := errors.Join(problems...); err != nil {
				return err
			}
			if err := os.MkdirAll(filepath.Join(to, "root"), 0o755); err != nil {
				return err
			}
			for i, b := range chain {
				version := p.Version - int64(len(chain)-1-i)
				if err := atomicfile.Write(filepath.Join(to, "root", fmt.Sprintf("%d.json", version)), b, 0o644); err != nil {
					return err
				}
			}
			for file, b := range files {
				if err := atomicfile.Write(file, b, 0o644); err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), file)
			}
			return nil
		},
	}
	roots.add(c)
	c.Flags().StringVar(&to, "to", "", "directory to write to")
	c.MarkFlagRequired("to")
	return c
}
