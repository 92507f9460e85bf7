package main

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/cmd/internal/keys"
	"github.com/archipelago-cloud/archipelago/gate"
	"github.com/archipelago-cloud/archipelago/gate/attest"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

func (a *app) signCommand() *cobra.Command {
	var flags keys.Flags
	c := &cobra.Command{
		Use: "sign [RUN]", Short: "Sign a run that can release: green, under the whole policy",
		Long:    "Sign a run's attestation: an in-toto test-result statement in a DSSE envelope. The\nverdict is recomputed from the results. A SMOKE, a red or an incomplete run is\nrefused with the reason and exit status 1. Signatures of other keys on the same\nstatement stay. 'catalog promote --run' puts what is signed into the catalog.",
		Example: "  gate sign --key gate.key --identity id.txt",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := a.find(args)
			if err != nil {
				return err
			}
			signers, err := flags.Open()
			if err != nil {
				return err
			}
			envelope, err := attest.Sign(cmd.Context(), dir, time.Now(), signers...)
			if err != nil {
				return err
			}
			file := filepath.Join(dir, reports.SignedFile)
			if err := reports.Write(dir, reports.SignedFile, envelope); err != nil {
				return err
			}
			for _, s := range signers {
				fmt.Fprintf(cmd.OutOrStdout(), "%s: signed by %s\n", file, s.PublicKey)
			}
			if r, _, err := attest.Statement(dir); err == nil && len(r.AnotherPolicy) > 0 {
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", file, reports.Headline(r))
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
		Use: "verify [RUN]", Short: "Check a signed run: who signed it, and that its verdict follows from its results",
		Example: "  gate verify --trust gate.key.pub\n  gate verify out/gate/20260101-000000-1a2b --trust a.pub --trust b.pub --threshold 2",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := a.find(args)
			if err != nil {
				return err
			}
			trust, err := flags.Read()
			if err != nil {
				return err
			}
			r, err := attest.Verify(cmd.Context(), dir, trust, time.Now())
			if err != nil {
				return err
			}
			if err := say(cmd, asJSON, dir, r); err != nil && len(r.Waivers) == 0 {
				return err
			}
			return nil // excused is not green, and can be released
		},
	}
	flags.Add(c)
	flags.AddWaivers(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) waiveCommand() *cobra.Command {
	var flags keys.Flags
	var w reports.Waived
	var until, renews string
	c := &cobra.Command{
		Use: "waive APP [RUN]", Short: "Sign a waiver: the application may be released although it is not green",
		Long:    "Sign a waiver for an application of a run that is not green. It is for the cells of that\nrun that failed at its steps, each for the cause it has now, and what was not run after them\nin their cycles, where another cycle has judged that; never for lost data or an invariant.\nIt has a reason, a link to where the failure is worked on, and the day it ends, at most 90\ndays from now. The report, the catalog and the nodes show it. A waiver that has ended blocks\nthe release. It can be renewed once: --renews names the file of the earlier one, unless that\nis in a run beside this one.",
		Example: "  gate waive APP --step ui-reachable --reason 'the theme is broken, its data is not' --tracker https://tracker.example/17 --until 2026-12-24 --key agent:",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := a.find(args[1:])
			if err != nil {
				return err
			}
			w.App = args[0]
			if w.Until, err = time.Parse(time.DateOnly, until); err != nil {
				return fmt.Errorf("%w: --until %q: expected a day such as 2026-12-24", plan.ErrUsage, until)
			}
			signers, err := flags.Open()
			if err != nil {
				return err
			}
			file, err := attest.Waive(cmd.Context(), dir, w, renews, time.Now(), signers...)
			if err != nil {
				return err
			}
			if _, err := gate.Report(a.out, dir); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), file)
			return err
		},
	}
	flags.Add(c)
	c.Flags().StringSliceVar(&w.Steps, "step", nil, "step that it excuses; may be given again")
	c.Flags().StringVar(&w.Reason, "reason", "", "why it may be released all the same")
	c.Flags().StringVar(&w.Tracker, "tracker", "", "link to where the failure is worked on")
	c.Flags().StringVar(&until, "until", "", "day on which it ends, such as 2026-12-24, at most 90 days from now")
	c.Flags().StringVar(&renews, "renews", "", "file of the waiver that it renews; default: one for the same steps in a run beside this one")
	for _, f := range []string{"step", "reason", "tracker", "until"} {
		c.MarkFlagRequired(f)
	}
	c.RegisterFlagCompletionFunc("step", cobra.FixedCompletions(matrix.StepNames(), cobra.ShellCompDirectiveNoFileComp))
	return c
}
