package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/cmd/internal/keys"
	"github.com/archipelago-cloud/archipelago/gate/plan"
)

// directories gives those that the catalog is read from; none with a signed catalog.
func (a *app) directories() []string {
	if a.document != "" {
		return nil
	}
	return a.catalogDirs
}

// catalog gives what is to be tested, from directories or from a signed catalog.
func (a *app) catalog(ctx context.Context) (catalog.Catalog, error) {
	if a.document == "" {
		return catalog.Load(a.catalogDirs...)
	}
	if len(a.roots) == 0 {
		return nil, fmt.Errorf("%w: --document needs --root, which says whose signatures count", plan.ErrUsage)
	}
	_, p, err := keys.Roots(a.roots...)
	if err != nil {
		return nil, fmt.Errorf("%w: --document: %w", plan.ErrUsage, err)
	}
	now := time.Now()
	envelope, err := os.ReadFile(a.document)
	if err != nil {
		return nil, fmt.Errorf("%w: --document: %w", plan.ErrUsage, err)
	}
	d, err := document.Verify(ctx, envelope, p, document.Expectation{Now: now})
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", catalog.ErrInvalid, a.document, err)
	}
	cat, refused := d.Merge(nil, nil, now)
	if len(refused) > 0 {
		return nil, fmt.Errorf("%w: %s: %w", catalog.ErrInvalid, a.document, errors.Join(slices.Collect(maps.Values(refused))...))
	}
	return cat, nil
}

// set gives the digests of the manifests of a signed catalog, by application.
func (a *app) set(ctx context.Context) (map[string]string, error) {
	cat, err := a.catalog(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for id, e := range cat {
		out[id] = e.Digest()
	}
	return out, nil
}
