package runner

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes/fleet"
	"github.com/archipelago-cloud/archipelago/reports"
)

// interruptGrace is how long a suite may take to wind up after an interrupt.
const interruptGrace = 45 * time.Second

// silence is how long a suite may say nothing: longer than the longest step, which ends by
// itself, and its evidence.
func (r *Runner) silence() time.Duration {
	if r.Silence > 0 {
		return r.Silence
	}
	longest := time.Duration(0)
	for _, s := range matrix.Steps() {
		longest = max(longest, s.Timeout)
	}
	return longest + 5*time.Minute
}

// shard runs one process of the suite and records its results. A cell that it gives no
// result for was not run. The error ends the work on the node.
func (r *Runner) shard(ctx context.Context, n *fleet.Node, j *plan.Job, apps, steps []string) error {
	if err := r.tryBrowser(ctx); err != nil {
		return err
	}
	s := r.describe(n, j, apps, steps)
	name := fmt.Sprintf("%s-%d-%s-%s", n.Name, j.Cycle, steps[0], apps[0])
	file := filepath.Join(r.Dir, "suite", name+".json")
	if err := s.Write(file); err != nil {
		return fmt.Errorf("%w: %w", errStore, err)
	}
	defer os.Remove(file) // it holds the access token
	log, err := newLog(filepath.Join(r.Dir, "suite", name))
	if err != nil {
		return fmt.Errorf("%w: %w", errStore, err)
	}
	defer log.Close()
	results, into, err := os.Pipe()
	if err != nil {
		return err
	}
	defer results.Close()
	watched, give := context.WithCancelCause(ctx)
	defer give(nil)
	cmd := exec.CommandContext(watched, r.Suite, "-test.timeout=0", "-ginkgo.no-color", "-ginkgo.v")
	cmd.Env = append(os.Environ(), matrix.ShardVariable+"="+file, matrix.ResultsVariable+"=1")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{into}
	// A process group of its own: Ctrl-C in the terminal reaches the gate alone, which
	// then winds the suite up in good order. A gate that is killed takes the suite along:
	// it would act beside the session that resumes the run. The kernel sends that signal when
	// the thread ends that started the suite, so the thread stays with this call.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = interruptGrace
	if err := cmd.Start(); err != nil {
		into.Close()
		return fmt.Errorf("starting the suite: %w", err)
	}
	into.Close()
	quiet := time.AfterFunc(r.silence(), func() { give(errSilent) })
	defer quiet.Stop()
	missing, unread := r.listen(watched, results, quiet, s)
	if unread != nil {
		give(unread)
	}
	// Nobody waits for a reader while it winds up.
	var rest sync.WaitGroup
	rest.Go(func() { io.Copy(io.Discard, results) })
	exit := cmd.Wait()
	r.meter.process(n.Name, cmd.ProcessState)
	results.Close()
	rest.Wait()
	if unread != nil {
		return errors.Join(unread, r.unread(unread, missing, log.Name()))
	}
	reason, cause := "interrupted", reports.Interrupted
	switch {
	case ctx.Err() != nil:
	case watched.Err() != nil:
		reason, cause = fmt.Sprintf("the suite said nothing for %s, and was ended; see %s", r.silence(), log.Name()), reports.Hung
	default:
		reason, cause = fmt.Sprintf("the suite ended before it (%v); see %s", exit, log.Name()), reports.Hung
	}
	for _, m := range missing {
		res := reports.Result{Cell: m.cell, Status: reports.NotRun, Reason: reason, At: time.Now().UTC()}
		if m.begun {
			res.Cause = cause
		}
		if err := r.take(res); err != nil {
			return err
		}
	}
	return nil
}

// unread records as red what was under way when the suite said something that could not be
// read or kept: it may have been that it failed, and what is not run can be run again.
func (r *Runner) unread(why error, missing []unheard, log string) error {
	if errors.Is(why, errStore) {
		return nil
	}
	evidence, err := filepath.Rel(r.Dir, log)
	if err != nil {
		return err
	}
	for _, m := range missing {
		if !m.begun {
			continue
		}
		if err := r.take(reports.Result{Cell: m.cell, Status: reports.Failed, Reason: why.Error(), Evidence: []string{evidence}, At: time.Now().UTC()}); err != nil {
			return err
		}
	}
	return nil
}

// newLog makes the log of a process beside those of earlier ones that worked on the same.
func newLog(name string) (f *os.File, err error) {
	for n := 1; ; n++ {
		file := name + ".log"
		if n > 1 {
			file = fmt.Sprintf("%s-%d.log", name, n)
		}
		if f, err = os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644); !errors.Is(err, fs.ErrExist) {
			return f, err
		}
	}
}

// turnsFile is in the directory of a run: the nodes of a lab share this machine, and reboot in turn.
const turnsFile = "reboots.lock"

var errSilent = errors.New("the suite says nothing")

// describe says what a process of the suite is to do.
func (r *Runner) describe(n *fleet.Node, j *plan.Job, apps, steps []string) *matrix.Shard {
	s := &matrix.Shard{Run: r.Plan.Run, Dir: r.Dir, Node: *n.Node, Host: n.Identity.Host, RPC: n.RPC(), Token: n.Token, Trusted: n.Authority, Look: filepath.Join(filepath.Dir(r.Suite), LookName), Cycle: j.Cycle, Bare: j.Cycle == r.Plan.Bare, Browse: slices.Contains(r.Plan.Asked.Steps, matrix.UIReachable), Steps: steps, EvidenceFull: r.full()}
	if i := slices.IndexFunc(r.Plan.Nodes, func(at reports.Node) bool { return at.Name == n.Name }); i >= 0 && r.Plan.Nodes[i].Kind == reports.Lab {
		s.Turns = filepath.Join(r.Dir, turnsFile)
	}
	fixtures, absent := r.around(j, apps)
	manifests := func(ids []string) (out []*manifest.Manifest) {
		for _, a := range ids {
			out = append(out, r.Fleet.Published[a].Manifest)
		}
		return out
	}
	s.Apps, s.Fixtures, s.Absent = manifests(apps), manifests(fixtures), manifests(absent)
	s.Requirers, s.Config = map[string][]matrix.Requirer{}, map[string]map[string]string{}
	for _, a := range apps {
		if slices.Contains(steps, matrix.Install) && r.Plan.Updates(a, j.Cycle) {
			if s.Previous == nil {
				s.Previous = map[string]*manifest.Manifest{}
			}
			s.Previous[a] = r.Fleet.Previous[a].Manifest
		}
		s.Requirers[a], s.Config[a] = r.requirers(a, n.Name, j.Cycle)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asked[n.Name] != j.Cycle { // the first job of a cycle asks archy, too
		r.asked[n.Name] = j.Cycle
		s.Archy = r.archy()
	}
	for _, a := range apps {
		at := place{n.Name, a}
		// A cycle that begins where the last one ended has nothing to mend, in whatever session.
		if steps[0] == matrix.Install && r.left[at] || steps[0] != matrix.Install && r.resumed[at] {
			s.Resumed = append(s.Resumed, a)
		}
		delete(r.resumed, at)
	}
	return s
}

// LookName is the name of the witnesses' program, beside the suite.
const LookName = "look"

// archy is the path of the owner's command: it is built beside the suite. Empty where it
// is not there.
func (r *Runner) archy() string {
	file := filepath.Join(filepath.Dir(r.Suite), "archy")
	if _, err := os.Stat(file); err != nil {
		return ""
	}
	return file
}

// unheard is a cell that a suite has given no result for.
type unheard struct {
	cell  reports.Cell
	begun bool
}

// listen records the results of a suite as they come, and gives the cells that it said
// nothing of.
func (r *Runner) listen(ctx context.Context, results io.Reader, quiet *time.Timer, s *matrix.Shard) (missing []unheard, err error) {
	for _, m := range s.Apps {
		for _, step := range s.Steps {
			missing = append(missing, unheard{cell: reports.Cell{App: m.ID, Node: s.Node.Name, Cycle: s.Cycle, Step: step}})
		}
	}
	lines := bufio.NewScanner(results)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		quiet.Reset(r.silence())
		var res reports.Result
		if err := json.Unmarshal(lines.Bytes(), &res); err != nil {
			return missing, fmt.Errorf("reading the suite's results: %w", err)
		}
		i := slices.IndexFunc(missing, func(u unheard) bool { return u.cell == res.Cell })
		if i < 0 {
			return missing, fmt.Errorf("the suite gave a result of %s, which it was not asked for, or gave before", res.Cell)
		}
		if res.Status == matrix.Running {
			missing[i].begun = true
			r.Observer.Started(res.Cell)
			continue
		}
		missing = slices.Delete(missing, i, i+1)
		if res.Cause == reports.Interrupted && errors.Is(context.Cause(ctx), errSilent) {
			res.Cause, res.Reason = reports.Hung, fmt.Sprintf("it said nothing for %s, and was ended", r.silence())
		}
		if err := r.take(res); err != nil {
			return missing, err
		}
	}
	if err := lines.Err(); err != nil {
		return missing, fmt.Errorf("reading the suite's results: %w", err)
	}
	return missing, nil
}

// tryBrowser starts a browser, once in a session, and ends it again: a missing or broken one is
// the gate's failure before anything is done. Every process of the suite has one of its own,
// so that nothing that is under way can reach another's.
func (r *Runner) tryBrowser(ctx context.Context) error {
	if !slices.Contains(r.Plan.Asked.Steps, matrix.UIReachable) {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.browsed {
		return nil
	}
	b, err := matrix.StartBrowser(ctx, nil)
	if err != nil {
		return err
	}
	b.Close()
	r.browsed = true
	return nil
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
