package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/archive"
	"github.com/archipelago-cloud/archipelago/orchestrator/operation"
	"github.com/archipelago-cloud/archipelago/orchestrator/repository"
)

const (
	// before is how long before the first reading a file's ctime must be for the file to be
	// taken as unchanged where that is the same at the second. A change sets the ctime when it
	// begins, and may be read half when it has not ended; and the kernel's time of files goes
	// by ticks.
	before = time.Minute
	// longest is how long an application may stay stopped for what has changed to be read and
	// sent to the repository. Where that would take longer, it is copied first.
	longest = 10 * time.Second
	// most is how long it stays stopped where that takes longer than was to be expected, as
	// when the network stands still. Then it is copied, too.
	most = time.Minute
)

var (
	// errCopied is returned where the volumes have been copied, with the application stopped.
	errCopied = errors.New("the volumes are copied")
	// errSmall is returned where a copy of the volumes costs little.
	errSmall = errors.New("the volumes are better copied")
)

// inPlace is a backup that needs no copy. The volumes are read where they are while the
// application runs, and again while it is stopped, where only what has changed is read.
type inPlace struct {
	*Manager
	app, dir string // dir is where volumes are seen and, in the end, copied
	dirs     []string
	size     int64     // of all files
	since    time.Time // what was changed later is read again
	clock    Clock
	tell     func(Step)

	b       Backup
	refused error // why the application was not stopped
}

// readInPlace makes a snapshot of an application without a copy of its volumes, and returns
// once that is there and the application may start. Where nothing has been done that a copy
// would hinder, the error is errSmall, or says what failed; errCopied is that the copy has been
// made, of what b says. stopping tells whether the error is that of the application's stop.
func (m *Manager) readInPlace(ctx context.Context, r *repository.Repository, app, dir string, tell func(Step)) (s repository.Snapshot, b Backup, stopping bool, err error) {
	switch _, err := m.recorded(app); {
	case errors.Is(err, operation.ErrBusy):
		return s, b, false, errSmall // whoever stops it waits for that to end
	case err != nil:
		return s, b, true, err
	}
	p := &inPlace{Manager: m, app: app, dir: dir, dirs: m.dirs(app), since: time.Now().Add(-before), tell: tell}
	watch := m.Clock
	if watch == nil {
		watch = watchClock
	}
	if p.clock, err = watch(); err != nil {
		return s, b, false, err
	}
	defer p.clock.Close()
	if p.size, err = m.Engine.InPlace(ctx, p.dirs, m.Snapshots); err != nil {
		return s, b, false, err
	}
	if p.size == 0 {
		return s, b, false, errSmall
	}
	if err := p.lay(ctx); err != nil {
		return s, b, false, err
	}
	message := "reading the volumes; the application runs meanwhile"
	tell(Step{Message: message})
	s, err = r.BackupInPlace(ctx, app, dir, p.dirs, most, func(took time.Duration) (func(), error) {
		start, err := p.stop(ctx, took)
		message = "reading what has changed; the application is stopped meanwhile"
		return start, err
	}, func(done float64) { tell(Step{message, done}) })
	if !errors.Is(err, errCopied) {
		err = errors.Join(err, p.clear())
	}
	return s, p.b, p.refused != nil, err
}

// dirs are the directories of an application's volumes.
func (m *Manager) dirs(app string) (dirs []string) {
	data := m.Store.Data(app)
	for _, v := range data.Volumes {
		dirs = append(dirs, data.Dir(m.DataDir, app, v))
	}
	return dirs
}

// lay makes an empty directory for each volume, where restic finds it.
func (p *inPlace) lay(ctx context.Context) error {
	if err := errors.Join(p.Engine.DeleteTree(ctx, p.dir), os.Mkdir(p.dir, 0o700)); err != nil {
		return err
	}
	for _, dir := range p.dirs {
		if err := os.Mkdir(filepath.Join(p.dir, filepath.Base(dir)), 0o700); err != nil {
			return errors.Join(err, p.clear())
		}
	}
	return nil
}

// clear removes these, and what describes them. It removes empty directories only: should a
// volume ever be seen in one, nothing of that goes.
func (p *inPlace) clear() (err error) {
	names := []string{archive.Header, secretsFile}
	for _, dir := range p.dirs {
		names = append(names, filepath.Base(dir))
	}
	for _, name := range append(names, "") {
		if gone := os.Remove(filepath.Join(p.dir, name)); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return err
}

// stop stops the application and has all that may have changed since it was read be read
// again, or copies the volumes where that cannot be, or would take too long.
func (p *inPlace) stop(ctx context.Context, took time.Duration) (start func(), err error) {
	after(Read)
	p.tell(Step{Message: "reading what has changed; the application is stopped meanwhile"})
	b, dirs, release, err := p.stopped(ctx, p.app)
	if p.refused = err; err != nil {
		return nil, err
	}
	p.b = b
	defer func() {
		if err != nil {
			release()
		}
	}()
	why := p.renew(ctx, dirs, took)
	if why == nil {
		return release, p.describe(b, p.dir)
	}
	if ctx.Err() != nil {
		return nil, why
	}
	p.Log.Info("a backup needs a copy", "app", p.app, "why", why)
	p.tell(Step{Message: "copying the volumes; the application is stopped meanwhile"})
	if err := p.Engine.CopyVolumes(ctx, dirs, p.dir); err != nil {
		p.refused = fmt.Errorf("backing up %s: %w", p.app, err)
		return nil, p.refused
	}
	return nil, errCopied
}

// renew says why what was read cannot be relied upon.
func (p *inPlace) renew(ctx context.Context, dirs []string, took time.Duration) error {
	if !slices.Equal(dirs, p.dirs) {
		return errors.New("the volumes are elsewhere, or others, than those that were read")
	}
	changed, err := p.Engine.Renew(ctx, dirs, p.since)
	if err != nil {
		return err
	}
	if p.clock.Set() {
		return errors.New("the clock was set while they were read, so that times of files say nothing")
	}
	if again := took.Seconds() * float64(changed) / float64(p.size); again > longest.Seconds() {
		return fmt.Errorf("%d bytes of %d may have changed while they were read, and take %.0f s", changed, p.size, again)
	}
	return nil
}
