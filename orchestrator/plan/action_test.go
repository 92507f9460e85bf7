package plan

import (
	"maps"
	"slices"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// only gives the one action of a verb that is planned.
func only(t *testing.T, o host.Observation, d state.Desired, v Verb) Action {
	t.Helper()
	all := slices.DeleteFunc(slices.Clone(plan(o, d)[0].Actions), func(a Action) bool { return a.Verb != v })
	if len(all) != 1 {
		t.Fatalf("%d actions %q are planned", len(all), v)
	}
	return all[0]
}

func TestAnUpdateIsCommittedOnlyForWhatItsVersionIsMadeFrom(t *testing.T) {
	next := pair()
	next.Version, next.Containers[0].Environment = "2", map[string]string{"NEW": "1"}
	want := quadlet.Render(next, dataDir, false).Specs
	for _, phase := range []state.Phase{state.Staged, state.Switched} {
		d := state.Desired{App: "pair", Goal: state.Running, Manifest: pair(), Update: &state.Update{To: next, Phase: phase}}
		if a := only(t, world(pair(), state.Running), d, Commit); len(a.Specs) != 2 || !maps.Equal(a.Specs, want) {
			t.Errorf("%s: it is committed for %v, expected %v", phase, a.Specs, want)
		}
	}
}

func TestUnitFilesThatAreNotWantedAnyMoreAreRemoved(t *testing.T) {
	o := world(pair(), state.Running)
	own := slices.Sorted(maps.Keys(o.Files))
	o.Files["theirs.container"] = "[Container]\nImage=x\n"
	if a := only(t, o, state.Desired{App: "pair", Goal: state.Absent}, RemoveAll); !slices.Equal(slices.Sorted(slices.Values(a.Gone)), own) {
		t.Errorf("removing it removes %v, expected %v", a.Gone, own)
	}
	o.Files["pair-old.container"] = "[Container]\nLabel=\"io.archipelago.app=pair\"\n"
	a := only(t, o, state.Desired{App: "pair", Goal: state.Running, Manifest: pair()}, WriteUnits)
	if !slices.Equal(a.Gone, []string{"pair-old.container"}) || !maps.Equal(a.Files, world(pair(), state.Running).Files) {
		t.Errorf("writing its units removes %v and writes %v", a.Gone, slices.Sorted(maps.Keys(a.Files)))
	}
}

func TestAStartNamesThePortsThatNobodyElseMayHold(t *testing.T) {
	m := pair()
	m.Containers[0].Ports = []manifest.Port{{Name: "web", Container: 80, Host: 8080}, {Name: "dns", Container: 53, Host: 5353, Protocol: "udp"}}
	m.Containers[1].Ports = []manifest.Port{{Name: "sql", Container: 5432, Host: 5432}}
	d := state.Desired{App: "pair", Goal: state.Running, Manifest: m}
	ports := func(o host.Observation, d state.Desired) (out []string) {
		for _, p := range only(t, o, d, Start).Ports {
			out = append(out, p.String())
		}
		slices.Sort(out)
		return out
	}
	if got := ports(world(m, state.Stopped), d); !slices.Equal(got, []string{"5353/udp", "5432", "8080"}) {
		t.Errorf("of all members: %v", got)
	}
	o := world(m, state.Running)
	delete(o.Containers, "pair")
	o.Units["pair.service"] = host.Unit{Active: "inactive"}
	if got := ports(o, d); !slices.Equal(got, []string{"5353/udp", "8080"}) {
		t.Errorf("of the member that does not run: %v; what runs holds its own", got)
	}
	d.Restart = 2
	if got := ports(world(m, state.Running), d); !slices.Equal(got, []string{"5353/udp", "5432", "8080"}) {
		t.Errorf("of all members, which are stopped before: %v", got)
	}
}
