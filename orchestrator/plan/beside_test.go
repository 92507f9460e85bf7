package plan

import (
	"fmt"
	"maps"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/render"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// three are "leaf", which requires "node", which requires "chain"; all run as desired.
type three struct {
	Input
	chain, node, leaf *state.Desired // of Desired
}

func newThree(leafs manifest.Requirement) *three {
	one := func(id string, requires ...manifest.Requirement) *manifest.Manifest {
		return &manifest.Manifest{ID: id, Version: "1", Containers: []manifest.Container{{Name: id}}, Requires: requires}
	}
	chain, node, leaf := one("chain"), one("node", manifest.Requirement{App: "chain"}), one("leaf", leafs)
	in := &three{Input: Input{Desired: []state.Desired{running(chain), running(node), running(leaf)}, Doing: map[string]Verb{}, Renderer: &render.Renderer{DataDir: dataDir}}}
	in.chain, in.node, in.leaf = &in.Desired[0], &in.Desired[1], &in.Desired[2]
	in.Observed = world(chain, state.Running, "node")
	for _, more := range []host.Observation{world(node, state.Running, "leaf"), world(leaf, state.Running)} {
		maps.Copy(in.Observed.Containers, more.Containers)
		maps.Copy(in.Observed.Units, more.Units)
		maps.Copy(in.Observed.Files, more.Files)
	}
	return in
}

// older has an application run from an older unit.
func (in *three) older(app string) {
	c := in.Observed.Containers[app]
	c.Spec = "older"
	in.Observed.Containers[app] = c
}

// starts has an application's unit be starting.
func (in *three) starts(app string) {
	in.Observed.Units[app+".service"] = host.Unit{Active: "activating", Sub: "start"}
}

// down has an application not run.
func (in *three) down(app string) {
	delete(in.Observed.Containers, app)
	in.Observed.Units[app+".service"] = host.Unit{Active: "inactive", Sub: "dead"}
}

// updates has an application be updated.
func (in *three) updates(d *state.Desired, p state.Phase, requires ...manifest.Requirement) {
	to := *d.Manifest
	to.Version, to.Requires = "2", append(to.Requires, requires...)
	d.Update = &state.Update{To: &to, Phase: p}
}

// TestNothingIsTakenFromUnderAStart: whatever takes an application down for a moment, be it a
// changed setting or an update, waits for the starts of those that cannot do without it; and these
// wait until it is there again, directly or through others.
func TestNothingIsTakenFromUnderAStart(t *testing.T) {
	onNode := manifest.Requirement{App: "node"}
	const updated = "prepare, stop[chain], copy, switch, write-units, start[chain], commit"
	for _, c := range []struct {
		name   string
		leaf   manifest.Requirement
		change func(*three)
		want   string
		why    string // what is said last
	}{
		{"an update, while another starts on it", onNode, func(in *three) { in.updates(in.chain, state.Staged); in.starts("node") }, "wait, start[node]", "not running: [node]"},
		{"an update, while another starts on what needs it", onNode, func(in *three) { in.updates(in.chain, state.Staged); in.Doing["leaf"] = Start }, "wait", "waiting for leaf to start, which requires it"},
		{"an update, while nothing starts", onNode, func(in *three) { in.updates(in.chain, state.Staged) }, updated, "update to 2"},
		{"a rollback, while another starts on what has failed", onNode, func(in *three) { in.updates(in.chain, state.RollingBack); in.Doing["node"] = Start },
			"stop[chain], write-units, put-back, start[chain], rolled-back", "roll back: "},
		{"a change, while another starts on what needs it", onNode, func(in *three) { in.older("chain"); in.starts("leaf") }, "wait, start[leaf]", "not running: [leaf]"},
		{"a change, while another starts that uses it where it is there", manifest.Requirement{App: "chain", Uses: []string{}, Optional: true, Missing: "it"},
			func(in *three) { in.older("chain"); in.starts("leaf") }, "stop[chain], start[chain], prepare, write-units, start[leaf]", "not running: [leaf]"},
		{"a change of the alternative that another starts on", manifest.Requirement{AnyOf: []string{"node", "chain"}, Uses: []string{}},
			func(in *three) { in.leaf.Chosen = []string{"chain"}; in.older("chain"); in.Doing["leaf"] = Start }, "wait, prepare, write-units, prepare, write-units, stop[leaf], start[leaf]", "not running: [leaf]"},
		{"a change of what the version that starts is the first to require", manifest.Requirement{App: "chain"}, func(in *three) {
			in.updates(in.leaf, state.Staged, onNode)
			in.older("node")
			in.Doing["leaf"] = Start
		}, "prepare, write-units, wait, prepare, stop[leaf], copy, switch, write-units, start[leaf], commit", "update to 2"},
		{"a change of what is down itself for a moment", onNode, func(in *three) { in.older("node"); in.Doing["chain"] = StopUnits }, "wait", "waiting for chain, which is being stopped"},

		{"a start, while what it needs through another is stopped for a moment", onNode, func(in *three) { in.down("leaf"); in.Doing["chain"] = StopUnits }, "wait", "waiting for chain, which is being stopped"},
		{"a start, while what it needs is being updated, and runs already", onNode, func(in *three) { in.updates(in.node, state.Switched); in.down("leaf") },
			"stop[node], write-units, start[node], commit, wait", "waiting for node, which is being updated"},
		{"a start, while what it needs is to be updated", onNode, func(in *three) { in.updates(in.node, state.Staged); in.down("leaf") },
			"prepare, stop[node], copy, switch, write-units, start[node], commit, start[leaf]", "not running: [leaf]"},
		{"a restart, stopped already, while what it needs is not ready", onNode, func(in *three) { in.leaf.Restart = 1; in.down("leaf"); in.down("node") }, "start[node], wait", "waiting for node: node does not run yet"},
		{"a restart, while what it needs is not ready", onNode, func(in *three) { in.leaf.Restart = 1; in.down("node") }, "start[node], prepare, stop[leaf], wait", "waiting for node: node does not run yet"},
		{"an update, while what it needs is stopped for a moment", onNode, func(in *three) { in.updates(in.leaf, state.Staged); in.Doing["node"] = StopUnits }, "wait", "waiting for node, which is being stopped"},
		{"an update that has begun, while what it needs is stopped for a moment", onNode, func(in *three) { in.updates(in.leaf, state.Switched); in.down("leaf"); in.Doing["node"] = StopUnits }, "wait", "waiting for node, which is being stopped"},
		{"the same, and boot has started the old version", onNode, func(in *three) { in.updates(in.leaf, state.Switched); in.older("leaf"); in.Doing["node"] = StopUnits },
			"stop[leaf], write-units, start[leaf], commit", "update to 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := newThree(c.leaf)
			c.change(in)
			got := Make(in.Input)
			if verbs(got) != c.want || lastReason(got) != c.why {
				t.Errorf("planned %q, %q; expected %q, %q", verbs(got), lastReason(got), c.want, c.why)
			}
		})
	}
}

// TestAStopAndAStartNameWhomTheyMustNotBeBeside: a plan may be older than what others do.
func TestAStopAndAStartNameWhomTheyMustNotBeBeside(t *testing.T) {
	in := newThree(manifest.Requirement{App: "node"})
	in.older("chain")
	in.down("leaf")
	changed := Make(in.Input)
	in = newThree(manifest.Requirement{App: "node"})
	in.updates(in.chain, state.Staged)
	for _, c := range []struct {
		what string
		of   Action
		verb Verb
		want string
	}{
		{"the stop for a change", changed[0].Actions[0], StopUnits, "[node leaf]"},
		{"the start of what needs it", changed[2].Actions[0], Start, "[node chain]"},
		{"the stop for an update", Make(in.Input)[0].Actions[1], StopUnits, "[node leaf]"},
	} {
		if got := fmt.Sprint(c.of.Beside); c.of.Verb != c.verb || got != c.want {
			t.Errorf("%s is a %s beside none of %s, expected %s", c.what, c.of.Verb, got, c.want)
		}
	}
}
