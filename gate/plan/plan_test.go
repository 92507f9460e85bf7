package plan

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/dist"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

func cat() catalog.Catalog {
	return catalog.Catalog{"a": {Manifest: &manifest.Manifest{ID: "a", Version: "1"}}, "b": {Manifest: &manifest.Manifest{ID: "b", Version: "2"}}}
}

// released is the release policy as it is built in. The tests of this package have catalogs
// of their own, of which it demands no application.
var released = release

func TestMain(m *testing.M) {
	before, _, _ := bytes.Cut(release, []byte("\ncatalog:"))
	release = before
	os.Exit(m.Run())
}

var known = []reports.Node{{Name: ".228"}, {Name: ".198"}}

func TestPlanRefusesWhatItDoesNotKnowAllAtOnce(t *testing.T) {
	_, err := New("run", "v", Request{Cycles: -1, Apps: []string{"x", "a"}, Nodes: []string{".1"}, Steps: []string{"fly"}}, cat(), known)
	if !errors.Is(err, ErrUsage) {
		t.Fatal(err)
	}
	for _, want := range []string{"cycles: -1", `unknown app "x": the catalog has a, b`, `unknown node ".1"`, `unknown step "fly"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	if _, err := New("run", "v", Request{Apps: []string{"a", "a"}}, cat(), known); !errors.Is(err, ErrUsage) {
		t.Errorf("an app named twice: %v", err)
	}
}

func TestPlanIsTheReleasePolicyUnlessLessIsAsked(t *testing.T) {
	p, err := New("run", "v", Request{}, cat(), known)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(p.Cells()); n != 20*2*2*9 {
		t.Errorf("%d cells", n)
	}
	if why := p.SmokeWhy(); len(why) > 0 {
		t.Errorf("SMOKE: %q", why)
	}
	for _, r := range []Request{{Cycles: 19}, {Nodes: []string{".228"}}, {Apps: []string{"a"}}, {Steps: matrix.StepNames()[:8]}} {
		p, err := New("run", "v", r, cat(), known)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.SmokeWhy()) != 1 {
			t.Errorf("%+v: SMOKE because of %q", r, p.SmokeWhy())
		}
	}
	p, err = New("run", "v", Request{Steps: []string{matrix.Stop, matrix.Install}}, cat(), known)
	if err != nil || !slices.Equal(p.Asked.Steps, []string{matrix.Install, matrix.Stop}) {
		t.Errorf("steps %v, %v: a cycle's order is fixed", p.Asked.Steps, err)
	}
}

func TestAnyMachineCanTakeARole(t *testing.T) {
	node := func(name, key string) reports.Node { return reports.Node{Name: name, HostKey: key} }
	for _, c := range []struct {
		name  string
		known []reports.Node
		smoke []string
	}{
		{"the lab's, before it is up", known, nil},
		{"another inventory", []reports.Node{node("attic", "k1"), node("cellar", "k2")}, nil},
		{"one of each", []reports.Node{node("attic", "k1"), node(".228", "k2")}, nil},
		{"more than is demanded", []reports.Node{node("a", "k1"), node("b", "k2"), node("c", "k3")}, nil},
		{"one machine", []reports.Node{node("attic", "k1")}, []string{"no second node (.198)"}},
		{"the second one alone", []reports.Node{node(".198", "k1")}, []string{"no first node (.228)"}},
		{"one machine under two names", []reports.Node{node("attic", "k1"), node("cellar", "k1")},
			[]string{"nodes attic and cellar are one machine under two names: they have the same SSH host key", "no second node (.198)"}},
		{"one machine under two names beside another", []reports.Node{node("a", "k1"), node("b", "k2"), node("c", "k1")},
			[]string{"nodes a and c are one machine under two names: they have the same SSH host key"}},
	} {
		p, err := New("run", "v", Request{}, cat(), c.known)
		if err != nil {
			t.Fatal(err)
		}
		if why := p.SmokeWhy(); !slices.Equal(why, c.smoke) {
			t.Errorf("%s: SMOKE because of %q, expected %q", c.name, why, c.smoke)
		}
	}
}

func TestThePolicyOfARunIsItsOwn(t *testing.T) {
	lax := reports.Policy{Cycles: 2, Nodes: []string{"x"}, Roles: []string{"only"}, Steps: []string{matrix.Install, matrix.Stop}, Apps: []string{"b"}}
	p, err := New("run", "v", Request{Policy: lax}, cat(), []reports.Node{{Name: "y"}})
	if err != nil {
		t.Fatal(err)
	}
	if a := p.Asked; a.Cycles != 2 || !slices.Equal(a.Nodes, []string{"y"}) || !slices.Equal(a.Steps, lax.Steps) || !slices.Equal(a.Apps, lax.Apps) {
		t.Errorf("it is to run %+v, where the policy is %+v", a, lax)
	}
	if why := p.SmokeWhy(); len(why) > 0 {
		t.Errorf("SMOKE because of %q", why)
	}
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var again Plan
	if err := json.Unmarshal(b, &again); err != nil || again.Required().Cycles != 2 || !slices.Equal(again.Required().Roles, lax.Roles) {
		t.Errorf("recorded %+v, %v", again.Required(), err)
	}
	if why := p.Missing(Default()); len(why) != 4 {
		t.Errorf("the default policy misses %q", why)
	}
}

func TestAPlanFromBeforePoliciesWereRecordedHasTheDefaultOne(t *testing.T) {
	var p Plan
	if err := json.Unmarshal([]byte(`{"run": "r", "asked": {"cycles": 20, "nodes": [".228", ".198"], "steps": ["install"], "apps": ["a"]}, "release": ["a"]}`), &p); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(p.Required())
	if err != nil {
		t.Fatal(err)
	}
	// Byte for byte what was attested then, so that its signature still holds.
	if want := `{"cycles":20,"nodes":[".228",".198"],"steps":["install","ui-reachable","stop","start","restart","reinstall","reboot-survive","archipelago-restart-survive","uninstall"],"apps":["a"]}`; string(b) != want {
		t.Errorf("%s, expected %s", b, want)
	}
	if id := RoleID(p.Required(), 1); id != "second" {
		t.Errorf("the second node's role is %q", id)
	}
}

func TestAPolicyThatDemandsLessIsAnotherOne(t *testing.T) {
	change := func(f func(*reports.Policy)) reports.Policy {
		p := Default()
		f(&p)
		return p
	}
	for _, c := range []struct {
		name string
		r    Request
		want []string
	}{
		{"the built-in one", Request{}, nil},
		{"a SMOKE under the built-in one", Request{Cycles: 1}, nil},
		{"one that demands more", Request{Policy: change(func(p *reports.Policy) { p.Cycles = 30 })}, nil},
		{"a SMOKE under one that demands more", Request{Policy: change(func(p *reports.Policy) { p.Cycles = 30 }), Cycles: 1}, nil},
		{"fewer cycles", Request{Policy: change(func(p *reports.Policy) { p.Cycles = 1 })}, []string{"1 of 20 cycles"}},
		{"one node", Request{Policy: change(func(p *reports.Policy) { p.Nodes, p.Roles = p.Nodes[:1], p.Roles[:1] }), Nodes: []string{".228"}}, []string{"no second node (.198)"}},
		{"a step less", Request{Policy: change(func(p *reports.Policy) { p.Steps = p.Steps[1:] })}, []string{"without step install"}},
		{"one application", Request{Policy: change(func(p *reports.Policy) { p.Apps = []string{"a"} })}, []string{"not all apps of the catalog, only a"}},
		{"fewer cycles, and all of them all the same", Request{Policy: change(func(p *reports.Policy) { p.Cycles = 1 }), Cycles: 20}, nil},
	} {
		p, err := New("run", "v", c.r, cat(), known)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.AnotherPolicy(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, expected %q", c.name, got, c.want)
		}
	}
	var old Plan // from before policies were recorded
	old.Asked, old.Release = reports.Policy{Cycles: 1, Apps: []string{"a"}}, []string{"a"}
	if got := old.AnotherPolicy(); got != nil {
		t.Errorf("an old plan: %q", got)
	}
}

func TestACatalogOfAToyIsNotTheReleases(t *testing.T) {
	policy, err := ParsePolicy("release.yaml", released)
	if err != nil {
		t.Fatal(err)
	}
	of := func(ids ...string) *Plan { return planned(t, family(ids...), Request{Policy: policy}) }
	if why := of(policy.Catalog...).SmokeWhy(); len(policy.Catalog) == 0 || len(why) > 0 {
		t.Errorf("all of %q: SMOKE because of %q", policy.Catalog, why)
	}
	if why := of("toy").SmokeWhy(); !slices.Equal(why, []string{"without the release's app " + some(policy.Catalog)}) {
		t.Errorf("SMOKE because of %q", why)
	}
	if why := of(append(policy.Catalog[1:], "toy")...).SmokeWhy(); !slices.Equal(why, []string{"without the release's app " + policy.Catalog[0]}) {
		t.Errorf("one is missing: SMOKE because of %q", why)
	}
	// A policy of one's own that names only the toy is another policy, for whoever demands the release's.
	own := policy
	own.Apps, own.Catalog = []string{"toy"}, nil
	if why := planned(t, family("toy"), Request{Policy: own}).Missing(policy); !slices.Contains(why, "without the release's app "+some(policy.Catalog)) {
		t.Errorf("%q", why)
	}
	one := policy
	one.Apps = policy.Catalog[:1]
	if why := planned(t, family(policy.Catalog...), Request{Apps: policy.Catalog[:1]}).Missing(one); !slices.Contains(why, "without the release's app "+some(policy.Catalog[1:])) {
		t.Errorf("fewer were tested than the catalog has: %q", why)
	}
}

func TestAPolicyMayAskForHardware(t *testing.T) {
	policy := Default()
	policy.Hardware = true
	p := planned(t, cat(), Request{Policy: policy})
	if why := p.SmokeWhy(); len(why) > 0 {
		t.Errorf("before the nodes are seen: %q", why)
	}
	for _, c := range []struct {
		kinds [2]reports.Kind
		want  []string
	}{
		{[2]reports.Kind{reports.Hardware, reports.Hardware}, nil},
		{[2]reports.Kind{reports.Lab, reports.Hardware}, []string{"node .228 is no hardware (lab)"}},
		{[2]reports.Kind{reports.Hardware, reports.Virtual}, []string{"node .198 is no hardware (virtual)"}},
		{[2]reports.Kind{reports.Hardware, ""}, []string{"node .198 is no hardware (it does not say what it is)"}},
	} {
		p.Sessions = make([]Session, 1)
		p.Nodes = []reports.Node{{Name: ".228", HostKey: "k1", Kind: c.kinds[0]}, {Name: ".198", HostKey: "k2", Kind: c.kinds[1]}}
		if why := p.SmokeWhy(); !slices.Equal(why, c.want) {
			t.Errorf("%q: %q, expected %q", c.kinds, why, c.want)
		}
	}
	if why := p.Missing(Default()); len(why) > 0 {
		t.Errorf("nobody asks for hardware: %q", why)
	}
}

func TestARunIsAboutTheFilesThatAreInstalledToo(t *testing.T) {
	p, err := New("run", "v", Request{}, cat(), known)
	if err != nil {
		t.Fatal(err)
	}
	p.Identify("d0", cat())
	if s := p.Subject; s.Daemon != "d0" || len(s.Manifests) != 2 || !maps.Equal(s.Installed, dist.Digests()) || len(s.Installed["install.sh"]) != 64 {
		t.Errorf("%+v", s)
	}
}

func TestACatalogOfNothingIsRefused(t *testing.T) {
	if _, err := New("run", "v", Request{}, catalog.Catalog{}, known); !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), "no applications") {
		t.Error(err)
	}
}

func TestOneMachineIsToldByTheBytesOfItsKeyHoweverTheyAreWritten(t *testing.T) {
	const blob, other = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f", "AAAAC3NzaC1lZDI1NTE5AAAAICAhIiMkJSYnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4/"
	for key, same := range map[string]bool{"ssh-ed25519 " + blob: true, "ssh-ed25519  " + blob + " root@old": true, blob: true, `restrict,command="a b" ssh-ed25519 ` + blob: true, "ssh-ed25519 " + other: false, "": false} {
		p := &Plan{Asked: reports.Policy{Nodes: []string{"x", "y"}}, Nodes: []reports.Node{{Name: "x", HostKey: "ssh-ed25519 " + blob}, {Name: "y", HostKey: key}}}
		if distinct, twins := p.machines(); (len(twins) == 1) != same || len(distinct)+len(twins) != 2 {
			t.Errorf("%q: %q, %q", key, distinct, twins)
		}
	}
}
