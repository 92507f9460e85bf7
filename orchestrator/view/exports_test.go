package view_test

import (
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/operation"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

func TestTheOwnerIsToldWhatIsMissing(t *testing.T) {
	has := installed(func(d *state.Desired) {
		d.Manifest.Requires = []manifest.Requirement{{App: "chain", Uses: []string{"rpc"}, Optional: true, Missing: "No balance"}}
	})
	chain := func(goal state.Goal, export string) *state.Desired {
		return &state.Desired{App: "chain", Goal: goal, Manifest: &manifest.Manifest{ID: "chain", Version: "2", Exports: map[string]manifest.Export{export: {Port: 1}}}}
	}
	for name, c := range map[string]struct {
		other *state.Desired
		want  string
	}{
		"never there": {nil, "without chain, which is not installed: No balance"},
		"going":       {chain(state.Absent, "rpc"), "without chain, which is not installed: No balance"},
		"another":     {chain(state.Running, "rest"), "without what it uses of chain, whose version 2 does not offer it: No balance"},
		"there":       {chain(state.Running, "rpc"), ""},
	} {
		v, _ := view.Of(look(has, both("running", "running"), operation.Status{Observed: 2}, func(in *view.Input) {
			in.Offer = disk(has.Manifest)
			if c.other != nil {
				in.Records.All = []state.Desired{*c.other, in.Records.All[0]}
			}
		}), "pair")
		if v.State != view.Up || c.want == "" && strings.Contains(v.Note, "No balance") || !strings.Contains(v.Note, c.want) {
			t.Errorf("%s: %s, %q", name, v.State, v.Note)
		}
	}
}
