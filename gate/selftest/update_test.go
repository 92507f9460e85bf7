//go:build lab

package selftest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/orchestrator/fault"
	"github.com/archipelago-cloud/archipelago/reports"
)

// plantedInUpdates are faults that only the update from an earlier release shows.
var plantedInUpdates = []planted{
	{name: "an update loses the volume's data", fault: fault.UpdateLosesData, reason: "the update from 1.0 to 2.0: the data is gone: volume data is another directory than before"},
	{name: "an update leaves the old image running", fault: fault.UpdateKeepsImage, reason: "the update from 1.0 to 2.0: invariant: container page: image is sha256:"},
}

// twoReleases writes the fixture's catalog in two releases, of other images.
func twoReleases(t *testing.T) (previous, current string) {
	t.Helper()
	previous, current = catalogWith(t), catalogWith(t, `version: "1.0"`, `version: "2.0"`, `MARK: "1"`, `MARK: "2"`)
	entrypoint := filepath.Join(current, "page", "image", "entrypoint")
	b, err := os.ReadFile(entrypoint)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(entrypoint, append([]byte("#!/bin/sh\n# the second release\n"), b...), 0o755); err != nil {
		t.Fatal(err)
	}
	return previous, current
}

// TestAnUpdateIsGoneThrough runs four cycles, of which the last has the update: as it should be
// on one node, and with each fault planted.
func TestAnUpdateIsGoneThrough(t *testing.T) {
	documented, err := os.ReadFile(filepath.Join(root, "TESTING.md"))
	if err != nil {
		t.Fatal(err)
	}
	previous, current := twoReleases(t)
	run := func(t *testing.T, node, planted string) (int, *reports.Report) {
		t.Helper()
		args := []string{"--catalog", current, "--previous", previous, "--apps", "page", "--cycles", "4", "--only", node,
			"--steps", strings.Join([]string{matrix.Install, matrix.UIReachable, matrix.Uninstall}, ",")}
		var env []string
		if planted != "" {
			args = append(args, "--daemon", faulty(t))
			env = append(env, "ARCHIPELAGO_FAULT="+planted)
		}
		return gate(t, t.TempDir(), env, args...)
	}
	free := freeNodes()
	t.Run("healthy", func(t *testing.T) {
		t.Parallel()
		node := <-free
		defer func() { free <- node }()
		status, r := run(t, node, "")
		if status != 0 || r.Apps[0].Update != "updated from 1.0 in cycles 4" || len(r.Unfit) > 0 {
			t.Fatalf("exit status %d, %q, unfit %q, first failure %+v", status, r.Apps[0].Update, r.Unfit, r.First)
		}
		for _, c := range r.Apps[0].Cells {
			if updates := c.Cycle == 4 && c.Step == matrix.Install; updates != (c.Note == "updated from 1.0, back, and again") || updates != (c.Updated == "1.0") {
				t.Errorf("%s: %q, %q", c.Cell, c.Note, c.Updated)
			}
		}
	})
	for _, c := range plantedInUpdates {
		t.Run(c.name, func(t *testing.T) {
			if !strings.Contains(string(documented), "| "+c.name+" | "+matrix.Install+" |") {
				t.Errorf("TESTING.md does not say that it is red at %s", matrix.Install)
			}
			t.Parallel()
			node := <-free
			defer func() { free <- node }()
			status, r := run(t, node, c.fault)
			if status != 1 || r.First == nil || r.First.Step != matrix.Install || r.First.Cycle != 4 || !strings.Contains(r.First.Reason, c.reason) {
				t.Fatalf("exit status %d, first failure %+v; expected …%s…", status, r.First, c.reason)
			}
		})
	}
}
