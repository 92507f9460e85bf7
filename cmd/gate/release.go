package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/cmd/internal/keys"
	"github.com/archipelago-cloud/archipelago/gate/attest"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/gate/release"
	"github.com/archipelago-cloud/archipelago/gate/runner"
	"github.com/archipelago-cloud/archipelago/reports"
)

func (a *app) releaseCommand() *cobra.Command {
	var trust keys.Trust
	var runs []string
	var to string
	c := &cobra.Command{
		Use: "release DIR", Short: "Describe the programs of a release, and publish those that a green run has tested",
		Long:    "Write checksums, bills of materials and provenance beside the programs in DIR, as\n'make release' built them. Then copy to --to what may go out: each daemon that a signed,\ngreen run under the whole policy has tested, digest for digest, and the commands with\nit; the installer and the files that it installs must be those that the run recorded.\nA daemon that no such run has tested is not published, and the exit status is 1.",
		Example: "  gate release out/release/1.0 --run out/gate/latest --trust gate.key.pub --to /srv/releases/1.0",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			artifacts, err := release.Artifacts(args[0])
			if err != nil {
				return err
			}
			if err := release.Describe(args[0], artifacts); err != nil {
				return fmt.Errorf("%w: %w", runner.ErrIncomplete, err)
			}
			w := cmd.OutOrStdout()
			for _, art := range artifacts {
				fmt.Fprintf(w, "%s  %s\n", art.SHA256, art.Name)
			}
			t, err := trust.Read()
			if err != nil {
				return err
			}
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
			out, err := release.Publishable(artifacts, verified)
			problems = append(problems, err)
			if to != "" && len(out) > 0 {
				if err := release.Publish(args[0], to, out); err != nil {
					return fmt.Errorf("%w: %w", runner.ErrIncomplete, err)
				}
				for _, art := range out {
					fmt.Fprintf(w, "published %s\n", filepath.Join(to, art.Name))
				}
			}
			return errors.Join(problems...)
		},
	}
	trust.Add(c)
	trust.AddWaivers(c)
	c.Flags().StringArrayVar(&runs, "run", []string{"out/gate/latest"}, "directory of a signed run; may be given again, one for each architecture")
	c.Flags().StringVar(&to, "to", "", "directory to publish to; without it nothing is")
	return c
}
