// Package gate owns the judgement: what must be run (plan and policy), the running
// of it over nodes, cycles and phases, and what follows from the results (verdict,
// checklist, attestation).
package gate

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

// ErrUsage is wrapped in errors of what was asked: nothing has been run.
var ErrUsage = errors.New("usage")

// ErrGate is wrapped where the gate itself or a node failed: the run is incomplete
// and can be resumed.
var ErrGate = errors.New("gate")

// ReleasePolicy is what a release must pass, with all applications of the catalog.
func ReleasePolicy() reports.Policy {
	return reports.Policy{Cycles: 20, Nodes: []string{".228", ".198"}, Steps: matrix.StepNames()}
}

// Plan is a run before it happens: everything asked for, and the digests of what
// is tested.
type Plan struct {
	Run      string            `json:"run"`
	Gate     string            `json:"gate"`
	Asked    reports.Policy    `json:"asked"`
	Release  []string          `json:"release"` // applications of the release
	Versions map[string]string `json:"versions"`
	Subject  reports.Subject   `json:"subject"`
	Nodes    []reports.Node    `json:"nodes,omitempty"`
	Warnings []string          `json:"warnings,omitempty"`
	Sessions []Session         `json:"sessions,omitempty"`
}

// Session is a stretch of work on a run: the first, or a resumption. Finished is
// zero for one that was killed.
type Session struct {
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished,omitzero"`
}

// Ask is what a person asks for; zero values stand for the release policy.
type Ask struct {
	Cycles int
	Nodes  []string
	Apps   []string
	Steps  []string
}

// NewPlan checks what is asked against what there is. Every problem is reported at
// once, wrapped in ErrUsage.
func NewPlan(run, version string, ask Ask, cat catalog.Catalog, known []string) (*Plan, error) {
	var problems []error
	usage := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("%w: %s", ErrUsage, fmt.Sprintf(format, args...)))
	}
	policy := ReleasePolicy()
	if ask.Cycles == 0 {
		ask.Cycles = policy.Cycles
	}
	if ask.Cycles < 1 || ask.Cycles > 10000 {
		usage("cycles: %d: expected 1 to 10000", ask.Cycles)
	}
	if len(ask.Nodes) == 0 {
		ask.Nodes = known
	}
	for _, n := range ask.Nodes {
		if !slices.Contains(known, n) {
			usage("unknown node %q: the inventory has %s", n, strings.Join(known, ", "))
		}
	}
	if len(ask.Apps) == 0 {
		ask.Apps = cat.IDs()
	}
	for _, a := range ask.Apps {
		if cat[a] == nil {
			usage("unknown app %q: the catalog has %s", a, strings.Join(cat.IDs(), ", "))
		}
	}
	if len(ask.Steps) == 0 {
		ask.Steps = policy.Steps
	}
	for _, s := range ask.Steps {
		if _, ok := matrix.FindStep(s); !ok {
			usage("unknown step %q: the steps are %s", s, strings.Join(policy.Steps, ", "))
		}
	}
	for _, list := range [][]string{ask.Nodes, ask.Apps, ask.Steps} {
		if sorted := slices.Sorted(slices.Values(list)); len(slices.Compact(sorted)) != len(list) {
			usage("%s: named twice", strings.Join(list, ","))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	p := &Plan{
		Run: run, Gate: version, Release: cat.IDs(), Versions: map[string]string{},
		Asked: reports.Policy{Cycles: ask.Cycles, Nodes: ask.Nodes, Apps: slices.Sorted(slices.Values(ask.Apps))},
	}
	for _, s := range matrix.Steps() {
		if slices.Contains(ask.Steps, s.Name) {
			p.Asked.Steps = append(p.Asked.Steps, s.Name)
		}
	}
	for _, a := range p.Asked.Apps {
		p.Versions[a] = cat[a].Version
	}
	return p, nil
}

// Cells are all cells asked for, in the order of cycle, node, application, step.
func (p *Plan) Cells() []reports.Cell {
	var out []reports.Cell
	for k := 1; k <= p.Asked.Cycles; k++ {
		for _, n := range p.Asked.Nodes {
			for _, a := range p.Asked.Apps {
				for _, s := range p.Asked.Steps {
					out = append(out, reports.Cell{App: a, Node: n, Cycle: k, Step: s})
				}
			}
		}
	}
	return out
}

// SmokeWhy says what is missing for a release; empty means that this is no SMOKE.
func (p *Plan) SmokeWhy() (why []string) {
	policy := ReleasePolicy()
	if p.Asked.Cycles < policy.Cycles {
		why = append(why, fmt.Sprintf("%d of %d cycles", p.Asked.Cycles, policy.Cycles))
	}
	missing := func(what string, need, have []string) {
		var m []string
		for _, n := range need {
			if !slices.Contains(have, n) {
				m = append(m, n)
			}
		}
		if len(m) > 0 {
			why = append(why, fmt.Sprintf("without %s %s", what, strings.Join(m, ", ")))
		}
	}
	missing("node", policy.Nodes, p.Asked.Nodes)
	missing("step", policy.Steps, p.Asked.Steps)
	missing("app", p.Release, p.Asked.Apps)
	return why
}

// Identify fills in the digests of what is tested: the daemon's binary and each
// manifest as it was published.
func (p *Plan) Identify(binary string, published catalog.Catalog) error {
	daemon, err := fileDigest(binary)
	if err != nil {
		return fmt.Errorf("the daemon: %w", err)
	}
	p.Subject = reports.Subject{Daemon: daemon, Manifests: map[string]string{}, Images: map[string]string{}}
	for _, a := range p.Asked.Apps {
		p.Subject.Manifests[a] = published[a].Digest()
		for _, c := range published[a].Containers {
			p.Subject.Images[c.Name] = strings.TrimPrefix(c.Image.Digest, "sha256:")
		}
	}
	return nil
}
