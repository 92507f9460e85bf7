package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/cmd/internal/keys"
	"github.com/archipelago-cloud/archipelago/gate"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/internal/plain"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/reports"
)

// request are the flags that say what to run.
type request struct {
	plan.Request
	policy string
	json   bool

	shard, durations string
}

func (q *request) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&q.policy, "policy", "", "file of the release policy; default: the one built in, of 20 cycles on two nodes")
	f.IntVar(&q.Cycles, "cycles", 0, "cycles; default: those of the policy")
	f.StringSliceVar(&q.Apps, "apps", nil, "applications, with those they require; default: those of the policy, all of the catalog")
	f.StringSliceVar(&q.Nodes, "only", nil, "names of nodes; default: all of the inventory")
	f.StringSliceVar(&q.Steps, "steps", nil, "steps; default: those of the policy, all nine")
	f.StringVar(&q.shard, "shard", "", "one shard of several, such as 2/3: a share of the applications, those that require one another together; 'gate merge' joins the runs")
	f.StringVar(&q.durations, "durations", "", "with --shard: report.json of an earlier run, by whose times the shards are balanced, the same file for all; default: all applications count the same")
	f.BoolVar(&q.json, "json", false, "print JSON")
	c.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if cmd.Flags().Changed("cycles") && q.Cycles == 0 {
			return fmt.Errorf("%w: --cycles: 0: expected 1 or more; without it, the policy says how many", plan.ErrUsage)
		}
		return nil
	}
	c.RegisterFlagCompletionFunc("steps", cobra.FixedCompletions(matrix.StepNames(), cobra.ShellCompDirectiveNoFileComp))
	c.RegisterFlagCompletionFunc("only", cobra.FixedCompletions(plan.Default().Nodes, cobra.ShellCompDirectiveNoFileComp))
}

// options gives what the flags say. The problems of the catalog, the inventory and the
// policy are reported at once.
func (a *app) options(ctx context.Context, q *request) (gate.Options, error) {
	var problems []error
	if a.inventory != "" {
		_, err := nodes.LoadInventory(a.inventory)
		problems = append(problems, err)
	}
	cat, err := a.catalog(ctx)
	problems = append(problems, err)
	q.Previous, q.PreviousSource, err = a.earlier(ctx)
	problems = append(problems, err)
	q.Policy, err = keys.Policy(q.policy)
	problems = append(problems, err)
	q.Slice, err = slice(q.shard, q.durations)
	if err := errors.Join(append(problems, err)...); err != nil {
		return gate.Options{}, err
	}
	return gate.Options{
		Version: version, Request: q.Request, Catalog: cat, CatalogDirs: a.directories(), Inventory: a.inventory,
		Daemon: a.daemon, Suite: a.suite, Look: a.look, Out: a.out, Environment: environment(),
	}, nil
}

// environment is what the daemon of a run is started with besides its own; it is how
// the self-test names the fault that a build for it commits.
func environment() []string {
	if f := os.Getenv("ARCHIPELAGO_FAULT"); f != "" {
		return []string{"ARCHIPELAGO_FAULT=" + f}
	}
	return nil
}

func (a *app) planCommand() *cobra.Command {
	q := &request{}
	c := &cobra.Command{
		Use: "plan", Short: "Say what would be run, and whether it could release",
		Example: "  gate plan --cycles 1 --apps APP\n  gate plan --policy strict.yaml --nodes nodes.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := a.options(cmd.Context(), q)
			if err != nil {
				return err
			}
			p, err := gate.Plan(o, "plan")
			if err != nil {
				return err
			}
			if q.json {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(p)
			}
			w := cmd.OutOrStdout()
			fmt.Fprintf(w, "apps    %s\nnodes   %s\nsteps   %s\ncycles  %d\ncells   %d\n", strings.Join(p.Asked.Apps, ", "), strings.Join(p.Asked.Nodes, ", "), strings.Join(p.Asked.Steps, ", "), p.Asked.Cycles, len(p.Cells()))
			if p.Shard != nil {
				for i, apps := range p.Shard.Split {
					fmt.Fprintf(w, "shard   %d of %d: %s\n", i+1, len(p.Shard.Split), strings.Join(apps, ", "))
				}
			}
			for _, app := range p.Ordered() {
				if needs := p.Requires[app]; len(needs) > 0 {
					fmt.Fprintf(w, "family  %s after %s, and gone before\n", app, strings.Join(needs, ", "))
				}
			}
			if p.Bare > 0 {
				fmt.Fprintf(w, "images  pulled once for each node before cycle 1; cycle %d starts without any\n", p.Bare)
			} else {
				fmt.Fprintln(w, "images  pulled once for each node; no cycle starts without any, which takes two")
			}
			if p.Previous != nil && len(p.UpdateCycles()) > 0 {
				fmt.Fprintf(w, "update  from %s in cycles %s\n", p.Previous.Source, plan.Cycles(p.UpdateCycles()))
			} else {
				fmt.Fprintf(w, "update  none: it takes --previous and %d cycles\n", matrix.UpdateFirst)
			}
			another := strings.Join(p.AnotherPolicy(), "; ")
			if another != "" {
				fmt.Fprintf(w, "POLICY  another policy, less than the built-in one demands: %s\n", another)
			}
			switch why := p.SmokeWhy(); {
			case len(why) > 0:
				fmt.Fprintf(w, "SMOKE   can release nothing: %s\n", strings.Join(why, "; "))
			case another != "":
				fmt.Fprintln(w, "RELEASE under another policy")
			default:
				fmt.Fprintln(w, "RELEASE as the policy demands")
			}
			return nil
		},
	}
	q.flags(c)
	return c
}

func (a *app) runCommand() *cobra.Command {
	q := &request{}
	c := &cobra.Command{
		Use: "run", Short: "Run the gate and write its report",
		Example: "  gate run\n  gate run --previous beta.json --root root.json\n  gate run --cycles 1 --apps APP,OTHER --only .228\n  gate run --shard 2/3 --durations last.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := a.options(cmd.Context(), q)
			if err != nil {
				return err
			}
			return carryOut(cmd, o, q.json, gate.Run)
		},
	}
	q.flags(c)
	return c
}

func (a *app) resumeCommand() *cobra.Command {
	q := &request{}
	c := &cobra.Command{
		Use: "resume [RUN]", Short: "Go on with a run that was cut short",
		Example: "  gate resume\n  gate resume out/gate/20260101-120000-1f2e",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := a.find(args)
			if err != nil {
				return err
			}
			o, err := a.options(cmd.Context(), q)
			if err != nil {
				return err
			}
			return carryOut(cmd, o, q.json, func(ctx context.Context, o gate.Options) (*gate.Outcome, error) { return gate.Resume(ctx, dir, o) })
		},
	}
	c.Flags().BoolVar(&q.json, "json", false, "print JSON")
	return c
}

// find gives the directory of the run that the arguments name; default: the latest.
func (a *app) find(args []string) (string, error) {
	name, err := runName(args)
	if err != nil {
		return "", err
	}
	return gate.Find(a.out, name)
}

// runName is the run that the arguments name; none stands for the latest. An empty one
// is a script's unset variable.
func runName(args []string) (string, error) {
	if len(args) == 0 {
		return "", nil
	}
	if args[0] == "" {
		return "", fmt.Errorf("%w: RUN is empty; name a run, or leave it out for the latest", plan.ErrUsage)
	}
	return args[0], nil
}

// carryOut shows the progress of a run, and its outcome.
func carryOut(cmd *cobra.Command, o gate.Options, asJSON bool, run func(context.Context, gate.Options) (*gate.Outcome, error)) error {
	out := cmd.ErrOrStderr()
	var verdict error
	d := &display{out: out}
	d.judged = func(outcome *gate.Outcome, cut error) {
		d.Close()
		if cut != nil {
			fmt.Fprintf(out, "gate: %s\ngate: go on with: gate resume %s\n", plain.Block(cut.Error()), outcome.Dir)
		}
		verdict = say(cmd, asJSON, outcome.Dir, outcome.Report)
	}
	o.Observer = d
	outcome, err := run(cmd.Context(), o)
	d.Close()
	if outcome == nil {
		return err
	}
	return verdict
}

// say ends a command with the verdict, in words and as an exit status.
func say(cmd *cobra.Command, asJSON bool, dir string, r *reports.Report) error {
	w := cmd.OutOrStdout()
	if asJSON {
		if err := json.NewEncoder(w).Encode(r); err != nil {
			return err
		}
	} else {
		p := func(format string, args ...any) { io.WriteString(w, plain.Block(fmt.Sprintf(format, args...))+"\n") }
		p("%s: %d apps, %d cycles, %s; report: %s", reports.Headline(r), len(r.Apps), r.Asked.Cycles, time.Duration(r.Seconds*float64(time.Second)).Round(time.Second), filepath.Join(dir, reports.HTMLFile))
		if again := reports.Again(r); again != "" {
			p("%s", again)
		}
		for _, why := range r.Unfit {
			p("UNFIT for a release: %s", why)
		}
		for _, again := range r.Reruns {
			p("run again: %s (%s): %s", again.Cell, again.Cause, again.Reason)
		}
		for _, waiver := range r.Waivers {
			p("WAIVER: %s", waiver)
		}
		if r.First != nil {
			p("first failure: %s: %s", r.First.Cell, r.First.Reason)
			p("again: %s", r.Reproduce(r.First.Cell))
		}
		for _, h := range r.Health {
			for _, problem := range h.Problems {
				p("node %s: %s", h.Node, problem)
			}
		}
	}
	if status := verdictStatus(r.Verdict); status != exitGreen {
		return verdictError{status}
	}
	return nil
}

func (a *app) reportCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "report [RUN]", Short: "Judge a run again from its results, and write its report",
		Example: "  gate report\n  gate report --json | jq .verdict",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := runName(args)
			if err != nil {
				return err
			}
			outcome, err := gate.Report(a.out, name)
			if err != nil {
				return err
			}
			return say(cmd, asJSON, outcome.Dir, outcome.Report)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
