// Package plan owns what is to be run, cell by cell: it checks a request against the
// catalog, the nodes and the release policy, says what of a node's cycle must wait for what
// and what may go side by side, and whether the run could release anything. It is pure: it reads no file, asks no node and looks at no clock.
package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/dist"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

// ErrUsage is wrapped when a request cannot be met: an unknown name, a bad value. Nothing
// has been run.
var ErrUsage = errors.New("usage")

// Plan is a run before it happens: everything asked for, and the digests of what is
// tested.
type Plan struct {
	Run      string            `json:"run"`
	Gate     string            `json:"gate"`
	Asked    reports.Policy    `json:"asked"`
	Policy   reports.Policy    `json:"policy,omitzero"` // for a release; see Required
	Release  []string          `json:"release"`         // applications of the release
	Versions map[string]string `json:"versions"`
	Subject  reports.Subject   `json:"subject"`
	Judge    reports.Judge     `json:"judge,omitzero"` // what judges it
	Nodes    []reports.Node    `json:"nodes,omitempty"`
	Warnings []string          `json:"warnings,omitempty"`
	Sessions []Session         `json:"sessions,omitempty"`

	Requires map[string][]string `json:"requires,omitempty"` // by application, those of Asked.Apps that it requires directly
	Alters   map[string][]string `json:"alters,omitempty"`   // by application, those of Requires whose settings it changes when it is installed
	Weights  map[string]Weight   `json:"weights,omitempty"`  // by application
	// Bare is the cycle that starts from nodes without any image; 0 if none does.
	Bare    int               `json:"bare_cycle,omitempty"`
	Earlier []reports.Earlier `json:"earlier,omitempty"` // runs of the same digests, whose cycles count too
	Before  []reports.PastRun `json:"before,omitempty"`  // runs of the very same subject, and red ones of the same daemon and application, by the ledger
	// Looks says that every node is looked at before the first and after every cycle. Older
	// gates did not.
	Looks bool `json:"looks,omitempty"`
	// Programs says that every such look asks which program the daemon runs. Older gates did not.
	Programs bool `json:"programs,omitempty"`

	Previous *reports.Previous `json:"previous,omitempty"` // earlier releases, from which installs go through an update

	Shard  *Shard   `json:"shard,omitempty"`  // nil: the run is not split
	Shards []Merged `json:"shards,omitempty"` // the runs that this one was merged from

	Boots map[string]Boot `json:"boots,omitempty"` // by node, the last one known
	Away  []reports.Away  `json:"rebooted_while_away,omitempty"`
	Jumps []reports.Jump  `json:"clock_jumps,omitempty"`
}

// Boot is a boot of a node that the run has seen.
type Boot struct {
	ID        string    `json:"id"`
	At        time.Time `json:"at"`                  // when it was last seen
	Rebooting bool      `json:"rebooting,omitempty"` // the gate was about to put the node on another one
}

// Sees records the boot that a node is on. At the beginning of a session, resumed, another
// boot than the last one known is a reboot that no session saw, unless the session before
// was cut short while it rebooted the node itself.
func (p *Plan) Sees(node, boot string, at time.Time, resumed bool) {
	before, known := p.Boots[node]
	if resumed && known && before.ID != boot && !before.Rebooting {
		p.Away = append(p.Away, reports.Away{Node: node, Before: before.ID, After: boot, From: before.At, Until: at})
	}
	if p.Boots == nil {
		p.Boots = map[string]Boot{}
	}
	p.Boots[node] = Boot{ID: boot, At: at}
}

// Reboots records that the gate is about to reboot a node.
func (p *Plan) Reboots(node string) {
	if b, known := p.Boots[node]; known {
		b.Rebooting = true
		p.Boots[node] = b
	}
}

// Session is a stretch of work on a run: the first, or a resumption. Finished is zero
// for one that was killed.
type Session struct {
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished,omitzero"`
}

// Request is what somebody wants to be run. Zero values stand for what the policy asks,
// and a zero policy for the default one.
type Request struct {
	Policy reports.Policy
	Cycles int
	Nodes  []string
	Apps   []string
	Steps  []string

	Previous       catalog.Catalog // earlier releases
	PreviousSource string          // where they are from; empty: none are given

	Slice Slice // of all this, for one machine of several
}

// New checks a request against the applications and nodes there are; of a node, its name
// and what is known of its host key count. All problems are reported at once, wrapped in
// ErrUsage.
func New(run, version string, r Request, cat catalog.Catalog, known []reports.Node) (*Plan, error) {
	var problems []error
	usage := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("%w: %s", ErrUsage, fmt.Sprintf(format, args...)))
	}
	policy := r.Policy
	if policy.Cycles == 0 {
		policy = Default()
	}
	if r.Cycles == 0 {
		r.Cycles = policy.Cycles
	}
	if r.Cycles < 1 || r.Cycles > MaxCycles {
		usage("cycles: %d: expected 1 to %d", r.Cycles, MaxCycles)
	}
	var names []string
	for _, n := range known {
		names = append(names, n.Name)
	}
	if len(r.Nodes) == 0 {
		r.Nodes = names
	}
	for _, n := range r.Nodes {
		if !slices.Contains(names, n) {
			usage("unknown node %q: the inventory has %s", n, strings.Join(names, ", "))
		}
	}
	released := policy.Apps
	if len(released) == 0 {
		released = cat.IDs()
	}
	if len(r.Apps) == 0 {
		r.Apps = released
	}
	if len(r.Apps) == 0 {
		usage("the catalog has no applications")
	}
	for _, a := range r.Apps {
		if cat[a] == nil {
			usage("unknown app %q: the catalog has %s", a, strings.Join(cat.IDs(), ", "))
		}
	}
	apps, requires := withRequired(r.Apps, cat, usage)
	for _, a := range apps {
		local(cat[a], usage)
	}
	if len(r.Steps) == 0 {
		r.Steps = policy.Steps
	}
	for _, s := range r.Steps {
		if _, ok := matrix.FindStep(s); !ok {
			usage("unknown step %q: the steps are %s", s, strings.Join(matrix.StepNames(), ", "))
		}
	}
	for _, list := range [][]string{r.Nodes, r.Apps, r.Steps} {
		if sorted := slices.Sorted(slices.Values(list)); len(slices.Compact(sorted)) != len(list) {
			usage("%s: named twice", strings.Join(list, ","))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	var shard *Shard
	if r.Slice.Of > 0 {
		if shard, apps, requires = r.Slice.shard(apps, requires, cat, r.Previous, usage); shard == nil {
			return nil, errors.Join(problems...)
		}
	}
	p := &Plan{
		Run: run, Gate: version, Policy: policy, Release: released, Shard: shard, Versions: map[string]string{},
		Asked:    reports.Policy{Cycles: r.Cycles, Nodes: r.Nodes, Steps: inOrder(r.Steps), Apps: apps},
		Requires: requires, Alters: alters(requires, cat), Weights: map[string]Weight{}, Bare: bareCycle(r.Cycles),
		Judge: reports.Judge{Policy: PolicyDigest(policy)}, Previous: previous(r.PreviousSource, r.Previous, apps),
	}
	if err := p.bounded(); err != nil {
		return nil, err
	}
	for _, n := range known {
		if slices.Contains(r.Nodes, n.Name) && n.HostKey != "" {
			p.Nodes = append(p.Nodes, n)
		}
	}
	for _, a := range p.Asked.Apps {
		p.Versions[a] = cat[a].Version
		p.Weights[a] = Weight{Memory: cat[a].Memory()}
	}
	return p, nil
}

// withRequired adds to applications those that they require, directly or through others:
// as tested ones, not merely installed. What an application was seen to do rests on them,
// so they are in the subject of the attestation, and a fault of theirs has cells of its own
// that name it.
func withRequired(asked []string, cat catalog.Catalog, usage func(string, ...any)) (apps []string, requires map[string][]string) {
	requires = map[string][]string{}
	todo := slices.Clone(asked)
	for len(todo) > 0 {
		a := todo[0]
		todo = todo[1:]
		if cat[a] == nil || slices.Contains(apps, a) {
			continue
		}
		apps = append(apps, a)
		for _, r := range cat[a].Requires {
			if r.Optional {
				continue
			}
			app := meets(r, asked, cat)
			switch app {
			case "":
				usage("%s requires %s, which the catalog does not have; add the directory of its manifest with --catalog", a, strings.Join(r.Apps(), " or "))
			default:
				requires[a] = append(requires[a], app)
				todo = append(todo, app)
			}
		}
	}
	for _, a := range apps { // what is optional is used where the run has it
		for _, r := range cat[a].Requires {
			if r.Optional && slices.Contains(apps, r.App) {
				requires[a] = append(requires[a], r.App)
			}
		}
		slices.Sort(requires[a])
	}
	slices.Sort(apps)
	return apps, requires
}

// alters gives, by application, those of what it requires in which it wants a setting to be other
// than by default: its installation stops and starts them.
func alters(requires map[string][]string, cat catalog.Catalog) map[string][]string {
	out := map[string][]string{}
	for app, required := range requires {
		for _, other := range required {
			need, _ := cat[app].Requirement(other)
			if slices.ContainsFunc(cat[other].Settings, func(s manifest.Setting) bool {
				value, wanted := need.Config[s.Name]
				return wanted && value != s.Default
			}) {
				out[app] = append(out[app], other)
			}
		}
	}
	return out
}

// meets gives the application of the run that meets a requirement: the first alternative that
// was asked for, or else the first that there is; empty for none.
func meets(r manifest.Requirement, asked []string, cat catalog.Catalog) string {
	for _, app := range r.Apps() {
		if cat[app] != nil && slices.Contains(asked, app) {
			return app
		}
	}
	for _, app := range r.Apps() {
		if cat[app] != nil {
			return app
		}
	}
	return ""
}

// local refuses an image that only one machine has: nobody could install what was tested.
func local(e *catalog.Entry, usage func(string, ...any)) {
	if e == nil {
		return
	}
	for _, c := range e.Containers {
		if strings.HasPrefix(c.Image.Ref, "localhost/") && strings.HasSuffix(c.Image.Ref, ":local") {
			usage("%s: the image %s of container %s is one machine's own; name one of a registry, by digest, or a directory to build it from", e.ID, c.Image.Ref, c.Name)
		}
	}
}

// bareCycle is the cycle in which nodes start without images, so that every one is pulled by
// the daemon, as on an owner's new node: the second, early enough to be seen soon. A run of
// one cycle has none; it can release nothing anyway.
func bareCycle(cycles int) int {
	if cycles < 2 {
		return 0
	}
	return 2
}

// Learn takes over how long steps took in an earlier run: the longest of each application's
// passed cells, since the node was never idler than it will be.
func (p *Plan) Learn(results []reports.Result) {
	for _, r := range results {
		w, asked := p.Weights[r.App]
		if !asked || r.Status != reports.Passed {
			continue
		}
		if w.Seconds == nil {
			w.Seconds = map[string]float64{}
		}
		w.Seconds[r.Step] = max(w.Seconds[r.Step], r.Seconds)
		p.Weights[r.App] = w
	}
}

// inOrder gives steps in the order of a cycle.
func inOrder(steps []string) (out []string) {
	for _, s := range matrix.StepNames() {
		if slices.Contains(steps, s) {
			out = append(out, s)
		}
	}
	return out
}

// Cells are all cells asked for, in the order of cycle, node, application, step: of a merged run,
// those of each machine.
func (p *Plan) Cells() []reports.Cell {
	var out []reports.Cell
	if len(p.Shards) > 0 {
		for _, part := range p.Parts() {
			out = append(out, part.Cells()...)
		}
		return out
	}
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

// Identify records the digests of what is tested: the daemon's SHA-256, each manifest as it
// was published, and the files that are installed with the daemon.
func (p *Plan) Identify(daemon string, published catalog.Catalog) {
	p.Subject = reports.Subject{Daemon: daemon, Manifests: map[string]string{}, Images: map[string]string{}, Installed: dist.Digests()}
	for _, a := range p.Asked.Apps {
		p.Subject.Manifests[a] = published[a].Digest()
		for _, c := range published[a].Containers {
			p.Subject.Images[c.Name] = strings.TrimPrefix(c.Image.Digest, "sha256:")
		}
	}
}

// SubjectDigest is the SHA-256 of a subject's JSON, in hex: the same for the same bits.
func SubjectDigest(s reports.Subject) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // it is strings
	}
	return reports.Digest(b)
}

// RedBefore gives the names of the runs that were red before this one with what it tests: of the
// same subject, or of the same daemon and an application as it is.
func (p *Plan) RedBefore() (names []string) {
	for _, r := range p.Before {
		switch {
		case r.Verdict != reports.Red:
		case r.Other:
			names = append(names, r.RedWith())
		default:
			names = append(names, r.Run)
		}
	}
	return names
}

// TooRed says that more runs were red before with what this one tests than a policy allows; empty
// where it allows them. To run the same bits until they are green proves nothing, and neither
// does it to change a trifle beside them.
func (p *Plan) TooRed(policy reports.Policy) string {
	if red := p.RedBefore(); len(red) > policy.RedRuns {
		return fmt.Sprintf("the very same bits were red before, in run %s; the policy allows %d red runs: repair what failed, which makes other bits", strings.Join(red, ", "), policy.RedRuns)
	}
	return ""
}
