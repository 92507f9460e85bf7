//go:build lab

package labtest

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/gate/runner"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/fleet"
	"github.com/archipelago-cloud/archipelago/nodes/lab"
)

// Up brings the lab up, by the gate that was built, and gives the directory of the
// programs. root is the project's.
func Up(ctx context.Context, root string) (bin string, err error) {
	if bin, err = filepath.Abs(filepath.Join(root, "out", "bin")); err != nil {
		return "", err
	}
	up := exec.CommandContext(ctx, filepath.Join(bin, "gate"), "lab", "up", "--catalog", filepath.Join(root, "catalog", "apps"))
	if out, err := up.CombinedOutput(); err != nil {
		return "", fmt.Errorf("bringing up the lab; run 'make build' first: %w: %s", err, out)
	}
	return bin, nil
}

// Hold gives one of the lab's nodes, held by this process until the test ends.
func Hold(t testing.TB, i int) (*fleet.Fleet, *lab.Lab) {
	t.Helper()
	l, err := lab.Open(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	inv, err := nodes.LoadInventory(l.InventoryFile())
	if err != nil {
		t.Fatal(err)
	}
	f, err := fleet.Assemble(t.Context(), inv.Nodes[i:i+1])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	unlock, err := runner.Lock(t.Context(), f, t.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(unlock)
	return f, l
}

// OneNode is Node with the lab's first one.
func OneNode(t *testing.T, root, catalogDir string) (*fleet.Fleet, *lab.Lab) {
	t.Helper()
	return Node(t, root, catalogDir, 0)
}

// Node brings the lab up and gives one of its nodes: held, empty, with the built daemon
// and the catalog of a directory. It is left empty.
func Node(t *testing.T, root, catalogDir string, i int) (*fleet.Fleet, *lab.Lab) {
	t.Helper()
	bin, err := Up(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	cat, err := catalog.Load(catalogDir)
	if err != nil {
		t.Fatal(err)
	}
	f, l := Hold(t, i)
	if err := f.Clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Clean(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	if err := f.Equip(t.Context(), filepath.Join(bin, "archipelago"), cat, l.Engine, nil, io.Discard); err != nil {
		t.Fatal(err)
	}
	return f, l
}
