package gate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/gate/history"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/gate/runner"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/reports"
)

// keptRun puts the n-th run into out, of one application with a daemon that it keeps.
func keptRun(t *testing.T, out string, n int, daemon, manifest string, status reports.Status) *Outcome {
	t.Helper()
	p := &plan.Plan{
		Run: fmt.Sprintf("r%02d", n), Asked: reports.Policy{Cycles: 1, Nodes: []string{"x"}, Steps: []string{matrix.Install, matrix.UIReachable, matrix.Stop}, Apps: []string{"a"}},
		Subject: reports.Subject{Daemon: reports.Digest([]byte(daemon)), Manifests: map[string]string{"a": manifest}}, Sessions: []plan.Session{{Started: time.Unix(int64(n), 0).UTC()}},
	}
	var results []reports.Result
	for _, c := range p.Cells() {
		results = append(results, reports.Result{Cell: c, Status: reports.Passed})
	}
	results[len(results)-1].Status = status
	dir := filepath.Join(out, p.Run)
	lines, err := reports.Encode(results)
	if err := errors.Join(err, reports.WriteJSON(filepath.Join(dir, reports.PlanFile), p), os.WriteFile(filepath.Join(dir, reports.ResultsFile), lines, 0o644), reports.Write(dir, filepath.Join(binDir, daemonPin), []byte(daemon))); err != nil {
		t.Fatal(err)
	}
	r, err := conclude(dir, p)
	if err != nil {
		t.Fatal(err)
	}
	return &Outcome{dir, r}
}

func TestBisectTriesOnlyWhatNoRunHasShown(t *testing.T) {
	out := t.TempDir()
	for n := range 10 { // of daemons 0 to 9, 6 is the first bad one; only the first and the last were run as far as that
		status := reports.NotRun
		switch n {
		case 0:
			status = reports.Passed
		case 9:
			status = reports.Failed
		}
		keptRun(t, out, n, fmt.Sprint("d", n), "m", status)
	}
	var tried, said []string
	b := &Bisection{Out: out, App: "a", Step: matrix.Stop, Say: func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }}
	manifest := "m"
	b.Try = func(_ context.Context, d history.Daemon) (*Outcome, error) {
		text, err := os.ReadFile(d.File)
		if err != nil {
			t.Fatal(err)
		}
		tried = append(tried, string(text))
		status := reports.Passed
		if string(text) >= "d6" {
			status = reports.Failed
		}
		return keptRun(t, out, 10+len(tried), string(text), manifest, status), nil
	}
	if got := b.Steps(); !slices.Equal(got, []string{matrix.Install, matrix.UIReachable, matrix.Stop}) {
		t.Errorf("a try goes through %q", got)
	}
	for range 2 { // the second time, all is known
		found, err := b.Search(t.Context())
		if err != nil || found.Good.SHA256 != reports.Digest([]byte("d5")) || found.Bad.SHA256 != reports.Digest([]byte("d6")) || len(found.Between) != 0 {
			t.Fatalf("%+v, %v\n%s", found, err, strings.Join(said, "\n"))
		}
		if len(tried) == 0 || len(tried) > 4 || slices.Contains(tried, "d0") || slices.Contains(tried, "d9") {
			t.Errorf("tried %q", tried)
		}
	}
	before := len(tried)
	b.Fresh = true
	if _, err := b.Search(t.Context()); err != nil || !slices.Contains(tried[before:], "d0") || !slices.Contains(tried[before:], "d9") {
		t.Errorf("what is known counts: %q, %v", tried[before:], err)
	}
	b.Fresh, manifest = false, "another"
	keptRun(t, out, 99, "d99", "m", reports.Failed) // a newer daemon; nothing is known between it and the rest
	b.Step = matrix.Install
	if _, err := b.Search(t.Context()); !errors.Is(err, plan.ErrUsage) {
		t.Errorf("no daemon is bad there: %v", err)
	}
}

func TestABisectionOverAnotherCatalogIsRefused(t *testing.T) {
	out := t.TempDir()
	keptRun(t, out, 1, "d1", "m", reports.Passed)
	keptRun(t, out, 2, "d2", "m", reports.NotRun)
	keptRun(t, out, 3, "d3", "m", reports.Failed)
	b := &Bisection{Out: out, App: "a", Step: matrix.Stop, Say: func(string, ...any) {}}
	b.Try = func(context.Context, history.Daemon) (*Outcome, error) {
		return keptRun(t, out, 4, "d2", "another", reports.Passed), nil
	}
	if _, err := b.Search(t.Context()); !errors.Is(err, plan.ErrUsage) || !strings.Contains(err.Error(), "had another manifest of a") {
		t.Error(err)
	}
}

// TestATryIsOfTheDaemonThatWasMeant has the program of a release be replaced meanwhile.
func TestATryIsOfTheDaemonThatWasMeant(t *testing.T) {
	out := t.TempDir()
	keptRun(t, out, 1, "d1", "m", reports.Passed)
	keptRun(t, out, 2, "d2", "m", reports.NotRun)
	keptRun(t, out, 3, "d3", "m", reports.Failed)
	b := &Bisection{Out: out, App: "a", Step: matrix.Stop, Say: func(string, ...any) {}}
	b.Try = func(context.Context, history.Daemon) (*Outcome, error) {
		return keptRun(t, out, 4, "another", "m", reports.Passed), nil
	}
	if found, err := b.Search(t.Context()); !errors.Is(err, plan.ErrUsage) || !strings.Contains(err.Error(), "is another program now") {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestADaemonOfWhichNothingCanBeToldIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		err error
		cut bool // the search
	}{
		"the gate failed":        {runner.ErrIncomplete, false},
		"the nodes are held":     {runner.ErrHeld, true},
		"the node cannot be one": {nodes.ErrRefused, true},
		"its cell was not run":   {nil, false},
	} {
		out := t.TempDir()
		keptRun(t, out, 1, "d1", "m", reports.Passed)
		keptRun(t, out, 2, "d2", "m", reports.NotRun)
		keptRun(t, out, 3, "d3", "m", reports.Failed)
		b := &Bisection{Out: out, App: "a", Step: matrix.Stop, Say: func(string, ...any) {}}
		b.Try = func(context.Context, history.Daemon) (*Outcome, error) {
			if c.err != nil {
				return nil, c.err
			}
			return keptRun(t, out, 4, "d2", "m", reports.NotRun), nil
		}
		found, err := b.Search(t.Context())
		if c.cut {
			if !errors.Is(err, c.err) {
				t.Errorf("%s: %+v, %v", name, found, err)
			}
			continue
		}
		if err != nil || len(found.Between) != 1 || found.Between[0].SHA256 != reports.Digest([]byte("d2")) {
			t.Errorf("%s: %+v, %v", name, found, err)
		}
	}
}

func TestABisectionNeedsTwoDaemonsAndAStep(t *testing.T) {
	out := t.TempDir()
	keptRun(t, out, 1, "d1", "m", reports.Failed)
	b := &Bisection{Out: out, App: "a", Step: matrix.Stop, Say: func(string, ...any) {}}
	if _, err := b.Search(t.Context()); !errors.Is(err, plan.ErrUsage) || !strings.Contains(err.Error(), "it takes two") {
		t.Error(err)
	}
	b.Step = "halt"
	if _, err := b.Search(t.Context()); !errors.Is(err, plan.ErrUsage) {
		t.Error(err)
	}
}

// TestAHistoryThatCannotBeHadFailsNoRun has something in the database's place that cannot be removed.
func TestAHistoryThatCannotBeHadFailsNoRun(t *testing.T) {
	out := t.TempDir()
	if err := os.WriteFile(filepath.Join(out, ledgerFile), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	green := keptRun(t, out, 1, "d1", "m", reports.Passed)
	if green.Report.Green != nil || green.Report.Verdict != reports.Green {
		t.Fatalf("%+v", green.Report.Green)
	}
	if c := keptRun(t, out, 2, "d2", "m", reports.Failed).Report.Green; c == nil || c.Run != "r01" || len(c.Changes) != 1 || c.Why != "" {
		t.Errorf("%+v", c)
	}
	file := filepath.Join(out, history.File)
	if err := errors.Join(os.Remove(file), os.MkdirAll(filepath.Join(file, "x"), 0o755)); err != nil {
		t.Fatal(err)
	}
	o := keptRun(t, out, 3, "d2", "m", reports.Failed)
	if c := o.Report.Green; o.Report.Verdict != reports.Red || c == nil || c.Why == "" || c.Run != "" {
		t.Errorf("%+v", c)
	}
	if err := os.Remove(filepath.Join(out, ledgerFile)); err != nil {
		t.Fatal(err)
	}
	if c := keptRun(t, out, 4, "d2", "m", reports.Failed).Report.Green; c != nil {
		t.Errorf("a run that is not beside a ledger is compared: %+v", c)
	}
}
