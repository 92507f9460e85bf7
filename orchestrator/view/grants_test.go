package view_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/operation"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// What an installation gives beyond what all applications have is shown before it, and not
// of what has it already.
func TestWhatAnInstallationGivesIsShownBeforeIt(t *testing.T) {
	m := pair("1")
	m.Containers[0].Devices = []manifest.Device{{Class: "gpu"}}
	m.Containers[0].Ports = []manifest.Port{{Name: "p2p", Container: 8333, Host: 8333}}
	want := []string{"uses the node's graphics processor in its container " + m.Containers[0].Name}
	removing := func(d *state.Desired) { d.Goal = state.Absent }
	for name, records := range map[string]*state.Desired{"not installed": nil, "being removed": installed(removing)} {
		v, _ := view.Of(look(records, nil, operation.Status{}, func(in *view.Input) { in.Offer = disk(m) }), "pair")
		if !slices.Equal(v.NewPrivileges, want) || !strings.Contains(v.Note, "to be installed, it needs your consent: it "+want[0]) || strings.Count(v.Note, "consent") != 1 {
			t.Errorf("%s: %q, note %q", name, v.NewPrivileges, v.Note)
		}
	}
	has := installed(func(d *state.Desired) { d.Manifest = m })
	v, _ := view.Of(look(has, both("running", "running"), operation.Status{Observed: 2}, func(in *view.Input) { in.Offer = disk(m) }), "pair")
	if len(v.NewPrivileges) > 0 || strings.Contains(v.Note, "consent") {
		t.Errorf("installed: %q, note %q", v.NewPrivileges, v.Note)
	}
}
