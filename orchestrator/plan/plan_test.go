package plan

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/render"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

const dataDir = "/var/lib/archipelago"

func pair() *manifest.Manifest {
	return &manifest.Manifest{ID: "pair", Name: "Pair", Version: "1", Migration: 2, Containers: []manifest.Container{
		{Name: "pair", DependsOn: []manifest.Dependency{{Container: "pair-db", Condition: "healthy"}}},
		{Name: "pair-db", Health: &manifest.Health{Exec: []string{"ready"}}, Volumes: []manifest.Volume{{Name: "db", Path: "/data"}}},
	}}
}

// world is an observation in which the application, required by others, is just as
// desired.
func world(m *manifest.Manifest, goal state.Goal, requirers ...string) host.Observation {
	var by []quadlet.Requirer
	for _, app := range requirers {
		by = append(by, quadlet.Requirer{App: app, Reaches: []string{m.ID}})
	}
	u := quadlet.Render(m, dataDir, goal == state.Running, by...)
	obs := host.Observation{Containers: map[string]host.Container{}, Units: map[string]host.Unit{}, Files: maps.Clone(u.Files)}
	for _, c := range m.Containers {
		if goal == state.Running {
			obs.Containers[c.Name] = host.Container{ID: "id-" + c.Name, Name: c.Name, App: m.ID, Spec: u.Specs[c.Name], State: "running"}
			obs.Units[c.Name+".service"] = host.Unit{Active: "active", Sub: "running"}
		} else {
			obs.Units[c.Name+".service"] = host.Unit{Active: "inactive", Sub: "dead"}
		}
	}
	return obs
}

// verbs are the actions of plans in short, with "wait" and "blocked" where they end so.
func verbs(plans []Plan) string {
	var out []string
	for _, p := range plans {
		for _, a := range p.Actions {
			s := string(a.Verb)
			if a.Verb == StopUnits || a.Verb == Start {
				s += strings.ReplaceAll(fmt.Sprint(a.Units), ".service", "")
			}
			if a.Verb == Link {
				words := slices.Clone(a.Units)
				for _, n := range a.Join {
					words = append(words, "+"+n.Name)
				}
				for _, n := range a.Leave {
					words = append(words, "-"+n)
				}
				s += fmt.Sprint(words)
			}
			out = append(out, s)
		}
		if p.Waiting != "" {
			out = append(out, "wait")
		}
		if p.Blocked != "" {
			out = append(out, "blocked")
		}
	}
	return strings.Join(out, ", ")
}

// plan plans with data of format 3 on disk for the application "newer".
func plan(o host.Observation, desired ...state.Desired) []Plan {
	return Make(Input{Desired: desired, Observed: o, Data: map[string]state.Data{"newer": {App: "newer", Migration: 3}}, Renderer: &render.Renderer{DataDir: dataDir}})
}

// hookedPair has the hooks of another manifest before an update.
func hookedPair(m *manifest.Manifest) *manifest.Manifest {
	hooked := pair()
	hooked.Hooks.PreUpdate = m.Hooks.PostUpdate
	return hooked
}

func TestPlan(t *testing.T) {
	run := state.Desired{App: "pair", Goal: state.Running, Generation: 1, Manifest: pair()}
	stop := state.Desired{App: "pair", Goal: state.Stopped, Generation: 2, Manifest: pair()}
	with := func(change func(*state.Desired)) state.Desired { d := run; change(&d); return d }
	newer := pair()
	newer.Version, newer.Containers[0].Environment = "2", map[string]string{"NEW": "1"}
	newer.Hooks.PostUpdate = []manifest.Hook{{Container: "pair", Command: []string{"true"}}}
	updating := func(p state.Phase) state.Desired {
		return with(func(d *state.Desired) { d.Update = &state.Update{To: newer, Phase: p} })
	}
	back := func(p state.Phase) state.Desired {
		d := updating(p)
		d.Update.Back, d.Manifest = true, hookedPair(newer)
		d.Previous = &state.Previous{Manifest: newer}
		return d
	}
	container := func(name string, change func(*host.Container)) func() host.Observation {
		return func() host.Observation {
			o := world(pair(), state.Running)
			c := o.Containers[name]
			change(&c)
			if c.Name == "" {
				c.Name = name
			}
			o.Containers[name] = c
			return o
		}
	}
	absent := state.Desired{App: "pair", Goal: state.Absent, Generation: 3}
	nothing := host.Observation{}
	missing := func() host.Observation {
		o := world(pair(), state.Stopped)
		o.Missing = map[string][]string{"pair": {"db"}}
		return o
	}
	single := func(format int) *manifest.Manifest {
		return &manifest.Manifest{ID: "newer", Version: fmt.Sprint(format), Migration: format, Containers: []manifest.Container{{Name: "newer"}}}
	}
	more := pair()
	more.Version, more.Containers = "2", append(more.Containers, manifest.Container{Name: "pair-cache", DependsOn: []manifest.Dependency{{Container: "pair"}}})
	installs := pair()
	installs.Hooks.PostInstall = newer.Hooks.PostUpdate
	hooked := updating(state.Staged)
	hooked.Manifest = pair()
	hooked.Manifest.Hooks.PreUpdate = newer.Hooks.PostUpdate
	cases := []struct {
		name    string
		desired state.Desired
		obs     func() host.Observation
		want    string
	}{
		{"as desired, running", run, func() host.Observation { return world(pair(), state.Running) }, ""},
		{"as desired, stopped", stop, func() host.Observation { return world(pair(), state.Stopped) }, ""},
		{"install on an empty node", run, func() host.Observation { return nothing }, "prepare, write-units, start[pair-db pair]"},
		{"FM1 the container is gone", run, func() host.Observation {
			o := world(pair(), state.Running)
			delete(o.Containers, "pair-db")
			o.Units["pair-db.service"] = host.Unit{Active: "inactive"}
			return o
		}, "start[pair-db pair]"},
		{"FM1 all of it is gone but the units", run, func() host.Observation { return host.Observation{Files: world(pair(), state.Running).Files} }, "start[pair-db pair]"},
		{"FM2 it exited", run, func() host.Observation {
			o := world(pair(), state.Running)
			c := o.Containers["pair"]
			c.State = "exited"
			o.Containers["pair"] = c
			o.Units["pair.service"] = host.Unit{Active: "failed"}
			return o
		}, "start[pair-db pair]"},
		{"FM2 systemd is restarting it", run, func() host.Observation {
			o := world(pair(), state.Running)
			o.Units["pair.service"] = host.Unit{Active: "activating", Sub: "auto-restart"}
			return o
		}, "start[pair-db pair]"},
		{"FM4 a unit is missing", run, func() host.Observation {
			o := world(pair(), state.Running)
			delete(o.Files, "pair.container")
			return o
		}, "prepare, write-units"},
		{"FM4 a unit was edited", run, func() host.Observation {
			o := world(pair(), state.Running)
			o.Files["pair.container"] += "\nPodmanArgs=--privileged\n"
			return o
		}, "prepare, write-units"},
		{"FM4 an earlier daemon wrote its network's unit otherwise: it runs on", run, func() host.Observation {
			o := world(pair(), state.Running)
			o.Files["archipelago-pair.network"] = "[Network]\nLabel=\"io.archipelago.app=pair\"\n"
			return o
		}, "prepare, write-units"},
		{"FM4 a unit of an older manifest is left", run, func() host.Observation {
			o := world(pair(), state.Running)
			o.Files["pair-old.container"] = "[Container]\nLabel=\"io.archipelago.app=pair\"\n"
			return o
		}, "prepare, write-units"},
		{"FM4 the container was made from an older unit", run, func() host.Observation {
			o := world(pair(), state.Running)
			c := o.Containers["pair"]
			c.Spec = "old"
			o.Containers["pair"] = c
			return o
		}, "stop[pair pair-db], start[pair-db pair]"},
		{"FM5 an unmanaged container holds the name", run, func() host.Observation {
			return host.Observation{Containers: map[string]host.Container{"pair-db": {ID: "0123456789abcdef", Name: "pair-db", State: "running"}}}
		}, "blocked"},
		{"stop", stop, func() host.Observation { return world(pair(), state.Running) }, "write-units, stop[pair pair-db]"},
		{"stop while it is starting", stop, func() host.Observation {
			o := world(pair(), state.Stopped)
			o.Units["pair-db.service"] = host.Unit{Active: "activating"}
			return o
		}, "stop[pair-db]"},
		{"start after a stop", run, func() host.Observation { return world(pair(), state.Stopped) }, "prepare, write-units, start[pair-db pair]"},
		{"restart", state.Desired{App: "pair", Manifest: pair(), Goal: state.Running, Generation: 4, Restart: 4, Restarted: 1}, func() host.Observation { return world(pair(), state.Running) },
			"prepare, stop[pair pair-db], start[pair-db pair], restarted"},
		{"restart that is done", state.Desired{App: "pair", Manifest: pair(), Goal: state.Running, Generation: 4, Restart: 4, Restarted: 4}, func() host.Observation { return world(pair(), state.Running) }, ""},
		{"uninstall keeps the data", absent, func() host.Observation { return world(pair(), state.Running) }, "stop[pair pair-db], remove, forget"},
		{"uninstall with purge", state.Desired{App: "pair", Goal: state.Absent, Purge: true}, func() host.Observation { return world(pair(), state.Running) }, "stop[pair pair-db], remove, purge, forget"},
		{"uninstall of what is gone already", absent, func() host.Observation { return nothing }, "remove, forget"},
		{"uninstall without a manifest", state.Desired{App: "gone", Goal: state.Absent}, func() host.Observation { return nothing }, "remove, forget"},
		{"running without a manifest", state.Desired{App: "gone", Goal: state.Running}, func() host.Observation { return nothing }, "blocked"},
		{"data of a newer format", state.Desired{App: "newer", Goal: state.Running, Manifest: &manifest.Manifest{ID: "newer", Migration: 2, Containers: []manifest.Container{{Name: "newer"}}}}, func() host.Observation { return nothing }, "blocked"},
		{"FM1 a volume is gone", run, missing, "blocked"},
		{"FM3 it runs and is not healthy", run, container("pair-db", func(c *host.Container) { c.Health = "unhealthy" }), "stop[pair pair-db], start[pair-db pair]"},
		{"FM3 it runs and has not said yet", run, container("pair-db", func(c *host.Container) { c.Health = "starting" }), ""},
		{"FM3 it is not healthy yet, and starting", run, func() host.Observation {
			o := container("pair-db", func(c *host.Container) { c.Health = "unhealthy" })()
			o.Units["pair-db.service"] = host.Unit{Active: "activating", Sub: "start"}
			return o
		}, "start[pair-db pair]"},
		{"FM4 it was stopped by systemctl", run, func() host.Observation {
			o := world(pair(), state.Running)
			delete(o.Containers, "pair")
			o.Units["pair.service"] = host.Unit{Active: "inactive", Sub: "dead"}
			return o
		}, "start[pair-db pair]"},
		{"FM4 it is being stopped by systemctl", run, func() host.Observation {
			o := world(pair(), state.Running)
			o.Units["pair.service"] = host.Unit{Active: "deactivating", Sub: "stop"}
			return o
		}, "wait"},
		{"FM4 the start limit was hit", run, func() host.Observation {
			o := world(pair(), state.Running)
			delete(o.Containers, "pair")
			o.Units["pair.service"] = host.Unit{Active: "failed", Sub: "failed"}
			return o
		}, "start[pair-db pair]"},
		{"FM5 an unmanaged container uses the data", run, container("theirs", func(c *host.Container) { c.State, c.Mounts = "running", []string{dataDir + "/pair/db"} }), "blocked"},
		{"FM5 an unmanaged container has all data mounted", run, container("theirs", func(c *host.Container) { c.State, c.Mounts = "running", []string{"/var/lib"} }), "blocked"},
		{"FM5 an unmanaged container that does not run", run, container("theirs", func(c *host.Container) { c.State, c.Mounts = "exited", []string{dataDir + "/pair/db"} }), ""},
		{"FM5 an unmanaged container has another application's data", run, container("theirs", func(c *host.Container) { c.State, c.Mounts = "running", []string{dataDir + "/pair2/db"} }), ""},
		{"FM5 an unmanaged container holds a port", with(func(d *state.Desired) {
			m := pair()
			m.Containers[0].Ports = []manifest.Port{{Name: "web", Container: 80, Host: 8080}}
			d.Manifest = m
		}), func() host.Observation {
			return host.Observation{Containers: map[string]host.Container{"theirs": {Name: "theirs", State: "running", Ports: []manifest.NodePort{{Number: 8080}}}}}
		}, "blocked"},
		{"FM5 an unmanaged container holds a UDP port", with(func(d *state.Desired) {
			m := pair()
			m.Containers[0].Ports = []manifest.Port{{Name: "dns", Container: 53, Host: 53}, {Name: "dns-udp", Container: 53, Host: 53, Protocol: "udp"}}
			d.Manifest = m
		}), func() host.Observation {
			return host.Observation{Containers: map[string]host.Container{"theirs": {Name: "theirs", State: "running", Ports: []manifest.NodePort{{Number: 53, UDP: true}}}}}
		}, "blocked"},
		{"FM5 a unit of the owner's takes the place of its own", run, func() host.Observation {
			o := world(pair(), state.Running)
			o.UnitFiles = map[string]string{"pair-db.service": "/home/archipelago/.config/systemd/user/pair-db.service"}
			return o
		}, "blocked"},
		{"an unmanaged container holds the number by another protocol", with(func(d *state.Desired) {
			m := pair()
			m.Containers[0].Ports = []manifest.Port{{Name: "web", Container: 80, Host: 8080}}
			d.Manifest = m
		}), func() host.Observation {
			m := pair()
			m.Containers[0].Ports = []manifest.Port{{Name: "web", Container: 80, Host: 8080}}
			o := world(m, state.Running)
			o.Containers["theirs"] = host.Container{Name: "theirs", State: "running", Ports: []manifest.NodePort{{Number: 8080, UDP: true}}}
			return o
		}, ""},
		{"adopted, running", with(func(d *state.Desired) { d.Adopted = map[string]string{"pair": "old", "pair-db": "old-db"} }), func() host.Observation {
			return host.Observation{Containers: map[string]host.Container{"old": {Name: "old", State: "running"}, "old-db": {Name: "old-db", State: "running"}}}
		}, ""},
		{"adopted, and one has ended", with(func(d *state.Desired) { d.Adopted = map[string]string{"pair": "old", "pair-db": "old-db"} }), func() host.Observation {
			return host.Observation{Containers: map[string]host.Container{"old": {Name: "old", State: "running"}, "old-db": {Name: "old-db", State: "exited"}}}
		}, "convert"},
		{"adopted, and cut off while it was converted", with(func(d *state.Desired) { d.Adopted = map[string]string{"pair-db": "old-db"} }), func() host.Observation {
			return host.Observation{Missing: map[string][]string{"pair": {"db"}}}
		}, "convert"},
		{"adopted in part", with(func(d *state.Desired) { d.Adopted = map[string]string{"pair-db": "old-db"} }), func() host.Observation {
			return host.Observation{Containers: map[string]host.Container{"old-db": {Name: "old-db", State: "running"}}}
		}, "convert"},
		{"adopted, to be restarted", with(func(d *state.Desired) {
			d.Adopted, d.Restart = map[string]string{"pair": "old", "pair-db": "old-db"}, 2
		}), func() host.Observation {
			return host.Observation{Containers: map[string]host.Container{"old": {Name: "old", State: "running"}, "old-db": {Name: "old-db", State: "running"}}}
		}, "convert"},
		{"update, staged", updating(state.Staged), func() host.Observation { return world(pair(), state.Running) },
			"prepare, stop[pair pair-db], copy, switch, write-units, start[pair-db pair], post-update, commit"},
		{"update, cut after the switch", updating(state.Switched), func() host.Observation { return world(newer, state.Stopped) },
			"stop[pair pair-db], start[pair-db pair], post-update, commit"},
		{"update, cut when the new version ran", updating(state.Switched), func() host.Observation { return world(newer, state.Running) },
			"write-units, start[pair-db pair], post-update, commit"},
		{"update, cut after the switch, and boot started the old version", updating(state.Switched), func() host.Observation { return world(pair(), state.Running) },
			"stop[pair pair-db], write-units, start[pair-db pair], post-update, commit"},
		{"update, staged, at boot: a start may be queued", updating(state.Staged), func() host.Observation { return world(pair(), state.Stopped) },
			"prepare, stop[pair pair-db], copy, switch, write-units, start[pair-db pair], post-update, commit"},
		{"update, rolling back", updating(state.RollingBack), func() host.Observation { return world(newer, state.Running) },
			"stop[pair pair-db], write-units, put-back, start[pair-db pair], rolled-back"},
		{"update, rolling back, cut when the data was back", updating(state.RollingBack), func() host.Observation { return world(pair(), state.Stopped) },
			"stop[pair pair-db], put-back, start[pair-db pair], rolled-back"},
		{"the way back: no hooks, and the data changes places while nothing runs", back(state.Staged), func() host.Observation { return world(pair(), state.Running) },
			"prepare, stop[pair pair-db], write-units, copy, switch, put-back, switch, start[pair-db pair], commit"},
		{"the way back, cut while the data changes places", back(state.Returning), func() host.Observation { return world(pair(), state.Stopped) },
			"stop[pair pair-db], write-units, put-back, switch, start[pair-db pair], commit"},
		{"the way back, cut once the data is in place, and the version that is left runs for whatever reason", back(state.Switched), func() host.Observation { return world(pair(), state.Running) },
			"stop[pair pair-db], write-units, start[pair-db pair], commit"},
		{"the way back, cut before its end", back(state.Switched), func() host.Observation { return world(newer, state.Running) }, "write-units, start[pair-db pair], commit"},
		{"the way back, which failed", back(state.RollingBack), func() host.Observation { return world(newer, state.Running) },
			"stop[pair pair-db], write-units, put-back, start[pair-db pair], rolled-back"},
		{"FM1 a volume is gone while the data changes places", back(state.Returning), missing, "stop[pair pair-db], write-units, put-back, switch, start[pair-db pair], commit"},
		{"FM1 a volume is gone before an update has copied it", updating(state.Staged), missing, "blocked"},
		{"FM1 a volume is gone while the copy is put back", updating(state.RollingBack), missing, "stop[pair pair-db], put-back, start[pair-db pair], rolled-back"},
		{"FM5 another application's container holds the name", run, container("pair", func(c *host.Container) { c.App = "other" }), "blocked"},
		{"FM5 an unmanaged container uses the data that is to be updated", updating(state.Staged), container("theirs", func(c *host.Container) { c.State, c.Mounts = "running", []string{dataDir + "/pair/db"} }), "blocked"},
		{"update, cut between the record of the data's new format and that of the new version", state.Desired{App: "newer", Goal: state.Running, Manifest: single(2), Update: &state.Update{To: single(3), Phase: state.Switched}},
			func() host.Observation { return world(single(3), state.Running) }, "write-units, start[newer], commit"},
		{"update, staged, to one with another member: whatever writes is stopped before the copy", with(func(d *state.Desired) { d.Update = &state.Update{To: more, Phase: state.Staged} }),
			func() host.Observation { return world(pair(), state.Running) }, "prepare, stop[pair-cache pair pair-db], copy, switch, write-units, start[pair-db pair pair-cache], commit"},
		{"update, rolling back from one with another member: it does not write to what is put back", with(func(d *state.Desired) { d.Update = &state.Update{To: more, Phase: state.RollingBack} }),
			func() host.Observation { return world(more, state.Running) }, "stop[pair-cache pair pair-db], write-units, put-back, start[pair-db pair], rolled-back"},
		{"hooks before an update", hooked, func() host.Observation { return world(pair(), state.Running) },
			"prepare, pre-update, stop[pair pair-db], copy, switch, write-units, start[pair-db pair], post-update, commit"},
		{"hooks before an update of what does not run, in which they could not", hooked, func() host.Observation { return world(pair(), state.Stopped) },
			"prepare, stop[pair pair-db], copy, switch, write-units, start[pair-db pair], post-update, commit"},
		{"hooks after the first start", with(func(d *state.Desired) { d.Manifest = installs }), func() host.Observation { return world(pair(), state.Running) }, "post-install"},
		{"hooks after the first start, which have run", with(func(d *state.Desired) { d.Manifest, d.Installed = installs, true }), func() host.Observation { return world(pair(), state.Running) }, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := plan(c.obs(), c.desired)
			if verbs(got) != c.want {
				t.Errorf("planned %q, expected %q", verbs(got), c.want)
			}
		})
	}
}

// TestPlanLeavesOthersAlone wants no action for what belongs to someone else.
func TestPlanLeavesOthersAlone(t *testing.T) {
	o := world(pair(), state.Running)
	o.Containers["theirs"] = host.Container{Name: "theirs", State: "running"}
	o.Units["theirs.service"] = host.Unit{Active: "failed"}
	o.Files["theirs.container"] = "[Container]\nImage=x\n"
	plans := plan(o, state.Desired{App: "pair", Goal: state.Absent})
	for _, a := range plans[0].Actions {
		if slices.ContainsFunc(a.Units, func(u string) bool { return strings.HasPrefix(u, "theirs") }) {
			t.Errorf("%+v touches an unmanaged container", a)
		}
	}
}

// TestRecordThatCannotBeReadStopsNobody: "chain" and what requires it run, and a record
// of chain's is damaged.
func TestRecordThatCannotBeReadStopsNobody(t *testing.T) {
	chain := &manifest.Manifest{ID: "chain", Containers: []manifest.Container{{Name: "chain"}}}
	lightning := &manifest.Manifest{ID: "lightning", Containers: []manifest.Container{{Name: "lightning"}}, Requires: []manifest.Requirement{{App: "chain"}}}
	known := []state.Desired{{App: "chain", Goal: state.Running, Manifest: chain}, {App: "lightning", Goal: state.Running, Manifest: lightning}}
	for _, c := range []struct {
		name      string
		desired   []state.Desired
		lightning state.Goal
		want      string
	}{
		{"of its data", known, state.Running, "blocked"},
		{"of its desired state", known[1:], state.Running, ""},
		{"of its data, and the other is to start", known, state.Stopped, "blocked, prepare, write-units, wait"},
		{"of its desired state, and the other is to start", known[1:], state.Stopped, "prepare, write-units, wait"},
		{"of one that is to be removed", []state.Desired{{App: "chain", Goal: state.Absent}}, state.Running, "blocked"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, more := world(chain, state.Running), world(lightning, c.lightning)
			maps.Copy(o.Containers, more.Containers)
			maps.Copy(o.Units, more.Units)
			maps.Copy(o.Files, more.Files)
			got := Make(Input{Desired: c.desired, Observed: o, Broken: map[string]error{"chain": errors.New("damaged")}, Renderer: &render.Renderer{DataDir: dataDir}})
			if verbs(got) != c.want {
				t.Errorf("planned %q, expected %q", verbs(got), c.want)
			}
		})
	}
}

func BenchmarkPlan(b *testing.B) {
	for _, apps := range []int{40, 1000} {
		b.Run(fmt.Sprint(apps), func(b *testing.B) {
			renderer := &render.Renderer{DataDir: dataDir}
			all := host.Observation{Containers: map[string]host.Container{}, Units: map[string]host.Unit{}, Files: map[string]string{}}
			var desired []state.Desired
			for i := range apps {
				id := fmt.Sprintf("app%d", i)
				m := &manifest.Manifest{ID: id, Name: id, Version: "1", Containers: []manifest.Container{{Name: id}}}
				o := world(m, state.Running)
				maps.Copy(all.Containers, o.Containers)
				maps.Copy(all.Units, o.Units)
				maps.Copy(all.Files, o.Files)
				desired = append(desired, state.Desired{App: id, Goal: state.Running, Manifest: m})
			}
			for b.Loop() {
				for _, p := range Make(Input{Desired: desired, Observed: all, Renderer: renderer}) {
					if len(p.Actions) > 0 || p.Waiting != "" || p.Blocked != "" {
						b.Fatal(p)
					}
				}
			}
		})
	}
}

// TestPlanOrdersApplications has "lightning" require "chain", which declares when
// it is ready.
func TestPlanOrdersApplications(t *testing.T) {
	chain := &manifest.Manifest{ID: "chain", Containers: []manifest.Container{{Name: "chain"}}, Ready: []manifest.Condition{{TCP: "rpc"}}}
	lightning := &manifest.Manifest{ID: "lightning", Containers: []manifest.Container{{Name: "lightning"}}, Requires: []manifest.Requirement{{App: "chain"}}}
	desired := func(m *manifest.Manifest, g state.Goal) state.Desired {
		return state.Desired{App: m.ID, Goal: g, Manifest: m}
	}
	both := func(c, l state.Goal) host.Observation {
		o, more := world(chain, c, "lightning"), world(lightning, l)
		maps.Copy(o.Containers, more.Containers)
		maps.Copy(o.Units, more.Units)
		maps.Copy(o.Files, more.Files)
		return o
	}
	for _, c := range []struct {
		name    string
		obs     host.Observation
		desired []state.Desired
		ready   host.Readiness
		want    string
		reason  string // of the last action
	}{
		{"neither runs", both(state.Stopped, state.Stopped), []state.Desired{desired(chain, state.Running), desired(lightning, state.Running)}, host.Readiness{},
			"prepare, write-units, start[chain], prepare, write-units, wait", "waiting for chain: chain does not run yet"},
		{"what is required is not ready", both(state.Running, state.Stopped), []state.Desired{desired(chain, state.Running), desired(lightning, state.Running)}, host.Readiness{Detail: "block 41 of 100"},
			"prepare, write-units, wait", "waiting for chain: block 41 of 100"},
		{"what is required is ready", both(state.Running, state.Stopped), []state.Desired{desired(chain, state.Running), desired(lightning, state.Running)}, host.Readiness{OK: true},
			"prepare, write-units, start[lightning]", "not running: [lightning]"},
		{"both run, and what is required is not ready any more", both(state.Running, state.Running), []state.Desired{desired(chain, state.Running), desired(lightning, state.Running)}, host.Readiness{Detail: "behind"}, "", ""},
		{"what is required is to stop", both(state.Running, state.Running), []state.Desired{desired(chain, state.Stopped), desired(lightning, state.Running)}, host.Readiness{OK: true},
			"write-units, wait, stop[lightning], wait", "waiting for chain, which is stopped"},
		{"the other has stopped", both(state.Running, state.Stopped), []state.Desired{desired(chain, state.Stopped), desired(lightning, state.Running)}, host.Readiness{OK: true},
			"write-units, stop[chain], prepare, write-units, wait", "waiting for chain, which is stopped"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Make(Input{Desired: c.desired, Observed: c.obs, Ready: map[string]host.Readiness{"chain": c.ready}, Renderer: &render.Renderer{DataDir: dataDir}})
			if verbs(got) != c.want {
				t.Errorf("planned %q, expected %q", verbs(got), c.want)
			}
			if reason := lastReason(got); reason != c.reason {
				t.Errorf("the reason is %q, expected %q", reason, c.reason)
			}
		})
	}
}

// TestAChangeWaitsForAStartThatNeedsWhatChanges has "chain" run from an older unit, as it does
// once another application's installation has changed a setting of it, while "lightning"
// starts, which requires it: the start would fail.
func TestAChangeWaitsForAStartThatNeedsWhatChanges(t *testing.T) {
	chain := &manifest.Manifest{ID: "chain", Containers: []manifest.Container{{Name: "chain"}}}
	lightning := &manifest.Manifest{ID: "lightning", Containers: []manifest.Container{{Name: "lightning"}}, Requires: []manifest.Requirement{{App: "chain"}}}
	records := func(restart uint64) []state.Desired {
		return []state.Desired{{App: "chain", Goal: state.Running, Manifest: chain, Restart: restart}, {App: "lightning", Goal: state.Running, Manifest: lightning}}
	}
	for _, c := range []struct {
		name    string
		chain   string // its container's spec; empty: that of its unit
		goal    state.Goal
		unit    host.Unit // of lightning
		doing   Verb
		of      string // the application that it is done to
		restart uint64
		want    string
	}{
		{"its unit is starting", "older", state.Running, host.Unit{Active: "activating", Sub: "start"}, "", "", 0, "wait, start[lightning]"},
		{"somebody starts it", "older", state.Stopped, host.Unit{Active: "inactive"}, Start, "lightning", 0, "wait, prepare, write-units, start[lightning]"},
		{"its image is pulled", "older", state.Stopped, host.Unit{Active: "inactive"}, Prepare, "lightning", 0, "stop[chain], start[chain], prepare, write-units, start[lightning]"},
		{"systemd starts it in vain, again and again", "older", state.Running, host.Unit{Active: "activating", Sub: "auto-restart"}, "", "", 0, "stop[chain], start[chain], start[lightning]"},
		{"it runs", "older", state.Running, host.Unit{Active: "active", Sub: "running"}, "", "", 0, "stop[chain], start[chain]"},
		{"what it requires is just being stopped", "older", state.Stopped, host.Unit{Active: "inactive"}, StopUnits, "chain", 0, "stop[chain], start[chain], prepare, write-units, wait"},
		{"nothing has changed", "", state.Stopped, host.Unit{Active: "inactive"}, Start, "lightning", 0, "prepare, write-units, start[lightning]"},
		{"the owner restarts what it requires", "", state.Running, host.Unit{Active: "activating", Sub: "start"}, "", "", 1, "prepare, stop[chain], start[chain], restarted, start[lightning]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, more := world(chain, state.Running, "lightning"), world(lightning, c.goal)
			maps.Copy(o.Containers, more.Containers)
			maps.Copy(o.Units, more.Units)
			maps.Copy(o.Files, more.Files)
			o.Units["lightning.service"] = c.unit
			if c.chain != "" {
				runs := o.Containers["chain"]
				runs.Spec = c.chain
				o.Containers["chain"] = runs
			}
			got := Make(Input{Desired: records(c.restart), Observed: o, Doing: map[string]Verb{c.of: c.doing}, Renderer: &render.Renderer{DataDir: dataDir}})
			if verbs(got) != c.want {
				t.Errorf("planned %q, expected %q", verbs(got), c.want)
			}
		})
	}
}

// TestPlanLinksApplications has "lightning" require "chain", which runs and is reached
// through networks that the daemon gives it while it runs.
// What an application requires stops because of what that requires: it follows, and first.
func TestPlanStopsAWholeChainFromItsEnd(t *testing.T) {
	one := func(id string, requires ...manifest.Requirement) *manifest.Manifest {
		return &manifest.Manifest{ID: id, Containers: []manifest.Container{{Name: id}}, Requires: requires}
	}
	chain, node, leaf := one("chain"), one("node", manifest.Requirement{App: "chain"}), one("leaf", manifest.Requirement{App: "node"})
	for _, c := range []struct {
		name             string
		chain, nodeGoal  state.Goal // chain's goal; whether node is seen running
		leafGoal         state.Goal
		want, lastReason string
	}{
		{"all run", state.Stopped, state.Running, state.Running, "write-units, wait, wait, stop[leaf], wait", "waiting for node, which stops with what it requires"},
		{"the last has stopped", state.Stopped, state.Running, state.Stopped, "write-units, wait, stop[node], wait, prepare, write-units, wait", "waiting for node, which stops with what it requires"},
		{"only the first runs", state.Stopped, state.Stopped, state.Stopped, "write-units, stop[chain], prepare, write-units, wait, prepare, write-units, wait", "waiting for node, which stops with what it requires"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := world(chain, state.Running, "node")
			for _, more := range []host.Observation{world(node, c.nodeGoal, "leaf"), world(leaf, c.leafGoal)} {
				maps.Copy(o.Containers, more.Containers)
				maps.Copy(o.Units, more.Units)
				maps.Copy(o.Files, more.Files)
			}
			got := Make(Input{Desired: []state.Desired{
				{App: "chain", Goal: c.chain, Manifest: chain}, {App: "node", Goal: state.Running, Manifest: node}, {App: "leaf", Goal: state.Running, Manifest: leaf},
			}, Observed: o, Renderer: &render.Renderer{DataDir: dataDir}})
			if verbs(got) != c.want || lastReason(got) != c.lastReason {
				t.Errorf("planned %q, %q, expected %q, %q", verbs(got), lastReason(got), c.want, c.lastReason)
			}
		})
	}
}

func TestPlanLinksApplications(t *testing.T) {
	chain := &manifest.Manifest{ID: "chain", Containers: []manifest.Container{{Name: "chain"}, {Name: "chain-db"}}}
	lightning := &manifest.Manifest{ID: "lightning", Containers: []manifest.Container{{Name: "lightning"}}, Requires: []manifest.Requirement{{App: "chain"}}}
	alone := &manifest.Manifest{ID: "lightning", Version: "2", Containers: lightning.Containers}
	wants := func(m *manifest.Manifest, g state.Goal) state.Desired {
		return state.Desired{App: m.ID, Goal: g, Manifest: m}
	}
	adopted := wants(chain, state.Running)
	adopted.Adopted = map[string]string{"chain": "old", "chain-db": "old-db"}
	updating := wants(alone, state.Running)
	updating.Update = &state.Update{To: lightning, Phase: state.Staged}
	// node is one on which the container that others reach is on these networks.
	node := func(l state.Goal, requirers []string, networks ...string) host.Observation {
		o, more := world(chain, state.Running, requirers...), world(lightning, l)
		for _, name := range []string{"chain", "old", "old-db"} {
			c := o.Containers["chain"]
			c.Name, c.Networks = name, networks
			if name != "chain" {
				c.App, c.Spec = "", ""
			}
			o.Containers[name] = c
		}
		maps.Copy(o.Containers, more.Containers)
		maps.Copy(o.Units, more.Units)
		maps.Copy(o.Files, more.Files)
		return o
	}
	const own, link = "archipelago-chain", "archipelago-lightning.chain"
	by := []string{"lightning"}
	const waits = "waiting for chain: it is not on their network yet"
	for _, c := range []struct {
		name    string
		obs     host.Observation
		desired []state.Desired
		broken  string // whose record cannot be read
		want    string
		reason  string
	}{
		{"all as desired", node(state.Running, by, own, link), []state.Desired{wants(chain, state.Running), wants(lightning, state.Running)}, "", "", ""},
		{"it comes to be required: it is linked, and neither stopped nor started", node(state.Stopped, nil, own), []state.Desired{wants(chain, state.Running), wants(lightning, state.Running)}, "",
			"prepare, write-units, link[chain +archipelago-lightning.chain], prepare, write-units, wait", waits},
		{"it was started anew and is not on the network", node(state.Running, by, own), []state.Desired{wants(chain, state.Running), wants(lightning, state.Running)}, "",
			"link[chain +archipelago-lightning.chain]", "it is required by [lightning]"},
		{"it is linked: the other starts", node(state.Stopped, by, own, link), []state.Desired{wants(chain, state.Running), wants(lightning, state.Running)}, "",
			"prepare, write-units, start[lightning]", "not running: [lightning]"},
		{"the other is stopped and stays linked", node(state.Stopped, by, own, link), []state.Desired{wants(chain, state.Running), wants(lightning, state.Stopped)}, "", "", ""},
		{"the other is to be updated to what requires it", node(state.Running, by, own), []state.Desired{wants(chain, state.Running), updating}, "",
			"link[chain +archipelago-lightning.chain], prepare, stop[lightning], copy, switch, write-units, start[lightning], commit", "update to "},
		{"the other requires it no longer", node(state.Running, nil, own, link), []state.Desired{wants(chain, state.Running), wants(alone, state.Running)}, "",
			"link[chain -archipelago-lightning.chain], prepare, write-units, stop[lightning], start[lightning]", "not running: [lightning]"},
		{"the other is being removed, and reaches it until its end", node(state.Running, nil, own, link), []state.Desired{wants(chain, state.Running), wants(lightning, state.Absent)}, "",
			"stop[lightning], remove, forget", "nothing of it is left"},
		{"the other is gone", node(state.Stopped, nil, own, link), []state.Desired{wants(chain, state.Running)}, "", "link[chain -archipelago-lightning.chain]", "it is required by []"},
		{"the other's record cannot be read", node(state.Running, nil, own, link), []state.Desired{wants(chain, state.Running)}, "lightning", "", ""},
		{"a network of its own owner's is none of ours", node(state.Running, by, own, link, "archipelago-other", "home"), []state.Desired{wants(chain, state.Running), wants(lightning, state.Running)}, "", "", ""},
		{"adopted, and linked as it is", node(state.Running, nil, "podman"), []state.Desired{adopted, wants(lightning, state.Running)}, "",
			"link[old +archipelago-lightning.chain]", "it is required by [lightning]"},
		{"adopted, and on no network", node(state.Stopped, nil), []state.Desired{adopted, wants(lightning, state.Running)}, "",
			"prepare, write-units, start[lightning]", "not running: [lightning]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			broken := map[string]error{}
			if c.broken != "" {
				broken[c.broken] = errors.New("damaged")
			}
			got := Make(Input{Desired: c.desired, Observed: c.obs, Broken: broken, Renderer: &render.Renderer{DataDir: dataDir}})
			if verbs(got) != c.want {
				t.Errorf("planned %q, expected %q", verbs(got), c.want)
			}
			if reason := lastReason(got); reason != c.reason {
				t.Errorf("the reason is %q, expected %q", reason, c.reason)
			}
			for _, a := range got[0].Actions {
				for _, n := range a.Join {
					if n != quadlet.Link("lightning", "chain") {
						t.Errorf("it joins %+v", n)
					}
				}
			}
		})
	}
}

// lastReason is the last thing that plans say.
func lastReason(plans []Plan) (reason string) {
	for _, p := range plans {
		for _, a := range p.Actions {
			reason = a.Reason
		}
		reason = cmp.Or(p.Blocked, p.Waiting, reason)
	}
	return reason
}

func TestStartWantsEveryPortFreeByItsProtocol(t *testing.T) {
	m := pair()
	m.Containers[0].Ports = []manifest.Port{{Name: "dns", Container: 53, Host: 53}, {Name: "dns-udp", Container: 53, Host: 53, Protocol: "udp"}}
	for _, a := range plan(world(m, state.Stopped), state.Desired{App: "pair", Goal: state.Running, Manifest: m, Installed: true})[0].Actions {
		if a.Verb == Start {
			if got := fmt.Sprint(a.Ports); got != "[53 53/udp]" {
				t.Error(got)
			}
			return
		}
	}
	t.Error("it is not started")
}
