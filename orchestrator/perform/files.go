package perform

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

func (p *Performer) files(app string) string { return quadlet.FilesDir(p.dataDir, app) }

// putFiles writes what the containers of a filled-in manifest find as files, with the values
// of its own secrets, by name, and of those that it has of other applications. Those of a version or a setting before stay beside them: its units may
// be the ones in force, again or still.
func (p *Performer) putFiles(ctx context.Context, m *manifest.Manifest, own map[string]string) error {
	values := maps.Clone(own)
	for app, names := range m.Borrowed() {
		for _, name := range names {
			value, err := p.secrets.Borrow(app, name)
			if err != nil {
				return fmt.Errorf("files of %s: %w", m.ID, err)
			}
			values[quadlet.SecretName(app, name)] = value
		}
	}
	var files []host.File
	for _, c := range m.Containers {
		uid, gid := c.IDs()
		for _, f := range c.Files {
			files = append(files, host.File{Name: quadlet.FileName(c, f), Content: f.Text(values), Mode: f.Perm(), UID: uid, GID: gid})
		}
	}
	if len(files) == 0 {
		return nil
	}
	return p.engine.PutFiles(ctx, p.files(m.ID), files)
}

// healFiles writes files again that are gone from the disk: without them nothing starts.
func (p *Performer) healFiles(ctx context.Context, d state.Desired, m *manifest.Manifest) error {
	for _, c := range m.Containers {
		for _, f := range c.Files {
			if exists(filepath.Join(p.files(m.ID), quadlet.FileName(c, f))) {
				continue
			}
			values, err := p.values(d, m)
			if err != nil {
				return err
			}
			return p.putFiles(ctx, m, values)
		}
	}
	return nil
}

// sweepFiles deletes the files of a version or a setting before, to which no unit refers any
// more. A container that runs keeps what it has.
func (p *Performer) sweepFiles(m *manifest.Manifest) error {
	entries, err := os.ReadDir(p.files(m.ID))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	needed := map[string]bool{}
	for _, c := range m.Containers {
		for _, f := range c.Files {
			needed[quadlet.FileName(c, f)] = true
		}
	}
	for _, e := range entries {
		if !needed[e.Name()] {
			err = errors.Join(err, os.Remove(filepath.Join(p.files(m.ID), e.Name())))
		}
	}
	if err != nil {
		return fmt.Errorf("files of %s: %w", m.ID, err)
	}
	return nil
}

// deleteFiles deletes all files of an application's containers, of which there are none any
// more. Prepare writes them again.
func (p *Performer) deleteFiles(app string) error {
	if _, err := os.Lstat(p.files(app)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := os.RemoveAll(p.files(app)); err != nil {
		return fmt.Errorf("files of %s: %w", app, err)
	}
	return atomicfile.SyncDir(filepath.Dir(p.files(app)))
}
