package request_test

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/offer"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// app is an application of one member of its own name, as a catalog may hold it.
func app(id string, changes ...func(*manifest.Manifest)) *manifest.Manifest {
	m := &manifest.Manifest{APIVersion: manifest.APIVersion, ID: id, Name: id, Version: "1", Containers: []manifest.Container{
		{Name: id, Image: manifest.Image{Ref: "localhost:5000/" + id, Digest: "sha256:" + strings.Repeat("0", 64)}},
	}}
	for _, change := range changes {
		change(m)
	}
	return m
}

func version(v string) func(*manifest.Manifest) {
	return func(m *manifest.Manifest) { m.Version = v }
}

func format(n int) func(*manifest.Manifest) {
	return func(m *manifest.Manifest) { m.Migration = n }
}

// port publishes a port of the node.
func port(n int) func(*manifest.Manifest) {
	return func(m *manifest.Manifest) {
		m.Containers[0].Ports = append(m.Containers[0].Ports, manifest.Port{Name: fmt.Sprint("p", n), Container: n, Host: n})
	}
}

func setting(name string) func(*manifest.Manifest) {
	return func(m *manifest.Manifest) {
		m.Settings = append(m.Settings, manifest.Setting{Name: name, Default: "d", Values: []string{"d", "x", "y"}})
	}
}

// requires another application, with settings there given as "name=value".
func requires(other string, settings ...string) func(*manifest.Manifest) {
	return func(m *manifest.Manifest) {
		m.Requires = append(m.Requires, manifest.Requirement{App: other, Config: config(settings...)})
	}
}

func config(settings ...string) map[string]string {
	var out map[string]string
	for _, s := range settings {
		if out == nil {
			out = map[string]string{}
		}
		k, v, _ := strings.Cut(s, "=")
		out[k] = v
	}
	return out
}

// disk is an offer of what is on the node's disk.
func disk(manifests ...*manifest.Manifest) *offer.Offer {
	c := catalog.Catalog{}
	for _, m := range manifests {
		c[m.ID] = &catalog.Entry{Manifest: m, Source: catalog.Source{From: catalog.FromDisk}}
	}
	return offer.New(nil, c, nil, now)
}

// signed is an offer of a signed catalog that expires after an hour.
func signed(t *testing.T, change func(*document.Document), manifests ...*manifest.Manifest) *offer.Offer {
	t.Helper()
	d := &document.Document{Schema: document.Schema, Channel: "feature", Serial: 7, Created: now, Expires: now.Add(time.Hour)}
	for _, m := range manifests {
		e, err := document.NewEntry(m, "test", "")
		if err != nil {
			t.Fatal(err)
		}
		d.Entries = append(d.Entries, e)
	}
	if change != nil {
		change(d)
	}
	return offer.New(d, nil, nil, now)
}

// installed is the record of an application that runs.
func installed(m *manifest.Manifest, changes ...func(*state.Desired)) state.Desired {
	d := state.Desired{App: m.ID, Goal: state.Running, Generation: 3, Manifest: m, Source: "disk", Digest: m.Digest(), Installed: true}
	for _, change := range changes {
		change(&d)
	}
	return d
}

func set(settings ...string) func(*state.Desired) {
	return func(d *state.Desired) { d.Config = config(settings...) }
}

func goal(g state.Goal) func(*state.Desired) { return func(d *state.Desired) { d.Goal = g } }

func updatingTo(m *manifest.Manifest) func(*state.Desired) {
	return func(d *state.Desired) { d.Update = &state.Update{To: m, Phase: state.Staged, Generation: 3} }
}

func records(all ...state.Desired) state.Records {
	slices.SortFunc(all, func(a, b state.Desired) int { return strings.Compare(a.App, b.App) })
	return state.Records{All: all}
}

// says is a decision in short: "c k=x, b, a" are the records to accept, in order.
func says(decided []state.Desired) string {
	out := make([]string, len(decided))
	for i, d := range decided {
		out[i] = d.App
		if d.Goal != state.Running {
			out[i] += " " + string(d.Goal)
		}
		if d.Update != nil {
			out[i] += " to " + d.Update.To.Version
		}
		for _, k := range slices.Sorted(maps.Keys(d.Config)) {
			out[i] += " " + k + "=" + d.Config[k]
		}
	}
	return strings.Join(out, ", ")
}

// decision is one row of a table: what comes of a request, or why it is refused.
type decision struct {
	name    string
	records state.Records
	offer   *offer.Offer
	request request.Request
	node    host.Observation
	want    string   // as says gives it
	refused error    // wrapped by the error
	because []string // all in the error
}

func decide(t *testing.T, table []decision) {
	t.Helper()
	for _, c := range table {
		t.Run(c.name, func(t *testing.T) {
			before := says(c.records.All)
			got, err := request.Decide(c.records, c.offer, c.node, now, c.request)
			if after := says(c.records.All); after != before {
				t.Errorf("the records that it rests on were changed from %s to %s", before, after)
			}
			if c.refused == nil && len(c.because) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				if s := says(got); s != c.want {
					t.Errorf("%s, expected %s", s, c.want)
				}
				return
			}
			if err == nil {
				t.Fatalf("granted: %s", says(got))
			}
			if got != nil {
				t.Errorf("refused, and yet %s", says(got))
			}
			if c.refused != nil && !errors.Is(err, c.refused) {
				t.Errorf("%v is not %v", err, c.refused)
			}
			for _, s := range c.because {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not say %q", err, s)
				}
			}
		})
	}
}

func TestWhatCanBeAskedWhen(t *testing.T) {
	a := app("a", setting("k"))
	is := func(changes ...func(*state.Desired)) state.Records { return records(installed(a, changes...)) }
	updating := is(updatingTo(app("a", version("2"))))
	broken := state.Records{Broken: map[string]error{"a": errors.New("damaged")}}
	table := []decision{
		{name: "nobody knows it", offer: disk(), request: request.Request{App: "a", Verb: request.Install}, refused: request.ErrUnknownApp, because: []string{`"a"`}},
		{name: "nobody knows it, and it is to be uninstalled", offer: disk(), request: request.Request{App: "a", Verb: request.Uninstall, Found: true}, refused: request.ErrUnknownApp},
		{name: "nobody knows it, and it has no data", offer: disk(), request: request.Request{App: "a", Verb: request.Uninstall, Purge: true}, refused: request.ErrUnknownApp},
		{name: "nobody knows it, and its data is to be deleted", offer: disk(), request: request.Request{App: "a", Verb: request.Uninstall, Purge: true, Found: true}, want: "a absent"},
		{name: "nobody knows it, and it has data", offer: disk(), request: request.Request{App: "a", Verb: request.Install, Purge: true, Found: true}, refused: request.ErrUnknownApp},
		{name: "nobody knows the operation", offer: disk(a), records: is(), request: request.Request{App: "a", Verb: "explode"}, because: []string{`unknown operation "explode"`}},
		{name: "its record cannot be read", offer: disk(a), records: broken, request: request.Request{App: "a", Verb: request.Install}, because: []string{"damaged"}},
		{name: "it is known by its record alone", offer: disk(), records: is(), request: request.Request{App: "a", Verb: request.Stop}, want: "a stopped"},
		{name: "install", offer: disk(a), request: request.Request{App: "a", Verb: request.Install}, want: "a"},
		{name: "install with settings", offer: disk(a), request: request.Request{App: "a", Verb: request.Install, Config: config("k=x")}, want: "a k=x"},
		{name: "install with a setting that it has not", offer: disk(a), request: request.Request{App: "a", Verb: request.Install, Config: config("none=x")}, refused: request.ErrRefused, because: []string{"none"}},
		{name: "install with a value that it does not take", offer: disk(a), request: request.Request{App: "a", Verb: request.Install, Config: config("k=z")}, refused: request.ErrRefused, because: []string{"k"}},
		{name: "install again keeps settings", offer: disk(a), records: is(set("k=x")), request: request.Request{App: "a", Verb: request.Install}, want: "a k=x"},
		{name: "install again changes those that are given", offer: disk(a), records: is(set("k=x")), request: request.Request{App: "a", Verb: request.Install, Config: config("k=y")}, want: "a k=y"},
		{name: "install of what is stopped starts it", offer: disk(a), records: is(goal(state.Stopped)), request: request.Request{App: "a", Verb: request.Install}, want: "a"},
		{name: "install of what is going begins anew", offer: disk(a), records: is(goal(state.Absent), set("k=x")), request: request.Request{App: "a", Verb: request.Install}, want: "a"},
		{name: "stop", offer: disk(a), records: is(), request: request.Request{App: "a", Verb: request.Stop}, want: "a stopped"},
		{name: "start", offer: disk(a), records: is(goal(state.Stopped)), request: request.Request{App: "a", Verb: request.Start}, want: "a"},
		{name: "configure", offer: disk(a), records: is(set("k=x")), request: request.Request{App: "a", Verb: request.Configure, Config: config("k=y")}, want: "a k=y"},
		{name: "configure of what is stopped leaves it so", offer: disk(a), records: is(goal(state.Stopped)), request: request.Request{App: "a", Verb: request.Configure, Config: config("k=y")}, want: "a stopped k=y"},
		{name: "uninstall", offer: disk(a), records: is(), request: request.Request{App: "a", Verb: request.Uninstall}, want: "a absent"},
		{name: "uninstall of what is not installed", offer: disk(a), request: request.Request{App: "a", Verb: request.Uninstall, Purge: true}, want: "a absent"},
		{name: "settings without a manifest", offer: disk(a), records: is(func(d *state.Desired) { d.Manifest = nil }), request: request.Request{App: "a", Verb: request.Configure, Config: config("k=y")}, refused: request.ErrRefused, because: []string{"install it again"}},
		{name: "stop during an update", offer: disk(a), records: updating, request: request.Request{App: "a", Verb: request.Stop}, want: "a stopped to 2"},
		{name: "start during an update", offer: disk(a), records: updating, request: request.Request{App: "a", Verb: request.Start}, want: "a to 2"},
	}
	for _, verb := range []string{request.Start, request.Stop, request.Restart, request.Update, request.Configure} {
		table = append(table, decision{name: verb + " of what is not installed", offer: disk(a), request: request.Request{App: "a", Verb: verb}, refused: request.ErrNotInstalled, because: []string{"install it first"}},
			decision{name: verb + " of what is going", offer: disk(a), records: is(goal(state.Absent)), request: request.Request{App: "a", Verb: verb}, refused: request.ErrNotInstalled})
	}
	for _, verb := range []string{request.Install, request.Adopt, request.Restart, request.Update, request.Configure, request.Uninstall} {
		table = append(table, decision{name: verb + " during an update", offer: disk(a), records: updating, request: request.Request{App: "a", Verb: verb}, refused: request.ErrRefused, because: []string{"being updated to 2; wait"}})
	}
	decide(t, table)
}

func TestRestartAsksForAGenerationToBeAssigned(t *testing.T) {
	rec := installed(app("a"), goal(state.Stopped), func(d *state.Desired) { d.Restart, d.Restarted = 2, 2 })
	got, err := request.Decide(records(rec), disk(), host.Observation{}, now, request.Request{App: "a", Verb: request.Restart})
	if err != nil || len(got) != 1 || got[0].Restart != state.RestartRequested || got[0].Restarted != 2 || got[0].Goal != state.Running {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestUninstallForgetsWhatWasAskedBefore(t *testing.T) {
	rec := installed(app("a"), func(d *state.Desired) { d.Restart, d.Restarted, d.Note = 3, 2, "rolled back" })
	for _, purge := range []bool{false, true} {
		got, err := request.Decide(records(rec), disk(), host.Observation{}, now, request.Request{App: "a", Verb: request.Uninstall, Purge: purge})
		if err != nil || len(got) != 1 || got[0].Purge != purge || got[0].Restart != 0 || got[0].Restarted != 0 || got[0].Note != "" || got[0].Manifest == nil {
			t.Errorf("purge %v: %+v, %v", purge, got, err)
		}
	}
	// Installed again, its data is not to be deleted any more.
	gone := installed(app("a"), goal(state.Absent), func(d *state.Desired) { d.Purge = true })
	got, err := request.Decide(records(gone), disk(app("a")), host.Observation{}, now, request.Request{App: "a", Verb: request.Install})
	if err != nil || len(got) != 1 || got[0].Purge {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestInstallTakesWhatTheCatalogHolds(t *testing.T) {
	o := signed(t, nil, app("a"), app("b", requires("a")))
	got, err := request.Decide(records(), o, host.Observation{}, now, request.Request{App: "b", Verb: request.Install})
	if err != nil || len(got) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, d := range got {
		if d.Source != "catalog feature 7" || d.Manifest == nil || d.Goal != state.Running {
			t.Errorf("%+v", d)
		}
	}
}

func TestInstallMendsARecordWithoutAManifest(t *testing.T) {
	rec := installed(app("a"), func(d *state.Desired) { d.Manifest, d.Digest = nil, "" })
	got, err := request.Decide(records(rec), disk(app("a")), host.Observation{}, now, request.Request{App: "a", Verb: request.Install})
	if err != nil || len(got) != 1 || got[0].Manifest == nil || got[0].Goal != state.Running {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestFormatOfData(t *testing.T) {
	with := func(id string, n int, all ...state.Desired) state.Records {
		r := records(all...)
		r.Data = map[string]state.Data{id: {App: id, Migration: n}}
		return r
	}
	install := request.Request{App: "a", Verb: request.Install}
	decide(t, []decision{
		{name: "its data is of an older format", records: with("a", 1), offer: disk(app("a", format(2))), request: install, want: "a"},
		{name: "its data is of its format", records: with("a", 2), offer: disk(app("a", format(2))), request: install, want: "a"},
		{name: "its data is of a newer format", records: with("a", 3), offer: disk(app("a", format(2))), request: install, refused: request.ErrRefused, because: []string{"the data of a has format 3", "knows only 2"}},
		{name: "so is that of what it requires", records: with("b", 3), offer: disk(app("a", requires("b")), app("b", format(2))), request: install, refused: request.ErrRefused, because: []string{"the data of b has format 3", "knows only 2"}},
	})
}

func TestCollisions(t *testing.T) {
	install := request.Request{App: "a", Verb: request.Install}
	web := func(m *manifest.Manifest) {
		m.Interfaces = map[string]manifest.Interface{"web": {Port: m.Containers[0].Ports[0].Name}}
	}
	named := func(name string) func(*manifest.Manifest) {
		return func(m *manifest.Manifest) { m.Containers = append(m.Containers, manifest.Container{Name: name}) }
	}
	udp := func(m *manifest.Manifest) {
		m.Containers[0].Ports[len(m.Containers[0].Ports)-1].Protocol = "udp"
	}
	decide(t, []decision{
		{name: "another port", records: records(installed(app("b", port(81)))), offer: disk(app("a", port(80))), request: install, want: "a"},
		{name: "the same port", records: records(installed(app("b", port(80)))), offer: disk(app("a", port(80))), request: install, refused: request.ErrRefused, because: []string{"a and b both use port 80"}},
		{name: "the same port of what is stopped", records: records(installed(app("b", port(80)), goal(state.Stopped))), offer: disk(app("a", port(80))), request: install, refused: request.ErrRefused},
		{name: "the same port of what is going", records: records(installed(app("b", port(80)), goal(state.Absent))), offer: disk(app("a", port(80))), request: install, want: "a"},
		{name: "the same number by another protocol", records: records(installed(app("b", port(80), udp))), offer: disk(app("a", port(80))), request: install, want: "a"},
		{name: "the same UDP port", records: records(installed(app("b", port(53), udp))), offer: disk(app("a", port(53), udp)), request: install, refused: request.ErrRefused, because: []string{"a and b both use port 53/udp of the node"}},
		{name: "its own number by both protocols", records: records(installed(app("b", port(54), udp))), offer: disk(app("a", port(53), port(53), udp)), request: install, want: "a"},
		{name: "the same port of the version that one is being updated to", records: records(installed(app("b"), updatingTo(app("b", version("2"), port(80))))), offer: disk(app("a", port(80))), request: install, refused: request.ErrRefused, because: []string{"a and b both use port 80"}},
		{name: "the proxy's port", records: records(installed(app("b", port(80), web))), offer: disk(app("a", port(10080))), request: install, refused: request.ErrRefused, because: []string{"port 10080"}},
		{name: "a container's name", records: records(installed(app("b", named("db")))), offer: disk(app("a", named("db"))), request: install, refused: request.ErrRefused, because: []string{`a and b both name a container "db"`}},
		{name: "a unit of the owner's", offer: disk(app("a", named("db"))), request: install, node: host.Observation{UnitFiles: map[string]string{"db.service": "/etc/systemd/user/db.service"}}, refused: request.ErrRefused, because: []string{"/etc/systemd/user/db.service has the name of one of a's"}},
		{name: "a unit of the owner's, by what comes along", offer: disk(app("a", requires("b")), app("b")), request: install, node: host.Observation{UnitFiles: map[string]string{"b.service": "/etc/systemd/user/b.service"}}, refused: request.ErrRefused, because: []string{"b.service has the name of one of b's"}},
		{name: "a container of the owner's in Quadlet", offer: disk(app("a")), request: install, node: host.Observation{Files: map[string]string{"a.container": "[Container]\n"}}, refused: request.ErrRefused, because: []string{"a.container"}},
		{name: "its own damaged unit", records: records(installed(app("a"))), offer: disk(app("a")), request: install, node: host.Observation{Files: map[string]string{"a.container": ""}}, want: "a"},
		{name: "other units of the owner's", offer: disk(app("a")), request: install, node: host.Observation{UnitFiles: map[string]string{"ab.service": "/etc/systemd/user/ab.service"}, Files: map[string]string{"b.container": ""}}, want: "a"},
		{name: "what comes along collides with what is installed", records: records(installed(app("c", port(80)))), offer: disk(app("a", requires("b")), app("b", port(80))), request: install, refused: request.ErrRefused, because: []string{"b and c both use port 80"}},
		{name: "what comes along collides with the application", offer: disk(app("a", port(80), requires("b")), app("b", port(80))), request: install, refused: request.ErrRefused, because: []string{"a and b both use port 80"}},
		{name: "two that come along collide by a port", offer: disk(app("a", requires("b"), requires("c")), app("b", port(80)), app("c", port(80))), request: install, refused: request.ErrRefused, because: []string{"c and b both use port 80"}},
		{name: "two that come along collide by a name", offer: disk(app("a", requires("b"), requires("c")), app("b", named("db")), app("c", named("db"))), request: install, refused: request.ErrRefused, because: []string{`c and b both name a container "db"`}},
	})
}

// unvouched is what a backup of version 1 says of itself where the catalog has another one.
const unvouched = "runs version 1 as its backup describes it, which nothing on this node vouches for"

// TestABackupIsComparedWithTheCatalog: where the manifest of a backup is not the catalog's,
// its owner agrees to that, and to each privilege that is more than the catalog's has.
func TestABackupIsComparedWithTheCatalog(t *testing.T) {
	one := app("a")
	evil := app("a", port(80))
	for _, c := range []struct {
		name    string
		backup  *manifest.Manifest
		offer   *offer.Offer
		consent []string
		asks    []string // nothing: it is brought back
	}{
		{name: "it is the catalog's", backup: app("a"), offer: disk(one)},
		{name: "it is the catalog's, which needs no consent again", backup: app("a", photos), offer: disk(app("a", photos))},
		{name: "it is another one of the same version", backup: app("a", setting("k")), offer: disk(one), asks: []string{unvouched}},
		{name: "another one, and its owner agrees", backup: app("a", setting("k")), offer: disk(one), consent: []string{unvouched}},
		{name: "it may more", backup: evil, offer: disk(one), consent: []string{unvouched}, asks: []string{"publishes port 80/tcp of the node"}},
		{name: "it may more, and its owner agrees", backup: evil, offer: disk(one), consent: []string{unvouched, "publishes port 80/tcp of the node"}},
		{name: "it may less than the catalog's newer one", backup: one, offer: disk(app("a", version("2"), port(80))), consent: []string{unvouched}},
		{name: "the catalog has none", backup: app("a", photos), offer: disk(), asks: []string{unvouched, "reads and writes your folder photos"}},
	} {
		rec := state.Desired{App: "a", Goal: state.Running, Manifest: c.backup, Source: "catalog beta 7"}
		_, err := request.Restored(knowing(records()), c.offer, now, rec, c.consent)
		if len(c.asks) == 0 && err != nil || len(c.asks) > 0 && (!errors.Is(err, request.ErrConsent) || !errors.Is(err, request.ErrRefused)) {
			t.Errorf("%s: %v", c.name, err)
		}
		for _, words := range c.asks {
			if err == nil || !strings.Contains(err.Error(), words) {
				t.Errorf("%s: %v, expected %q", c.name, err, words)
			}
		}
	}
}

func TestRestored(t *testing.T) {
	a := app("a", requires("b", "k=x"))
	rec := state.Desired{App: "a", Goal: state.Stopped, Manifest: a, Source: "backup", Installed: true}
	revoked := func(d *document.Document) {
		d.Revoked = []document.Revocation{{ID: "a", Version: "1", Reason: "it leaks", Since: now}}
	}
	b := app("b", setting("k"))
	for _, c := range []struct {
		name    string
		records state.Records
		offer   *offer.Offer
		want    string
		because string
	}{
		{"with what it requires", records(), disk(b), "b k=x, a stopped", ""},
		{"what it requires is there", records(installed(b, set("k=x"))), disk(), "a stopped", ""},
		{"what it requires is not to be had", records(), disk(), "", "a requires b"},
		{"what it requires is set otherwise", records(installed(b, set("k=y"))), disk(), "", "archy configure b k=x"},
		{"it is installed", records(installed(a)), disk(b), "", "a is installed (running); uninstall it with --purge"},
		{"it is going", records(installed(a, goal(state.Absent))), disk(b), "", "a is installed (absent)"},
		{"its record cannot be read", state.Records{Broken: map[string]error{"a": errors.New("damaged")}}, disk(b), "", "damaged"},
		{"its version is revoked", records(), signed(t, revoked, b), "", "version 1 was revoked on 2026-06-01: it leaks"},
		{"it collides", records(installed(app("c", func(m *manifest.Manifest) { m.Containers[0].Name = "a" }))), disk(b), "", `both name a container "a"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := request.Restored(c.records, c.offer, now, rec, []string{unvouched, `changes the setting k of b to "x"`})
			if c.because == "" {
				if s := says(got); err != nil || s != c.want {
					t.Errorf("%s, %v, expected %s", s, err, c.want)
				} else if last := got[len(got)-1]; !reflect.DeepEqual(last, rec) {
					t.Errorf("the record was changed: %+v", last)
				}
				return
			}
			if err == nil || got != nil || !strings.Contains(err.Error(), c.because) {
				t.Errorf("%s, %v, expected a refusal that names %q", says(got), err, c.because)
			}
			if err != nil && c.because != "damaged" && !errors.Is(err, request.ErrRefused) {
				t.Errorf("%v is no refusal", err)
			}
		})
	}
}

// TestApplicationsOfTheCatalogCoexistOrTheSecondIsRefused installs every application of
// the repository's catalog beside every other, and beside one that has one of its ports.
func TestApplicationsOfTheCatalogCoexistOrTheSecondIsRefused(t *testing.T) {
	cat, err := catalog.Load("../../catalog/apps")
	if err != nil || len(cat) < 2 {
		t.Fatal(len(cat), err)
	}
	for _, second := range cat {
		m := second.Manifest
		beside := func(owner *manifest.Manifest, want string) {
			t.Helper()
			switch _, err := request.Decide(records(installed(owner)), offer.New(nil, cat, nil, now), host.Observation{}, now, request.Request{App: m.ID, Verb: request.Install}); {
			case want == "" && err != nil:
				t.Errorf("%s beside %s: %v", m.ID, owner.ID, err)
			case want != "" && (!errors.Is(err, request.ErrRefused) || !strings.Contains(err.Error(), want)):
				t.Errorf("%s beside %s: %v, expected %q", m.ID, owner.ID, err, want)
			}
		}
		for _, first := range cat {
			if first.Manifest.ID == m.ID {
				continue
			}
			want := ""
			for _, p := range m.NodePorts() {
				if want == "" && slices.Contains(first.Manifest.NodePorts(), p) {
					want = fmt.Sprintf("%s and %s both use port %s of the node", m.ID, first.Manifest.ID, p)
				}
			}
			beside(first.Manifest, want)
		}
		for _, p := range m.NodePorts() { // the proxy's among them
			owner := app("owner", port(p.Number))
			if p.UDP {
				owner.Containers[0].Ports[0].Protocol = "udp"
			}
			beside(owner, fmt.Sprintf("%s and owner both use port %s of the node", m.ID, p))
		}
	}
}
