package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/fleet"
	"github.com/archipelago-cloud/archipelago/reports"
)

// recall takes in the results of earlier sessions. A cell that began and did not end may be
// run again once, in whatever session.
func (r *Runner) recall() error {
	r.done, r.broken, r.last = map[reports.Cell]reports.Status{}, map[reports.Cell]int{}, map[place]reports.Cell{}
	r.left, r.resumed, r.stopped, r.boots = map[place]bool{}, map[place]bool{}, map[place]string{}, map[string]nodes.BootID{}
	r.asked, r.without = map[string]int{}, map[place]string{}
	for _, res := range r.Results {
		if res.OfNode() {
			continue
		}
		r.resumed[place{res.Node, res.App}] = true
		r.remember(res)
	}
	for _, res := range r.Results {
		for _, file := range res.Evidence {
			r.spend(file)
		}
	}
	if err := r.killed(); err != nil {
		return err
	}
	for c, times := range r.broken {
		if _, known := r.done[c]; !known && times > 1 {
			r.done[c] = reports.NotRun
		}
	}
	return nil
}

// killed records what a gate that was killed had under way: the files of its shards are
// still there. Otherwise such a cell would be run again uncounted.
func (r *Runner) killed() error {
	files, err := filepath.Glob(filepath.Join(r.Dir, "suite", "*.json"))
	if err != nil {
		return err
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var s matrix.Shard
		if json.Unmarshal(b, &s) == nil { // one that was not written to its end was not begun
			for _, m := range s.Apps {
				c := reports.Cell{App: m.ID, Node: s.Node.Name, Cycle: s.Cycle}
				i := slices.IndexFunc(s.Steps, func(step string) bool {
					c.Step = step
					_, known := r.done[c]
					return !known
				})
				if i < 0 {
					continue
				}
				c.Step = s.Steps[i]
				if err := r.take(reports.Result{Cell: c, Status: reports.NotRun, Cause: reports.Interrupted, Reason: "the gate was killed while it was under way", At: time.Now().UTC()}); err != nil {
					return err
				}
				r.resumed[place{c.Node, c.App}] = true
			}
		}
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	return nil
}

// Disarm takes the access tokens out of what a gate that was killed left in a run. Which
// cells were under way stays known.
func Disarm(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "suite", "*.json"))
	if err != nil {
		return err
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var s matrix.Shard
		switch {
		case json.Unmarshal(b, &s) != nil: // it was not written to its end, and no cell of it was begun
			err = os.Remove(file)
		case s.Token != "":
			s.Token = ""
			if b, err = json.Marshal(s); err == nil {
				err = atomicfile.Write(file, b, 0o600)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// remember takes in what one result means for others; the lock is held, or nobody else is
// there yet.
func (r *Runner) remember(res reports.Result) {
	at := place{res.Node, res.App}
	if res.Status == reports.NotRun {
		if res.Cause != "" {
			r.broken[res.Cell]++
			r.left[at], r.last[at] = true, res.Cell
		}
		return
	}
	r.last[at] = res.Cell
	if r.done[res.Cell] != reports.Failed {
		r.done[res.Cell] = res.Status
	}
	r.left[at] = res.Step != matrix.Uninstall || res.Status != reports.Passed
}

// settle decides, once a process of the suite has ended, on the cells of the job that it
// did not take to their end: whether any is run again.
func (r *Runner) settle(j *plan.Job) (again bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var over []reports.Result
	for _, c := range j.Cells() {
		if _, known := r.done[c]; known {
			continue
		}
		i := lastOf(r.Results, c)
		if i < 0 {
			continue
		}
		switch res := r.Results[i]; {
		case (res.Cause == reports.Lost || res.Cause == reports.Hung) && r.broken[c] == 1:
			again = true
			r.resumed[place{c.Node, c.App}] = true
		default:
			over = append(over, res)
		}
	}
	if again && len(j.Apps) == 1 {
		return true // the steps after the one that is run again are open, too
	}
	for _, res := range over {
		r.done[res.Cell] = reports.NotRun
		if res.Cause != "" { // it stops its application on this node, and nothing else
			why := fmt.Sprintf("%s: %s", res.Cell, res.Reason)
			r.stopped[place{res.Node, res.App}] = why
			r.failure = errors.Join(r.failure, errors.New(why))
		}
	}
	return again
}

func lastOf(results []reports.Result, c reports.Cell) int {
	for i, res := range slices.Backward(results) {
		if res.Cell == c {
			return i
		}
	}
	return -1
}

// todo gives the applications and steps of a job that have no result yet. What cannot be
// run, because something failed earlier in the cycle or an image cannot be had, is recorded
// as not run.
func (r *Runner) todo(j *plan.Job) (apps, steps []string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range j.Cells() {
		if _, known := r.done[c]; known {
			continue
		}
		if why := r.blocked(c); why != "" {
			if err := r.record(reports.Result{Cell: c, Status: reports.NotRun, Reason: why, At: time.Now().UTC()}); err != nil {
				return nil, nil, err
			}
			r.done[c] = reports.NotRun
			continue
		}
		if !slices.Contains(apps, c.App) {
			apps = append(apps, c.App)
		}
		if !slices.Contains(steps, c.Step) {
			steps = append(steps, c.Step)
		}
	}
	return apps, steps, nil
}

// unavailable remembers what needs an image that cannot be had on this node: it is not run
// there, nor is what requires it. That says nothing about the application, and covers nothing.
func (r *Runner) unavailable(n *fleet.Node, without map[string]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range r.Fleet.Images {
		why, is := without[i.Ref]
		if !is {
			continue
		}
		for _, app := range i.Apps {
			r.without[place{n.Name, app}] = fmt.Sprintf("its image %s cannot be had here: %s", i.Ref, why)
		}
	}
}

// blocked says what keeps a cell from being run, mostly in the same cycle; the lock is held.
func (r *Runner) blocked(c reports.Cell) string {
	for _, app := range append(r.Plan.Needs(c.App), c.App) {
		fixture := ""
		if app != c.App {
			fixture = fmt.Sprintf("fixture %s, which it requires: ", app)
		}
		if why := r.without[place{c.Node, app}]; why != "" {
			return fixture + why
		}
		for _, s := range matrix.StepNames() {
			switch r.done[reports.Cell{App: app, Node: c.Node, Cycle: c.Cycle, Step: s}] {
			case reports.Failed:
				return fixture + s + " failed earlier in the cycle"
			case reports.NotRun:
				return fixture + s + " was not run earlier in the cycle"
			}
		}
		if why := r.stopped[place{c.Node, app}]; why != "" {
			return fixture + "it was not run to its end: " + why
		}
	}
	return ""
}

// record keeps a cell's result; the lock is held.
func (r *Runner) record(res reports.Result) error {
	if err := r.keep(res); err != nil {
		return err
	}
	r.Observer.Done(res)
	return nil
}

// keep puts a result on disk, and has an application's first red one known elsewhere before
// anybody is told of it; the lock is held.
func (r *Runner) keep(res reports.Result) error {
	if err := r.Store.Append(res); err != nil {
		return fmt.Errorf("%w: %w", errStore, err)
	}
	r.Results = append(r.Results, res)
	if res.Status != reports.Failed || r.red[res.App] || r.Red == nil {
		return nil
	}
	if err := r.Red(res.App); err != nil {
		return fmt.Errorf("%w: the ledger: %w", errStore, err)
	}
	if r.red == nil {
		r.red = map[string]bool{}
	}
	r.red[res.App] = true
	return nil
}

// take records a result and remembers it. A red one without its evidence is a fault of the
// gate.
func (r *Runner) take(res reports.Result) error {
	missing := r.digest(&res)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.record(res); err != nil {
		return err
	}
	r.remember(res)
	if res.Status == reports.Failed && (missing != nil || len(res.Evidence) == 0) {
		r.failure = errors.Join(r.failure, fmt.Errorf("%s is red without its evidence, which is a fault of the gate: %v", res.Cell, missing))
	}
	return nil
}

// digest adds to a result the digests of its evidence.
func (r *Runner) digest(res *reports.Result) error {
	var problems []error
	for _, file := range res.Evidence {
		sum, err := reports.FileDigest(filepath.Join(r.Dir, file))
		if err != nil {
			problems = append(problems, err)
			continue
		}
		r.spend(file)
		if res.Digests == nil {
			res.Digests = map[string]string{}
		}
		res.Digests[file] = sum
	}
	return errors.Join(problems...)
}
