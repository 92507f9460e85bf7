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

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/gate"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/lab"
	"github.com/archipelago-cloud/archipelago/reports"
)

// asked are the flags that say what to run.
type asked struct {
	gate.Ask
	json bool
}

func (q *asked) flags(c *cobra.Command) {
	f := c.Flags()
	f.IntVar(&q.Cycles, "cycles", 0, "cycles; default: the release policy's 20")
	f.StringSliceVar(&q.Apps, "apps", nil, "applications; default: all of the catalog")
	f.StringSliceVar(&q.Nodes, "only", nil, "names of nodes; default: all of the inventory")
	f.StringSliceVar(&q.Steps, "steps", nil, "steps; default: all nine")
	f.BoolVar(&q.json, "json", false, "print JSON")
	complete := func(list func() []string) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return list(), cobra.ShellCompDirectiveNoFileComp
		}
	}
	c.RegisterFlagCompletionFunc("steps", complete(matrix.StepNames))
	c.RegisterFlagCompletionFunc("only", complete(func() []string { return gate.ReleasePolicy().Nodes }))
}

func (a *app) planCommand() *cobra.Command {
	q := &asked{}
	c := &cobra.Command{
		Use: "plan", Short: "Say what would be run, and whether it could release",
		Example: "  gate plan --cycles 1 --apps miniflux",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, p, err := a.plan(cmd.Context(), q.Ask, "plan")
			if err != nil {
				return err
			}
			if q.json {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(p)
			}
			w := cmd.OutOrStdout()
			fmt.Fprintf(w, "apps    %s\nnodes   %s\nsteps   %s\ncycles  %d\ncells   %d\n", strings.Join(p.Asked.Apps, ", "), strings.Join(p.Asked.Nodes, ", "), strings.Join(p.Asked.Steps, ", "), p.Asked.Cycles, len(p.Cells()))
			if why := p.SmokeWhy(); len(why) > 0 {
				fmt.Fprintf(w, "SMOKE   can release nothing: %s\n", strings.Join(why, "; "))
			} else {
				fmt.Fprintln(w, "RELEASE as the policy asks")
			}
			return nil
		},
	}
	q.flags(c)
	return c
}

// known gives the names of the nodes that can be asked for, and the inventory
// where one was given.
func (a *app) known() (names []string, inv *nodes.Inventory, err error) {
	if a.inventory == "" {
		for _, m := range lab.Members {
			names = append(names, m.Name)
		}
		return names, nil, nil
	}
	if inv, err = nodes.LoadInventory(a.inventory); err != nil {
		return nil, nil, err
	}
	for _, n := range inv.Nodes {
		names = append(names, n.Name)
	}
	return names, inv, nil
}

func (a *app) plan(ctx context.Context, ask gate.Ask, run string) (catalog.Catalog, *gate.Plan, error) {
	names, _, invErr := a.known()
	cat, err := a.catalog(ctx)
	if err := errors.Join(invErr, err); err != nil {
		return nil, nil, err
	}
	p, err := gate.NewPlan(run, version, ask, cat, names)
	return cat, p, err
}

func (a *app) runCommand() *cobra.Command {
	q := &asked{}
	c := &cobra.Command{
		Use: "run", Short: "Run the gate and write its report",
		Example: "  gate run\n  gate run --cycles 1 --apps miniflux,mosquitto --only .228",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			now := time.Now().UTC()
			cat, p, err := a.plan(cmd.Context(), q.Ask, fmt.Sprintf("%s-%04x", now.Format("20060102-150405"), os.Getpid()&0xffff))
			if err != nil {
				return err
			}
			dir := filepath.Join(a.out, p.Run)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("%w: %w", gate.ErrGate, err)
			}
			return a.execute(cmd, q, cat, p, dir, true)
		},
	}
	q.flags(c)
	return c
}

func (a *app) resumeCommand() *cobra.Command {
	q := &asked{}
	c := &cobra.Command{
		Use: "resume [RUN]", Short: "Go on with a run that was cut off",
		Example: "  gate resume\n  gate resume out/gate/20260101-120000-1f2e",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, p, err := a.openRun(args)
			if err != nil {
				return err
			}
			cat, err := a.catalog(cmd.Context())
			if err != nil {
				return err
			}
			// What is tested must be what was tested.
			return a.execute(cmd, q, cat, p, dir, false)
		},
	}
	c.Flags().BoolVar(&q.json, "json", false, "print JSON")
	return c
}

// openRun finds a run by its directory or name; default: the latest.
func (a *app) openRun(args []string) (string, *gate.Plan, error) {
	dir := filepath.Join(a.out, "latest")
	if len(args) > 0 {
		dir = args[0]
		if _, err := os.Stat(dir); err != nil {
			dir = filepath.Join(a.out, args[0])
		}
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", nil, fmt.Errorf("%w: no such run: %w", gate.ErrUsage, err)
	}
	b, err := os.ReadFile(filepath.Join(dir, reports.PlanFile))
	if err != nil {
		return "", nil, fmt.Errorf("%w: not a run: %w", gate.ErrUsage, err)
	}
	p := &gate.Plan{}
	if err := json.Unmarshal(b, p); err != nil {
		return "", nil, fmt.Errorf("%w: %s: %w", gate.ErrUsage, reports.PlanFile, err)
	}
	return dir, p, nil
}

// execute runs what a plan still lacks, judges it and writes the report.
func (a *app) execute(cmd *cobra.Command, q *asked, cat catalog.Catalog, p *gate.Plan, dir string, fresh bool) error {
	ctx := cmd.Context()
	out := cmd.ErrOrStderr()
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := a.levelZero(ctx, cat, dir); err != nil {
		return err
	}
	inv, err := a.bring(cmd, out)
	if err != nil {
		return err
	}
	var members []nodes.Node
	for _, name := range p.Asked.Nodes {
		n, err := inv.Node(name)
		if err != nil {
			return err
		}
		members = append(members, *n)
	}
	fleet, err := gate.Assemble(ctx, members)
	if err != nil {
		return err
	}
	defer fleet.Close()
	unlock, err := fleet.Lock(ctx, p.Run)
	if err != nil {
		return err
	}
	defer unlock()
	selected, err := cat.Select(p.Asked.Apps...)
	if err != nil {
		return err
	}
	if fresh {
		if err := fleet.Clean(ctx); err != nil {
			return err
		}
	}
	l, err := lab.Open(io.Discard)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "gate: publishing images, deploying the daemon")
	if err := fleet.Equip(ctx, a.daemon, selected, l.Engine, environment(), io.Discard); err != nil {
		return fmt.Errorf("%w: %w", gate.ErrGate, err)
	}
	before := p.Subject
	if err := p.Identify(a.daemon, fleet.Published); err != nil {
		return err
	}
	if !fresh && !sameSubject(before, p.Subject) {
		return fmt.Errorf("%w: the daemon or a manifest has changed since run %s began; a run speaks of one subject, so start a new one", gate.ErrUsage, p.Run)
	}
	p.Nodes = nil
	for _, m := range fleet.Nodes {
		id := m.Identity
		p.Nodes = append(p.Nodes, reports.Node{Name: id.Name, Address: id.Address, HostKey: id.HostKey, OS: id.OS, Kernel: id.Kernel, Podman: id.Podman, Systemd: id.Systemd})
	}
	p.Warnings = fleet.Warnings
	p.Sessions = append(p.Sessions, gate.Session{Started: time.Now().UTC()})
	if err := reports.WriteJSON(filepath.Join(dir, reports.PlanFile), p); err != nil {
		return fmt.Errorf("%w: %w", gate.ErrGate, err)
	}
	if err := pointLatest(a.out, dir); err != nil {
		return fmt.Errorf("%w: %w", gate.ErrGate, err)
	}
	results, err := reports.ReadResults(dir)
	if err != nil {
		return fmt.Errorf("%w: %w", gate.ErrGate, err)
	}
	store, err := reports.OpenStore(dir)
	if err != nil {
		return fmt.Errorf("%w: %w", gate.ErrGate, err)
	}
	defer store.Close()
	progress := newProgress(out, p, results)
	runner := &gate.Runner{Plan: p, Fleet: fleet, Dir: dir, Suite: a.suite, Store: store, Results: results, Observer: progress}
	runErr := runner.Run(ctx)
	progress.Close()
	p.Sessions[len(p.Sessions)-1].Finished = time.Now().UTC()
	r, err := conclude(dir, p)
	if err != nil {
		return fmt.Errorf("%w: %w", gate.ErrGate, errors.Join(runErr, err))
	}
	if runErr != nil {
		fmt.Fprintf(out, "gate: %v\ngate: go on with: gate resume %s\n", runErr, dir)
	}
	return say(cmd, q.json, dir, r)
}

// environment is what the daemon of a run is started with besides its own; it is
// how the self-test names the fault that a build for it commits.
func environment() []string {
	if f := os.Getenv("ARCHIPELAGO_FAULT"); f != "" {
		return []string{"ARCHIPELAGO_FAULT=" + f}
	}
	return nil
}

func sameSubject(a, b reports.Subject) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return string(x) == string(y)
}

// bring gives the inventory: the one named, or the lab's, which is brought up.
func (a *app) bring(cmd *cobra.Command, out io.Writer) (*nodes.Inventory, error) {
	if a.inventory != "" {
		return nodes.LoadInventory(a.inventory)
	}
	if err := a.labUp(cmd, out); err != nil {
		return nil, fmt.Errorf("%w: bringing up the lab: %w", gate.ErrGate, err)
	}
	l, err := lab.Open(out)
	if err != nil {
		return nil, err
	}
	return nodes.LoadInventory(l.InventoryFile())
}

func pointLatest(out, dir string) error {
	link := filepath.Join(out, "latest")
	tmp := fmt.Sprintf("%s.%d", link, os.Getpid())
	if err := os.Symlink(filepath.Base(dir), tmp); err != nil {
		return err
	}
	return os.Rename(tmp, link)
}

// conclude judges a run from what is on disk, and writes every output.
func conclude(dir string, p *gate.Plan) (*reports.Report, error) {
	if err := reports.WriteJSON(filepath.Join(dir, reports.PlanFile), p); err != nil {
		return nil, err
	}
	r, statement, err := gate.Statement(dir)
	if err != nil {
		return nil, err
	}
	if err := reports.Render(dir, r); err != nil {
		return nil, err
	}
	return r, os.WriteFile(filepath.Join(dir, reports.AttestationFile), statement, 0o644)
}

// say ends a command with the verdict, in words and as an exit status.
func say(cmd *cobra.Command, asJSON bool, dir string, r *reports.Report) error {
	w := cmd.OutOrStdout()
	if asJSON {
		if err := json.NewEncoder(w).Encode(r); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(w, "%s: %d apps, %d cycles, %s; report: %s\n", reports.Headline(r), len(r.Apps), r.Asked.Cycles, time.Duration(r.Seconds*float64(time.Second)).Round(time.Second), filepath.Join(dir, reports.HTMLFile))
		for _, waiver := range r.Waivers {
			fmt.Fprintf(w, "WAIVER: %s\n", waiver)
		}
		if r.First != nil {
			fmt.Fprintf(w, "first failure: %s: %s\n", r.First.Cell, r.First.Reason)
		}
	}
	if status := gate.ExitStatus(r.Verdict); status != gate.ExitGreen {
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
			dir, p, err := a.openRun(args)
			if err != nil {
				return err
			}
			r, err := conclude(dir, p)
			if err != nil {
				return fmt.Errorf("%w: %w", gate.ErrGate, err)
			}
			return say(cmd, asJSON, dir, r)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
