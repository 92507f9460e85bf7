//go:build lab

package labtest

import (
	"context"
	"io"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/gate"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/lab"
)

// OneNode brings the lab up and gives its first node: held, empty, with the built
// daemon and a directory's catalog. It is left empty. root is the project's.
func OneNode(t *testing.T, root, catalogDir string) (*gate.Fleet, *lab.Lab) {
	t.Helper()
	bin, err := filepath.Abs(filepath.Join(root, "out", "bin"))
	if err != nil {
		t.Fatal(err)
	}
	up := exec.CommandContext(t.Context(), filepath.Join(bin, "gate"), "lab", "up", "--catalog", filepath.Join(root, "catalog", "apps"))
	if out, err := up.CombinedOutput(); err != nil {
		t.Fatalf("run 'make build' first: %v: %s", err, out)
	}
	l, err := lab.Open(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	inv, err := nodes.LoadInventory(l.InventoryFile())
	if err != nil {
		t.Fatal(err)
	}
	cat, err := catalog.Load(catalogDir)
	if err != nil {
		t.Fatal(err)
	}
	fleet, err := gate.Assemble(t.Context(), inv.Nodes[:1])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fleet.Close)
	unlock, err := fleet.Lock(t.Context(), t.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(unlock)
	if err := fleet.Clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fleet.Clean(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	if err := fleet.Equip(t.Context(), filepath.Join(bin, "archipelago"), cat, l.Engine, nil, io.Discard); err != nil {
		t.Fatal(err)
	}
	return fleet, l
}
