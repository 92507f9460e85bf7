package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
)

// fresh ends the name of a file that has its content, and not yet its owner.
const fresh = ".new"

// PutFiles has dir, which nobody else can enter, hold these files, each owned by the id that
// the container's user is mapped to. One that is there already, the same, is left as it is.
func (e *Engine) PutFiles(ctx context.Context, dir string, files []host.File) error {
	args, err := stage(dir, files)
	if err == nil {
		err = e.runScript(ctx, quick, "put-files.sh", args...)
	}
	if err != nil {
		return fmt.Errorf("files in %s: %w", dir, err)
	}
	return nil
}

// stage writes the files under names of their own, for the daemon's user alone: no content
// is in any command. It gives the script's arguments.
func stage(dir string, files []host.File) ([]string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for _, parent := range []string{filepath.Dir(dir), filepath.Dir(filepath.Dir(dir))} { // which may be new, too
		if err := atomicfile.SyncDir(parent); err != nil {
			return nil, err
		}
	}
	args := []string{dir}
	for _, f := range files {
		if err := atomicfile.Write(filepath.Join(dir, f.Name+fresh), []byte(f.Content), 0o600); err != nil {
			return nil, err
		}
		args = append(args, f.Name, fmt.Sprintf("%d:%d", f.UID, f.GID), fmt.Sprintf("%o", f.Mode))
	}
	return args, nil
}
