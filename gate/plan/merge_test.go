package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// parts are green runs of three shards, each on two machines, of which every third has the names
// and none the host keys of the others.
func parts(t *testing.T) (out []Part) {
	t.Helper()
	plans, _ := shards(t, family("a", "b: a", "c", "d", "e"), Request{Cycles: 2, Steps: []string{matrix.Install, matrix.Stop}, Previous: family("a", "c"), PreviousSource: "beta 7"}, 3, nil)
	for i, p := range plans {
		p.Run = fmt.Sprintf("r%d", i+1)
		p.Subject = reports.Subject{Daemon: "d0", Manifests: map[string]string{}, Images: map[string]string{}, Installed: map[string]string{"unit": "u0"}, Commands: map[string]string{"archy": "y0"}}
		for _, a := range p.Asked.Apps {
			p.Subject.Manifests[a], p.Subject.Images[a] = a+"0", a+"1"
		}
		p.Judge.Gate, p.Judge.Suite, p.Looks, p.Programs = "g0", "s0", true, true
		p.Nodes = []reports.Node{{Name: ".228", HostKey: fmt.Sprintf("k%d", i)}, {Name: ".198", HostKey: fmt.Sprintf("l%d", i)}}
		p.Sessions = []Session{{Started: noon, Finished: noon.Add(time.Duration(i+1) * time.Minute)}}
		p.Shard.Host = fmt.Sprintf("runner%d", i+1)
		p.Warnings = []string{"node .228: planted"}
		p.Earlier = []reports.Earlier{{Run: "r0", Results: "x0", Cycles: map[string]reports.Tally{p.Asked.Apps[0]: {Green: i + 1}}}}
		part := Part{Plan: p, PlanSum: fmt.Sprintf("p%d", i+1), ResultsSum: fmt.Sprintf("s%d", i+1)}
		for _, c := range p.Cells() {
			part.Results = append(part.Results, reports.Result{Cell: c, Status: reports.Passed, Seconds: 1, At: noon, Prev: "chained"})
		}
		part.Results[0].Evidence, part.Results[0].Digests = []string{"evidence/e.txt"}, map[string]string{"evidence/e.txt": "e0"}
		out = append(out, part)
	}
	return out
}

func TestShardsAreMergedIntoWhatOneMachineWouldHaveRun(t *testing.T) {
	all := parts(t)
	slices.Reverse(all)
	m, results, err := Merge("m", all)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(m.Asked.Apps, []string{"a", "b", "c", "d", "e"}) || m.Asked.Cycles != 2 || !slices.Equal(m.ShardRuns(), []string{"r1", "r2", "r3"}) {
		t.Errorf("%+v of %v", m.Asked, m.ShardRuns())
	}
	if got := strings.Join(m.Asked.Nodes, " "); got != "shard-1/.228 shard-1/.198 shard-2/.228 shard-2/.198 shard-3/.228 shard-3/.198" {
		t.Error(got)
	}
	cells := map[reports.Cell]bool{}
	for _, c := range m.Cells() {
		cells[c] = true
	}
	if len(cells) != 5*2*2*2 || len(cells) != len(m.Cells()) || len(results) != len(cells) || m.Check(results) != nil {
		t.Errorf("%d cells, %d results, %v", len(cells), len(results), m.Check(results))
	}
	for _, r := range results {
		if !cells[r.Cell] {
			t.Errorf("a result of %s", r.Cell)
		}
	}
	if want := map[string]string{"a": "a0", "b": "b0", "c": "c0", "d": "d0", "e": "e0"}; m.Subject.Daemon != "d0" || !maps.Equal(m.Subject.Manifests, want) || len(m.Subject.Images) != 5 || m.Subject.Commands["archy"] != "y0" || m.Subject.Installed["unit"] != "u0" {
		t.Errorf("%+v", m.Subject)
	}
	s := m.Shards[1]
	if s.Machine != "shard-2" || s.Host != "runner2" || s.Plan != "p2" || s.Results != "s2" || !slices.Equal(s.Apps, []string{"c", "e"}) || !slices.Equal(s.Nodes, []string{"shard-2/.228", "shard-2/.198"}) || len(s.Sessions) != 1 {
		t.Errorf("%+v", s)
	}
	if n := m.Nodes[2]; n.Name != "shard-2/.228" || n.HostKey != "k1" || len(m.Nodes) != 6 {
		t.Errorf("%+v", m.Nodes)
	}
	if m.Warnings[2] != "shard-3: node .228: planted" || len(m.Previous.Releases) != 2 || m.Previous.Source != "beta 7" || !slices.Equal(m.Requires["b"], []string{"a"}) || m.Versions["e"] != "1" {
		t.Errorf("%q %+v %v %v", m.Warnings, m.Previous, m.Requires, m.Versions)
	}
	if want := (reports.Earlier{Run: "r0", Results: "x0", Cycles: map[string]reports.Tally{"a": {Green: 1}, "c": {Green: 2}, "d": {Green: 3}}}); len(m.Earlier) != 1 || !reflect.DeepEqual(m.Earlier[0], want) {
		t.Errorf("%+v", m.Earlier)
	}
	if r := results[0]; r.Node != "shard-1/.228" || r.Prev != "" || r.Evidence[0] != "shards/1/evidence/e.txt" || r.Digests["shards/1/evidence/e.txt"] != "e0" || len(r.Digests) != 1 {
		t.Errorf("%+v", r)
	}
	if all[2].Results[0].Evidence[0] != "evidence/e.txt" || all[2].Plan.Earlier[0].Cycles["c"] != (reports.Tally{}) {
		t.Error("what was merged is not as it was")
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Parse(b); err != nil || len(again.Cells()) != len(cells) {
		t.Errorf("its plan is not read again: %v", err)
	}
}

func TestOnlyTheWholeOfOneReleaseIsMerged(t *testing.T) {
	for name, c := range map[string]struct {
		change func([]Part) []Part
		why    string
	}{
		"nothing":                  {func([]Part) []Part { return nil }, "no run of a shard is named"},
		"a shard less":             {func(p []Part) []Part { return p[1:] }, "of 3 shards, no run is named of 1;"},
		"two shards less":          {func(p []Part) []Part { return p[1:2] }, "of 3 shards, no run is named of 1, 3;"},
		"a shard twice":            {func(p []Part) []Part { return append(p, p[1]) }, "runs r2 and r2 are both shard 2 of 3"},
		"a run that is no shard":   {func(p []Part) []Part { p[0].Plan.Shard = nil; return p }, "run r1 is of no shard"},
		"a run that was merged":    {func(p []Part) []Part { m, _, _ := Merge("m", p); return append(p, Part{Plan: m}) }, "run m was merged already"},
		"no such shard":            {func(p []Part) []Part { p[2].Plan.Shard.Number = 4; return p }, "run r3 does not work on the applications that are shard 4 of 3"},
		"a negative one":           {func(p []Part) []Part { p[2].Plan.Shard.Number = -1; return p }, "run r3 does not work on"},
		"an application less":      {func(p []Part) []Part { p[2].Plan.Asked.Apps = nil; return p }, "run r3 does not work on the applications that are shard 3 of 3"},
		"results without a chain":  {func(p []Part) []Part { p[2].Results[0].Prev = ""; return p }, "the results of run r3 are not chained"},
		"another daemon":           {func(p []Part) []Part { p[1].Plan.Subject.Daemon = "d1"; return p }, `run r2 (shard 2 of 3) differs from run r1 (shard 1 of 3) in its daemon: "d1", and not "d0"`},
		"another file":             {func(p []Part) []Part { p[1].Plan.Subject.Installed["unit"] = "u1"; return p }, "in its files installed"},
		"another command":          {func(p []Part) []Part { p[1].Plan.Subject.Commands = nil; return p }, "in its commands"},
		"in its catalog":           {func(p []Part) []Part { p[1].Plan.Shard.Catalog = "x"; return p }, "in its catalog"},
		"another release":          {func(p []Part) []Part { p[1].Plan.Release = p[1].Plan.Release[1:]; return p }, "in its applications of the release"},
		"another source":           {func(p []Part) []Part { p[1].Plan.Previous.Source = "beta 8"; return p }, "in its source of earlier releases"},
		"no source":                {func(p []Part) []Part { p[1].Plan.Previous = nil; return p }, "in its source of earlier releases"},
		"a weaker policy":          {func(p []Part) []Part { p[1].Plan.Policy.RedRuns = 1; return p }, "in its policy:"},
		"fewer cycles":             {func(p []Part) []Part { p[1].Plan.Asked.Cycles = 1; return p }, "in its cycles: 1, and not 2"},
		"fewer steps":              {func(p []Part) []Part { p[1].Plan.Asked.Steps = p[1].Plan.Asked.Steps[:1]; return p }, "in its steps"},
		"another gate":             {func(p []Part) []Part { p[1].Plan.Judge.Gate = "g1"; return p }, "in its gate, suite or witnesses' program"},
		"another suite":            {func(p []Part) []Part { p[1].Plan.Judge.Suite = "s1"; return p }, "in its gate, suite or witnesses' program"},
		"another version":          {func(p []Part) []Part { p[1].Plan.Gate = "v2"; return p }, "in its version of the gate"},
		"a gate that did not look": {func(p []Part) []Part { p[1].Plan.Looks = false; return p }, "in its looks at the nodes"},
		"a gate that did not ask which daemon ran": {func(p []Part) []Part { p[1].Plan.Programs = false; return p }, "in its looks at the nodes"},
		"split by other durations": {func(p []Part) []Part {
			p[0].Plan.Shard.Split = [][]string{{"a", "b"}, {"c"}, {"d", "e"}}
			return p
		}, "in its split"},
		"what is required is in another shard": {func(p []Part) []Part {
			p[2].Plan.Requires = map[string][]string{p[2].Plan.Asked.Apps[0]: {"a"}}
			return p
		}, "run r3 has d without a, which it requires"},
		"what requires is in another shard": {func(p []Part) []Part {
			p[2].Plan.Requires = map[string][]string{"b": {p[2].Plan.Asked.Apps[0]}}
			return p
		}, "run r3 has d, and not b, which requires it"},
		"an application in two shards": {func(p []Part) []Part {
			for i := range p {
				p[i].Plan.Shard.Split = [][]string{{"a", "b"}, {"c", "e"}, {"d", "e"}}
				p[i].Plan.Asked.Apps = p[i].Plan.Shard.Split[i]
			}
			return p
		}, "has an application in two shards"},
	} {
		_, _, err := Merge("m", c.change(parts(t)))
		if !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, expected %q", name, err, c.why)
		}
	}
}

// TestEveryMachineFillsEveryRole merges runs of which one machine has a node less, or one node
// twice: what it tested, it tested there only.
func TestEveryMachineFillsEveryRole(t *testing.T) {
	policy := reports.Policy{Cycles: 2, Nodes: []string{".228", ".198"}, Roles: []string{"first", "second"}, Steps: []string{matrix.Install, matrix.Stop}}
	for name, c := range map[string]struct {
		change func(*Plan)
		policy reports.Policy
		why    []string
	}{
		"two nodes each":           {func(*Plan) {}, policy, nil},
		"nodes of other names":     {func(p *Plan) { p.Asked.Nodes = []string{"x", ".198"}; p.Nodes[0].Name = "x" }, policy, nil},
		"one node":                 {func(p *Plan) { p.Asked.Nodes = p.Asked.Nodes[1:] }, policy, []string{"no first node (.228) on shard-2"}},
		"one machine of two names": {func(p *Plan) { p.Nodes[1].HostKey = p.Nodes[0].HostKey }, policy, []string{"nodes shard-2/.228 and shard-2/.198 are one machine under two names: they have the same SSH host key", "no second node (.198) on shard-2"}},
		"no hardware": {func(p *Plan) { p.Nodes[1].Kind = reports.Lab }, func() reports.Policy { p := policy; p.Hardware = true; return p }(),
			[]string{"node shard-2/.198 is no hardware (lab)"}},
		// The machines of two shards may be the same: they worked one after the other.
		"a machine that worked twice": {func(p *Plan) { p.Nodes[0].HostKey, p.Nodes[1].HostKey = "k0", "l0" }, policy, nil},
	} {
		all := parts(t)
		for i := range all {
			for n := range all[i].Plan.Nodes {
				all[i].Plan.Nodes[n].Kind = reports.Hardware
			}
		}
		c.change(all[1].Plan)
		m, _, err := Merge("m", all)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Missing(c.policy); !slices.Equal(got, c.why) {
			t.Errorf("%s: %q, expected %q", name, got, c.why)
		}
	}
}

func TestAMergedRunHasNoResultOfAnApplicationOnAnotherMachine(t *testing.T) {
	m, results, err := Merge("m", parts(t))
	if err != nil {
		t.Fatal(err)
	}
	results[0].Node = "shard-2/.228"
	if err := m.Check(results); !errors.Is(err, ErrUsage) {
		t.Errorf("%s: %v", results[0].Cell, err)
	}
	look := reports.NodeResult("shard-2/.228", 1, reports.Vitals{}, noon)
	if err := m.Check([]reports.Result{look}); err != nil {
		t.Error(err)
	}
}

func TestThePlanOfAMergedRunIsBoundedAndItsNamesAreChecked(t *testing.T) {
	read := func(change func(*Plan)) error {
		m, _, err := Merge("m", parts(t))
		if err != nil {
			t.Fatal(err)
		}
		change(m)
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Parse(b)
		return err
	}
	for name, change := range map[string]func(*Plan){
		"a node of no machine":      func(p *Plan) { p.Asked.Nodes[0] = ".228" },
		"a node above its machine":  func(p *Plan) { p.Asked.Nodes[0] = "shard-1/.." },
		"a node of another form":    func(p *Plan) { p.Nodes[0].Name = "shard-1/x/y" },
		"an application of no name": func(p *Plan) { p.Shard = &Shard{Split: [][]string{{"../a"}}} },
		"a million cycles":          func(p *Plan) { p.Asked.Cycles = 10 * MaxCycles },
		"too many cells": func(p *Plan) {
			p.Asked.Cycles = MaxCycles
			for i := range p.Shards {
				p.Shards[i].Apps = strings.Fields(strings.Repeat("a ", 100))
			}
		},
	} {
		if err := read(change); !errors.Is(err, ErrUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := read(func(*Plan) {}); err != nil {
		t.Error(err)
	}
	all := parts(t)
	for i := range all {
		all[i].Plan.Asked.Cycles = MaxCycles
		for n := range 40 {
			all[i].Plan.Asked.Nodes = append(all[i].Plan.Asked.Nodes, fmt.Sprint("n", n))
		}
	}
	if _, _, err := Merge("m", all); !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), "4200000 cells") {
		t.Errorf("shards of too many cells together: %v", err)
	}
}
