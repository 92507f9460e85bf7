package matrix

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	. "github.com/onsi/gomega"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/reports"
)

// Names of the report entries from which report reads a cell's result.
const (
	entryCell   = "archipelago-cell"
	entryBroken = "archipelago-not-run"
)

// reasonOver is why a cell was never begun.
const reasonOver = "an earlier step of the cycle did not pass"

// resultsFD is where the gate reads results, one JSON line each.
const resultsFD = 3

// TestMain keeps a process that works on a shard to the suite: a gate starts hundreds.
func TestMain(m *testing.M) {
	BecomeBrowser()
	if os.Getenv(ShardVariable) != "" {
		if err := flag.Set("test.run", "^TestMatrix$"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func TestMatrix(t *testing.T) {
	RegisterFailHandler(Fail)
	shard, ok, err := ReadShard()
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		levelZero(t)
	} else {
		session := NewSession(shard)
		defer session.Close()
		cells(session)
		if os.Getenv(ResultsVariable) != "" {
			syscall.CloseOnExec(resultsFD) // it ends with this process, whatever that has started
			pipe := os.NewFile(resultsFD, "results")
			defer pipe.Close()
			ReportBeforeEach(func(r SpecReport) {
				skipped := r.State.Is(types.SpecStateFailureStates | types.SpecStateSkipped | types.SpecStatePending)
				if c, ok := cellOf(shard, r.Labels()); ok && !skipped {
					send(pipe, reports.Result{Cell: c, Status: Running})
				}
			})
			ReportAfterEach(func(r SpecReport) { report(pipe, shard, r) })
		}
	}
	suite, reporter := GinkgoConfiguration()
	suite.Timeout = 2 * time.Hour
	RunSpecs(t, "matrix", suite, reporter)
}

// cells makes a spec of each cell of the shard.
func cells(s *Session) {
	byPhase := map[Phase][]Step{}
	for _, name := range s.Shard.Steps {
		step, _ := FindStep(name)
		byPhase[step.Phase] = append(byPhase[step.Phase], step)
	}
	for _, phase := range []Phase{Life, Survival, End} {
		if phase == Survival {
			for _, step := range byPhase[phase] {
				survivalSpecs(s, step)
			}
			continue
		}
		for _, m := range s.Shard.Apps {
			lifeSpecs(s, m, byPhase[phase])
		}
	}
}

func labels(s *Session, app string, step Step) Labels {
	return Labels{strings.ToLower(step.Level), "app:" + app, "node:" + s.Shard.Node.Name, fmt.Sprintf("cycle:%d", s.Shard.Cycle), "step:" + step.Name}
}

func lifeSpecs(s *Session, m *manifest.Manifest, steps []Step) {
	if len(steps) == 0 {
		return
	}
	Describe(fmt.Sprintf("%s on %s, cycle %d", m.ID, s.Shard.Node.Name, s.Shard.Cycle), Ordered, func() {
		over := false // a step did not pass: what comes after it would begin from anywhere
		for _, step := range steps {
			It(step.Name, NodeTimeout(step.Timeout), labels(s, m.ID, step), func(ctx SpecContext) {
				if over { // Ginkgo goes on after a step that was not run
					Skip(reasonOver)
				}
				over = true
				g := s.group(step, m)
				g.perform(ctx)
				conclude(ctx, g, 0)
				over = false
			})
		}
	})
}

// survivalSpecs performs the step once for the node, and gives each application a
// spec that tells its own outcome.
func survivalSpecs(s *Session, step Step) {
	Describe(fmt.Sprintf("%s of %s, cycle %d", step.Name, s.Shard.Node.Name, s.Shard.Cycle), Ordered, ContinueOnFailure, Serial, func() {
		var performed *Group
		for i, m := range s.Shard.Apps {
			It(m.ID, NodeTimeout(step.Timeout), labels(s, m.ID, step), func(ctx SpecContext) {
				if performed == nil {
					g := s.group(step, s.Shard.Apps...)
					g.perform(ctx)
					performed = g
				}
				conclude(ctx, performed, i)
			})
		}
	})
}

// conclude adds the cell's report entry and ends the spec with its verdict.
func conclude(ctx context.Context, g *Group, i int) {
	o, err := g.conclude(ctx, i)
	b, jsonErr := json.Marshal(o)
	Expect(jsonErr).NotTo(HaveOccurred())
	AddReportEntry(entryCell, string(b), ReportEntryVisibilityNever)
	if err != nil && broken(err) {
		AddReportEntry(entryBroken, reports.Text(err.Error()), ReportEntryVisibilityFailureOrVerbose)
		Skip(reports.Text(err.Error()))
	}
	if err != nil {
		Fail(reports.Text(err.Error()))
	}
}

// report translates Ginkgo's report of a spec into a cell's result.
func report(out *os.File, shard *Shard, r SpecReport) {
	cell, ok := cellOf(shard, r.Labels())
	if !ok {
		return
	}
	res := reports.Result{Cell: cell, At: time.Now().UTC(), Seconds: r.RunTime.Seconds()}
	var kind reports.Failure
	for _, e := range r.ReportEntries {
		switch e.Name {
		case entryCell:
			var o outcome
			if json.Unmarshal([]byte(e.StringRepresentation()), &o) == nil {
				res.Seconds, res.Timing, res.Note, res.Updated, res.Evidence, res.Cause = o.Seconds, o.Timing, o.Note, o.Updated, o.Evidence, o.Cause
				kind = o.Kind
			}
		case entryBroken:
			res.Reason = e.StringRepresentation()
		}
	}
	switch {
	case r.State == types.SpecStatePassed:
		res.Status = reports.Passed
	case r.State.Is(types.SpecStateFailed | types.SpecStatePanicked):
		res.Status, res.Reason, res.Kind = reports.Failed, r.Failure.Message, kind
		if r.State == types.SpecStatePanicked {
			res.Reason = "the step panicked: " + r.Failure.ForwardedPanic
		}
	default:
		res.Status = reports.NotRun
		if res.Reason == "" {
			res.Reason = reasonOver
			if r.State.Is(types.SpecStateInterrupted | types.SpecStateAborted) {
				res.Reason, res.Cause = "interrupted", reports.Interrupted
			}
			if r.State == types.SpecStateTimedout {
				res.Reason, res.Cause = "timed out", reports.Hung
			}
		}
	}
	send(out, res)
}

// send hands a line to the gate. Once the gate no longer reads, whatever this
// process still does is lost.
func send(out *os.File, r reports.Result) {
	r.Reason, r.Note = reports.Text(r.Reason), reports.Text(r.Note)
	if err := json.NewEncoder(out).Encode(r); err != nil {
		fmt.Fprintln(os.Stderr, "the gate no longer reads results:", err)
		os.Exit(1)
	}
}

func cellOf(shard *Shard, labels []string) (reports.Cell, bool) {
	c := reports.Cell{Node: shard.Node.Name, Cycle: shard.Cycle}
	for _, l := range labels {
		if v, ok := strings.CutPrefix(l, "app:"); ok {
			c.App = v
		}
		if v, ok := strings.CutPrefix(l, "step:"); ok {
			c.Step = v
		}
	}
	return c, c.App != "" && c.Step != ""
}
