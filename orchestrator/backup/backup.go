// Package backup makes backups of applications and brings them back. An application
// is stopped while its volumes are copied, and runs again while the copy is read. Where that
// would cost more, the volumes are read while it runs, and while it is stopped only what has
// changed since.
package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"filippo.io/age"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/archive"
	"github.com/archipelago-cloud/archipelago/orchestrator/disk"
	"github.com/archipelago-cloud/archipelago/orchestrator/drill"
	"github.com/archipelago-cloud/archipelago/orchestrator/operation"
	"github.com/archipelago-cloud/archipelago/orchestrator/render"
	"github.com/archipelago-cloud/archipelago/orchestrator/repository"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/secrets"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// Engine copies volumes and packs them.
type Engine interface {
	StopUnit(ctx context.Context, unit string) error
	CopyVolumes(ctx context.Context, dirs []string, dir string) error
	// InPlace says how many bytes volumes hold that are better read where they are than
	// copied; 0 of others. Renew has what may have changed since be known by another ctime.
	InPlace(ctx context.Context, dirs []string, beside string) (bytes int64, err error)
	Renew(ctx context.Context, dirs []string, since time.Time) (bytes int64, err error)
	Archive(ctx context.Context, dir, file string) error
	Extract(ctx context.Context, file, dir string) error
	PutBack(ctx context.Context, dir, home string) error
	DeleteTree(ctx context.Context, dir string) error
}

// Node is what is asked of the node besides.
type Node interface {
	// Hold keeps anything else from beginning for an application until release.
	Hold(ctx context.Context, app, why string) (release func(), err error)
	Say(app, message string)
	// Watch gives an application as it is, and a channel that is closed when that may
	// have changed.
	Watch(app string) (v view.View, busy bool, changed <-chan struct{}, err error)
	// Admit says why a record cannot be brought back as things are, and with what the
	// owner agrees to, and accepts nothing; Restore accepts it, and what it requires.
	Admit(d state.Desired, consent []string) error
	Restore(d state.Desired, consent []string) (generation uint64, err error)
	// Filled is a manifest with settings and what the node has filled in; name is the one
	// under which its proxy has web interfaces.
	Filled(m *manifest.Manifest, config map[string]string) (filled *manifest.Manifest, name string, err error)
	// Absent says which disk a directory is not on that it was on, and what to do; empty where it
	// is there, or nothing is known of it. Found has the disk of one that is there be known.
	Absent(dir string) string
	Found(dir string)
}

// Drills start applications from what a backup of them has brought back.
type Drills interface {
	// Run says what was seen of one that came up; drill.ErrNotStarted is wrapped where it did
	// not come to a start, which says nothing of the backup.
	Run(ctx context.Context, s drill.Source, say func(string)) (seen string, err error)
	// Tidy removes what a drill has left whose end was cut off.
	Tidy(ctx context.Context) error
}

// Manager makes and restores backups.
type Manager struct {
	Engine    Engine
	Node      Node
	Store     *state.Store
	Secrets   *secrets.Store
	DataDir   string
	Snapshots string // directory of copies
	To        *repository.Store
	Drills    Drills
	Space     func(dir string) (disk.Space, error) // nil: disk.Of
	Clock     func() (Clock, error)                // nil: the node's
	Log       *slog.Logger

	mu   sync.Mutex
	busy map[string]Work // by application

	known map[string]kept // by repository; replaced, and not changed in place
}

// Work is what is being done with an application's backup.
type Work string

// The kinds of work.
const (
	Making    Work = "a backup of it is being made"
	Restoring Work = "a backup of it is being restored"
	Settling  Work = "a restoration of it that was cut off is being finished or undone"
)

// Under is the work under way for an application; empty where there is none. It begins
// before, and ends after, whatever the work leaves on the disk.
func (m *Manager) Under(app string) Work {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.busy[app]
}

// claim has work be the only one for an application: its copies have one place.
func (m *Manager) claim(app string, w Work) (release func(), err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if have := m.busy[app]; have != "" {
		return nil, fmt.Errorf("%w: %s: %s; wait until that has ended", operation.ErrBusy, app, have)
	}
	if m.busy == nil {
		m.busy = map[string]Work{}
	}
	m.busy[app] = w
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.busy, app)
	}, nil
}

// Backup is what backup.json says.
type Backup struct {
	Format   int                `json:"format"`
	App      string             `json:"app"`
	Made     time.Time          `json:"made"`
	Goal     state.Goal         `json:"goal"`
	Manifest *manifest.Manifest `json:"manifest"`
	Source   string             `json:"source,omitempty"` // where the manifest was from
	Config   map[string]string  `json:"config,omitempty"`
	Data     state.Data         `json:"data"`

	Consent []string `json:"-"` // of whoever restores it: to what the catalog does not vouch for
}

func (m *Manager) audit(who, app, what string, err error) {
	if logErr := m.Store.Audit(who, app, what, err); logErr != nil {
		m.Log.Error("audit", "error", logErr)
	}
}

// Write writes a backup of an application to w, and returns when the application
// runs again, if its owner wants it to.
func (m *Manager) Write(ctx context.Context, app string, recipients []age.Recipient, who string, w io.Writer) (err error) {
	defer func() { m.audit(who, app, "backup", err) }()
	if len(recipients) == 0 {
		return errors.New("a backup needs a recipient who can decrypt its secrets")
	}
	if _, err := m.Store.Get(app); errors.Is(err, state.ErrNotFound) {
		return fmt.Errorf("%s: %w", app, request.ErrNotInstalled)
	}
	release, err := m.claim(app, Making)
	if err != nil {
		return err
	}
	defer release()
	dir := filepath.Join(m.Snapshots, app+".backup")
	b, err := m.copyStopped(ctx, app, dir)
	if err != nil {
		return err
	}
	defer func() {
		if delErr := m.Engine.DeleteTree(context.WithoutCancel(ctx), dir); delErr != nil {
			err = errors.Join(err, delErr)
		}
	}()
	if err := m.pack(ctx, b, dir, recipients, w); err != nil {
		return fmt.Errorf("backing up %s: %w", app, err)
	}
	return m.awaitUp(ctx, b)
}

// copyStopped copies the volumes to dir while nothing writes to them.
func (m *Manager) copyStopped(ctx context.Context, app, dir string) (b Backup, err error) {
	b, dirs, release, err := m.stopped(ctx, app)
	if err != nil {
		return b, err
	}
	defer release()
	if err := m.Engine.CopyVolumes(ctx, dirs, dir); err != nil {
		return b, fmt.Errorf("backing up %s: %w", app, err)
	}
	return b, nil
}

// recorded is the record of an application, or why no backup of it can be made now.
func (m *Manager) recorded(app string) (d state.Desired, err error) {
	d, err = m.Store.Get(app)
	switch {
	case errors.Is(err, state.ErrNotFound) || err == nil && (d.Goal == state.Absent || d.Manifest == nil):
		return d, fmt.Errorf("%s: %w", app, request.ErrNotInstalled)
	case err == nil && (d.Update != nil || len(d.Adopted) > 0):
		return d, fmt.Errorf("%w: %s is being updated or adopted", operation.ErrBusy, app)
	}
	for _, dir := range m.dirs(app) {
		if why := m.Node.Absent(dir); why != "" && err == nil {
			err = fmt.Errorf("%w: backing up %s: waiting for %s", request.ErrRefused, app, why)
		}
	}
	return d, err
}

// stopped has an application be stopped, whose volumes are in dirs, until release. The record
// is read once nothing can change it any more but its owner.
func (m *Manager) stopped(ctx context.Context, app string) (b Backup, dirs []string, release func(), err error) {
	release, err = m.Node.Hold(ctx, app, "a backup is being made")
	if err != nil {
		return b, nil, nil, err
	}
	held := release
	defer func() {
		if err != nil {
			held()
		}
	}()
	d, err := m.recorded(app)
	if err != nil {
		return b, nil, nil, err
	}
	m.Node.Say(app, "stopped for a backup")
	var members []string
	for _, c := range d.Manifest.Ordered() {
		members = append(members, c.Name)
	}
	for _, unit := range slices.Backward(render.Services(members)) {
		if err := m.Engine.StopUnit(ctx, unit); err != nil {
			return b, nil, nil, fmt.Errorf("backing up %s: %w", app, err)
		}
	}
	after(Stopped)
	dirs, data := m.dirs(app), m.Store.Data(app)
	data.Places = nil // they are this node's
	return Backup{Format: archive.Format, App: app, Made: time.Now().UTC(), Goal: d.Goal, Manifest: d.Manifest, Source: d.Source, Config: d.Config, Data: data}, dirs, release, nil
}

// awaitUp waits until an application is up again, has failed, or is not wanted
// running any more.
func (m *Manager) awaitUp(ctx context.Context, b Backup) error {
	budget := b.Manifest.StartBudget()
	ctx, cancel := context.WithTimeoutCause(ctx, budget, fmt.Errorf("%s did not come up again within its budget of %s", b.App, budget))
	defer cancel()
	for {
		v, busy, changed, err := m.Node.Watch(b.App)
		switch {
		case err != nil:
			return err
		case v.Goal != state.Running:
			return nil
		case v.State == view.Failed:
			return fmt.Errorf("%s did not come up again: %s", b.App, v.Error)
		case !busy && (v.State == view.Up || v.State == view.Waiting):
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
