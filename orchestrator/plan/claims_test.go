package plan

import (
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// TestImagesAreThereBeforeAnythingStarts wants units that are new to be started only after
// their images were fetched, and no unit to have Podman fetch any: that would count as a part
// of its start, which has a limit.
func TestImagesAreThereBeforeAnythingStarts(t *testing.T) {
	older := pair()
	older.Version, older.Containers[0].Image = "0", manifest.Image{Ref: "registry.example/pair", Digest: "sha256:" + strings.Repeat("1", 64)}
	edited := world(pair(), state.Running)
	edited.Files["pair.container"] += "# edited\n"
	for name, seen := range map[string]host.Observation{
		"an empty node":          {},
		"an older one runs":      world(older, state.Running),
		"an older one, stopped":  world(older, state.Stopped),
		"a unit file was edited": edited,
	} {
		plans := plan(seen, state.Desired{App: "pair", Goal: state.Running, Generation: 1, Manifest: pair()})
		verbs := make([]Verb, len(plans[0].Actions))
		for i, a := range plans[0].Actions {
			verbs[i] = a.Verb
		}
		prepare, write, start := slices.Index(verbs, Prepare), slices.Index(verbs, WriteUnits), slices.Index(verbs, Start)
		if prepare < 0 || write < prepare || start >= 0 && start < write || start < 0 && name != "a unit file was edited" {
			t.Errorf("%s: %v", name, verbs)
		}
	}
	for file, body := range quadlet.Render(pair(), dataDir, true).Files {
		if strings.HasSuffix(file, ".container") && !strings.Contains(body, "\nPull=never\n") {
			t.Errorf("%s may pull an image:\n%s", file, body)
		}
	}
}
