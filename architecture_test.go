package archipelago

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/archipelago-cloud/archipelago/"

// imports gives each package of the product, by its path within the module, and what
// it imports.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	return list(t, `{{.ImportPath}} {{join .Imports " "}}`, "./...")
}

// list asks go for packages, each by a line of words.
func list(t *testing.T, format, pattern string) map[string][]string {
	t.Helper()
	out, err := exec.Command("go", "list", "-f", format, pattern).Output()
	if err != nil {
		t.Fatal(err)
	}
	pkgs := map[string][]string{}
	for line := range strings.SplitSeq(strings.TrimSpace(string(out)), "\n") {
		f := strings.Fields(strings.ReplaceAll(line, module, ""))
		pkgs[f[0]] = f[1:]
	}
	return pkgs
}

func within(pkg, dir string) bool { return pkg == dir || strings.HasPrefix(pkg, dir+"/") }

// TestImportsPointOneWay keeps the direction of the data's flow: no package imports
// one that stands after it.
func TestImportsPointOneWay(t *testing.T) {
	never := map[string][]string{
		"catalog/manifest": {"catalog", "orchestrator", "nodes", "matrix", "gate", "reports", "cmd"},
		"catalog":          {"orchestrator", "nodes", "matrix", "gate", "reports", "cmd"},
		"orchestrator":     {"nodes", "matrix", "gate", "reports", "cmd"},
		"dist":             {"orchestrator", "nodes", "matrix", "gate", "reports", "cmd"},
		"matrix":           {"gate", "cmd"},
		"gate":             {"cmd"},
		"internal":         {"catalog", "orchestrator", "nodes", "matrix", "gate", "reports", "cmd"},
	}
	for pkg, imported := range imports(t) {
		for owner, banned := range never {
			if !within(pkg, owner) {
				continue
			}
			for _, i := range imported {
				for _, b := range banned {
					if within(i, b) && !(owner == "catalog/manifest" && within(i, "catalog/manifest")) && !within(i, owner) {
						t.Errorf("%s imports %s", pkg, i)
					}
				}
			}
		}
	}
}

// rooms are the orchestrator's packages, in the order of the data's flow. A package
// imports only rooms of the lines before its own, so that those of one line know
// nothing of each other.
var rooms = [][]string{
	{"fault", "api", "api/apiconnect", "archive", "disk"},
	{"host", "state", "quadlet"},
	{"secrets", "access", "subscription", "upgrade", "engine", "client", "certificate", "announce", "storage", "repository"},
	{"offer", "render", "operation"},
	{"request", "plan", "view"}, // pure
	{"drill", "support"},
	{"perform", "ready", "backup", "rollout", "waiting", "prober", "images", "usage", "notify"},
	{""}, // the loop
	{"rpc", "web", "proxy"},
}

func TestRoomsOfTheOrchestrator(t *testing.T) {
	line := map[string]int{}
	for i, names := range rooms {
		for _, name := range names {
			line[strings.TrimSuffix("orchestrator/"+name, "/")] = i
		}
	}
	for pkg, imported := range imports(t) {
		if !within(pkg, "orchestrator") {
			continue
		}
		own, known := line[pkg]
		if !known {
			t.Errorf("%s is no room of the orchestrator: say where it stands", pkg)
			continue
		}
		for _, i := range imported {
			other, room := line[i]
			if room && other >= own && !within(i, pkg) && !(pkg == "orchestrator/api/apiconnect") {
				t.Errorf("%s imports %s, which does not stand before it", pkg, i)
			}
		}
	}
}

// TestPureRooms keeps decisions free of the world: what they rest on is passed in.
func TestPureRooms(t *testing.T) {
	pkgs := imports(t)
	for _, room := range []string{"request", "plan", "view"} {
		pkg := "orchestrator/" + room
		for _, i := range pkgs[pkg] {
			if slices.Contains([]string{"os", "net", "context", "log", "log/slog", "sync", "math/rand/v2"}, i) || strings.HasPrefix(i, "net/") || strings.HasPrefix(i, "os/") {
				t.Errorf("%s imports %s", pkg, i)
			}
		}
		files, err := filepath.Glob(filepath.Join(pkg, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(f, "_test.go") && (strings.Contains(string(b), "time.Now") || strings.Contains(string(b), "time.Since")) {
				t.Errorf("%s asks the clock", f)
			}
		}
	}
}

// TestEngineIsAnEdge keeps the code that touches the host apart from what decides.
func TestEngineIsAnEdge(t *testing.T) {
	for _, i := range imports(t)["orchestrator/engine"] {
		within := within(i, "orchestrator") || within(i, "catalog") || within(i, "internal") || within(i, "dist")
		if within && !slices.Contains([]string{"orchestrator/disk", "orchestrator/fault", "orchestrator/host", "orchestrator/quadlet", "internal/atomicfile", "catalog/manifest", "dist"}, i) {
			t.Errorf("orchestrator/engine imports %s", i)
		}
	}
}

// TestTheImporterOnlyReads keeps what converts other people's files to reading them: it
// runs nothing and asks nobody, and of the project it knows the language alone.
func TestTheImporterOnlyReads(t *testing.T) {
	imported := imports(t)["catalog/compose"]
	if len(imported) == 0 {
		t.Fatal("there is no package catalog/compose")
	}
	for _, i := range imported {
		ours := within(i, "catalog") || within(i, "orchestrator") || within(i, "internal") || within(i, "dist")
		if ours && !slices.Contains([]string{"catalog/manifest", "internal/plain"}, i) {
			t.Errorf("catalog/compose imports %s", i)
		}
		if i == "os/exec" || within(i, "net") || i == "syscall" {
			t.Errorf("catalog/compose imports %s", i)
		}
	}
}
