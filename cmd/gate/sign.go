package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/cmd/internal/keys"
	"github.com/archipelago-cloud/archipelago/gate"
	"github.com/archipelago-cloud/archipelago/reports"
)

const defaultMaxAge = 14 * 24 * time.Hour

func (a *app) signCommand() *cobra.Command {
	var flags keys.Flags
	c := &cobra.Command{
		Use: "sign [RUN]", Short: "Sign a run that can release: green, under the whole policy",
		Long:    "Sign a run's attestation: an in-toto test-result statement in a DSSE envelope. The\nverdict is judged anew from the results. A SMOKE, a red or an incomplete run is\nrefused, with what stands in the way, and exit status 1.",
		Example: "  gate sign --key gate.key --identity id.txt",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, _, err := a.openRun(args)
			if err != nil {
				return err
			}
			signers, err := flags.Open()
			if err != nil {
				return err
			}
			envelope, err := gate.SignRun(cmd.Context(), dir, signers...)
			if err != nil {
				return err
			}
			file := filepath.Join(dir, reports.SignedFile)
			if err := os.WriteFile(file, envelope, 0o644); err != nil {
				return err
			}
			for _, s := range signers {
				fmt.Fprintf(cmd.OutOrStdout(), "%s: signed by %s\n", file, s.PublicKey)
			}
			return nil
		},
	}
	flags.Add(c)
	return c
}

func (a *app) verifyCommand() *cobra.Command {
	var files []string
	var threshold int
	var maxAge time.Duration
	var asJSON bool
	c := &cobra.Command{
		Use: "verify [RUN]", Short: "Check a signed run: whose signature, and that the verdict follows from the results",
		Example: "  gate verify --trust gate.key.pub\n  gate verify out/gate/20260101-000000-1a2b --trust a.pub --trust b.pub --threshold 2",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, _, err := a.openRun(args)
			if err != nil {
				return err
			}
			trusted, err := keys.Read(files...)
			if err != nil {
				return fmt.Errorf("--trust: %w", err)
			}
			r, err := gate.VerifyRun(cmd.Context(), dir, trusted, threshold, maxAge, time.Now())
			if err != nil {
				return err
			}
			return say(cmd, asJSON, dir, r)
		},
	}
	c.Flags().StringSliceVar(&files, "trust", nil, "file of public keys, one a line; may be given again")
	c.Flags().IntVar(&threshold, "threshold", 1, "how many different keys must have signed")
	c.Flags().DurationVar(&maxAge, "max-age", defaultMaxAge, "oldest run that is taken")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.MarkFlagRequired("trust")
	return c
}
