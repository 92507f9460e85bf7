package plan

import (
	"fmt"
	"maps"
	"slices"

	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

// Weight is what an application costs while it goes through its steps.
type Weight struct {
	Memory  int64              `json:"memory,omitempty"`  // bytes that its containers may take together, by their limits; 0 for no limit
	Seconds map[string]float64 `json:"seconds,omitempty"` // by step, as an earlier run recorded them
}

// Job is a stretch of a node's cycle that one process of the suite works on: the cells of
// its applications at its steps, in the order of the steps. Its cells have the same claims.
type Job struct {
	Node  string
	Cycle int
	Phase matrix.Phase
	Apps  []string // several only where the node itself is acted on
	Steps []string

	// Exclusive are the applications that nothing else may be at meanwhile, and Shared
	// those that may only be used: what is required must run on. WholeNode claims all.
	Exclusive, Shared []string
	WholeNode         bool

	After   []int   // jobs, by their index in the graph, that must have ended before
	Memory  int64   // bytes
	Seconds float64 // expected
}

func (j *Job) String() string {
	return fmt.Sprintf("%s on %s, cycle %d, from %s", j.Apps[0], j.Node, j.Cycle, j.Steps[0])
}

// Cells are the job's.
func (j *Job) Cells() (out []reports.Cell) {
	for _, s := range j.Steps {
		for _, a := range j.Apps {
			out = append(out, reports.Cell{App: a, Node: j.Node, Cycle: j.Cycle, Step: s})
		}
	}
	return out
}

// Conflicts tells whether two jobs may not be worked on at the same time.
func (j *Job) Conflicts(other *Job) bool {
	if j.WholeNode || other.WholeNode {
		return true
	}
	touch := func(a, b *Job) bool {
		return slices.ContainsFunc(a.Exclusive, func(app string) bool {
			return slices.Contains(b.Exclusive, app) || slices.Contains(b.Shared, app)
		})
	}
	return touch(j, other) || touch(other, j)
}

// Graph gives the jobs of one cycle on one node. What is required goes through its life
// before what requires it, which then finds it installed and running; a reboot and a
// restart of the daemon come when all have; and each is taken down before what it requires.
// The same plan always gives the same graph. Every job stands after those it waits for.
func (p *Plan) Graph(node string, cycle int) []Job {
	var jobs []Job
	add := func(j Job) int {
		j.Node, j.Cycle = node, cycle
		for _, app := range j.Apps {
			j.Memory += p.Weights[app].Memory
			longest := 0.0
			for _, s := range j.Steps {
				longest += p.seconds(app, s)
			}
			j.Seconds = max(j.Seconds, longest) // side by side in one job
		}
		jobs = append(jobs, j)
		return len(jobs) - 1
	}
	lives, order := map[string]int{}, p.Ordered()
	if steps := p.stepsOf(matrix.Life); len(steps) > 0 {
		for _, app := range order {
			j := p.own(app, matrix.Life, steps)
			if slices.Contains(steps, matrix.Install) {
				// Its installation restarts them under whatever else uses them.
				j.Exclusive = append(j.Exclusive, p.Alters[app]...)
				j.Shared = slices.DeleteFunc(j.Shared, func(a string) bool { return slices.Contains(p.Alters[app], a) })
			}
			for _, r := range p.Requires[app] {
				j.After = append(j.After, lives[r])
			}
			lives[app] = add(j)
		}
	}
	barrier := slices.Sorted(maps.Values(lives))
	for _, step := range p.stepsOf(matrix.Survival) {
		i := add(Job{Phase: matrix.Survival, Apps: p.Asked.Apps, Steps: []string{step}, Exclusive: p.Asked.Apps, WholeNode: true, After: barrier})
		barrier = []int{i}
	}
	if steps := p.stepsOf(matrix.End); len(steps) > 0 {
		ends := map[string]int{}
		for _, app := range slices.Backward(order) {
			j := p.own(app, matrix.End, steps)
			j.After = slices.Clone(barrier)
			for _, d := range p.RequiredBy(app) {
				j.After = append(j.After, ends[d])
			}
			ends[app] = add(j)
		}
	}
	return jobs
}

// own is a job of one application by itself.
func (p *Plan) own(app string, phase matrix.Phase, steps []string) Job {
	return Job{Phase: phase, Apps: []string{app}, Steps: steps, Exclusive: append([]string{app}, p.RequiredBy(app)...), Shared: p.Needs(app)}
}

func (p *Plan) stepsOf(phase matrix.Phase) (out []string) {
	for _, name := range p.Asked.Steps {
		if s, ok := matrix.FindStep(name); ok && s.Phase == phase {
			out = append(out, name)
		}
	}
	return out
}

// guess is what a step is expected to take that no earlier run has recorded, in seconds.
const guess = 5

func (p *Plan) seconds(app, step string) float64 {
	if s, ok := p.Weights[app].Seconds[step]; ok {
		return s
	}
	return guess
}

// Needs are the applications that one requires, directly or through others, each after
// those it requires itself.
func (p *Plan) Needs(app string) []string {
	all := reach(p.Requires, app)
	return slices.DeleteFunc(p.Ordered(), func(a string) bool { return !all[a] })
}

// RequiredBy are the applications that require one, directly or through others, each after
// those that require it itself.
func (p *Plan) RequiredBy(app string) []string {
	by := map[string][]string{}
	for a, needs := range p.Requires {
		for _, r := range needs {
			by[r] = append(by[r], a)
		}
	}
	all := reach(by, app)
	out := slices.DeleteFunc(p.Ordered(), func(a string) bool { return !all[a] })
	slices.Reverse(out)
	return out
}

// reach gives what is reached from an application, without itself.
func reach(edges map[string][]string, from string) map[string]bool {
	seen := map[string]bool{}
	todo := slices.Clone(edges[from])
	for len(todo) > 0 {
		a := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !seen[a] {
			seen[a] = true
			todo = append(todo, edges[a]...)
		}
	}
	return seen
}

// Ordered gives the applications asked for, each after those it requires, otherwise by name.
func (p *Plan) Ordered() (out []string) {
	seen := map[string]bool{}
	var visit func(string)
	visit = func(app string) {
		if seen[app] {
			return
		}
		seen[app] = true
		for _, r := range p.Requires[app] {
			visit(r)
		}
		out = append(out, app)
	}
	for _, app := range p.Asked.Apps {
		visit(app)
	}
	return out
}
