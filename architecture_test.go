package archipelago

import (
	"os/exec"
	"strings"
	"testing"
)

// TestImportsPointOneWay keeps the direction of the data's flow: no package imports
// one that stands after it.
func TestImportsPointOneWay(t *testing.T) {
	const module = "github.com/archipelago-cloud/archipelago/"
	never := map[string][]string{
		"catalog/manifest": {"catalog", "orchestrator", "nodes", "matrix", "gate", "reports", "cmd"},
		"catalog":          {"orchestrator", "nodes", "matrix", "gate", "reports", "cmd"},
		"orchestrator":     {"nodes", "matrix", "gate", "reports", "cmd"},
		"dist":             {"orchestrator", "nodes", "matrix", "gate", "reports", "cmd"},
		"nodes":            {"orchestrator", "matrix", "gate", "reports", "cmd"},
		"reports":          {"catalog", "orchestrator", "nodes", "matrix", "gate", "cmd"},
		"matrix":           {"gate", "cmd"},
		"gate":             {"cmd"},
	}
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	within := func(pkg, dir string) bool { return pkg == dir || strings.HasPrefix(pkg, dir+"/") }
	for line := range strings.SplitSeq(strings.TrimSpace(string(out)), "\n") {
		f := strings.Fields(strings.ReplaceAll(line, module, ""))
		for owner, banned := range never {
			if !within(f[0], owner) {
				continue
			}
			for _, imported := range f[1:] {
				for _, b := range banned {
					if within(imported, b) && !(owner == "catalog/manifest" && within(imported, "catalog/manifest")) && !within(imported, owner) {
						t.Errorf("%s imports %s", f[0], imported)
					}
				}
			}
		}
	}
}
