package gate

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

const (
	interruptGrace = 45 * time.Second // for a suite to wind up after an interrupt
	sideBySide     = 4                // applications at a time on one node
)

// Observer is told of a run's progress; its methods are called from several
// goroutines.
type Observer interface {
	Started(reports.Cell)
	Done(reports.Result)
}

// Runner carries out a plan on a fleet.
type Runner struct {
	Plan     *Plan
	Fleet    *Fleet
	Dir      string // of the run
	Suite    string // path of the compiled suite
	Store    *reports.Store
	Results  []reports.Result // of earlier sessions of the run
	Observer Observer

	mu      sync.Mutex
	done    map[reports.Cell]reports.Status
	resumed map[reports.Cell]bool // without step: begun in an earlier session, not yet gone on with
	browser *matrix.Browser
	failure error // of the gate itself
}

// Run works on every cell that has no result yet: nodes side by side, on each node
// cycle after cycle, in each cycle the phases in order. A cell that cannot be run
// is recorded so; the error is of the gate itself (ErrGate), never of what is tested.
func (r *Runner) Run(ctx context.Context) error {
	r.done = map[reports.Cell]reports.Status{}
	r.resumed = map[reports.Cell]bool{}
	for _, res := range r.Results {
		r.resumed[reports.Cell{App: res.App, Node: res.Node, Cycle: res.Cycle}] = true
		if res.Status != reports.NotRun && r.done[res.Cell] != reports.Failed {
			r.done[res.Cell] = res.Status
		}
	}
	defer func() {
		if r.browser != nil {
			r.browser.Close()
		}
	}()
	if err := os.MkdirAll(filepath.Join(r.Dir, "suite"), 0o755); err != nil {
		return fmt.Errorf("%w: %w", ErrGate, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, m := range r.Fleet.Nodes {
		if !slices.Contains(r.Plan.Asked.Nodes, m.Name) {
			continue
		}
		wg.Go(func() {
			for k := 1; k <= r.Plan.Asked.Cycles && ctx.Err() == nil; k++ {
				if err := r.cycle(ctx, m, k); err != nil {
					r.mu.Lock()
					r.failure = errors.Join(r.failure, err)
					r.mu.Unlock()
					if errors.Is(err, errStore) {
						cancel(err) // no result can be kept any more, on any node
					}
					return
				}
			}
		})
	}
	wg.Wait()
	if r.failure != nil {
		return fmt.Errorf("%w: %w", ErrGate, r.failure)
	}
	return context.Cause(ctx)
}

// errStore marks results that could not be written.
var errStore = errors.New("results cannot be written")

// cycle runs the phases of one cycle on one node.
func (r *Runner) cycle(ctx context.Context, m *Member, k int) error {
	for _, phase := range []matrix.Phase{matrix.Life, matrix.Survival, matrix.End} {
		byApp := r.todo(m.Name, k, phase)
		if len(byApp) == 0 {
			continue
		}
		if phase == matrix.Survival {
			if err := r.survival(ctx, m, k, byApp); err != nil {
				return err
			}
			continue
		}
		errs := make(chan error, len(byApp))
		room := make(chan struct{}, sideBySide)
		for app, steps := range byApp {
			go func() {
				room <- struct{}{}
				defer func() { <-room }()
				errs <- r.shard(ctx, m, k, []string{app}, steps)
			}()
		}
		var all error
		for range byApp {
			all = errors.Join(all, <-errs)
		}
		if all != nil {
			return all
		}
	}
	return nil
}

// survival runs the steps that all applications of the node go through together,
// one after the other.
func (r *Runner) survival(ctx context.Context, m *Member, k int, byApp map[string][]string) error {
	for _, step := range matrix.Steps() {
		var apps []string
		for app, steps := range r.todo(m.Name, k, matrix.Survival) {
			if slices.Contains(steps, step.Name) && byApp[app] != nil {
				apps = append(apps, app)
			}
		}
		if len(apps) == 0 {
			continue
		}
		slices.Sort(apps)
		if err := r.shard(ctx, m, k, apps, []string{step.Name}); err != nil {
			return err
		}
	}
	return nil
}

// todo gives, by application, the steps of a phase that have no result yet. Steps
// after a failure in the same cycle are recorded as not run.
func (r *Runner) todo(node string, k int, phase matrix.Phase) map[string][]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string][]string{}
	for _, app := range r.Plan.Asked.Apps {
		failed := ""
		for _, s := range matrix.Steps() {
			cell := reports.Cell{App: app, Node: node, Cycle: k, Step: s.Name}
			status, known := r.done[cell]
			switch {
			case status == reports.Failed:
				failed = s.Name
			case known || s.Phase != phase || !slices.Contains(r.Plan.Asked.Steps, s.Name):
			case failed != "":
				r.record(reports.Result{Cell: cell, Status: reports.NotRun, Reason: failed + " failed earlier in the cycle", At: time.Now().UTC()})
				r.done[cell] = reports.NotRun
			default:
				out[app] = append(out[app], s.Name)
			}
		}
	}
	return out
}

// record keeps a result; the lock is held.
func (r *Runner) record(res reports.Result) error {
	if err := r.Store.Append(res); err != nil {
		return fmt.Errorf("%w: %w", errStore, err)
	}
	r.Results = append(r.Results, res)
	r.Observer.Done(res)
	return nil
}

// shard runs one process of the suite and takes its results. What it gives no
// result for is not run.
func (r *Runner) shard(ctx context.Context, m *Member, k int, apps, steps []string) error {
	if ctx.Err() != nil {
		return nil
	}
	address, err := r.openBrowser(ctx)
	if err != nil {
		return err
	}
	s := &matrix.Shard{Run: r.Plan.Run, Dir: r.Dir, Node: *m.Node, RPC: m.RPC(), Token: m.Token, Browser: address, Cycle: k, Steps: steps}
	var missing []reports.Cell
	r.mu.Lock()
	for _, a := range apps {
		if key := (reports.Cell{App: a, Node: m.Name, Cycle: k}); r.resumed[key] {
			s.Resumed = append(s.Resumed, a)
			delete(r.resumed, key)
		}
	}
	r.mu.Unlock()
	for _, a := range apps {
		s.Apps = append(s.Apps, r.Fleet.Published[a].Manifest)
		for _, step := range steps {
			missing = append(missing, reports.Cell{App: a, Node: m.Name, Cycle: k, Step: step})
		}
	}
	name := fmt.Sprintf("%s-%d-%s-%s", m.Name, k, steps[0], apps[0])
	file := filepath.Join(r.Dir, "suite", name+".json")
	if err := s.Write(file); err != nil {
		return fmt.Errorf("%w: %w", errStore, err)
	}
	defer os.Remove(file) // it holds the access token
	log, err := os.Create(filepath.Join(r.Dir, "suite", name+".log"))
	if err != nil {
		return fmt.Errorf("%w: %w", errStore, err)
	}
	defer log.Close()
	results, into, err := os.Pipe()
	if err != nil {
		return err
	}
	defer results.Close()
	cmd := exec.CommandContext(ctx, r.Suite, "-test.timeout=0", "-ginkgo.no-color", "-ginkgo.v")
	cmd.Env = append(os.Environ(), matrix.ShardVariable+"="+file, matrix.ResultsVariable+"=1")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{into}
	// A group of its own: a Ctrl-C in the terminal reaches the gate alone, which
	// then ends the suite in good order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = interruptGrace
	if err := cmd.Start(); err != nil {
		into.Close()
		return fmt.Errorf("starting the suite: %w", err)
	}
	into.Close()
	var lost, kept error
	lines := bufio.NewScanner(results)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var res reports.Result
		if err := json.Unmarshal(lines.Bytes(), &res); err != nil {
			kept = fmt.Errorf("reading the suite's results: %w", err)
			break
		}
		if res.Status == matrix.Running {
			r.Observer.Started(res.Cell)
			continue
		}
		missing = slices.DeleteFunc(missing, func(c reports.Cell) bool { return c == res.Cell })
		if err := r.take(res); err != nil {
			kept = err
			cmd.Process.Signal(os.Interrupt)
			break
		}
		if res.Status == reports.NotRun && ctx.Err() == nil && !r.failedEarlier(res.Cell) {
			lost = fmt.Errorf("%s: %s", res.Cell, res.Reason)
		}
	}
	exit := cmd.Wait()
	if kept != nil {
		return kept
	}
	reason := "interrupted"
	if ctx.Err() == nil {
		reason = fmt.Sprintf("the suite ended before it (%v); see %s", exit, log.Name())
	}
	for _, c := range missing {
		if err := r.take(reports.Result{Cell: c, Status: reports.NotRun, Reason: reason, At: time.Now().UTC()}); err != nil {
			return err
		}
		if ctx.Err() == nil {
			lost = fmt.Errorf("%s: %s", c, reason)
		}
	}
	return lost
}

// take records a result and remembers it for the plan of later phases.
func (r *Runner) take(res reports.Result) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.record(res); err != nil {
		return err
	}
	r.done[res.Cell] = res.Status
	return nil
}

// failedEarlier tells whether another step of the same application and cycle failed.
func (r *Runner) failedEarlier(c reports.Cell) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range matrix.Steps() {
		if r.done[reports.Cell{App: c.App, Node: c.Node, Cycle: c.Cycle, Step: s.Name}] == reports.Failed {
			return true
		}
	}
	return false
}

// openBrowser gives the DevTools address of the one browser of the run, started
// when it is first needed and again if it has died.
func (r *Runner) openBrowser(ctx context.Context) (string, error) {
	if !slices.Contains(r.Plan.Asked.Steps, matrix.UIReachable) {
		return "", nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.browser != nil {
		if r.browser.Alive(ctx) == nil {
			return r.browser.Address, nil
		}
		r.browser.Close()
		r.browser = nil
	}
	b, err := matrix.StartBrowser(context.WithoutCancel(ctx))
	if err != nil {
		return "", err
	}
	r.browser = b
	return b.Address, nil
}

// LevelZero runs the suite's specs that need no node over a catalog. A catalog
// that is red keeps everything else from being run.
func LevelZero(ctx context.Context, suite, catalogDir, log string) error {
	dir, err := filepath.Abs(catalogDir)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, suite, "-ginkgo.no-color", "-ginkgo.label-filter=l0")
	cmd.Env = append(os.Environ(), matrix.CatalogVariable+"="+dir, matrix.ShardVariable+"=")
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	if keep := os.WriteFile(log, out, 0o644); keep != nil {
		return errors.Join(err, keep)
	}
	return fmt.Errorf("level 0 is red (%w): see %s", err, log)
}
