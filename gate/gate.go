// Package gate runs the production gate from beginning to end: it plans a run, brings up
// the nodes, takes every application through its full lifecycle, and writes the report.
// The packages below it do the work: plan, runner, verdict, attest and release.
package gate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/gate/attest"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/gate/runner"
	"github.com/archipelago-cloud/archipelago/reports"
)

// Options say what is run, on which nodes, and where its results go.
type Options struct {
	Version     string // of the gate
	Request     plan.Request
	Catalog     catalog.Catalog
	CatalogDirs []string // that it was read from; none for a signed catalog
	Inventory   string   // file of the nodes; empty for the lab's, which is brought up
	Daemon      string   // file of the daemon
	Suite       string   // file of the compiled suite
	Look        string   // file of the witnesses' program for the nodes; empty: look, beside the suite
	Out         string   // directory of runs
	Environment []string // more of the daemon's environment, "NAME=value"
	Observer    Observer
}

// Observer is told of a run's progress. Its methods are called from several goroutines.
type Observer interface {
	io.Writer // lines about what is being prepared
	// Running says that the plan is now worked on; results are those of earlier sessions.
	Running(p *plan.Plan, results []reports.Result)
	// Judged gives the outcome that Run or Resume is about to return, and what cut the run
	// short, if anything did. The nodes are let go only afterwards, and a node that hangs
	// must not keep the verdict from being seen.
	Judged(o *Outcome, cut error)
	runner.Observer
}

// Outcome is a run that has been judged.
type Outcome struct {
	Dir    string // of the run
	Report *reports.Report
}

// Plan checks what is asked for and says what would be run, under a name.
func Plan(o Options, name string) (*plan.Plan, error) {
	known, err := knownNodes(o.Inventory)
	if err != nil {
		return nil, err
	}
	p, err := plan.New(name, o.Version, o.Request, o.Catalog, known)
	if err == nil && p.Shard != nil {
		p.Shard.Host, err = os.Hostname()
	}
	return p, err
}

// Run plans a run, carries it out and judges it. A run that was cut short gives both an
// outcome, over the results there are, and the error that cut it short; Resume goes on.
func Run(ctx context.Context, o Options) (*Outcome, error) {
	p, err := Plan(o, newName())
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(o.Out, p.Run)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("%w: %w", runner.ErrIncomplete, err)
	}
	return carryOut(ctx, o, p, dir, true)
}

// newName is the name of a run that begins now.
func newName() string {
	return fmt.Sprintf("%s-%04x", time.Now().UTC().Format("20060102-150405"), os.Getpid()&0xffff)
}

// Resume goes on with a run as it was planned; the request counts for nothing. The daemon
// and the catalog must be those that the run began with. To a run in which nothing is left to
// do, nothing is added: no session, no result, no later end.
func Resume(ctx context.Context, name string, o Options) (*Outcome, error) {
	dir, p, err := open(o.Out, name)
	if err != nil {
		return nil, err
	}
	if len(p.Shards) > 0 {
		return nil, fmt.Errorf("%w: run %s was merged from %s; resume those, each on its machine, and merge again", plan.ErrUsage, p.Run, strings.Join(p.ShardRuns(), ", "))
	}
	left, err := runner.Left(p, dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", runner.ErrIncomplete, err)
	}
	if !left {
		fmt.Fprintf(o.Observer, "gate: nothing is left to do in run %s; it stays as it is\n", p.Run)
		r, err := conclude(dir, p)
		if err != nil {
			return nil, err
		}
		out := &Outcome{dir, r}
		o.Observer.Judged(out, nil)
		return out, nil
	}
	return carryOut(ctx, o, p, dir, false)
}

// Report judges a run again from its results, and writes its report.
func Report(out, name string) (*Outcome, error) {
	dir, p, err := open(out, name)
	if err != nil {
		return nil, err
	}
	r, err := conclude(dir, p)
	if err != nil {
		return nil, err
	}
	return &Outcome{dir, r}, nil
}

// Find gives the directory of a run: a directory, the name of a run in out, or, for an
// empty name, the latest run there.
func Find(out, name string) (string, error) {
	dir, _, err := open(out, name)
	return dir, err
}

const latest = "latest" // links to the run that was begun or resumed last

func open(out, name string) (string, *plan.Plan, error) {
	dir := filepath.Join(out, latest)
	if name != "" {
		dir = name
		if _, err := os.Stat(dir); err != nil {
			dir = filepath.Join(out, name)
		}
	}
	named := dir
	dir, err := filepath.EvalSymlinks(named)
	if err != nil {
		return "", nil, fmt.Errorf("%w: %s: no such run: %w", plan.ErrUsage, named, err)
	}
	if err := reports.Own(dir); errors.Is(err, fs.ErrNotExist) {
		return "", nil, fmt.Errorf("%w: not a run: %w; if a gate was ended here before it began, nothing is lost: start a new run", plan.ErrUsage, err)
	} else if err != nil {
		return "", nil, fmt.Errorf("%w: not a run: %w", plan.ErrUsage, err)
	}
	file := filepath.Join(dir, reports.PlanFile)
	b, err := os.ReadFile(file)
	if err != nil {
		return "", nil, fmt.Errorf("%w: not a run: %w", plan.ErrUsage, err)
	}
	p, err := plan.Parse(b)
	if err != nil {
		return "", nil, fmt.Errorf("%w (%s; a gate replaces it whole, so it was changed or damaged since: put back a copy of it, or start a new run)", err, file)
	}
	return dir, p, nil
}

// conclude judges a run from what is on disk, and writes every output. The run's own record
// stays as it is: whoever works on the run may be writing that.
func conclude(dir string, p *plan.Plan) (*reports.Report, error) {
	fail := func(err error) (*reports.Report, error) {
		return nil, fmt.Errorf("%w: %w", runner.ErrIncomplete, err)
	}
	results, err := reports.ReadResults(dir)
	if err != nil {
		return fail(err)
	}
	if err := p.Check(results); err != nil {
		return nil, err // before anything is written
	}
	r, statement, err := attest.Statement(dir)
	if err != nil {
		return fail(err)
	}
	r.Green = lastGreen(dir, p.Run)
	if err := errors.Join(reports.Render(dir, r), reports.Write(dir, reports.AttestationFile, statement)); err != nil {
		return fail(err)
	}
	return r, nil
}
