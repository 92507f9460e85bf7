package request_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// exporting offers services, by name.
func exporting(names ...string) func(*manifest.Manifest) {
	return func(m *manifest.Manifest) {
		m.Exports = map[string]manifest.Export{}
		for _, name := range names {
			m.Exports[name] = manifest.Export{Port: 80}
		}
	}
}

// using requires one of several applications, given as "b|c", and uses its exports.
func using(apps string, uses ...string) func(*manifest.Manifest) {
	return func(m *manifest.Manifest) {
		r := manifest.Requirement{AnyOf: strings.Split(apps, "|"), Uses: slices.Concat([]string{}, uses)}
		if len(r.AnyOf) == 1 {
			r.App, r.AnyOf = apps, nil
		}
		m.Requires = append(m.Requires, r)
	}
}

func optional(m *manifest.Manifest) {
	m.Requires[0].Optional, m.Requires[0].Missing = true, "Less"
}

func chose(apps ...string) func(*state.Desired) {
	return func(d *state.Desired) { d.Chosen = apps }
}

func TestWhatIsUsedMustBeOffered(t *testing.T) {
	const agreed = "reaches what b exports as rpc"
	install := request.Request{App: "a", Verb: request.Install, Consent: []string{agreed}}
	a, b, none := app("a", using("b", "rpc")), app("b", exporting("rpc")), app("b", exporting("rest"))
	newer := func(m *manifest.Manifest) *manifest.Manifest { m.Version = "2"; return m }
	update := request.Request{App: "b", Verb: request.Update, Consent: []string{"lets applications that require it reach its container b, which serves rest at port 80", "lets applications that require it reach its container b, which serves rpc at port 80"}}
	decide(t, []decision{
		{name: "it is", offer: disk(a, b), request: install, want: "b, a"},
		{name: "without the owner's consent", offer: disk(a, b), request: request.Request{App: "a", Verb: request.Install}, refused: request.ErrConsent, because: []string{"it " + agreed}},
		{name: "it is not, by what comes along", offer: disk(a, none), request: install, refused: request.ErrRefused, because: []string{"b 1 has no export of that name"}},
		{name: "it is not, by what is installed", records: records(installed(none)), offer: disk(a), request: install, refused: request.ErrRefused, because: []string{`a uses "rpc" of b, and b 1 has no export of that name`}},
		{name: "all of one that has exports", records: records(installed(b)), offer: disk(app("a", requires("b"))), request: request.Request{App: "a", Verb: request.Install}, refused: request.ErrRefused, because: []string{"without saying what it uses"}},
		{name: "an update that offers it no more", records: records(installed(a), installed(b)), offer: disk(newer(app("b", exporting("rest")))), request: update,
			refused: request.ErrRefused, because: []string{"a is installed", "b 2 has no export of that name", "update a first"}},
		{name: "an update that still does", records: records(installed(a), installed(b)), offer: disk(newer(app("b", exporting("rest", "rpc")))), request: update, want: "b to 2"},
		{name: "an update that keeps others to its exports", records: records(installed(app("a", requires("b"))), installed(app("b"))), offer: disk(newer(app("b", exporting("rest")))), request: update,
			refused: request.ErrRefused, because: []string{"a requires b without saying what it uses"}},
		{name: "an update, where it was optional", records: records(installed(app("a", using("b", "rpc"), optional)), installed(b)), offer: disk(newer(app("b", exporting("rest")))), request: update, want: "b to 2"},
	})
}

func TestAlternativesAndWhatIsOptional(t *testing.T) {
	b, c := app("b", exporting("rpc")), app("c", exporting("rpc"))
	a := app("a", using("b|c", "rpc"))
	install := request.Request{App: "a", Verb: request.Install, Consent: []string{"reaches what b or c exports as rpc"}}
	uninstall := func(app string) request.Request { return request.Request{App: app, Verb: request.Uninstall} }
	decide(t, []decision{
		{name: "the first comes along", offer: disk(a, b, c), request: install, want: "b, a"},
		{name: "the other, where nobody offers the first", offer: disk(a, c), request: install, want: "c, a"},
		{name: "the other, where the first lacks something", offer: disk(a, app("b"), c), request: install, want: "c, a"},
		{name: "the one that is installed", records: records(installed(c)), offer: disk(a, b, c), request: install, want: "a"},
		{name: "not one that nobody agreed to, beside the one that is installed", records: records(installed(app("b", exporting("rest")))), offer: disk(a, b, c), request: install, refused: request.ErrRefused, because: []string{"b 1 has no export of that name"}},
		{name: "neither is offered", offer: disk(a), request: install, refused: request.ErrRefused, because: []string{"a requires b", "not in the catalog"}},
		{name: "the one that was chosen is needed", records: records(installed(a, chose("c")), installed(b), installed(c)), offer: disk(), request: uninstall("c"), refused: request.ErrRefused, because: []string{"c is required by a"}},
		{name: "the other is not", records: records(installed(a, chose("c")), installed(b), installed(c)), offer: disk(), request: uninstall("b"), want: "b absent"},
		{name: "a circle through an alternative", offer: disk(a, b, app("c", using("a"))), request: install, refused: request.ErrRefused, because: []string{"circle"}},

		{name: "what is optional does not come along", offer: disk(app("a", using("b", "rpc"), optional), b), request: request.Request{App: "a", Verb: request.Install, Consent: []string{"reaches what b exports as rpc, where that is installed"}}, want: "a"},
		{name: "what is optional can go", records: records(installed(app("a", using("b", "rpc"), optional)), installed(b)), offer: disk(), request: uninstall("b"), want: "b absent"},
		{name: "a circle through what is optional", offer: disk(app("a", using("b", "rpc"), optional), app("b", using("a"))), request: install, refused: request.ErrRefused, because: []string{"circle"}},
	})
}

func TestTheChoiceIsInTheRecord(t *testing.T) {
	o := disk(app("a", using("b|c", "rpc")), app("b", exporting("rpc")), app("c", exporting("rpc")))
	got, err := request.Decide(records(installed(app("c", exporting("rpc")))), o, containers(), now, request.Request{App: "a", Verb: request.Install, Consent: []string{"reaches what b or c exports as rpc"}})
	if err != nil || len(got) != 1 || !slices.Equal(got[0].Chosen, []string{"c"}) {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestNobodyAnswersToAnothersName: what requires an application is on a network with it, and
// found there by its own name. Podman gives the addresses of all that have a name.
func TestNobodyAnswersToAnothersName(t *testing.T) {
	further := func(m *manifest.Manifest) { m.Containers[0].ExtraHosts = map[string]string{"db": m.ID} }
	victim := app("b", exporting("web"), further)
	thief := app("db", using("b", "web"))
	install := request.Request{App: "db", Verb: request.Install, Consent: []string{"reaches what b exports as web"}}
	update := request.Request{App: "db", Verb: request.Update, Consent: []string{"requires b, and installs it where it is missing", "reaches what b exports as web", "reaches what b exports as web, where that is installed"}}
	newer := func(m *manifest.Manifest) { m.Version = "2" }
	because := []string{`db and b share a network`, `"db" is a container of one of them and a further name`}
	decide(t, []decision{
		{name: "what requires it", records: records(installed(victim)), offer: disk(thief), request: install, refused: request.ErrRefused, because: because},
		{name: "what it requires", records: records(installed(app("db", exporting("web")))), offer: disk(app("b", using("db", "web"), further)), request: request.Request{App: "b", Verb: request.Install, Consent: []string{"reaches what db exports as web"}}, refused: request.ErrRefused, because: []string{"b and db share a network"}},
		{name: "what comes along", offer: disk(victim, thief), request: install, refused: request.ErrRefused, because: because},
		{name: "an update", records: records(installed(app("db")), installed(victim)), offer: disk(app("db", using("b", "web"), newer)), request: update, refused: request.ErrRefused, because: because},
		{name: "an update, where it is optional", records: records(installed(app("db")), installed(victim)), offer: disk(app("db", using("b", "web"), optional, newer)), request: update, refused: request.ErrRefused, because: because},
		{name: "what has nothing to do with it", records: records(installed(victim)), offer: disk(app("db")), request: request.Request{App: "db", Verb: request.Install}, want: "db"},
	})
}
