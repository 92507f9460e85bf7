package view_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/dist"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/offer"
	"github.com/archipelago-cloud/archipelago/orchestrator/operation"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// pair is an application of two members.
func pair(version string) *manifest.Manifest {
	image := manifest.Image{Ref: "localhost:5000/pair", Digest: "sha256:" + strings.Repeat("0", 64)}
	return &manifest.Manifest{APIVersion: manifest.APIVersion, ID: "pair", Name: "Pair", Version: version, Containers: []manifest.Container{
		{Name: "pair", Image: image}, {Name: "pair-db", Image: image},
	}}
}

func disk(m *manifest.Manifest) *offer.Offer {
	return offer.New(nil, catalog.Catalog{m.ID: {Manifest: m, Notes: "Faster."}}, nil, now)
}

// look is a view of the pair: its record (nil for none), its containers' states and
// the status of its operations.
func look(d *state.Desired, containers map[string]host.Container, op operation.Status, changes ...func(*view.Input)) view.Input {
	in := view.Input{Observed: host.Observation{Containers: containers}, Operations: map[string]operation.Status{"pair": op}, Offer: disk(pair("1")), Now: now}
	if d != nil {
		in.Records.All = []state.Desired{*d}
	}
	for _, change := range changes {
		change(&in)
	}
	return in
}

func installed(changes ...func(*state.Desired)) *state.Desired {
	m := pair("1")
	d := &state.Desired{App: "pair", Goal: state.Running, Generation: 2, Manifest: m, Digest: m.Digest(), Source: "disk"}
	for _, change := range changes {
		change(d)
	}
	return d
}

func goal(g state.Goal) func(*state.Desired) { return func(d *state.Desired) { d.Goal = g } }

// both are the members' containers, in these states; the second one's health may
// follow after a space.
func both(first, second string) map[string]host.Container {
	state, health, _ := strings.Cut(second, " ")
	out := map[string]host.Container{}
	if first != "" {
		out["pair"] = host.Container{ID: "1", Name: "pair", App: "pair", State: first}
	}
	if second != "" {
		out["pair-db"] = host.Container{ID: "2", Name: "pair-db", App: "pair", State: state, Health: health}
	}
	return out
}

func TestWhereNobodyLooksAtHealthThatIsSaid(t *testing.T) {
	for _, c := range []struct {
		name   string
		health *manifest.Health
		second string
		units  map[string]host.Unit
		want   string
	}{
		{"it runs", &manifest.Health{}, "running healthy", map[string]host.Unit{dist.ProberUnit: {Active: "active"}}, ""},
		{"systemd restarts it", &manifest.Health{}, "running healthy", map[string]host.Unit{dist.ProberUnit: {Active: "activating"}}, ""},
		{"it has failed", &manifest.Health{}, "running healthy", map[string]host.Unit{dist.ProberUnit: {Active: "failed"}}, view.NotChecked},
		{"it is not there", &manifest.Health{}, "running healthy", map[string]host.Unit{}, view.NotChecked},
		{"nothing is known of units", &manifest.Health{}, "running healthy", nil, ""},
		{"the application has no check", nil, "running", map[string]host.Unit{}, ""},
	} {
		in := look(installed(), both("running", c.second), operation.Status{Observed: 2})
		m := *in.Records.All[0].Manifest
		m.Containers = slices.Clone(m.Containers)
		m.Containers[0].Health, m.Containers[1].Health = c.health, nil
		in.Records.All[0].Manifest, in.Observed.Units = &m, c.units
		v, _ := view.Of(in, "pair")
		if v.State != view.Up || v.Note != c.want {
			t.Errorf("%s: %s, %q, expected %q", c.name, v.State, v.Note, c.want)
		}
	}
}

func TestState(t *testing.T) {
	done := operation.Status{Observed: 2}
	up := both("running", "running healthy")
	update := func(d *state.Desired) { d.Update = &state.Update{To: pair("2"), Phase: state.Staged} }
	ready := func(r host.Readiness) func(*view.Input) {
		return func(in *view.Input) {
			m := *in.Records.All[0].Manifest
			m.Ready = []manifest.Condition{{TCP: "web"}}
			in.Records.All[0].Manifest = &m
			in.Ready = map[string]host.Readiness{"pair": r}
		}
	}
	for _, c := range []struct {
		name  string
		in    view.Input
		want  view.State
		error string
		note  string
	}{
		{"not installed", look(nil, nil, operation.Status{}), view.NotInstalled, "", ""},
		{"not installed, and it may not be", look(nil, nil, operation.Status{}, func(in *view.Input) { in.Offer = expired(t) }), view.NotInstalled, "the catalog feature 7 expired", ""},
		{"removed, and it failed before", look(nil, nil, operation.Status{Failed: 2, Error: "no"}), view.NotInstalled, "", ""},
		{"accepted", look(installed(), nil, operation.Status{}), view.Starting, "", ""},
		{"one member runs", look(installed(), both("running", ""), done), view.Starting, "", ""},
		{"one member has ended", look(installed(), both("running", "exited"), done), view.Starting, "", ""},
		{"work is under way", look(installed(), up, operation.Status{Busy: true, Observed: 2}), view.Starting, "", ""},
		{"a restart is asked for", look(installed(func(d *state.Desired) { d.Restart = 2 }), up, operation.Status{Observed: 1}), view.Starting, "", ""},
		{"both run", look(installed(), up, done), view.Up, "", ""},
		{"both run, before a pass has found it", look(installed(), up, operation.Status{}), view.Up, "", ""},
		{"no health check", look(installed(), both("running", "running"), done), view.Up, "", ""},
		{"not healthy", look(installed(), both("running", "running unhealthy"), done), view.Unhealthy, "", ""},
		{"not healthy yet", look(installed(), both("running", "running starting"), done), view.Unhealthy, "", ""},
		{"it waits for another", look(installed(), nil, operation.Status{Waiting: "waiting for chain: 4 %"}), view.Waiting, "", "waiting for chain: 4 %"},
		{"it waits for its own conditions", look(installed(), up, done, ready(host.Readiness{Detail: "port web does not answer"})), view.Waiting, "", "waiting for pair: port web does not answer"},
		{"its conditions hold", look(installed(), up, done, ready(host.Readiness{OK: true})), view.Up, "", ""},
		{"its conditions have not been asked", look(installed(), up, done, ready(host.Readiness{})), view.Up, "", ""},
		{"it is being updated", look(installed(update), up, operation.Status{Busy: true, Failed: 1, Error: "no"}), view.Updating, "", ""},
		{"it is being rolled back, and that fails", look(installed(update), nil, operation.Status{Failed: 2, Error: "no room"}), view.Failed, "no room", ""},
		{"that is tried again", look(installed(update), nil, operation.Status{Busy: true, Failed: 2, Error: "no room"}), view.Failed, "no room", ""},
		{"it is to stop", look(installed(goal(state.Stopped)), both("", "running"), operation.Status{Busy: true}), view.Stopping, "", ""},
		{"it has stopped", look(installed(goal(state.Stopped)), both("", "exited"), done), view.Down, "", ""},
		{"it is to go", look(installed(goal(state.Absent)), up, operation.Status{Failed: 2, Error: "no"}), view.Removing, "no", ""},
		{"it failed", look(installed(), nil, operation.Status{Failed: 2, Error: "no such image"}), view.Failed, "no such image", ""},
		{"it could not be stopped", look(installed(goal(state.Stopped)), up, operation.Status{Failed: 2, Error: "no answer"}), view.Failed, "no answer", ""},
		{"an earlier generation failed", look(installed(), up, operation.Status{Observed: 2, Failed: 1, Error: "no"}), view.Up, "no", ""},
		{"its record cannot be read", look(nil, up, done, func(in *view.Input) { in.Records.Broken = map[string]error{"pair": errors.New("damaged")} }), view.Failed, "damaged", ""},
		{"it was adopted", look(installed(func(d *state.Desired) { d.Adopted = map[string]string{"pair": "old"} }), map[string]host.Container{"old": {State: "running"}, "pair-db": {State: "running"}}, done), view.Up, "", view.NotRebootProof},
		{"it runs an image of the owner's own", look(installed(func(d *state.Desired) { d.Overrides = map[string]string{"pair": "mine"} }), up, done), view.Up, "", "pair runs the image mine of your own"},
		{"its note stays", look(installed(func(d *state.Desired) { d.Note = "rolled back" }), up, done), view.Up, "", "rolled back"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, ok := view.Of(c.in, "pair")
			if !ok || v.State != c.want || !strings.Contains(v.Error, c.error) || v.Error != "" && c.error == "" || !strings.Contains(v.Note, c.note) || v.Note != "" && c.note == "" {
				t.Errorf("%s, %q, %q; expected %s, %q, %q", v.State, v.Error, v.Note, c.want, c.error, c.note)
			}
			if len(v.Containers) != 2 && c.in.Records.Broken == nil {
				t.Errorf("one container per member: %+v", v.Containers)
			}
			if all := view.All(c.in); len(all) != 1 || !reflect.DeepEqual(all[0], v) {
				t.Errorf("among all it is %+v", all)
			}
		})
	}
}

// signed is an offer of one version of the pair in a signed catalog.
func signed(t *testing.T, version string, change func(*document.Document)) *offer.Offer {
	t.Helper()
	e, err := document.NewEntry(pair(version), "test", "Faster.")
	if err != nil {
		t.Fatal(err)
	}
	d := &document.Document{Schema: document.Schema, Channel: "feature", Serial: 7, Created: now, Expires: now.Add(time.Hour), Entries: []document.Entry{e}}
	if change != nil {
		change(d)
	}
	return offer.New(d, nil, nil, now)
}

func expired(t *testing.T) *offer.Offer {
	return signed(t, "1", func(d *document.Document) { d.Created, d.Expires = now.Add(-2*time.Hour), now.Add(-time.Hour) })
}

func TestAvailable(t *testing.T) {
	two := pair("2").Digest()
	waived := func(d *document.Document) {
		d.Entries[0].Waiver = &catalog.Waiver{Steps: []string{"restart"}, Reason: "r", Tracker: "https://tracker.example/9", Given: now, Until: now.Add(time.Minute)}
	}
	revoked := func(d *document.Document) {
		d.Revoked = []document.Revocation{{ID: "pair", Version: "1", Reason: "it leaks", Since: now}}
	}
	for _, c := range []struct {
		name      string
		record    *state.Desired
		offer     *offer.Offer
		at        time.Time
		available string // its version
		declined  bool
		notes     string
		note      string
	}{
		{"not installed", nil, disk(pair("1")), now, "", false, "Faster.", ""},
		{"the same digest", installed(), disk(pair("1")), now, "", false, "Faster.", ""},
		{"another version", installed(), signed(t, "2", nil), now, "2", false, "Faster.", ""},
		{"one that did not come up", installed(func(d *state.Desired) { d.Declined = two }), signed(t, "2", nil), now, "2", true, "Faster.", ""},
		{"a later one than did not come up", installed(func(d *state.Desired) { d.Declined = two }), signed(t, "3", nil), now, "3", false, "Faster.", ""},
		{"of a catalog that has expired", installed(), signed(t, "2", nil), now.Add(time.Hour), "", false, "", ""},
		{"none", installed(), offer.New(nil, nil, nil, now), now, "", false, "", ""},
		{"with a waiver", installed(), signed(t, "2", waived), now, "2", false, "Faster.", "https://tracker.example/9"},
		{"with a waiver that has ended", installed(), signed(t, "2", waived), now.Add(time.Minute), "", false, "", ""},
		{"what runs is revoked", installed(), signed(t, "2", revoked), now, "2", false, "Faster.", "version 1 was revoked on 2026-06-01: it leaks"},
		{"what is revoked is not installed", nil, signed(t, "2", revoked), now, "", false, "Faster.", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, _ := view.Of(look(c.record, both("running", "running"), operation.Status{Observed: 2}, func(in *view.Input) { in.Offer, in.Now = c.offer, c.at }), "pair")
			available := ""
			if v.Available != nil {
				available = v.Available.Version
			}
			if available != c.available || v.Declined != c.declined || v.Notes != c.notes {
				t.Errorf("available %q, declined %v, notes %q", available, v.Declined, v.Notes)
			}
			if !strings.Contains(v.Note, c.note) || v.Note != "" && c.note == "" {
				t.Errorf("note %q, expected %q", v.Note, c.note)
			}
			if c.record != nil && (v.Manifest.Version != "1" || v.Source != "disk" || v.State != view.Up) {
				t.Errorf("what is offered changes what runs: %+v", v)
			}
		})
	}
}

// TestWhatCanBeGoneBackToIsShown, with what that asks for and why it may be refused.
func TestWhatCanBeGoneBackToIsShown(t *testing.T) {
	before := pair("0.9")
	before.Containers[0].Ports = []manifest.Port{{Name: "p2p", Container: 8333, Host: 8333}}
	kept := func(d *state.Desired) {
		d.Previous = &state.Previous{Manifest: before, Taken: now.Add(-time.Hour), Since: now}
	}
	see := func(d *state.Desired, changes ...func(*view.Input)) view.View {
		v, _ := view.Of(look(d, both("running", "running"), operation.Status{Observed: 2}, changes...), "pair")
		return v
	}
	want := &view.Previous{Version: "0.9", Taken: now.Add(-time.Hour), Until: now.Add(state.KeepPrevious), NewPrivileges: []string{"publishes port 8333/tcp of the node"}}
	if v := see(installed(kept)); !reflect.DeepEqual(v.Previous, want) || v.Note != "" {
		t.Errorf("%+v, note %q; expected %+v", v.Previous, v.Note, want)
	}
	revoked := func(in *view.Input) {
		in.Offer = signed(t, "1", func(d *document.Document) {
			d.Revoked = []document.Revocation{{ID: "pair", Version: "0.9", Reason: "it leaks", Since: now}}
		})
	}
	if v := see(installed(kept), revoked); v.Previous == nil || !strings.Contains(v.Previous.Refused, "it leaks") {
		t.Errorf("revoked: %+v", v.Previous)
	}
	for name, d := range map[string]*state.Desired{
		"nothing is kept":     installed(),
		"it is to go":         installed(kept, goal(state.Absent)),
		"it is being updated": installed(kept, func(d *state.Desired) { d.Update = &state.Update{To: pair("2"), Phase: state.Staged} }),
	} {
		if v := see(d); v.Previous != nil {
			t.Errorf("%s: %+v", name, v.Previous)
		}
	}
}

func TestWhatItsOwnerHasGoneBackFromIsSaid(t *testing.T) {
	held := func(d *state.Desired) { d.Held = pair("2").Digest() }
	for version, want := range map[string]bool{"2": true, "3": false} {
		v, _ := view.Of(look(installed(held), both("running", "running"), operation.Status{Observed: 2}, func(in *view.Input) { in.Offer = disk(pair(version)) }), "pair")
		if v.Available == nil || v.Held != want || strings.Contains(v.Note, "version 2, which you have gone back from, does not come again by itself") != want {
			t.Errorf("%s: %v, note %q", version, v.Held, v.Note)
		}
	}
}

func TestNewPrivilegesWaitForTheOwner(t *testing.T) {
	more := pair("2")
	more.Containers[0].Ports = []manifest.Port{{Name: "p2p", Container: 8333, Host: 8333}}
	v, _ := view.Of(look(installed(), both("running", "running"), operation.Status{Observed: 2}, func(in *view.Input) { in.Offer = disk(more) }), "pair")
	if !reflect.DeepEqual(v.NewPrivileges, []string{"publishes port 8333/tcp of the node"}) || !strings.Contains(v.Note, "version 2 waits for your consent") {
		t.Errorf("%q, note %q", v.NewPrivileges, v.Note)
	}
	v, _ = view.Of(look(nil, nil, operation.Status{}, func(in *view.Input) { in.Offer = disk(more) }), "pair")
	if v.NewPrivileges != nil || v.Note != "" {
		t.Errorf("what is not installed: %q, note %q", v.NewPrivileges, v.Note)
	}
}

func TestSettingsAreShownWithTheirDefaults(t *testing.T) {
	m := pair("1")
	m.Settings = []manifest.Setting{{Name: "k", Default: "d"}, {Name: "l", Default: "d"}}
	v, _ := view.Of(look(installed(func(d *state.Desired) { d.Manifest, d.Config = m, map[string]string{"l": "x"} }), nil, operation.Status{}), "pair")
	if want := map[string]string{"k": "d", "l": "x"}; !reflect.DeepEqual(v.Config, want) {
		t.Errorf("%v, expected %v", v.Config, want)
	}
}

func TestTheValueOfASecretSettingIsNeverShown(t *testing.T) {
	m := pair("1")
	m.Settings = []manifest.Setting{{Name: "k", Secret: true}, {Name: "l", Secret: true}}
	v, _ := view.Of(look(installed(func(d *state.Desired) { d.Manifest, d.Config = m, map[string]string{"l": "hunter2"} }), nil, operation.Status{}), "pair")
	if want := map[string]string{"k": "", "l": "set"}; !reflect.DeepEqual(v.Config, want) {
		t.Errorf("%v, expected %v", v.Config, want)
	}
}

func TestLookingCreatesNothing(t *testing.T) {
	in := look(nil, nil, operation.Status{})
	in.Operations = map[string]operation.Status{}
	if v, ok := view.Of(in, "nope"); ok || !reflect.DeepEqual(v, view.View{}) {
		t.Errorf("%+v, %v", v, ok)
	}
	if all := view.All(in); len(all) != 1 || all[0].Manifest.ID != "pair" {
		t.Errorf("%+v", all)
	}
	if len(in.Operations) > 0 || len(in.Observed.Containers) > 0 || len(in.Records.All) > 0 {
		t.Errorf("looking left %+v", in)
	}
}

func TestAllAreSortedAndOnceEach(t *testing.T) {
	in := look(installed(), nil, operation.Status{})
	in.Offer = offer.New(nil, catalog.Catalog{"pair": {Manifest: pair("1")}, "zoo": {Manifest: &manifest.Manifest{ID: "zoo"}}}, nil, now)
	in.Records.All = []state.Desired{{App: "gone", Goal: state.Absent}, in.Records.All[0]}
	in.Records.Broken = map[string]error{"broken": errors.New("damaged"), "zoo": errors.New("damaged")}
	var ids []string
	for _, v := range view.All(in) {
		ids = append(ids, v.Manifest.ID+" "+string(v.State))
	}
	if want := []string{"broken failed", "gone removing", "pair starting", "zoo failed"}; !reflect.DeepEqual(ids, want) {
		t.Errorf("%q, expected %q", ids, want)
	}
}
