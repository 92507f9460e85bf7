package plan

import (
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

// versions is a catalog of applications, "ID VERSION" or "ID VERSION NEED".
func versions(apps ...string) catalog.Catalog {
	out := catalog.Catalog{}
	for _, a := range apps {
		w := strings.Fields(a)
		m := &manifest.Manifest{ID: w[0], Version: w[1]}
		for _, need := range w[2:] {
			m.Requires = append(m.Requires, manifest.Requirement{App: need})
		}
		out[w[0]] = &catalog.Entry{Manifest: m}
	}
	return out
}

func TestInstallsGoThroughTheUpdateWhereThereIsOne(t *testing.T) {
	now := versions("new 1", "same 1", "changed 2", "rewritten 1", "needy 2")
	before := versions("same 1", "changed 1", "rewritten 1", "needy 1 gone", "other 1")
	before["rewritten"].Summary = "another manifest of the same version"
	for name, c := range map[string]struct {
		source string
		cycles int
		steps  []string
		want   []string // "APP CYCLE"
	}{
		"nothing is given": {"", 20, nil, nil},
		"twenty cycles":    {"beta 7", 20, nil, []string{"changed 4", "changed 14", "rewritten 4", "rewritten 14"}},
		"four cycles":      {"beta 7", 4, nil, []string{"changed 4", "rewritten 4"}},
		"three cycles":     {"beta 7", 3, nil, nil},
		"no installs":      {"beta 7", 20, []string{matrix.Stop}, nil},
	} {
		p, err := New("r", "v", Request{Cycles: c.cycles, Steps: c.steps, Previous: before, PreviousSource: c.source}, now, []reports.Node{{Name: "x"}})
		if err != nil {
			t.Fatal(err)
		}
		p.Identify("d", now)
		p.IdentifyPrevious(before)
		var got []string
		for _, a := range p.Asked.Apps {
			for k := 1; k <= c.cycles; k++ {
				if p.Updates(a, k) {
					got = append(got, a+" "+Cycles([]int{k}))
				}
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, expected %q", name, got, c.want)
		}
		if p.Previous == nil {
			continue
		}
		if r := p.Previous.Releases["changed"]; len(p.Previous.Releases) != 4 || r.Version != "1" || r.Manifest != before["changed"].Digest() {
			t.Errorf("%s: %+v", name, p.Previous)
		}
		if why := p.Previous.Releases["needy"].Why; why != "needy 1 requires gone, which the run does not have" {
			t.Errorf("%s: %q", name, why)
		}
	}
}

func TestAPolicyMayRequireTheUpdate(t *testing.T) {
	for text, want := range map[string]bool{"": false, "update: optional": false, "update: required": true} {
		p, err := ParsePolicy("p.yaml", []byte("cycles: 4\nnodes: [{role: first}]\nsteps: [install]\napps: all\n"+text+"\n"))
		if err != nil || p.Update != want {
			t.Errorf("%s: %v, %v", text, p.Update, err)
		}
	}
	if _, err := ParsePolicy("p.yaml", []byte("cycles: 4\nnodes: [{role: first}]\nsteps: [install]\napps: all\nupdate: true\n")); err == nil || !strings.Contains(err.Error(), "p.yaml:5:9: update: expected required or optional") {
		t.Error(err)
	}
	now := versions("a 2", "b 1")
	required := reports.Policy{Cycles: 3, Nodes: []string{"first"}, Roles: []string{"first"}, Steps: []string{matrix.Install}, Update: true}
	for name, c := range map[string]struct {
		cycles int
		before catalog.Catalog
		source string
		why    string // empty: it may release
	}{
		"nothing is given":      {20, nil, "", "without the update from an earlier release, which --previous names"},
		"too few cycles":        {3, versions("a 1"), "beta 7", "without the update from an earlier release, which 3 cycles are too few for"},
		"an unmet requirement":  {4, versions("a 1 gone"), "beta 7", "without the update of a: a 1 requires gone"},
		"all":                   {4, versions("a 1", "b 1"), "beta 7", ""},
		"one is released first": {4, versions("a 1"), "beta 7", ""},
	} {
		p, err := New("r", "v", Request{Policy: required, Cycles: c.cycles, Previous: c.before, PreviousSource: c.source}, now, []reports.Node{{Name: "x"}})
		if err != nil {
			t.Fatal(err)
		}
		if why := strings.Join(p.SmokeWhy(), "; "); (why == "") != (c.why == "") || !strings.Contains(why, c.why) {
			t.Errorf("%s: %q", name, why)
		}
		if required.Update = false; len(p.Missing(required)) > 0 {
			t.Errorf("%s: nobody asks for it: %q", name, p.Missing(required))
		}
		required.Update = true
	}
}
