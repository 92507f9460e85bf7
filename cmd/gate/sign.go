package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/cmd/internal/keys"
	"github.com/archipelago-cloud/archipelago/gate"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

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
			envelope, err := gate.SignRun(cmd.Context(), dir, time.Now(), signers...)
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
	var flags keys.Trust
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
			trust, err := flags.Read()
			if err != nil {
				return err
			}
			r, err := gate.VerifyRun(cmd.Context(), dir, trust, time.Now())
			if err != nil {
				return err
			}
			if err := say(cmd, asJSON, dir, r); err != nil && len(r.Waivers) == 0 {
				return err
			}
			return nil // excused is not green, and may be released
		},
	}
	flags.Add(c)
	flags.AddWaivers(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) waiveCommand() *cobra.Command {
	var flags keys.Flags
	var w reports.Waiver
	var until string
	c := &cobra.Command{
		Use: "waive APP [RUN]", Short: "Sign a waiver: the application may be released although it is not green",
		Long:    "Sign a waiver for an application of a run that is not green. It names the steps it\nexcuses, a reason, a link to where the failure is worked on, and the day it ends;\nthe report shows it in red, and the catalog and the nodes show it too. A waiver that\nhas ended blocks.",
		Example: "  gate waive radicale --step ui-reachable --reason 'the theme is broken, its data is not' --tracker https://tracker.example/17 --until 2026-12-24 --key agent:",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, p, err := a.openRun(args[1:])
			if err != nil {
				return err
			}
			w.App = args[0]
			if w.Until, err = time.Parse(time.DateOnly, until); err != nil {
				return fmt.Errorf("%w: --until %q: expected a day such as 2026-12-24", gate.ErrUsage, until)
			}
			signers, err := flags.Open()
			if err != nil {
				return err
			}
			file, err := gate.Waive(cmd.Context(), dir, w, signers...)
			if err != nil {
				return err
			}
			if _, err := conclude(dir, p); err != nil {
				return fmt.Errorf("%w: %w", gate.ErrGate, err)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), file)
			return err
		},
	}
	flags.Add(c)
	c.Flags().StringSliceVar(&w.Steps, "step", nil, "step that it excuses; may be given again")
	c.Flags().StringVar(&w.Reason, "reason", "", "why it may be released all the same")
	c.Flags().StringVar(&w.Tracker, "tracker", "", "link to where the failure is worked on")
	c.Flags().StringVar(&until, "until", "", "day on which it ends, such as 2026-12-24")
	for _, f := range []string{"step", "reason", "tracker", "until"} {
		c.MarkFlagRequired(f)
	}
	c.RegisterFlagCompletionFunc("step", cobra.FixedCompletions(matrix.StepNames(), cobra.ShellCompDirectiveNoFileComp))
	return c
}
