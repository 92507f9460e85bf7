package gate

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/fleet"
	"github.com/archipelago-cloud/archipelago/reports"
)

// quiet is an observer of runs that come to nothing.
type quiet struct{ bytes.Buffer }

func (*quiet) Running(*plan.Plan, []reports.Result) {}
func (*quiet) Started(reports.Cell)                 {}
func (*quiet) Done(reports.Result)                  {}
func (*quiet) Judged(*Outcome, error)               {}

// options are those of a run on a machine that nothing can reach, with a suite that ends
// with a status and remembers the catalogs it was shown.
func options(t *testing.T, status string) (o Options, shown func() string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return file
	}
	cat, err := catalog.Load("../catalog/apps")
	if err != nil {
		t.Fatal(err)
	}
	o = Options{
		Catalog: cat, CatalogDirs: []string{"../catalog/apps"}, Request: plan.Request{Apps: []string{"mosquitto"}}, Out: filepath.Join(dir, "out"), Observer: &quiet{},
		Inventory: write("nodes.yaml", "nodes:\n- {name: x, address: 127.0.0.77, port: 1, user: archipelago, key: id}\n", 0o600),
		Suite:     write("suite", "#!/bin/sh\necho \"$ARCHIPELAGO_CATALOG\" >>"+dir+"/shown\necho planted\nexit "+status+"\n", 0o755),
		Daemon:    write("daemon", "a daemon", 0o755),
		Look:      write("look", "a program", 0o755),
	}
	return o, func() string {
		b, err := os.ReadFile(filepath.Join(dir, "shown"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
}

func TestARedLevelZeroKeepsEverythingElseFromBeingRun(t *testing.T) {
	o, shown := options(t, "1")
	outcome, err := Run(t.Context(), o)
	if outcome != nil || !errors.Is(err, catalog.ErrInvalid) || errors.Is(err, nodes.ErrRefused) {
		t.Fatalf("%+v, %v", outcome, err)
	}
	if want, _ := filepath.Abs("../catalog/apps"); shown() != want {
		t.Errorf("the suite was shown %q, expected %q", shown(), want)
	}
	logs, _ := filepath.Glob(filepath.Join(o.Out, "*", "level-zero.log"))
	if len(logs) != 1 || !strings.Contains(err.Error(), logs[0]) {
		t.Fatalf("logs %q, and the error says %v", logs, err)
	}
	if b, err := os.ReadFile(logs[0]); err != nil || string(b) != "planted\n" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestASignedCatalogIsLaidOutForLevelZero(t *testing.T) {
	o, shown := options(t, "0")
	published := catalog.Catalog{}
	for id, e := range o.Catalog {
		published[id] = &catalog.Entry{Manifest: e.Manifest}
	}
	o.Catalog, o.CatalogDirs = published, nil
	if _, err := Run(t.Context(), o); err == nil {
		t.Fatal("it ran")
	}
	if again, err := catalog.Load(shown()); err != nil || len(again) != len(published) || again["mosquitto"].Digest() != published["mosquitto"].Digest() {
		t.Errorf("%d of %d applications in %s, %v", len(again), len(published), shown(), err)
	}
}

func TestARunThatCannotBeginHasNoOutcome(t *testing.T) {
	o, _ := options(t, "0")
	if outcome, err := Run(t.Context(), o); outcome != nil || !errors.Is(err, nodes.ErrRefused) {
		t.Errorf("%+v, %v", outcome, err)
	}
	if _, err := Find(o.Out, ""); !errors.Is(err, plan.ErrUsage) {
		t.Errorf("it became the latest: %v", err)
	}
	o.Request.Nodes = []string{"y"}
	if _, err := Run(t.Context(), o); !errors.Is(err, plan.ErrUsage) || !strings.Contains(err.Error(), `unknown node "y": the inventory has x`) {
		t.Errorf("%v", err)
	}
	if _, err := Resume(t.Context(), "no-such-run", o); !errors.Is(err, plan.ErrUsage) {
		t.Errorf("%v", err)
	}
}

func TestARunIsFoundByDirectoryByNameAndAsTheLatest(t *testing.T) {
	out := t.TempDir()
	dir := filepath.Join(out, "r1")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p := &plan.Plan{Run: "r1", Asked: reports.Policy{Cycles: 1, Nodes: []string{"x"}, Steps: []string{"stop"}, Apps: []string{"a"}}}
	if err := errors.Join(reports.WriteJSON(filepath.Join(dir, reports.PlanFile), p), os.Symlink("r1", filepath.Join(out, "latest"))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dir, "r1", ""} {
		if got, err := Find(out, name); err != nil || filepath.Base(got) != "r1" {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
	outcome, err := Report(out, "")
	if err != nil || outcome.Report.Verdict != reports.Incomplete || !outcome.Report.Smoke {
		t.Fatalf("%+v, %v", outcome, err)
	}
	for _, f := range []string{reports.ReportFile, reports.HTMLFile, reports.AttestationFile} {
		if _, err := os.Stat(filepath.Join(outcome.Dir, f)); err != nil {
			t.Error(err)
		}
	}
}

func TestLevelZeroLooksAtADirectoryThatGaveNoApplication(t *testing.T) {
	o, shown := options(t, "0")
	misspelt := filepath.Join(t.TempDir(), "mine")
	if err := errors.Join(os.MkdirAll(filepath.Join(misspelt, "foo"), 0o755), os.WriteFile(filepath.Join(misspelt, "foo", "manifest.yml"), []byte("id: foo\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	o.CatalogDirs = append(o.CatalogDirs, misspelt)
	if _, err := Run(t.Context(), o); err == nil {
		t.Fatal("it ran")
	}
	if !strings.Contains(shown(), misspelt) {
		t.Errorf("the suite was shown only %q", shown())
	}
}

// told is an observer that keeps the outcome.
type told struct {
	quiet
	outcome *Outcome
	cut     error
}

func (o *told) Judged(outcome *Outcome, cut error) { o.outcome, o.cut = outcome, cut }

func TestAnOutcomeIsSaidWhileTheNodesAreStillHeld(t *testing.T) {
	var o told
	p := &plan.Plan{Run: "r1", Asked: reports.Policy{Cycles: 1, Nodes: []string{"x"}, Steps: []string{"stop"}, Apps: []string{"a"}}, Sessions: make([]plan.Session, 1)}
	e := &execution{Options: Options{Observer: &o, Out: t.TempDir()}, plan: p, dir: t.TempDir(), fresh: true}
	cut := errors.New("planted")
	outcome, err := e.judge(cut)
	if outcome == nil || o.outcome != outcome || err != cut || o.cut != cut || p.Sessions[0].Finished.IsZero() {
		t.Errorf("said %+v, %v; returned %+v, %v", o.outcome, o.cut, outcome, err)
	}
}

// TestAResumptionWithNothingToDoAddsNothing wants the run's record, and so its attestation,
// byte for byte as it was.
func TestAResumptionWithNothingToDoAddsNothing(t *testing.T) {
	for _, added := range []bool{false, true} {
		var o told
		p := &plan.Plan{Run: "r1", Asked: reports.Policy{Cycles: 1, Nodes: []string{"x"}, Steps: []string{"stop"}, Apps: []string{"a"}},
			Nodes: []reports.Node{{Name: "x", Kernel: "1"}}, Warnings: []string{"slow"}}
		p.Sessions = []plan.Session{{Started: time.Unix(1, 0).UTC(), Finished: time.Unix(2, 0).UTC()}}
		p.Sees("x", "boot/1", time.Unix(1, 0).UTC(), false)
		out := t.TempDir()
		dir := filepath.Join(out, "r1")
		if err := reports.WriteJSON(filepath.Join(dir, reports.PlanFile), p); err != nil {
			t.Fatal(err)
		}
		if _, err := conclude(dir, p); err != nil {
			t.Fatal(err)
		}
		read := func() (all string) {
			for _, file := range []string{reports.PlanFile, reports.AttestationFile, reports.ReportFile} {
				b, err := os.ReadFile(filepath.Join(dir, file))
				if err != nil {
					t.Fatal(err)
				}
				all += string(b)
			}
			return all
		}
		before := read()
		e := &execution{Options: Options{Observer: &o, Out: out}, plan: p, dir: dir, added: added}
		if err := e.begin(&fleet.Fleet{Nodes: []*fleet.Node{{Identity: nodes.Identity{Name: "x", Kernel: "2"}}}}); err != nil {
			t.Fatal(err)
		}
		p.Sees("x", "boot/2", time.Unix(3, 0).UTC(), true)
		if _, err := e.judge(nil); err != nil {
			t.Fatal(err)
		}
		if same := read() == before; same == added {
			t.Errorf("results were added: %v; its record is as it was: %v", added, same)
		}
		if added != (len(p.Away) == 1) || p.Boots["x"].ID != map[bool]string{false: "boot/1", true: "boot/2"}[added] {
			t.Errorf("%+v, %+v", p.Away, p.Boots)
		}
	}
}

func TestRunsOfTheSameDigestsCount(t *testing.T) {
	out := t.TempDir()
	steps := []string{"install", "stop"}
	made := func(name, daemon, manifest string, steps []string, edit func([]reports.Result)) *plan.Plan {
		t.Helper()
		p := &plan.Plan{Run: name, Asked: reports.Policy{Cycles: 3, Nodes: []string{"x"}, Steps: steps, Apps: []string{"a", "b"}}, Weights: map[string]plan.Weight{"a": {}},
			Subject: reports.Subject{Daemon: daemon, Manifests: map[string]string{"a": manifest, "b": "b0"}}}
		var results []reports.Result
		for _, c := range p.Cells() {
			results = append(results, reports.Result{Cell: c, Status: reports.Passed, Seconds: 7})
		}
		if edit != nil {
			edit(results)
		}
		lines, err := reports.Encode(results)
		dir := filepath.Join(out, name)
		if err := errors.Join(err, os.MkdirAll(dir, 0o755), reports.WriteJSON(filepath.Join(dir, reports.PlanFile), p), os.WriteFile(filepath.Join(dir, reports.ResultsFile), lines, 0o644)); err != nil {
			t.Fatal(err)
		}
		return p
	}
	made("green", "d0", "a0", steps, nil)
	made("red", "d0", "a0", append(steps, "uninstall"), func(r []reports.Result) { r[1].Status = reports.Failed })
	made("another-daemon", "d1", "a0", steps, nil)
	made("another-manifest", "d0", "a1", steps, nil)
	made("fewer-steps", "d0", "a0", steps[:1], nil)
	if err := errors.Join(os.Mkdir(filepath.Join(out, "came-to-nothing"), 0o755), os.Symlink("green", filepath.Join(out, latest))); err != nil {
		t.Fatal(err)
	}
	now := made("now", "d0", "a0", steps, nil)
	e := &execution{Options: Options{Out: out}, plan: now, dir: filepath.Join(out, "now")}
	results, earlier, err := e.history()
	if err != nil || len(results) != 12 {
		t.Fatalf("%d results of the latest, %v", len(results), err)
	}
	got := map[string]map[string]reports.Tally{}
	for _, one := range earlier {
		got[one.Run] = one.Cycles
		if len(one.Results) != 64 {
			t.Errorf("%+v", one)
		}
	}
	three, two := reports.Tally{Green: 3}, reports.Tally{Green: 2, Red: 1}
	want := map[string]map[string]reports.Tally{"green": {"a": three, "b": three}, "red": {"a": two, "b": three}, "another-manifest": {"b": three}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, expected %+v", got, want)
	}
	file := filepath.Join(out, "red", reports.ResultsFile)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes.Replace(b, []byte(`"failed"`), []byte(`"passed"`), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := e.history(); !errors.Is(err, plan.ErrUsage) || !strings.Contains(err.Error(), "an earlier run of the same digests: damaged results") {
		t.Errorf("an edited run counts: %v", err)
	}
}

func TestANodeSaysWhatItIsMadeOf(t *testing.T) {
	for want, id := range map[reports.Kind]nodes.Identity{reports.Lab: {Virt: "podman", Inside: true}, reports.Virtual: {Virt: "kvm"}, reports.Hardware: {Virt: "none"}, "": {}} {
		if got := kind(id); got != want {
			t.Errorf("%+v is %q, expected %q", id, got, want)
		}
	}
}

func TestAResumptionNeedsTheSameEarlierReleases(t *testing.T) {
	p := &plan.Plan{Run: "r1", Previous: &reports.Previous{Source: "beta 7", Releases: map[string]reports.Release{"a": {Version: "1"}}}}
	e := &execution{plan: p}
	if _, err := e.previous(); !errors.Is(err, plan.ErrUsage) || !strings.Contains(err.Error(), "run r1 updates a from its release in beta 7; name that again with --previous") {
		t.Error(err)
	}
	e.Request.Previous = catalog.Catalog{"a": {}, "b": {}}
	if got, err := e.previous(); err != nil || len(got) != 1 || got["a"] == nil {
		t.Errorf("%v, %v", got, err)
	}
}
