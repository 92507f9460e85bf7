package attest

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/reports"
)

// redAt gives a run in which cells of a's step ui-reachable failed, in cycle 3 on .228, as change
// has it.
func redAt(t *testing.T, change func(*plan.Plan, *reports.Result)) string {
	t.Helper()
	return runDir(t, func(p *plan.Plan, r []reports.Result) []reports.Result {
		for i := range r {
			if r[i].Cell == (reports.Cell{App: "a", Node: ".228", Cycle: 3, Step: "ui-reachable"}) {
				r[i].Status, r[i].Reason = reports.Failed, "the theme is broken"
				change(p, &r[i])
			}
		}
		return r
	})
}

func theme() reports.Waived {
	return reports.Waived{App: "a", Waiver: catalog.Waiver{Steps: []string{"ui-reachable"}, Reason: "cosmetic", Tracker: "https://tracker.example/1", Until: ended.Add(48 * time.Hour)}}
}

func TestAWaiverIsForOneRunItsCellsAndTheirCauseOnly(t *testing.T) {
	gateKey, person := newSigner(t), newSigner(t)
	given := redAt(t, func(*plan.Plan, *reports.Result) {})
	file, err := Waive(t.Context(), given, theme(), "", ended, person)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Sign(t.Context(), given, ended, gateKey); err != nil {
		t.Fatalf("the run that it was given for: %v", err)
	}
	waiver, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*plan.Plan, *reports.Result){
		"another run":          func(p *plan.Plan, _ *reports.Result) { p.Run = "another" },
		"another cause":        func(_ *plan.Plan, r *reports.Result) { r.Reason = "the page shows another's photographs" },
		"the same, once more":  func(_ *plan.Plan, r *reports.Result) { r.Seconds = 2 }, // other results
		"not run, and unknown": func(_ *plan.Plan, r *reports.Result) { r.Status = reports.NotRun },
	} {
		dir := redAt(t, change)
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, reports.WaiversDir), 0o755), os.WriteFile(filepath.Join(dir, reports.WaiversDir, "a.dsse.json"), waiver, 0o644)); err != nil {
			t.Fatal(err)
		}
		if _, err := Sign(t.Context(), dir, ended, gateKey); !errors.Is(err, ErrAttestation) || !strings.Contains(err.Error(), "was given for another run, other results or another failure; 'gate waive' gives one for this") && !strings.Contains(err.Error(), "nobody has judged it") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The same step in another cycle or on another node is another cell, whatever else is right.
	r, _, err := Statement(given)
	for name, change := range map[string]func(*reports.Excuse){
		"another node":  func(e *reports.Excuse) { e.Node = ".198" },
		"another cycle": func(e *reports.Excuse) { e.Cycle = 4 },
		"another cause": func(e *reports.Excuse) { e.Reason = "slow" },
	} {
		dir := redAt(t, func(*plan.Plan, *reports.Result) {})
		w := r.Waivers[0]
		w.Cells = []reports.Excuse{w.Cells[0]}
		change(&w.Cells[0])
		put(t, dir, w, person)
		if _, err := Sign(t.Context(), dir, ended, gateKey); !errors.Is(err, ErrAttestation) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err != nil || len(r.Waivers) != 1 || len(r.Waivers[0].Cells) != 1 || r.Waivers[0].Cells[0].Node != ".228" || r.Waivers[0].Cells[0].Cycle != 3 || r.Waivers[0].Cells[0].Reason != "the theme is broken" {
		t.Errorf("%+v, %v", r.Waivers, err)
	}
}

func TestNoWaiverCoversTheLossOfDataOrAnInvariant(t *testing.T) {
	gateKey, person := newSigner(t), newSigner(t)
	for name, c := range map[string]struct {
		change func(*reports.Result)
		want   string
	}{
		"a canary":              {func(r *reports.Result) { r.Kind, r.Reason = reports.DataLoss, "reading the canary back: 404" }, "which no waiver excuses"},
		"an invariant":          {func(r *reports.Result) { r.Kind = reports.Invariant }, "which no waiver excuses"},
		"an older suite's word": {func(r *reports.Result) { r.Reason = "invariant: a container is privileged" }, "which no waiver excuses"},
	} {
		dir := redAt(t, func(_ *plan.Plan, r *reports.Result) { c.change(r) })
		if _, err := Waive(t.Context(), dir, theme(), "", ended, person); !errors.Is(err, ErrAttestation) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: one was given: %v", name, err)
		}
		// By whoever signs it past 'gate waive'.
		r, _, err := Statement(dir)
		if err != nil {
			t.Fatal(err)
		}
		w := theme()
		w.Manifest, w.Run, w.Results, w.Given = "a0", r.Run, r.Results, ended
		for _, cell := range r.Apps[0].Cells {
			if cell.Status == reports.Failed {
				w.Cells = append(w.Cells, reports.Excuse{Cell: cell.Cell, Status: cell.Status, Reason: cell.Reason})
			}
		}
		put(t, dir, w, person)
		if _, err := Sign(t.Context(), dir, ended, gateKey); !errors.Is(err, ErrAttestation) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: it was excused: %v", name, err)
		}
	}
}

// put signs a waiver as it is, and stores it with a run.
func put(t *testing.T, dir string, w reports.Waived, person *sign.Signer) {
	t.Helper()
	payload, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	e, err := sign.Sign(t.Context(), waiverType, payload, person)
	if err := errors.Join(err, os.MkdirAll(filepath.Join(dir, reports.WaiversDir), 0o755), os.WriteFile(filepath.Join(dir, reports.WaiversDir, "a.dsse.json"), e, 0o644)); err != nil {
		t.Fatal(err)
	}
}

func TestAWorseFailureOfTheSameCellIsNotHiddenByTheFirst(t *testing.T) {
	person := newSigner(t)
	cell := reports.Cell{App: "a", Node: ".228", Cycle: 3, Step: "ui-reachable"}
	dir := runDir(t, func(_ *plan.Plan, r []reports.Result) []reports.Result {
		for i := range r {
			if r[i].Cell == cell {
				r[i].Status, r[i].Reason = reports.Failed, "the theme is broken"
			}
		}
		return append(r, reports.Result{Cell: cell, Status: reports.Failed, Kind: reports.DataLoss, Reason: "the data is gone: volume db was deleted"})
	})
	if _, err := Waive(t.Context(), dir, theme(), "", ended, person); !errors.Is(err, ErrAttestation) || !strings.Contains(err.Error(), "volume db was deleted") {
		t.Error(err)
	}
}

// A second waiver of the same application would excuse, and neither be shown on nodes nor end
// there: an entry carries one.
func TestAnApplicationHasOneWaiver(t *testing.T) {
	dir := redAt(t, func(*plan.Plan, *reports.Result) {})
	file, err := Waive(t.Context(), dir, theme(), "", ended, newSigner(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Sign(t.Context(), dir, ended, newSigner(t)); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file, filepath.Join(filepath.Dir(file), "0.dsse.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := Waive(t.Context(), dir, theme(), "", ended, newSigner(t)); !errors.Is(err, ErrAttestation) {
		t.Error("a second one was given:", err)
	}
	if _, err := Sign(t.Context(), dir, ended, newSigner(t)); !errors.Is(err, ErrAttestation) || !strings.Contains(err.Error(), "0.dsse.json is for a, and an application has one, in a.dsse.json") {
		t.Error(err)
	}
}
