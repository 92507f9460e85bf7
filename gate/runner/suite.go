package runner

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
	"syscall"
	"time"

	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/fleet"
	"github.com/archipelago-cloud/archipelago/reports"
)

// interruptGrace is how long a suite may take to wind up after an interrupt.
const interruptGrace = 45 * time.Second

// shard runs one process of the suite and records its results. A cell that it gives no
// result for was not run.
func (r *Runner) shard(ctx context.Context, n *fleet.Node, k int, apps, steps []string) error {
	if ctx.Err() != nil {
		return nil
	}
	address, err := r.openBrowser(ctx)
	if err != nil {
		return err
	}
	s := &matrix.Shard{Run: r.Plan.Run, Dir: r.Dir, Node: *n.Node, Host: n.Identity.Host, RPC: n.RPC(), Token: n.Token, Trusted: n.Authority, Browser: address, Cycle: k, Steps: steps, Requirers: map[string][]string{}, Config: map[string]map[string]string{}}
	var missing []reports.Cell
	r.mu.Lock()
	for _, a := range apps {
		if key := (reports.Cell{App: a, Node: n.Name, Cycle: k}); r.resumed[key] {
			s.Resumed = append(s.Resumed, a)
			delete(r.resumed, key)
		}
	}
	r.mu.Unlock()
	for _, a := range apps {
		s.Apps = append(s.Apps, r.Fleet.Published[a].Manifest)
		s.Requirers[a], s.Config[a] = r.requirers(a, n.Name, k)
		for _, step := range steps {
			missing = append(missing, reports.Cell{App: a, Node: n.Name, Cycle: k, Step: step})
		}
	}
	name := fmt.Sprintf("%s-%d-%s-%s", n.Name, k, steps[0], apps[0])
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
	// A process group of its own: Ctrl-C in the terminal reaches the gate alone, which
	// then winds the suite up in good order.
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

// openBrowser gives the DevTools address of the run's only browser. It is started when
// first needed, and again if it has died.
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
	var trusted []nodes.Authority
	for _, n := range r.Fleet.Nodes {
		trusted = append(trusted, n.Authority)
	}
	b, err := matrix.StartBrowser(context.WithoutCancel(ctx), trusted...)
	if err != nil {
		return "", err
	}
	r.browser = b
	return b.Address, nil
}

// LevelZero runs the specs of the suite that need no node over a directory of manifests,
// which the daemon under test renders. If they are red, nothing else is worth running.
func LevelZero(ctx context.Context, suite, daemon, catalogDir, log string) error {
	var err error
	for _, file := range []*string{&daemon, &catalogDir} { // the suite works in another directory
		if *file, err = filepath.Abs(*file); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(ctx, suite, "-test.run=^TestMatrix$", "-ginkgo.no-color", "-ginkgo.label-filter=l0")
	cmd.Env = append(os.Environ(), matrix.CatalogVariable+"="+catalogDir, matrix.DaemonVariable+"="+daemon, matrix.ShardVariable+"=")
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	if keep := os.WriteFile(log, out, 0o644); keep != nil {
		return errors.Join(err, keep)
	}
	return fmt.Errorf("level 0 is red (%w): see %s", err, log)
}
