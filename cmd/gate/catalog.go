package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/cmd/internal/keys"
	"github.com/archipelago-cloud/archipelago/gate"
)

// catalog gives what is to be tested: of directories, or of a signed catalog.
func (a *app) catalog(ctx context.Context) (catalog.Catalog, error) {
	if a.document == "" {
		return catalog.Load(a.catalogDirs...)
	}
	if len(a.roots) == 0 {
		return nil, fmt.Errorf("%w: --document needs --root, which says whose signatures count", gate.ErrUsage)
	}
	_, p, err := keys.Roots(a.roots...)
	if err != nil {
		return nil, fmt.Errorf("%w: --document: %w", gate.ErrUsage, err)
	}
	now := time.Now()
	envelope, err := os.ReadFile(a.document)
	if err != nil {
		return nil, fmt.Errorf("%w: --document: %w", gate.ErrUsage, err)
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

// levelZero runs level 0 over the directories that the catalog is of; a signed one is
// laid out beside the run.
func (a *app) levelZero(ctx context.Context, cat catalog.Catalog, dir string) error {
	dirs := a.catalogDirs
	if a.document != "" {
		dirs = []string{filepath.Join(dir, "catalog")}
		for id, e := range cat {
			home := filepath.Join(dirs[0], id)
			if err := os.MkdirAll(home, 0o755); err != nil {
				return fmt.Errorf("%w: %w", gate.ErrGate, err)
			}
			if err := os.WriteFile(filepath.Join(home, "manifest.yaml"), e.Canonical(), 0o644); err != nil {
				return fmt.Errorf("%w: %w", gate.ErrGate, err)
			}
		}
	}
	for _, d := range dirs {
		if err := gate.LevelZero(ctx, a.suite, d, filepath.Join(dir, "level-zero.log")); err != nil {
			return fmt.Errorf("%w: %w", catalog.ErrInvalid, err)
		}
	}
	return nil
}
