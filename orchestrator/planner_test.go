package orchestrator

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

const dataDir = "/var/lib/archipelago"

func pair() *manifest.Manifest {
	return &manifest.Manifest{ID: "pair", Name: "Pair", Version: "1", Migration: 2, Containers: []manifest.Container{
		{Name: "pair", DependsOn: []manifest.Dependency{{Container: "pair-db", Condition: "healthy"}}},
		{Name: "pair-db", Health: &manifest.Health{Exec: []string{"ready"}}, Volumes: []manifest.Volume{{Name: "db", Path: "/data"}}},
	}}
}

// world is an observation in which the application is just as desired.
func world(m *manifest.Manifest, goal state.Goal) Observed {
	u := quadlet.Render(m, dataDir, goal == state.Running)
	obs := Observed{Containers: map[string]Container{}, Units: map[string]Unit{}, Files: maps.Clone(u.Files)}
	for _, c := range m.Containers {
		if goal == state.Running {
			obs.Containers[c.Name] = Container{ID: "id-" + c.Name, Name: c.Name, App: m.ID, Spec: u.Specs[c.Name], State: "running"}
			obs.Units[c.Name+".service"] = Unit{Active: "active", Sub: "running"}
		} else {
			obs.Units[c.Name+".service"] = Unit{Active: "inactive", Sub: "dead"}
		}
	}
	return obs
}

func verbs(actions []Action) string {
	var out []string
	for _, a := range actions {
		s := string(a.Verb)
		if a.Verb == StopUnits || a.Verb == Start {
			s += strings.ReplaceAll(fmt.Sprint(a.Units), ".service", "")
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

func TestPlan(t *testing.T) {
	run := state.Desired{App: "pair", Goal: state.Running, Generation: 1}
	stop := state.Desired{App: "pair", Goal: state.Stopped, Generation: 2}
	absent := state.Desired{App: "pair", Goal: state.Absent, Generation: 3}
	nothing := Observed{}
	cases := []struct {
		name    string
		desired state.Desired
		obs     func() Observed
		want    string
	}{
		{"as desired, running", run, func() Observed { return world(pair(), state.Running) }, ""},
		{"as desired, stopped", stop, func() Observed { return world(pair(), state.Stopped) }, ""},
		{"install on an empty node", run, func() Observed { return nothing }, "prepare, write-units, start[pair-db pair]"},
		{"FM1 the container is gone", run, func() Observed {
			o := world(pair(), state.Running)
			delete(o.Containers, "pair-db")
			o.Units["pair-db.service"] = Unit{Active: "inactive"}
			return o
		}, "start[pair-db pair]"},
		{"FM1 all of it is gone but the units", run, func() Observed { return Observed{Files: world(pair(), state.Running).Files} }, "start[pair-db pair]"},
		{"FM2 it exited", run, func() Observed {
			o := world(pair(), state.Running)
			c := o.Containers["pair"]
			c.State = "exited"
			o.Containers["pair"] = c
			o.Units["pair.service"] = Unit{Active: "failed"}
			return o
		}, "start[pair-db pair]"},
		{"FM2 systemd is restarting it", run, func() Observed {
			o := world(pair(), state.Running)
			o.Units["pair.service"] = Unit{Active: "activating", Sub: "auto-restart"}
			return o
		}, "start[pair-db pair]"},
		{"FM4 a unit is missing", run, func() Observed {
			o := world(pair(), state.Running)
			delete(o.Files, "pair.container")
			return o
		}, "prepare, write-units"},
		{"FM4 a unit was edited", run, func() Observed {
			o := world(pair(), state.Running)
			o.Files["pair.container"] += "\nPodmanArgs=--privileged\n"
			return o
		}, "prepare, write-units"},
		{"FM4 a unit of an older manifest is left", run, func() Observed {
			o := world(pair(), state.Running)
			o.Files["pair-old.container"] = "[Container]\nLabel=\"io.archipelago.app=pair\"\n"
			return o
		}, "prepare, write-units"},
		{"FM4 the container was made from an older unit", run, func() Observed {
			o := world(pair(), state.Running)
			c := o.Containers["pair"]
			c.Spec = "old"
			o.Containers["pair"] = c
			return o
		}, "stop[pair pair-db], start[pair-db pair]"},
		{"FM5 a stranger holds the name", run, func() Observed {
			return Observed{Containers: map[string]Container{"pair-db": {ID: "0123456789abcdef", Name: "pair-db", State: "running"}}}
		}, "refuse"},
		{"stop", stop, func() Observed { return world(pair(), state.Running) }, "write-units, stop[pair pair-db]"},
		{"stop while it is starting", stop, func() Observed {
			o := world(pair(), state.Stopped)
			o.Units["pair-db.service"] = Unit{Active: "activating"}
			return o
		}, "stop[pair-db]"},
		{"start after a stop", run, func() Observed { return world(pair(), state.Stopped) }, "prepare, write-units, start[pair-db pair]"},
		{"restart", state.Desired{App: "pair", Goal: state.Running, Generation: 4, Restart: 4, Restarted: 1}, func() Observed { return world(pair(), state.Running) },
			"stop[pair pair-db], start[pair-db pair], restarted"},
		{"restart that is done", state.Desired{App: "pair", Goal: state.Running, Generation: 4, Restart: 4, Restarted: 4}, func() Observed { return world(pair(), state.Running) }, ""},
		{"uninstall keeps the data", absent, func() Observed { return world(pair(), state.Running) }, "stop[pair pair-db], remove, forget"},
		{"uninstall with purge", state.Desired{App: "pair", Goal: state.Absent, Purge: true}, func() Observed { return world(pair(), state.Running) }, "stop[pair pair-db], remove, purge, forget"},
		{"uninstall of what is gone already", absent, func() Observed { return nothing }, "remove, forget"},
		{"uninstall without a manifest", state.Desired{App: "gone", Goal: state.Absent}, func() Observed { return nothing }, "remove, forget"},
		{"running without a manifest", state.Desired{App: "gone", Goal: state.Running}, func() Observed { return nothing }, "refuse"},
		{"data of a newer format", state.Desired{App: "pair", Goal: state.Running, Migration: 3}, func() Observed { return nothing }, "refuse"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := Plan([]state.Desired{c.desired}, c.obs(), catalog.Catalog{"pair": {Manifest: pair()}}, dataDir)
			if verbs(got) != c.want {
				t.Errorf("planned %q, expected %q", verbs(got), c.want)
			}
		})
	}
}

// TestPlanLeavesOthersAlone wants no action for what belongs to someone else.
func TestPlanLeavesOthersAlone(t *testing.T) {
	o := world(pair(), state.Running)
	o.Containers["theirs"] = Container{Name: "theirs", State: "running"}
	o.Units["theirs.service"] = Unit{Active: "failed"}
	o.Files["theirs.container"] = "[Container]\nImage=x\n"
	actions := Plan([]state.Desired{{App: "pair", Goal: state.Absent}}, o, catalog.Catalog{"pair": {Manifest: pair()}}, dataDir)
	for _, a := range actions {
		if slices.ContainsFunc(a.Units, func(u string) bool { return strings.HasPrefix(u, "theirs") }) {
			t.Errorf("%+v touches a stranger", a)
		}
	}
}

func BenchmarkPlan(b *testing.B) {
	for _, apps := range []int{40, 1000} {
		b.Run(fmt.Sprint(apps), func(b *testing.B) {
			cat := catalog.Catalog{}
			all := Observed{Containers: map[string]Container{}, Units: map[string]Unit{}, Files: map[string]string{}}
			var desired []state.Desired
			for i := range apps {
				id := fmt.Sprintf("app%d", i)
				m := &manifest.Manifest{ID: id, Name: id, Version: "1", Containers: []manifest.Container{{Name: id}}}
				cat[id] = &catalog.Entry{Manifest: m}
				o := world(m, state.Running)
				maps.Copy(all.Containers, o.Containers)
				maps.Copy(all.Units, o.Units)
				maps.Copy(all.Files, o.Files)
				desired = append(desired, state.Desired{App: id, Goal: state.Running})
			}
			for b.Loop() {
				if got := Plan(desired, all, cat, dataDir); len(got) > 0 {
					b.Fatal(got)
				}
			}
		})
	}
}
