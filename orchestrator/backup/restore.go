package backup

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
	"github.com/archipelago-cloud/archipelago/internal/transfer"
	"github.com/archipelago-cloud/archipelago/orchestrator/archive"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// Restore brings a backup back: an application that is not installed and has no
// data on this node. values are its secrets, volumes is the tar, sum its SHA-256 in hex.
func (m *Manager) Restore(ctx context.Context, b Backup, values map[string]string, volumes io.Reader, sum, who string) (gen uint64, err error) {
	defer func() { m.audit(who, b.App, "restore", err) }()
	return m.bringBack(ctx, b, values, who, func(ctx context.Context, dir string) error { return m.unpack(ctx, b, volumes, sum, dir) })
}

// bringBack does what every restoration does; unpack has the volumes be in a directory, and
// nothing else. All of it is on the node before any of it is the application's, and from then on
// it is finished, by the next daemon if need be.
func (m *Manager) bringBack(ctx context.Context, b Backup, values map[string]string, who string, unpack func(ctx context.Context, dir string) error) (gen uint64, err error) {
	if err := check(b, values); err != nil {
		return 0, err
	}
	done, err := m.claim(b.App, Restoring)
	if err != nil {
		return 0, err
	}
	defer done()
	release, err := m.Node.Hold(ctx, b.App, "a backup is being restored")
	if err != nil {
		return 0, err
	}
	defer release()
	rec := state.Desired{App: b.App, Goal: state.Running, Manifest: b.Manifest, Source: source(b), Config: map[string]string{}, Installed: true}
	maps.Copy(rec.Config, b.Config)
	if b.Goal == state.Stopped {
		rec.Goal = state.Stopped
	}
	if err := m.settleHeld(ctx, b.App, who); err != nil {
		return 0, err
	}
	if err := m.Node.Admit(rec, b.Consent); err != nil {
		return 0, err
	}
	if m.Store.Data(b.App).App != "" { // or secrets, of one without volumes
		return 0, fmt.Errorf("%w: %s has data on this node; uninstall it with --purge before a backup takes its place", request.ErrRefused, b.App)
	}
	if err := m.nothingThere(b.App); err != nil {
		return 0, err
	}
	if err := os.MkdirAll(m.Snapshots, 0o700); err != nil {
		return 0, err
	}
	err = unpack(ctx, m.restored(b.App))
	mounted := m.mounted(b.App, b.Data.Volumes)
	if err == nil {
		err = m.nothingThere(b.App) // a disk may have come meanwhile, with data on it
	}
	if err != nil {
		return 0, fmt.Errorf("restoring %s: %w", b.App, errors.Join(err, m.Engine.DeleteTree(context.WithoutCancel(ctx), m.restored(b.App))))
	}
	after(Fetched)
	defer func() {
		if err != nil {
			err = errors.Join(err, m.undo(context.WithoutCancel(ctx), b.App))
		}
	}()
	if err := atomicfile.Write(m.recordOf(b.App), nil, 0o600); err != nil {
		return 0, err
	}
	for _, name := range derivedLast(b.Manifest, values) {
		if b.Manifest.Secret(name) {
			rec.Config[name], err = m.Secrets.Keep(b.App, name, values[name])
		} else {
			err = m.Secrets.Import(b.Manifest, name, values[name], true)
		}
		if err != nil {
			return 0, err
		}
	}
	after(Keyed)
	data := b.Data
	data.Places = nil // no backup says where on this node something is
	r := restoration{Record: rec, Consent: b.Consent, Data: data, Mounted: mounted}
	if err := m.decide(r); err != nil {
		return 0, err
	}
	after(Decided)
	return m.finish(context.WithoutCancel(ctx), r)
}

// derivedLast are the names of secrets, each after the one that it is made of: that one, where
// it is brought in, has those that are made of it made anew.
func derivedLast(m *manifest.Manifest, values map[string]string) []string {
	derived := func(name string) int {
		if slices.ContainsFunc(m.Secrets, func(g manifest.GeneratedSecret) bool { return g.Name == name && g.Derive != nil }) {
			return 1
		}
		return 0
	}
	names := slices.Collect(maps.Keys(values))
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(derived(a)-derived(b), strings.Compare(a, b)) })
	return names
}

// source is where the backup's manifest was from, as far as its word can be read: what came
// from a signed catalog is not replaced by the disk's, on this node either. Which document it
// was in is not believed: under another root it says nothing, and after one that is far ahead,
// no version of this node's catalog would ever be a step forward.
func source(b Backup) string {
	return cmp.Or(string(catalog.ParseSource(b.Source).From), "backup")
}

// nothingThere refuses to restore over data that is on the disk, whatever is on record: it
// may be all that is left of an application whose record was lost.
func (m *Manager) nothingThere(app string) error {
	home := filepath.Join(m.DataDir, app)
	entries, err := os.ReadDir(home)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("%w: what is in %s cannot be seen: %w", request.ErrRefused, home, err)
	}
	for _, e := range entries {
		// A file system may be mounted there, with nothing in it yet.
		dir := filepath.Join(home, e.Name())
		if inside, err := os.ReadDir(dir); err == nil && e.IsDir() && (len(inside) == 0 || len(inside) == 1 && inside[0].Name() == "lost+found") {
			continue
		}
		return fmt.Errorf("%w: %s is on this node's disk, though not on record; uninstall %s with --purge, or move that away, before a backup takes its place", request.ErrRefused, dir, app)
	}
	return nil
}

// unpack has the volumes of a tar be in dir, and nothing else.
func (m *Manager) unpack(ctx context.Context, b Backup, volumes io.Reader, sum, dir string) error {
	file := dir + ".tar"
	defer os.Remove(file)
	if err := (transfer.File{Name: file, Mode: 0o600, SHA256: sum}).Receive(volumes); err != nil {
		return fmt.Errorf("the volumes: %w", err)
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if err := m.fits(info.Size()); err != nil {
		return err
	}
	if err := m.Engine.Extract(ctx, file, dir); err != nil {
		return err
	}
	return declared(dir, b.Data.Volumes)
}

// declared wants a directory to hold just these volumes, each a directory: what else a backup
// brings would lie beside the application's data, and without one of them it would not start.
func declared(dir string, volumes []string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("%w: what the backup holds cannot be seen: %w", request.ErrRefused, err)
	}
	missing := slices.Clone(volumes)
	for _, e := range entries {
		switch name := e.Name(); {
		case !slices.Contains(volumes, name):
			return fmt.Errorf("%w: the backup holds %q, which is none of its volumes (%s)", request.ErrRefused, name, strings.Join(volumes, ", "))
		case !e.IsDir():
			return fmt.Errorf("%w: the volume %s of the backup is no directory", request.ErrRefused, name)
		default:
			missing = slices.DeleteFunc(missing, func(v string) bool { return v == name })
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w: the backup lacks the volume %s, which it says it has", request.ErrRefused, strings.Join(missing, ", "))
	}
	return nil
}

// volumeName is how manifests name volumes.
var volumeName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// check takes nothing on trust: the file may come from anywhere.
func check(b Backup, values map[string]string) error {
	if b.Format != archive.Format {
		return fmt.Errorf("%w: backup format %d; this daemon reads %d", request.ErrRefused, b.Format, archive.Format)
	}
	if b.Manifest == nil || b.Manifest.ID != b.App || b.Data.App != b.App {
		return fmt.Errorf("%w: the backup's parts belong to different applications", request.ErrRefused)
	}
	js, err := json.Marshal(b.Manifest)
	if err != nil {
		return err
	}
	if _, err := manifest.Parse(archive.Header, js); err != nil {
		return fmt.Errorf("%w: %w", request.ErrRefused, err)
	}
	if _, err := b.Manifest.With(b.Config, manifest.Node{}); err != nil {
		return fmt.Errorf("%w: %w", request.ErrRefused, err)
	}
	for i, v := range b.Data.Volumes {
		switch {
		case !volumeName.MatchString(v):
			return fmt.Errorf("%w: %q is not the name of a volume", request.ErrRefused, v)
		case slices.Contains(b.Data.Volumes[:i], v):
			return fmt.Errorf("%w: the backup has the volume %q twice", request.ErrRefused, v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if s, _ := b.Manifest.Setting(name); s.Secret {
			if err := s.Takes(values[name]); err != nil || values[name] == "" {
				return fmt.Errorf("%w: setting %s of %s: expected one line", request.ErrRefused, name, b.App)
			}
		} else if !slices.ContainsFunc(b.Manifest.Secrets, func(s manifest.GeneratedSecret) bool { return s.Name == name }) {
			return fmt.Errorf("%w: %s has no secret %q", request.ErrRefused, b.App, name)
		}
	}
	return nil
}
