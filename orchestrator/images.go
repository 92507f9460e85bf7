package orchestrator

import (
	"context"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/images"
	"github.com/archipelago-cloud/archipelago/orchestrator/perform"
)

// neededImages are those that records name: of what is installed, also while it goes, and
// of what is being updated both versions, and the one that it can be gone back to, so that a
// rollback finds its own. It is not sure while a record cannot be read, which may name any.
func (r *Reconciler) neededImages() (pinned []string, sure bool) {
	records := r.store.Records()
	for _, d := range records.All {
		versions := []*manifest.Manifest{d.Manifest}
		if d.Update != nil {
			versions = append(versions, d.Update.To)
		}
		if d.Previous != nil {
			versions = append(versions, d.Previous.Manifest)
		}
		for _, m := range versions {
			if m == nil {
				continue
			}
			for _, c := range m.Containers {
				if c.Image.Digest != "" { // any other is the owner's own
					pinned = append(pinned, c.Image.Pinned())
				}
			}
		}
	}
	return pinned, len(records.Broken) == 0
}

// keeping is an engine whose images stay while they are used.
type keeping struct {
	perform.Engine
	images *images.Keeper
}

// EnsureImage waits for a removal of the image, which nothing needed until now.
func (k keeping) EnsureImage(ctx context.Context, pinned string, progress func(string)) error {
	if err := k.images.Use(ctx, pinned); err != nil {
		return err
	}
	return k.Engine.EnsureImage(ctx, pinned, progress)
}
