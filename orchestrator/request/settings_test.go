package request_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// ref and other stand for values of a secret setting.
const (
	ref   = "abcdefghijABCDEFGHIJ"
	other = "ABCDEFGHIJabcdefghij"
)

func secret(name string) func(*manifest.Manifest) {
	return func(m *manifest.Manifest) {
		m.Settings = append(m.Settings, manifest.Setting{Name: name, Secret: true})
		m.Containers[0].Secrets = append(m.Containers[0].Secrets, manifest.SecretMount{Name: name, Path: "/run/" + name})
	}
}

func TestTheValueOfASecretSettingIsNotInTheRecord(t *testing.T) {
	a := app("a", secret("s"), setting("k"))
	for name, c := range map[string]struct {
		records state.Records
		verb    string
		config  string // afterwards, while the value is on its way
	}{
		"installed with it": {records(), request.Install, "a k=x"},
		"first":             {records(installed(a)), request.Configure, "a k=x"},
		"replaced":          {records(installed(a, set("s="+ref))), request.Configure, "a k=x s=" + ref},
	} {
		got, err := request.Decide(c.records, disk(a), host.Observation{}, now, request.Request{App: "a", Verb: c.verb, Config: config("s=hunter2", "k=x")})
		if err != nil {
			t.Fatal(name, err)
		}
		if says(got) != c.config || !maps.Equal(got[0].Typed, config("s=hunter2")) {
			t.Errorf("%s: %s, typed %v; expected %s", name, says(got), got[0].Typed, c.config)
		}
	}
}

func TestSecretSettings(t *testing.T) {
	a := app("a", secret("s"))
	install, configure := request.Request{App: "a", Verb: request.Install}, func(c ...string) request.Request {
		return request.Request{App: "a", Verb: request.Configure, Config: config(c...)}
	}
	left := func(settings ...string) state.Records {
		return state.Records{Data: map[string]state.Data{"a": {App: "a", Settings: config(settings...)}}}
	}
	going := func(changes ...func(*state.Desired)) state.Records {
		r := records(installed(a, append(changes, goal(state.Absent), set("s="+ref))...))
		r.Data = left("s=" + other).Data
		return r
	}
	update := request.Request{App: "a", Verb: request.Update}
	plain := app("a", setting("s"), version("2"))
	decide(t, []decision{
		{name: "cleared", records: records(installed(a, set("s="+ref))), offer: disk(a), request: configure("s="), want: "a s="},
		{name: "of two lines", records: records(installed(a)), offer: disk(a), request: configure("s=hunter\n2"), refused: request.ErrRefused, because: []string{"setting s of a: expected one line"}},
		{name: "too long", records: records(installed(a)), offer: disk(a), request: configure("s=" + strings.Repeat("x", 4097)), refused: request.ErrRefused, because: []string{"4096 bytes"}},

		{name: "kept by an uninstallation", records: left("s=" + ref), offer: disk(a), request: install, want: "a s=" + ref},
		{name: "kept, though the version has it no more", records: left("s=" + ref), offer: disk(app("a")), request: install, want: "a"},
		{name: "kept, though it is secret no more", records: left("s=" + ref), offer: disk(plain), request: install, want: "a"},
		{name: "kept by an uninstallation that is under way", records: going(), offer: disk(a), request: install, want: "a s=" + ref},
		{name: "purged", records: going(func(d *state.Desired) { d.Purge = true }), offer: disk(a), request: install, want: "a"},
		{name: "kept where it comes along", records: left("s=" + ref), offer: disk(a, app("b", requires("a"))), request: request.Request{App: "b", Verb: request.Install}, want: "a s=" + ref + ", b"},

		{name: "needed by another", offer: disk(a, app("b", requires("a", "s=hunter2"))), request: request.Request{App: "b", Verb: request.Install}, refused: request.ErrRefused, because: []string{"b requires a value of the setting s of a, which is secret"}},

		{name: "secret in the new version only", records: records(installed(plain, set("s=x"))), offer: disk(app("a", secret("s"), version("3"))), request: update, refused: request.ErrRefused, because: []string{"secret in one of the versions 2 and 3 only", "'archy configure a s='"}},
		{name: "secret in the old version only", records: records(installed(a, set("s="+ref))), offer: disk(plain), request: update, refused: request.ErrRefused, because: []string{"'archy configure a s='"}},
		{name: "secret in the new version, and cleared before", records: records(installed(app("a", version("2"), func(m *manifest.Manifest) { m.Settings = []manifest.Setting{{Name: "s", Default: "d"}} }), set("s="))), offer: disk(app("a", secret("s"), version("3"))), request: update, want: "a to 3 s="},
		{name: "secret in both", records: records(installed(a, set("s="+ref))), offer: disk(app("a", secret("s"), version("2"))), request: update, want: "a to 2 s=" + ref},
	})
}
