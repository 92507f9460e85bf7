package plan

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/reports"
)

// Merged is a shard's run in the plan of a merged one.
type Merged struct {
	reports.Shard
	Sessions []Session `json:"sessions,omitempty"`
}

// Part is a shard's run as Merge takes it, with the digests of its files.
type Part struct {
	Plan    *Plan
	Results []reports.Result

	PlanSum, ResultsSum string
}

// ShardDir is where a merged run keeps the run of its shard i, from 0: a directory of its own
// below the merged run's.
func ShardDir(i int) string { return fmt.Sprintf("shards/%d", i+1) }

// Parts are the plans of the machines that worked on a run: the run itself, unless it was merged.
// They are part of the merged plan, so their nodes have its names.
func (p *Plan) Parts() (out []*Plan) {
	if len(p.Shards) == 0 {
		return []*Plan{p}
	}
	for _, s := range p.Shards {
		part := *p
		part.Shards = nil
		part.Asked.Nodes, part.Asked.Apps, part.Sessions = s.Nodes, s.Apps, s.Sessions
		out = append(out, &part)
	}
	return out
}

// ShardRuns are the names of the runs that a run was merged from.
func (p *Plan) ShardRuns() (runs []string) {
	for _, s := range p.Shards {
		runs = append(runs, s.Run)
	}
	return runs
}

// Merge joins the runs of all shards of a release into one, and gives its results in the order of
// the shards. A node's name has its machine's before it, such as shard-2/.228, since every machine
// may have a node .228. What is not the whole of one release, tested by the same programs under the
// same policy, is ErrUsage.
func Merge(run string, parts []Part) (*Plan, []reports.Result, error) {
	parts = slices.SortedStableFunc(slices.Values(parts), func(a, b Part) int { return a.Plan.number() - b.Plan.number() })
	for i, part := range parts {
		if err := part.Plan.IsShard(); err != nil {
			return nil, nil, err
		}
		if err := parts[0].Plan.alike(part.Plan); err != nil {
			return nil, nil, err
		}
		if i > 0 && part.Plan.number() == parts[i-1].Plan.number() {
			return nil, nil, fmt.Errorf("%w: runs %s and %s are both %s; name one run of each", ErrUsage, parts[i-1].Plan.Run, part.Plan.Run, part.Plan.Shard)
		}
		if len(part.Results) > 0 && part.Results[0].Prev == "" {
			return nil, nil, fmt.Errorf("%w: the results of run %s are not chained: a line could have been taken out", ErrUsage, part.Plan.Run)
		}
	}
	if len(parts) == 0 {
		return nil, nil, fmt.Errorf("%w: no run of a shard is named", ErrUsage)
	}
	var missing []string
	for i := range parts[0].Plan.Shard.Split {
		if !slices.ContainsFunc(parts, func(part Part) bool { return part.Plan.number() == i+1 }) {
			missing = append(missing, fmt.Sprint(i+1))
		}
	}
	if len(missing) > 0 {
		return nil, nil, fmt.Errorf("%w: of %d shards, no run is named of %s; name a run of each", ErrUsage, len(parts[0].Plan.Shard.Split), strings.Join(missing, ", "))
	}
	first := parts[0].Plan
	m := &Plan{
		Run: run, Gate: first.Gate, Policy: first.Policy, Release: first.Release, Judge: first.Judge, Bare: first.Bare, Looks: first.Looks, Programs: first.Programs,
		Asked:    reports.Policy{Cycles: first.Asked.Cycles, Steps: first.Asked.Steps},
		Subject:  reports.Subject{Daemon: first.Subject.Daemon, Manifests: map[string]string{}, Images: map[string]string{}, Installed: first.Subject.Installed, Commands: first.Subject.Commands},
		Versions: map[string]string{}, Requires: map[string][]string{}, Alters: map[string][]string{},
	}
	var results []reports.Result
	for i, part := range parts {
		m.take(part)
		results = append(results, part.moved(ShardDir(i))...)
	}
	slices.Sort(m.Asked.Apps)
	return m, results, m.bounded()
}

// number of a shard; 0 for what is none.
func (p *Plan) number() int {
	if p.Shard == nil {
		return 0
	}
	return p.Shard.Number
}

// IsShard refuses what no gate planned as a shard: one works on just the applications that the
// split gives it, with all that they require, and the split gives every application once.
func (p *Plan) IsShard() error {
	s := p.Shard
	switch {
	case len(p.Shards) > 0:
		return fmt.Errorf("%w: run %s was merged already; name the runs of its shards", ErrUsage, p.Run)
	case s == nil:
		return fmt.Errorf("%w: run %s is of no shard; only runs of 'gate run --shard' are merged", ErrUsage, p.Run)
	case s.Number < 1 || s.Number > len(s.Split) || !slices.Equal(s.Split[s.Number-1], p.Asked.Apps):
		return fmt.Errorf("%w: run %s does not work on the applications that are %s; a gate replaces %s whole, so it was changed or damaged since", ErrUsage, p.Run, s, reports.PlanFile)
	}
	for _, app := range slices.Sorted(maps.Keys(p.Requires)) {
		for _, r := range p.Requires[app] {
			switch own := p.Asked.Apps; {
			case !slices.Contains(own, r):
				return fmt.Errorf("%w: run %s has %s without %s, which it requires: a family is never split", ErrUsage, p.Run, app, r)
			case !slices.Contains(own, app):
				return fmt.Errorf("%w: run %s has %s, and not %s, which requires it: a family is never split", ErrUsage, p.Run, r, app)
			}
		}
	}
	all := slices.Sorted(slices.Values(slices.Concat(s.Split...)))
	if once := slices.Compact(slices.Clone(all)); len(once) != len(all) {
		return fmt.Errorf("%w: run %s has an application in two shards", ErrUsage, p.Run)
	}
	return nil
}

// alike refuses another shard of something else than this one is of.
func (p *Plan) alike(other *Plan) error {
	of := func(p *Plan) [][2]any {
		source := ""
		if p.Previous != nil {
			source = p.Previous.Source
		}
		return [][2]any{
			{"daemon", p.Subject.Daemon}, {"files installed with the daemon", p.Subject.Installed}, {"commands", p.Subject.Commands},
			{"catalog", p.Shard.Catalog}, {"source of earlier releases", source}, {"applications of the release", p.Release},
			{"policy", p.Policy}, {"cycles", p.Asked.Cycles}, {"steps", p.Asked.Steps}, {"split", p.Shard.Split},
			{"version of the gate", p.Gate}, {"gate, suite or witnesses' program", p.Judge}, {"looks at the nodes", [2]bool{p.Looks, p.Programs}},
		}
	}
	mine, its := of(p), of(other)
	for i := range mine {
		have, want := asJSON(its[i][1]), asJSON(mine[i][1])
		if have != want {
			at := max(0, sameUntil(have, want)-20)
			have, want = have[at:], want[at:]
			return fmt.Errorf("%w: run %s (%s) differs from run %s (%s) in its %s: %.100s, and not %.100s; build once, and give every machine the same programs, catalog, policy and --durations",
				ErrUsage, other.Run, other.Shard, p.Run, p.Shard, mine[i][0], have, want)
		}
	}
	return nil
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // it is numbers and strings
	}
	return string(b)
}

// sameUntil is how many bytes two texts begin with in common.
func sameUntil(a, b string) (n int) {
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// take adds what a shard's run says to a merged one.
func (p *Plan) take(part Part) {
	s := part.Plan
	machine := s.Shard.machine()
	on := func(node string) string { return machine + "/" + node }
	m := Merged{Sessions: s.Sessions, Shard: reports.Shard{Machine: machine, Host: s.Shard.Host, Run: s.Run, Apps: s.Asked.Apps, Plan: part.PlanSum, Results: part.ResultsSum}}
	for _, n := range s.Asked.Nodes {
		m.Nodes = append(m.Nodes, on(n))
	}
	p.Shards = append(p.Shards, m)
	p.Asked.Nodes, p.Asked.Apps = append(p.Asked.Nodes, m.Nodes...), append(p.Asked.Apps, s.Asked.Apps...)
	for _, n := range s.Nodes {
		n.Name = on(n.Name)
		p.Nodes = append(p.Nodes, n)
	}
	maps.Copy(p.Versions, s.Versions)
	maps.Copy(p.Requires, s.Requires)
	maps.Copy(p.Alters, s.Alters)
	maps.Copy(p.Subject.Manifests, s.Subject.Manifests)
	maps.Copy(p.Subject.Images, s.Subject.Images)
	for _, w := range s.Warnings {
		p.Warnings = append(p.Warnings, machine+": "+w)
	}
	for _, a := range s.Away {
		a.Node = on(a.Node)
		p.Away = append(p.Away, a)
	}
	p.Jumps = append(p.Jumps, s.Jumps...)
	for _, e := range s.Earlier { // each has applications of this shard only
		i := slices.IndexFunc(p.Earlier, func(o reports.Earlier) bool { return o.Run == e.Run && o.Results == e.Results })
		if i < 0 {
			e.Cycles = maps.Clone(e.Cycles)
			p.Earlier = append(p.Earlier, e)
			continue
		}
		maps.Copy(p.Earlier[i].Cycles, e.Cycles)
	}
	if s.Previous != nil {
		if p.Previous == nil {
			p.Previous = &reports.Previous{Source: s.Previous.Source, Releases: map[string]reports.Release{}}
		}
		maps.Copy(p.Previous.Releases, s.Previous.Releases)
	}
}

// moved gives the results of a shard's run as those of the merged one, which keeps it in dir.
func (part Part) moved(dir string) (out []reports.Result) {
	for _, r := range part.Results {
		r.Node, r.Prev = part.Plan.Shard.machine()+"/"+r.Node, ""
		r.Evidence = slices.Clone(r.Evidence)
		for i, file := range r.Evidence {
			r.Evidence[i] = path.Join(dir, file)
		}
		sums := r.Digests
		if r.Digests = nil; sums != nil {
			r.Digests = map[string]string{}
			for file, sum := range sums {
				r.Digests[path.Join(dir, file)] = sum
			}
		}
		out = append(out, r)
	}
	return out
}
