package orchestrator

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/images"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

func imaged(app, image string) *manifest.Manifest {
	return &manifest.Manifest{ID: app, Name: app, Version: "1", Containers: []manifest.Container{{Name: app, Image: manifest.Image{Ref: image, Digest: "sha256:1"}}}}
}

// TestAnImageThatARollbackNeedsStays: both versions' of what is being updated, or can be gone
// back from, and that of what is stopped or goes; never one of the owner's own.
func TestAnImageThatARollbackNeedsStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := empty()
		r := nodeWith(t, h, t.TempDir(), nil)
		own := imaged("own", "localhost/own:local")
		own.Containers[0].Image.Digest = ""
		for _, d := range []state.Desired{
			{App: "moving", Goal: state.Running, Manifest: imaged("moving", "r/moving-1"), Update: &state.Update{To: imaged("moving", "r/moving-2"), Phase: state.Switched}},
			{App: "still", Goal: state.Stopped, Manifest: imaged("still", "r/still")},
			{App: "going", Goal: state.Absent, Manifest: imaged("going", "r/going")},
			{App: "back", Goal: state.Running, Manifest: imaged("back", "r/back-2"), Previous: &state.Previous{Manifest: imaged("back", "r/back-1")}},
			{App: "own", Goal: state.Stopped, Manifest: own},
		} {
			if _, err := r.store.Accept([]state.Desired{d}); err != nil {
				t.Fatal(err)
			}
		}
		needed, sure := r.neededImages()
		if want := []string{"r/back-2@sha256:1", "r/back-1@sha256:1", "r/going@sha256:1", "r/moving-1@sha256:1", "r/moving-2@sha256:1", "r/still@sha256:1"}; !sure || !slices.Equal(needed, want) {
			t.Errorf("%v, %v; expected %v", needed, sure, want)
		}
		// The update is done: from now on nothing needs the old version's.
		r.images.Sweep(t.Context())
		if _, err := r.store.Update("moving", func(d *state.Desired) { d.Manifest, d.Update = d.Update.To, nil }); err != nil {
			t.Fatal(err)
		}
		r.images.Sweep(t.Context())
		time.Sleep(images.Stay)
		r.images.Sweep(t.Context())
		if !slices.Contains(h.calls, "remove-image r/moving-1@sha256:1") || len(slices.DeleteFunc(slices.Clone(h.calls), func(c string) bool { return len(c) < 13 || c[:13] != "remove-image " })) != 1 {
			t.Errorf("%v", h.calls)
		}
		// Whoever installs it now has it noted as needed before it is looked for.
		h.down = errors.New("planted")
		if err := (keeping{h, r.images}).EnsureImage(t.Context(), "r/moving-1@sha256:1", nil); err == nil {
			t.Error("the engine was not asked")
		}
	})
}
