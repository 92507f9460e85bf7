package archipelago

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

type gateRoom struct {
	name string
	may  []string
}

// gateRooms are the packages that the gate is made of, each with the packages of this
// project that it may import. A later room may import an earlier one, never the reverse.
// DIR/... stands for a package and all below it.
var gateRooms = []gateRoom{
	{"reports", []string{"catalog"}},
	{"nodes", []string{"catalog/manifest"}},
	{"nodes/lab", []string{"nodes", "catalog/buildcontext", "catalog/manifest"}},
	// A fleet brings the daemon and the published catalog onto nodes.
	{"nodes/fleet", []string{"nodes", "catalog", "catalog/manifest", "catalog/publish", "orchestrator/client"}},
	{"gate/plan", []string{"catalog", "catalog/manifest", "matrix/...", "reports"}},
	{"gate/vitals", []string{"reports"}},
	{"gate/trend", nil},
	{"gate/runner", []string{"catalog/manifest", "gate/plan", "gate/vitals", "matrix/...", "nodes", "nodes/fleet", "reports"}},
	{"gate/verdict", []string{"gate/plan", "gate/trend", "matrix/...", "reports"}},
	{"gate/history", []string{"catalog/description", "gate/plan", "gate/trend", "gate/verdict", "matrix/...", "reports"}},
	{"gate/attest", []string{"catalog", "gate/plan", "gate/verdict", "catalog/proof", "catalog/sign", "matrix/...", "reports"}},
	{"gate/release", []string{"gate/attest", "gate/plan", "catalog", "catalog/description", "catalog/document", "catalog/sign", "reports"}},
	{"gate", []string{"gate/...", "matrix/...", "nodes/...", "catalog", "catalog/manifest", "reports"}},
}

// leaves know nothing of the project; every room may import them.
var leaves = []string{"dist", "internal/..."}

// gateTests are the packages that test the gate, or the project by means of it. They
// import what they need.
var gateTests = []string{"gate/bench", "gate/faults", "gate/faults/fixture/hostile", "gate/labtest", "gate/selftest", "gate/vuln"}

// pureRooms decide: they take values and give values.
var pureRooms = []string{"gate/plan", "gate/trend", "gate/verdict", "gate/vitals"}

func TestGateImportsPointOneWay(t *testing.T) {
	seen := map[string]bool{}
	pkgs := imports(t)
	for name, imported := range pkgs {
		if !within(name, "reports") && !within(name, "nodes") && !within(name, "gate") || slices.Contains(gateTests, name) {
			continue
		}
		seen[name] = true
		i := slices.IndexFunc(gateRooms, func(r gateRoom) bool { return r.name == name })
		if i < 0 {
			t.Errorf("%s is no room of the gate: say what it may import", name)
			continue
		}
		for _, other := range imported {
			if _, ours := pkgs[other]; ours && !allowed(other, slices.Concat(leaves, gateRooms[i].may)) {
				t.Errorf("%s imports %s", name, other)
			}
		}
	}
	for _, r := range gateRooms {
		if !seen[r.name] {
			t.Errorf("there is no package %s", r.name)
		}
	}
}

// TestWitnessesKnowTheDaemonByItsRPCAlone keeps what is meant apart from what is done:
// neither the witnesses nor their tests import what renders, plans or acts. What stands
// in an expectation stands there a second time.
func TestWitnessesKnowTheDaemonByItsRPCAlone(t *testing.T) {
	for pkg, imported := range list(t, `{{.ImportPath}} {{join .Imports " "}} {{join .TestImports " "}} {{join .XTestImports " "}}`, "./matrix/...") {
		for _, i := range imported {
			if within(i, "orchestrator") && !allowed(i, []string{"orchestrator/api/...", "orchestrator/client"}) {
				t.Errorf("%s imports %s", pkg, i)
			}
		}
	}
}

// TestTheWitnessesProgramKnowsNothingOfTheProject keeps what runs on a node small, and apart
// from what is tested there.
func TestTheWitnessesProgramKnowsNothingOfTheProject(t *testing.T) {
	pkgs := imports(t)
	for pkg, may := range map[string][]string{"matrix/look": nil, "cmd/look": {"matrix/look"}} {
		if _, there := pkgs[pkg]; !there {
			t.Errorf("there is no package %s", pkg)
		}
		for _, i := range pkgs[pkg] {
			if _, ours := pkgs[i]; ours && !slices.Contains(may, i) {
				t.Errorf("%s imports %s", pkg, i)
			}
		}
	}
}

// allowed tells whether a package is one of a list, in which DIR/... stands for DIR and
// all below it.
func allowed(pkg string, list []string) bool {
	return slices.ContainsFunc(list, func(l string) bool {
		dir, all := strings.CutSuffix(l, "/...")
		return pkg == dir || all && within(pkg, dir)
	})
}

func TestPureRoomsOfTheGateTouchNothing(t *testing.T) {
	for _, room := range pureRooms {
		files, err := filepath.Glob(filepath.Join(room, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", room, len(files), err)
		}
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") {
				checkPure(t, file)
			}
		}
	}
}

// checkPure refuses a file that imports what reaches outside the program, or that looks
// at a clock.
func checkPure(t *testing.T, file string) {
	t.Helper()
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range f.Imports {
		name, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if allowed(name, []string{"os/...", "net/...", "context", "log/...", "syscall"}) {
			t.Errorf("%s: %s imported in a pure room", set.Position(i.Pos()), name)
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}, s.Sel.Name) {
				t.Errorf("%s: time.%s in a pure room", set.Position(s.Pos()), s.Sel.Name)
			}
		}
		return true
	})
}
