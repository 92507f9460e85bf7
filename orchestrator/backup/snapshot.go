package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
	"github.com/archipelago-cloud/archipelago/orchestrator/archive"
	"github.com/archipelago-cloud/archipelago/orchestrator/repository"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
)

// secretsFile is where a snapshot has the secrets: in the clear for whoever can open the
// repository, and for nobody else.
const secretsFile = "secrets.json"

// maxFile bounds what is read of a snapshot besides the volumes, in bytes.
const maxFile = 1 << 20

// Step is how far a snapshot has come.
type Step struct {
	Message string
	Done    float64 // from 0 to 1, where that is known
}

// BackUp makes a snapshot of an application in a repository, and returns when the
// application runs again, if its owner wants it to. It is consistent as every backup is.
func (m *Manager) BackUp(ctx context.Context, app, to, who string, tell func(Step)) (s repository.Snapshot, err error) {
	defer func() { m.audit(who, app, "backup to "+to, err) }()
	r, err := m.To.Get(to)
	if err != nil {
		return s, err
	}
	// Nothing is stopped for a repository that is not there.
	if why := m.Node.Absent(r.URL); why != "" {
		return s, fmt.Errorf("repository %s: %w here: waiting for %s", r.Name, repository.ErrNone, why)
	}
	tell(Step{Message: "opening the repository"})
	if err := r.Ready(ctx); err != nil {
		return s, err
	}
	m.Node.Found(r.URL)
	release, err := m.claim(app, Making)
	if err != nil {
		return s, err
	}
	defer release()
	dir := filepath.Join(m.Snapshots, app+".backup")
	s, b, stopping, err := m.readInPlace(ctx, r, app, dir, tell)
	switch {
	case err == nil:
		after(Stored)
		m.made(to, s)
		return s, m.awaitUp(ctx, b)
	case errors.Is(err, errCopied):
	case stopping || ctx.Err() != nil:
		return s, err
	default:
		if !errors.Is(err, errSmall) {
			m.Log.Warn("volumes could not be read in place, and are copied", "app", app, "repository", to, "error", err)
			if err := r.Ready(ctx); err != nil {
				return s, err
			}
		}
		tell(Step{Message: "copying the volumes; the application is stopped meanwhile"})
		if b, err = m.copyStopped(ctx, app, dir); err != nil {
			return s, err
		}
	}
	defer func() {
		if delErr := m.Engine.DeleteTree(context.WithoutCancel(ctx), dir); delErr != nil {
			err = errors.Join(err, delErr)
		}
	}()
	after(Copied)
	if err := m.describe(b, dir); err != nil {
		return s, fmt.Errorf("backing up %s: %w", app, err)
	}
	s, err = r.Backup(ctx, app, dir, func(done float64) { tell(Step{"storing", done}) })
	if err != nil {
		return s, fmt.Errorf("backing up %s: %w", app, err)
	}
	after(Stored)
	m.made(to, s)
	return s, m.awaitUp(ctx, b)
}

// describe puts beside the copies of volumes what they are of. No volume's name has a dot.
func (m *Manager) describe(b Backup, dir string) error {
	values, err := m.values(b)
	if err != nil {
		return err
	}
	for name, v := range map[string]any{archive.Header: b, secretsFile: values} {
		js, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if len(js) >= maxFile {
			return fmt.Errorf("%s is larger than %d bytes", name, maxFile)
		}
		if err := atomicfile.Write(filepath.Join(dir, name), js, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// RestoreSnapshot brings an application back from a repository: the snapshot whose id begins
// so, or the newest. As with every restoration, it is not installed and has no data here, and
// its owner consents to what the node's catalog does not vouch for.
func (m *Manager) RestoreSnapshot(ctx context.Context, app, from, id, who string, consent []string, tell func(Step)) (gen uint64, err error) {
	defer func() { m.audit(who, app, "restore from "+from, err) }()
	r, err := m.To.Get(from)
	if err != nil {
		return 0, err
	}
	tell(Step{Message: "opening the repository"})
	s, err := r.Find(ctx, app, id)
	if err != nil {
		return 0, err
	}
	b, values, err := described(ctx, r, s)
	if err != nil {
		return 0, err
	}
	if b.App != app {
		return 0, fmt.Errorf("%w: snapshot %.8s is of %s", request.ErrRefused, s.ID, b.App)
	}
	b.Consent = consent
	tell(Step{Message: "restoring the volumes"})
	return m.bringBack(ctx, b, values, who, func(ctx context.Context, dir string) error {
		if err := m.fits(m.size(r.Name, s)); err != nil {
			return err
		}
		return m.readBack(ctx, r, s, b, dir, func(done float64) { tell(Step{"restoring the volumes", done}) })
	})
}

// described reads what a snapshot is of.
func described(ctx context.Context, r *repository.Repository, s repository.Snapshot) (b Backup, values map[string]string, err error) {
	for name, into := range map[string]any{archive.Header: &b, secretsFile: &values} {
		js, err := r.Dump(ctx, s, name, maxFile)
		if err != nil {
			return b, nil, err
		}
		if err := json.Unmarshal(js, into); err != nil {
			// Not its words: they may quote a secret.
			return b, nil, fmt.Errorf("%w: snapshot %.8s: %s is not of the form that a backup has", request.ErrRefused, s.ID, name)
		}
	}
	return b, values, nil
}

// readBack puts the volumes of a snapshot into dir, and nothing else.
func (m *Manager) readBack(ctx context.Context, r *repository.Repository, s repository.Snapshot, b Backup, dir string, progress repository.Progress) error {
	if err := m.Engine.DeleteTree(ctx, dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil { // restic makes none for an application without volumes
		return err
	}
	if err := r.Restore(ctx, s, dir, []string{archive.Header, secretsFile}, progress); err != nil {
		return err
	}
	return onlyVolumes(dir, b)
}

// onlyVolumes takes nothing on trust: in place of the application's data come directories,
// and only those that the backup says its volumes were.
func onlyVolumes(dir string, b Backup) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var names []string
	for _, e := range entries {
		switch {
		case !slices.Contains(b.Data.Volumes, e.Name()):
			return fmt.Errorf("%w: %s holds %q, which is no volume of its", request.ErrRefused, b.App, e.Name())
		case !e.IsDir(): // of what is there, not of what it leads to
			return fmt.Errorf("%w: the volume %s is no directory", request.ErrRefused, e.Name())
		}
		names = append(names, e.Name())
	}
	for _, v := range b.Data.Volumes {
		if !slices.Contains(names, v) {
			return fmt.Errorf("%w: the volume %s is missing from the snapshot", request.ErrRefused, v)
		}
	}
	return nil
}
