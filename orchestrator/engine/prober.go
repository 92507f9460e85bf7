package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/archipelago-cloud/archipelago/dist"
	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
)

// EnsureProber has the prober's unit be that of this release, start at boot, and run. An
// upgrade over the network replaces the program alone, so the daemon brings the unit. A
// prober that runs goes on.
func (e *Engine) EnsureProber(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	home, err := os.UserHomeDir()
	if err != nil {
		return err
	}
	const name = dist.UserUnits + dist.ProberUnit
	file, want := filepath.Join(home, name), dist.Files()[name]
	if !same(file, want) {
		if err := e.installUnit(file, want); err != nil {
			return err
		}
	}
	if _, _, err := e.systemd.conn.EnableUnitFilesContext(ctx, []string{dist.ProberUnit}, false, false); err != nil {
		return fmt.Errorf("enabling %s: %w", dist.ProberUnit, err)
	}
	return e.startUnits(ctx, []string{dist.ProberUnit})
}

func (e *Engine) installUnit(file string, body []byte) error {
	return e.reloads.after(func() (bool, error) {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return false, err
		}
		if err := atomicfile.Write(file, body, 0o644); err != nil {
			return false, fmt.Errorf("writing unit %s: %w", dist.ProberUnit, err)
		}
		return true, nil
	})
}
