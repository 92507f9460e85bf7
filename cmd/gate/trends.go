package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/gate"
	"github.com/archipelago-cloud/archipelago/gate/history"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/gate/runner"
	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
	"github.com/archipelago-cloud/archipelago/internal/plain"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// history opens the index of the runs and brings it up to date.
func (a *app) history(ctx context.Context) (h *history.History, skipped []error, err error) {
	if _, err := os.Stat(a.out); err != nil {
		return nil, nil, fmt.Errorf("%w: --out: there are no runs: %w", plan.ErrUsage, err)
	}
	if h, err = history.Open(ctx, a.out); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", runner.ErrIncomplete, err)
	}
	if skipped, err = h.Update(ctx); err != nil {
		h.Close()
		return nil, nil, fmt.Errorf("%w: %w", runner.ErrIncomplete, err)
	}
	return h, skipped, nil
}

func (a *app) trendsCommand() *cobra.Command {
	var asJSON bool
	var page string
	c := &cobra.Command{
		Use: "trends [APP]", Short: "Say what all runs together show, of all applications or of one",
		Long: `Say what all runs in --out together show: how often each application passed each
step, since which run it has failed there and what was another one in that, what
passed and failed with the very same bits, which steps grow slower, and how long
nodes took to be back after reboots.

The answers come from ` + history.File + ` beside the runs, an index that is made anew from
the runs when it is missing or damaged. It keeps what it knows of runs that
'gate clean' has removed. Runs that cannot be read are named and left out.`,
		Example: "  gate trends\n  gate trends APP --html trends.html\n  gate trends --json | jq '.flakes'",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			app, err := runName(args)
			if err != nil {
				return err
			}
			h, skipped, err := a.history(cmd.Context())
			if err != nil {
				return err
			}
			defer h.Close()
			t, err := h.Trends(cmd.Context(), app)
			if err != nil {
				return fmt.Errorf("%w: %w", runner.ErrIncomplete, err)
			}
			for _, s := range skipped {
				t.Skipped = append(t.Skipped, s.Error())
			}
			if page != "" {
				b, err := t.HTML()
				if err == nil {
					err = atomicfile.Write(page, b, 0o644)
				}
				if err != nil {
					return fmt.Errorf("%w: --html: %w", runner.ErrIncomplete, err)
				}
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(t)
			}
			return sayTrends(cmd.OutOrStdout(), t)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().StringVar(&page, "html", "", "write a page with charts to this file, too")
	return c
}

// sayTrends prints trends as tables; long ones are cut.
func sayTrends(w io.Writer, t *history.Trends) error {
	p := func(format string, args ...any) { io.WriteString(w, plain.Block(fmt.Sprintf(format, args...))+"\n") }
	more := func(n int) {
		if n > history.Shown {
			p("… and %d more; --json has all", n-history.Shown)
		}
	}
	p("%d runs", len(t.Runs))
	for _, s := range t.Skipped {
		p("left out: %s", s)
	}
	if len(t.Bad) > 0 {
		p("")
		p("first bad runs, the latest first")
	}
	for _, b := range t.Bad[:min(history.Shown, len(t.Bad))] {
		until := "still"
		if b.Good != "" {
			until = "good again since " + b.Good
		}
		p("%s %s: %s, %s: %s", b.App, b.Step, b.Run, until, b.Reason)
		switch {
		case b.LastGood == "":
			p("    it has never passed before")
		case len(b.Changes) == 0:
			p("    nothing is another one than in %s, which was good", b.LastGood)
		}
		for _, c := range b.Changes {
			p("    %s", c)
		}
	}
	more(len(t.Bad))
	if len(t.Nodes) > 0 {
		p("")
		p("nodes that were red, the latest last")
	}
	for _, n := range t.Nodes[max(0, len(t.Nodes)-history.Shown):] {
		p("%s", n)
	}
	more(len(t.Nodes))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(format string, args ...any) {
		io.WriteString(table, plain.Block(fmt.Sprintf(format, args...))+"\n")
	}
	section := func(title string, n int) bool {
		if n > 0 {
			table.Flush()
			p("")
			p("%s", title)
		}
		return n > 0
	}
	if section("flakes: the same bits, another outcome", len(t.Flakes)) {
		row("APP\tSTEP\tDAEMON\tPASSED\tFAILED\tRUNS\tWHY")
		for _, f := range t.Flakes[:min(history.Shown, len(t.Flakes))] {
			row("%s\t%s\t%.12s\t%d\t%d\t%d\t%s", f.App, f.Step, f.Daemon, f.Passed, f.Failed, f.Runs, plain.Clip(f.Reason, 80))
		}
		table.Flush()
		more(len(t.Flakes))
	}
	if section("steps that grow, the most first", len(t.Growth)) {
		row("APP\tSTEP\tRUNS\tFIRST S\tLAST S\tGREW BY S\tBY CHANCE")
		for _, g := range t.Growth[:min(history.Shown, len(t.Growth))] {
			row("%s\t%s\t%d\t%.1f\t%.1f\t%.1f\t%.1g", g.App, g.Step, len(g.Runs), g.Medians[0], g.Medians[len(g.Medians)-1], g.Grew, g.Chance)
		}
		table.Flush()
		more(len(t.Growth))
	}
	if section("back after a reboot, the latest last", len(t.Boots)) {
		row("RUN\tNODE\tMEDIAN S\tMAX S\tSLOWEST")
		for _, b := range t.Boots[max(0, len(t.Boots)-history.Shown):] {
			row("%s\t%s\t%.1f\t%.1f\t%s", b.Run, b.Node, b.Median, b.Max, b.Slowest)
		}
	}
	always := 0
	if section("how often each step passed, of the cells that were run", len(t.Rates)) {
		row("APP\tSTEP\tPASSED\tCELLS\t%%\tSURELY BETWEEN")
		for _, r := range t.Rates {
			if r.Passed == r.Cells && len(t.Rates) > history.Shown { // those of many applications
				always++
				continue
			}
			row("%s\t%s\t%d\t%d\t%.1f\t%.1f and %.1f", r.App, r.Step, r.Passed, r.Cells, 100*r.Rate, 100*r.Low, 100*r.High)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if always > 0 {
		p("… and %d that passed in every cell; --json has all", always)
	}
	return nil
}

func (a *app) badgeCommand() *cobra.Command {
	var to string
	c := &cobra.Command{
		Use: "badge APP", Short: "Draw how an application came out of the latest run that has it, as SVG",
		Example: "  gate badge APP -o APP.svg",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			h, skipped, err := a.history(cmd.Context())
			if err != nil {
				return err
			}
			defer h.Close()
			for _, s := range skipped { // it may be the latest
				io.WriteString(cmd.ErrOrStderr(), plain.Block(fmt.Sprintf("gate: left out: %v", s))+"\n")
			}
			s, err := h.Standing(cmd.Context(), args[0])
			if err != nil {
				return fmt.Errorf("%w: %w", runner.ErrIncomplete, err)
			}
			if s == nil {
				return fmt.Errorf("%w: no run in %s has an application %q", plan.ErrUsage, a.out, args[0])
			}
			b, err := s.Badge(args[0])
			if err != nil {
				return err
			}
			if to == "" {
				_, err = cmd.OutOrStdout().Write(b)
				return err
			}
			return atomicfile.Write(to, b, 0o644)
		},
	}
	c.Flags().StringVarP(&to, "output", "o", "", "file to write; default: standard output")
	return c
}

func (a *app) bisectCommand() *cobra.Command {
	b := &gate.Bisection{}
	q := &request{}
	var only string
	var dry bool
	c := &cobra.Command{
		Use: "bisect APP STEP", Short: "Find the daemon with which an application began to fail at a step",
		Long: `Find the daemon with which an application began to fail at a step, among those
whose programs are there: the ones that runs in --out keep (RUN/bin/archipelago),
and those of the releases named by --release. They are in the order of the commits
they were built from. Each that has to be tried goes through one cycle of the
application on one node, as far as the step, with this suite; what runs of the
same manifests have shown already is not tried again.

Every try is a run like any other: it is in the ledger, and red stays red.`,
		Example: "  gate bisect APP reboot-survive --dry-run\n  gate bisect APP reboot-survive --release /srv/releases/1.0 --only .228",
		Args:    cobra.ExactArgs(2),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return matrix.StepNames(), cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			w := cmd.OutOrStdout()
			b.Out, b.App, b.Step = a.out, args[0], args[1]
			b.Say = func(format string, args ...any) {
				io.WriteString(w, plain.Block(fmt.Sprintf(format, args...))+"\n")
			}
			if dry {
				daemons, err := b.Daemons(cmd.Context())
				for _, d := range daemons {
					known := "not known"
					if d.Outcome != history.Unknown {
						known = fmt.Sprintf("%s, in run %s", d.Outcome, d.Run)
					}
					b.Say("%s, %s: %s", d, d.File, known)
				}
				return err
			}
			o, err := a.options(cmd.Context(), q)
			if err != nil {
				return err
			}
			if only == "" {
				if only, err = a.firstNode(); err != nil {
					return err
				}
			}
			b.Try = func(ctx context.Context, d history.Daemon) (*gate.Outcome, error) {
				one := o
				one.Daemon = d.File
				one.Request = plan.Request{Policy: q.Policy, Cycles: 1, Apps: []string{b.App}, Nodes: []string{only}, Steps: b.Steps()}
				show := &display{out: cmd.ErrOrStderr(), judged: func(*gate.Outcome, error) {}}
				defer show.Close()
				one.Observer = show
				return gate.Run(ctx, one)
			}
			found, err := b.Search(cmd.Context())
			if err != nil {
				return err
			}
			b.Say("last good: %s, %s\nfirst bad: %s, %s", found.Good, found.Good.File, found.Bad, found.Bad.File)
			for _, d := range found.Between {
				b.Say("between them, and nothing can be told of it: %s, %s", d, d.File)
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringArrayVar(&b.Releases, "release", nil, "directory of a release, as 'make release' or 'gate release --to' leaves it; may be given again")
	f.StringVar(&only, "only", "", "name of the node to try on; default: the first")
	f.BoolVar(&b.Fresh, "fresh", false, "try again what runs have shown already")
	f.BoolVar(&dry, "dry-run", false, "only list the daemons, and what is known of them")
	return c
}

// firstNode is the first node of the inventory.
func (a *app) firstNode() (string, error) {
	if a.inventory == "" {
		return plan.Default().Nodes[0], nil
	}
	inv, err := nodes.LoadInventory(a.inventory)
	if err != nil {
		return "", err
	}
	return inv.Nodes[0].Name, nil
}
