package backup

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/disk"
	"github.com/archipelago-cloud/archipelago/orchestrator/drill"
	"github.com/archipelago-cloud/archipelago/orchestrator/operation"
	"github.com/archipelago-cloud/archipelago/orchestrator/repository"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// Trying is the work of restoring on trial.
const Trying Work = "a backup of it is being restored on trial"

const (
	idleWithin = time.Hour       // work on an application ends, before it is drilled
	lookAtDisk = 5 * time.Second // while an application is started on trial
)

// trialReserve is how much of the file system a restoration leaves free, in bytes.
const trialReserve = 1 << 30

// Trial is what came of a restoration on trial that went well.
type Trial struct {
	repository.Snapshot
	Seen       string // of the application that was started from it; empty where none was
	NotStarted string // why; empty where one was
}

// Try restores an application's newest snapshot on trial, beside its data and without
// touching it: all of it is read back from the repository, its digests are those that it was
// stored with, and it is what a restoration would take, volume by volume and secret by
// secret. Then the application is started from it, where that can be done beside the one that
// is installed. What was restored is deleted again.
func (m *Manager) Try(ctx context.Context, app, from, who string, tell func(Step)) (t Trial, err error) {
	defer func() { m.audit(who, app, "try "+from, err) }()
	r, err := m.To.Get(from)
	if err != nil {
		return t, err
	}
	release, err := m.claim(app, Trying)
	if err != nil {
		return t, err
	}
	defer release()
	r = r.Uncached()
	tell(Step{Message: "opening the repository"})
	s, err := r.Find(ctx, app, "")
	if err != nil {
		return t, err
	}
	t.Snapshot = s
	b, values, err := described(ctx, r, s)
	if err != nil {
		return t, err
	}
	if b.App != app {
		return t, fmt.Errorf("%w: snapshot %.8s is of %s", request.ErrRefused, s.ID, b.App)
	}
	if err := check(b, values); err != nil {
		return t, err
	}
	if err := complete(b, values); err != nil {
		return t, err
	}
	if err := os.MkdirAll(m.Snapshots, 0o700); err != nil {
		return t, err
	}
	if err := m.fits(m.size(from, s)); err != nil {
		return t, err
	}
	dir := filepath.Join(m.Snapshots, app+".trial")
	defer func() {
		if delErr := m.Engine.DeleteTree(context.WithoutCancel(ctx), dir); delErr != nil {
			err = errors.Join(err, delErr)
		}
	}()
	if err := m.readBack(ctx, r, s, b, dir, func(done float64) { tell(Step{"restoring on trial", done}) }); err != nil {
		return t, fmt.Errorf("restoring %s on trial: %w", app, err)
	}
	t.Seen, err = m.drill(ctx, b, values, dir, func(what string) { tell(Step{Message: what}) })
	if errors.Is(err, drill.ErrNotStarted) {
		t.NotStarted, err = strings.TrimPrefix(said(err), drill.ErrNotStarted.Error()+": "), nil
	}
	if err != nil {
		return t, fmt.Errorf("%s does not come up from it: %w", app, err)
	}
	return t, nil
}

// drill starts an application from the volumes in dir. Nobody is asked for consent to what a
// backup would have the node run, so it is what runs here already, or nothing.
func (m *Manager) drill(ctx context.Context, b Backup, values map[string]string, dir string, say func(string)) (seen string, err error) {
	if why := drill.Unfit(b.Manifest); why != "" {
		return "", fmt.Errorf("%w: %s", drill.ErrNotStarted, why)
	}
	say("waiting until nothing else is done with it")
	if err := m.awaitIdle(ctx, b.App); err != nil {
		return "", err
	}
	d, err := m.Store.Get(b.App)
	switch {
	case errors.Is(err, state.ErrNotFound) || err == nil && (d.Goal == state.Absent || d.Manifest == nil):
		return "", fmt.Errorf("%w: it is not installed here", drill.ErrNotStarted)
	case err != nil:
		return "", err
	case d.Manifest.Digest() != b.Manifest.Digest():
		return "", fmt.Errorf("%w: the backup is of version %s, and not of what is installed, %s", drill.ErrNotStarted, b.Manifest.Version, d.Manifest.Version)
	}
	filled, name, err := m.Node.Filled(b.Manifest, b.Config)
	if err != nil {
		return "", err
	}
	own := *filled
	own.Containers = slices.Clone(filled.Containers)
	for i, c := range own.Containers {
		if image := d.Overrides[c.Name]; image != "" {
			own.Containers[i].Image = manifest.Image{Ref: image}
		}
	}
	ctx, stop := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer stop(nil)
	watching.Go(func() { stop(m.watch(ctx, b.App)) })
	seen, err = m.Drills.Run(ctx, drill.Source{Manifest: &own, Node: name, Values: values, Dir: dir}, say)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	return seen, err
}

// awaitIdle waits until nothing is done with an application, nor kept from being done.
func (m *Manager) awaitIdle(ctx context.Context, app string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, idleWithin, fmt.Errorf("%w: %s is still being worked on after %s", operation.ErrBusy, app, idleWithin))
	defer cancel()
	for {
		_, busy, changed, err := m.Node.Watch(app)
		if err != nil {
			return nil // nobody knows it: it is not installed
		}
		if d, err := m.Store.Get(app); !busy && (err != nil || d.Update == nil) {
			release, err := m.Node.Hold(ctx, app, "a backup of it is about to be tried")
			if err == nil {
				release()
				return nil
			}
			if !errors.Is(err, operation.ErrBusy) {
				return err
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// watch gives the reason for which a drill has to end, when there is one: the application is
// uninstalled, or the disk fills up. It gives nil when the context ends.
func (m *Manager) watch(ctx context.Context, app string) error {
	look := time.NewTicker(lookAtDisk)
	defer look.Stop()
	for {
		v, _, changed, err := m.Node.Watch(app)
		if err != nil || v.Goal == state.Absent || v.Goal == "" {
			return fmt.Errorf("%w: %s is being uninstalled", operation.ErrBusy, app)
		}
		select {
		case <-changed:
		case <-look.C:
			if err := m.stillFits(); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// complete wants a snapshot to hold each secret without which its data is of no use.
func complete(b Backup, values map[string]string) error {
	for _, g := range b.Manifest.Secrets {
		if values[g.Name] == "" {
			return fmt.Errorf("%w: the snapshot has no secret %s of %s", request.ErrRefused, g.Name, b.App)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.Config)) {
		if b.Manifest.Secret(name) && b.Config[name] != "" && values[name] == "" {
			return fmt.Errorf("%w: the snapshot has no value of the setting %s of %s", request.ErrRefused, name, b.App)
		}
	}
	return nil
}

// size is how large a snapshot is; older versions of restic do not say, and then it is what
// was known when it was made.
func (m *Manager) size(name string, s repository.Snapshot) int64 {
	if a := m.knows(name).Apps[s.App]; s.Size == 0 && a.Newest.Equal(s.Made) {
		return a.Size
	}
	return s.Size
}

// errNoSpace is wrapped where a restoration would fill the disk: that says nothing of the
// backup.
var errNoSpace = errors.New("not enough space to restore a backup")

// fits refuses what would leave too little of the disk, in bytes.
func (m *Manager) fits(size int64) error {
	free, err := m.free()
	if err == nil && free-size < trialReserve {
		err = fmt.Errorf("%w: it takes %d MiB, which would leave less than %d MiB of the %d MiB that are free", errNoSpace, size>>20, trialReserve>>20, free>>20)
	}
	return err
}

// stillFits refuses to go on once half of what was to stay free is used.
func (m *Manager) stillFits() error {
	free, err := m.free()
	if err == nil && free < trialReserve/2 {
		err = fmt.Errorf("%w: the disk fills up while the application runs: %d MiB are free", errNoSpace, free>>20)
	}
	return err
}

func (m *Manager) free() (bytes int64, err error) {
	of := disk.Of
	if m.Space != nil {
		of = m.Space
	}
	s, err := of(m.Snapshots)
	return s.Free, err
}
