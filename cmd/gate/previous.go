package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/cmd/internal/keys"
	"github.com/archipelago-cloud/archipelago/gate/plan"
)

// earlier gives the releases that installs are to be updated from, and where they are from:
// those of a channel's signed catalog, or of a directory of manifests. Nothing where none are
// named. A catalog that has expired, or has revoked one of them, still says what owners have.
func (a *app) earlier(ctx context.Context) (cat catalog.Catalog, source string, err error) {
	if a.previous == "" {
		return nil, "", nil
	}
	info, err := os.Stat(a.previous)
	if err != nil {
		return nil, "", fmt.Errorf("%w: --previous: %w", plan.ErrUsage, err)
	}
	if info.IsDir() {
		cat, err = catalog.Load(a.previous)
		if err == nil && len(cat) == 0 {
			err = fmt.Errorf("%w: --previous: %s holds no manifests (ID/manifest.yaml)", plan.ErrUsage, a.previous)
		}
		return cat, a.previous, err
	}
	if len(a.roots) == 0 {
		return nil, "", fmt.Errorf("%w: --previous with a signed catalog needs --root, which says whose signatures count", plan.ErrUsage)
	}
	_, p, err := keys.Roots(a.roots...)
	if err != nil {
		return nil, "", fmt.Errorf("%w: --previous: %w", plan.ErrUsage, err)
	}
	envelope, err := os.ReadFile(a.previous)
	if err != nil {
		return nil, "", fmt.Errorf("%w: --previous: %w", plan.ErrUsage, err)
	}
	d, err := document.Verify(ctx, envelope, p, document.Expectation{Now: time.Now()})
	if err != nil && !errors.Is(err, document.ErrExpired) {
		return nil, "", fmt.Errorf("%w: --previous: %s: %w", catalog.ErrInvalid, a.previous, err)
	}
	cat = catalog.Catalog{}
	for i := range d.Entries {
		e := &d.Entries[i]
		if e.ImageOnly() {
			continue // its manifest is on owners' disks, and not known here
		}
		m, err := e.Parse()
		if err != nil {
			return nil, "", fmt.Errorf("%w: --previous: %s: %w", catalog.ErrInvalid, a.previous, err)
		}
		cat[e.ID] = &catalog.Entry{Manifest: m}
	}
	return cat, d.Head(), nil
}
