package plan

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

func cat() catalog.Catalog {
	return catalog.Catalog{"a": {Manifest: &manifest.Manifest{ID: "a", Version: "1"}}, "b": {Manifest: &manifest.Manifest{ID: "b", Version: "2"}}}
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
