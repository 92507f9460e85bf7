package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/catalog/description"
	"github.com/archipelago-cloud/archipelago/cmd/internal/keys"
	"github.com/archipelago-cloud/archipelago/gate/attest"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/gate/release"
	"github.com/archipelago-cloud/archipelago/gate/runner"
	"github.com/archipelago-cloud/archipelago/reports"
)

func (a *app) releaseCommand() *cobra.Command {
	var trust keys.Trust
	var flags keys.Flags
	var runs []string
	var to, version string
	c := &cobra.Command{
		Use: "release DIR", Short: "Describe the programs of a release, and publish those that a green run has tested",
		Long:    "Write checksums, bills of materials, provenance and a description of all files, signed\nby --key, beside the programs in DIR, as 'make release' built them: nodes take a daemon\nby keys that sign catalogs ('catalog root --catalog-key'). Then copy to --to what may go\nout: each daemon that a signed, green run under the whole policy has tested, digest for\ndigest, and the commands with it; the installer and the files that it installs must be\nthose that the run recorded. If no such run has tested the daemon of an architecture,\nnothing is written and the exit status is 1. With --document and --root, each run must\nhave tested that whole catalog, digest for digest.",
		Example: "  gate release out/release/1.0 --version 1.0 --run out/gate/latest --trust gate.key.pub --key release.key --identity id.txt --to /srv/releases/1.0",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			artifacts, err := release.Artifacts(args[0])
			if err != nil {
				return err
			}
			t, err := trust.Read()
			if err != nil {
				return err
			}
			if a.document != "" {
				if t.Set, err = a.set(cmd.Context()); err != nil {
					return err
				}
			}
			w := cmd.OutOrStdout()
			var verified []*reports.Report
			var problems []error
			for _, run := range runs {
				dir, err := filepath.EvalSymlinks(run)
				if err != nil {
					return fmt.Errorf("%w: --run: %w", plan.ErrUsage, err)
				}
				r, err := attest.Verify(cmd.Context(), dir, t, time.Now())
				if err != nil {
					problems = append(problems, err)
					continue
				}
				if len(r.AnotherPolicy) > 0 {
					fmt.Fprintf(w, "run %s is %s\n", r.Run, reports.Headline(r))
				}
				verified = append(verified, r)
			}
			if err := errors.Join(problems...); err != nil {
				return err
			}
			signers, err := flags.Open()
			if err != nil {
				return err
			}
			if err := release.Release(cmd.Context(), args[0], to, artifacts, verified, version, signers...); errors.Is(err, attest.ErrAttestation) || errors.Is(err, plan.ErrUsage) {
				return err
			} else if err != nil {
				return fmt.Errorf("%w: %w", runner.ErrIncomplete, err)
			}
			for _, art := range artifacts {
				fmt.Fprintf(w, "%s  %s\n", art.SHA256, art.Name)
			}
			for _, s := range signers {
				fmt.Fprintf(w, "%s: signed by %s\n", description.File, s.PublicKey)
			}
			if to != "" {
				for _, art := range artifacts {
					fmt.Fprintf(w, "published %s\n", filepath.Join(to, art.Name))
				}
			}
			return nil
		},
	}
	flags.Add(c)
	trust.Add(c)
	trust.AddWaivers(c)
	c.Flags().StringArrayVar(&runs, "run", []string{"out/gate/latest"}, "directory of a signed run; may be given again, one for each architecture")
	c.Flags().StringVar(&version, "version", "", "version of the release, which its programs say")
	c.MarkFlagRequired("version")
	c.Flags().StringVar(&to, "to", "", "directory to publish to; without it nothing is")
	return c
}
