package plan

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

func TestTheDefaultPolicyIsTheRelease(t *testing.T) {
	want := reports.Policy{Cycles: 20, Nodes: []string{".228", ".198"}, Roles: []string{"first", "second"}, Steps: matrix.StepNames()}
	got, err := ParsePolicy("release.yaml", released)
	if len(got.Catalog) == 0 {
		t.Error("it names no application")
	}
	got.Catalog = nil
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v; expected %+v", got, err, want)
	}
	if !reflect.DeepEqual(Default(), want) {
		t.Errorf("the default is %+v", Default())
	}
}

func TestAPolicyIsReadAsWritten(t *testing.T) {
	got, err := ParsePolicy("p.yaml", []byte("apps: [b, a]\nhardware: true\ncatalog: [d, c]\nsteps: [stop, install]\nnodes:\n- role: old\n- {name: fast, role: new}\ncycles: 3\n"))
	want := reports.Policy{Cycles: 3, Nodes: []string{"old", "fast"}, Roles: []string{"old", "new"}, Steps: []string{"install", "stop"}, Apps: []string{"a", "b"}, Catalog: []string{"c", "d"}, Hardware: true}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v; expected %+v", got, err, want)
	}
}

func TestBadPoliciesAreRefusedWithEveryPlaceAtOnce(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"every field": {`cycles: 0
nodes:
  - {role: First, name: .228}
  - {role: second, name: x}
  - {role: second, name: x}
  - {name: y}
steps: [install, fly, install]
apps: [ok, Not, 7]
extra: 1
catalog: [No!]
hardware: maybe
`, `p.yaml:1:9: cycles: expected a number from 1 to 10000
p.yaml:3:12: nodes[0].role: "First" is not a role; expected lower-case letters, digits and dashes
p.yaml:3:25: nodes[0].name: expected text, and .228 is a number; write ".228"
p.yaml:5:12: nodes[2].role: "second" is named twice
p.yaml:5:26: nodes[2].name: "x" is named twice; each role is a machine of its own
p.yaml:6:5: nodes[3].role: is missing
p.yaml:7:18: steps[1]: unknown step "fly"; the steps are install, ui-reachable, stop, start, restart, reinstall, reboot-survive, archipelago-restart-survive, uninstall
p.yaml:7:23: steps[2]: "install" is named twice
p.yaml:8:12: apps[1]: "Not" is not the id of an application
p.yaml:8:17: apps[2]: expected text, and 7 is a number; write "7"
p.yaml:9:1: extra: unknown field; there are cycles, nodes, steps, apps, catalog, hardware, red_runs, update
p.yaml:10:11: catalog[0]: "No!" is not the id of an application
p.yaml:11:11: hardware: expected true or false`},
		"wrong kinds": {"cycles: many\nnodes: 2\nsteps: {}\napps: some\n", `p.yaml:1:9: cycles: expected a number from 1 to 10000
p.yaml:2:8: nodes: expected a list of at least one
p.yaml:3:8: steps: expected a list of at least one
p.yaml:4:7: apps: expected a list of at least one`},
		"nothing in them": {"cycles:\nnodes: []\nsteps:\napps: []\n", `p.yaml:1:8: cycles: expected a number from 1 to 10000
p.yaml:2:8: nodes: expected a list of at least one
p.yaml:3:7: steps: expected a list of at least one
p.yaml:4:7: apps: expected a list of at least one`},
		"missing": {"cycles: 1\n", `p.yaml:1:1: nodes: is missing
p.yaml:1:1: steps: is missing
p.yaml:1:1: apps: is missing`},
		"empty":         {"", "p.yaml:1:1: expected one YAML document with cycles, nodes, steps and apps"},
		"two documents": {"cycles: 1\n---\ncycles: 1\n", "p.yaml:1:1: expected one YAML document with cycles, nodes, steps and apps"},
		"a list":        {"- 1\n", "p.yaml:1:1: expected fields: cycles, nodes, steps, apps, catalog, hardware, red_runs, update"},
		"indirection":   {"cycles: &n 3\nnodes: [{role: a}]\nsteps: [stop]\napps: all\n", "p.yaml:1:9: cycles: expected a number from 1 to 10000"},
	} {
		_, err := ParsePolicy("p.yaml", []byte(c.text))
		if !errors.Is(err, ErrPolicy) || err.Error() != ErrPolicy.Error()+":\n"+c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ParsePolicy("p.yaml", []byte("cycles: 1\ncycles: 2\n")); !errors.Is(err, ErrPolicy) || !strings.Contains(err.Error(), "p.yaml:2:1: ") {
		t.Errorf("a field twice: %v", err)
	}
	if _, err := ParsePolicy("p.yaml", []byte("cycles: [\n")); !errors.Is(err, ErrPolicy) || !strings.Contains(err.Error(), "p.yaml:1:") {
		t.Errorf("no YAML: %v", err)
	}
}
