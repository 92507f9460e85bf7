package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

func foreign() *Plan {
	return &Plan{Run: "20260101-120000-1f2e", Asked: reports.Policy{Cycles: 2, Nodes: []string{".228"}, Steps: []string{matrix.Install}, Apps: []string{"feeds"}}, Nodes: []reports.Node{{Name: ".228"}}}
}

func names(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprint("n", i))
	}
	return out
}

// A plan that somebody else wrote names no file outside its run.
func TestAForeignPlanIsRefusedWhereNoGateWouldHaveWrittenIt(t *testing.T) {
	for name, change := range map[string]func(*Plan){
		"":                 func(*Plan) {},
		"run":              func(p *Plan) { p.Run = "../x" },
		"application":      func(p *Plan) { p.Asked.Apps = []string{"../../x"} },
		"released":         func(p *Plan) { p.Release = []string{"/x"} },
		"required":         func(p *Plan) { p.Requires = map[string][]string{"feeds": {"a/b"}} },
		"requiring":        func(p *Plan) { p.Requires = map[string][]string{"a/b": nil} },
		"version of":       func(p *Plan) { p.Versions = map[string]string{"a b": "1"} },
		"manifest of":      func(p *Plan) { p.Subject.Manifests = map[string]string{"..": ""} },
		"node asked for":   func(p *Plan) { p.Asked.Nodes = []string{".."} },
		"node":             func(p *Plan) { p.Nodes[0].Name = "\x1b[2J" },
		"step":             func(p *Plan) { p.Asked.Steps = []string{"../x"} },
		"cycles":           func(p *Plan) { p.Asked.Cycles = MaxCycles + 1 },
		"node twice":       func(p *Plan) { p.Asked.Nodes = []string{".228", ".228"} },
		"app twice":        func(p *Plan) { p.Asked.Apps = []string{"feeds", "feeds"} },
		"step twice":       func(p *Plan) { p.Asked.Steps = []string{matrix.Install, matrix.Install} },
		"too many cells":   func(p *Plan) { p.Asked.Cycles, p.Asked.Nodes, p.Asked.Apps = MaxCycles, names(40), names(40) },
		"cycles below one": func(p *Plan) { p.Asked.Cycles = -1 },
	} {
		p := foreign()
		change(p)
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(b); errors.Is(err, ErrUsage) != (name != "") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAForeignResultIsRefusedWhereItIsNotOfThePlan(t *testing.T) {
	cell := reports.Cell{App: "feeds", Node: ".228", Cycle: 1, Step: matrix.Install}
	for name, change := range map[string]func(*reports.Result){
		"":            func(*reports.Result) {},
		"application": func(r *reports.Result) { r.App = "../x" },
		"no step":     func(r *reports.Result) { r.App, r.Step = "", "" },
		"node":        func(r *reports.Result) { r.Node = ".198" },
		"cycle":       func(r *reports.Result) { r.Cycle = MaxCycles + 1 },
		"step":        func(r *reports.Result) { r.Step = matrix.Stop },
		"evidence":    func(r *reports.Result) { r.Evidence = []string{"../../etc/screenshot.png"} },
		"digest":      func(r *reports.Result) { r.Digests = map[string]string{"/etc/passwd": ""} },
	} {
		r := reports.Result{Cell: cell, Status: reports.Passed, Evidence: []string{"evidence/feeds/x.txt"}}
		change(&r)
		if err := foreign().Check([]reports.Result{r}); errors.Is(err, ErrUsage) != (name != "") {
			t.Errorf("%s: %v", name, err)
		}
	}
	node := reports.Result{Cell: reports.Cell{Node: ".228", Step: reports.NodeLook}}
	if err := foreign().Check([]reports.Result{node}); err != nil {
		t.Error(err)
	}
}
