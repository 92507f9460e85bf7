package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
	"github.com/archipelago-cloud/archipelago/orchestrator/disk"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// restoration is what is left to do of one whose volumes and secrets are on the node: whoever
// finds it does that, once more if need be.
type restoration struct {
	Record  state.Desired `json:"record"` // to be accepted, last
	Consent []string      `json:"consent,omitempty"`
	Data    state.Data    `json:"data"`
	Mounted []string      `json:"mounted,omitempty"` // volumes that are mount points
}

const (
	restoredKind = ".restore"      // ends the name of the volumes of a restoration, until they are in their places
	recordKind   = ".restore.json" // and of its record
	revoked      = '-'             // begins it where the restoration was decided, and is being undone
)

// recordOf is the file that is there while something of a restoration is on the node that is
// not the application's yet. It is empty as long as all of that has to go, then holds the
// restoration, and says where that is revoked: some of it may be in its place.
func (m *Manager) recordOf(app string) string { return filepath.Join(m.Snapshots, app+recordKind) }

// restored is where the volumes of a restoration are, until they are in their places.
func (m *Manager) restored(app string) string { return filepath.Join(m.Snapshots, app+restoredKind) }

// Left tells whether a restoration of an application has been neither finished nor undone.
func (m *Manager) Left(app string) bool {
	_, err := os.Lstat(m.recordOf(app))
	return !errors.Is(err, fs.ErrNotExist)
}

// appID is how applications are called.
var appID = regexp.MustCompile(`^[a-z0-9-]+$`)

// Unsettled are the applications of which a restoration is left.
func (m *Manager) Unsettled() (apps []string) {
	files, _ := filepath.Glob(filepath.Join(m.Snapshots, "*"+recordKind)) // the pattern is well formed
	for _, file := range files {
		if app := strings.TrimSuffix(filepath.Base(file), recordKind); appID.MatchString(app) { // or else no daemon has made it
			apps = append(apps, app)
		}
	}
	return apps
}

// decide has a restoration be finished from now on, whatever happens: all of it is on the disk.
func (m *Manager) decide(r restoration) error {
	js, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := synced(m.Snapshots); err != nil {
		return fmt.Errorf("waiting for the disk: %w", err)
	}
	return atomicfile.Write(m.recordOf(r.Record.App), js, 0o600)
}

// synced has all that was written to a directory's file system be on the disk.
func synced(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
}

// finish has what was restored be the application's. Called again after a cut, it continues.
func (m *Manager) finish(ctx context.Context, r restoration) (gen uint64, err error) {
	app := r.Record.App
	if err := m.sameMounts(r); err != nil {
		return 0, err
	}
	if err := m.Engine.PutBack(ctx, m.restored(app), filepath.Join(m.DataDir, app)); err != nil {
		return 0, err
	}
	after(Placed)
	if err := m.Store.PutData(r.Data); err != nil {
		return 0, err
	}
	after(Recorded)
	if gen, err = m.Node.Restore(r.Record, r.Consent); err != nil {
		return 0, err
	}
	after(Accepted)
	if err := m.settled(app); err != nil { // it is done all the same
		m.Log.Error("the record of a restoration", "app", app, "error", err)
	}
	return gen, nil
}

// settled ends a restoration.
func (m *Manager) settled(app string) error {
	if err := os.Remove(m.recordOf(app)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return atomicfile.SyncDir(m.Snapshots)
}

// mounted are those volumes that are mount points.
func (m *Manager) mounted(app string, volumes []string) (mounted []string) {
	for _, v := range volumes {
		if disk.MountPoint(filepath.Join(m.DataDir, app, v)) {
			mounted = append(mounted, v)
		}
	}
	return mounted
}

// sameMounts wants the file systems to be mounted that were when the restoration was decided.
// What a disk holds that has come since is not the restoration's; and what is put beneath one that
// has gone is covered once that is back.
func (m *Manager) sameMounts(r restoration) error {
	for _, v := range r.Data.Volumes {
		dir := filepath.Join(m.DataDir, r.Record.App, v)
		switch was, is := slices.Contains(r.Mounted, v), disk.MountPoint(dir); {
		case was && !is:
			return fmt.Errorf("%s is no mount point now, and was one when the restoration began; mount its disk, and restart the daemon", dir)
		case is && !was:
			return fmt.Errorf("something is mounted at %s, which was not when the restoration began; unmount it, and restart the daemon", dir)
		}
	}
	return nil
}

// undo takes what a restoration has brought off the node: whoever installs the application
// next must not find half of it. Called again after a cut, it continues.
func (m *Manager) undo(ctx context.Context, app string) error {
	placed, err := m.revoke(app)
	if err != nil {
		return err
	}
	dirs := []string{m.restored(app), m.restored(app) + ".old"}
	if placed { // what is there before that is not the restoration's
		dirs = append(dirs, filepath.Join(m.DataDir, app))
	}
	for _, dir := range dirs {
		err = errors.Join(err, m.Engine.DeleteTree(ctx, dir))
	}
	if err = errors.Join(err, m.Secrets.Delete(app), m.Store.DeleteData(app)); err != nil {
		return err
	}
	return m.settled(app)
}

// revoke has a restoration not be finished any more, and tells whether some of it may be in its
// place. It needs no room: the disk may be full.
func (m *Manager) revoke(app string) (placed bool, err error) {
	js, err := os.ReadFile(m.recordOf(app))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || undoing(js) {
		return len(js) > 0, err
	}
	var r restoration
	if err := json.Unmarshal(js, &r); err != nil {
		return false, fmt.Errorf("%s: %w", m.recordOf(app), err)
	}
	if err := m.sameMounts(r); err != nil {
		return false, err
	}
	f, err := os.OpenFile(m.recordOf(app), os.O_WRONLY, 0)
	if err != nil {
		return false, err
	}
	_, err = f.WriteAt([]byte{revoked}, 0)
	return true, errors.Join(err, f.Sync(), f.Close())
}

// undoing tells whether the record of a restoration has it be undone.
func undoing(js []byte) bool { return len(js) == 0 || js[0] == revoked }

// Settle finishes the restorations that were cut off, as far as all of them is on the node, and
// undoes the others, in the name of who.
func (m *Manager) Settle(ctx context.Context, who string) {
	for _, app := range m.Unsettled() {
		if err := m.settle(ctx, app, who); err != nil && ctx.Err() == nil {
			m.Log.Error("a restoration that was cut off", "app", app, "error", err)
		}
	}
}

func (m *Manager) settle(ctx context.Context, app, who string) error {
	done, err := m.claim(app, Settling)
	if err != nil {
		return err
	}
	defer done()
	release, err := m.Node.Hold(ctx, app, string(Settling))
	if err != nil {
		return err
	}
	defer release()
	return m.settleHeld(ctx, app, who)
}

// settleHeld finishes or undoes the restoration of an application that is held, if there is one.
func (m *Manager) settleHeld(ctx context.Context, app, who string) error {
	file := m.recordOf(app)
	js, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	switch _, err := m.Store.Get(app); {
	case err == nil: // it was accepted; or a purge is to delete all of it
		return m.settled(app)
	case !errors.Is(err, state.ErrNotFound):
		return err
	}
	if undoing(js) {
		m.Log.Warn("undoing a restoration that was cut off", "app", app)
		err := m.undo(ctx, app)
		m.audit(who, app, "undo a restoration that was cut off", err)
		return err
	}
	var r restoration
	if err := json.Unmarshal(js, &r); err != nil || r.Record.App != app {
		return fmt.Errorf("%w: %s is damaged (%v); 'archy uninstall %s --purge' deletes what the restoration has left", request.ErrRefused, file, err, app)
	}
	m.Log.Warn("finishing a restoration that was cut off", "app", app)
	if _, err = m.finish(ctx, r); err != nil && !errors.Is(err, request.ErrRefused) {
		return err // it is tried again when the daemon next starts, or its owner restores again
	}
	m.audit(who, app, "finish a restoration that was cut off", err)
	if err != nil {
		err = errors.Join(err, m.undo(ctx, app))
	}
	return err
}
