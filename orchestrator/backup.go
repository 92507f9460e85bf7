package orchestrator

import (
	"archive/zip"
	"compress/flate"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"filippo.io/age"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// Names in a backup, a zip file. The secrets are a JSON object of names and values,
// encrypted with age; the volumes are a tar with numeric owners as seen in the
// application's user namespace.
const (
	BackupHeader  = "backup.json"
	BackupSecrets = "secrets.age"
	BackupVolumes = "volumes.tar"
	BackupSums    = "SHA256SUMS" // as of sha256sum(1), over the others
)

// backupFormat is the only one that is written and read.
const backupFormat = 1

// Backup is what backup.json says.
type Backup struct {
	Format   int                `json:"format"`
	App      string             `json:"app"`
	Made     time.Time          `json:"made"`
	Goal     state.Goal         `json:"goal"`
	Manifest *manifest.Manifest `json:"manifest"`
	Config   map[string]string  `json:"config,omitempty"`
	Data     state.Data         `json:"data"`
}

// ErrBusy is wrapped where an application is in the middle of something else.
var ErrBusy = errors.New("busy")

// hold keeps the reconciler's hands off an application until release.
func (r *Reconciler) hold(ctx context.Context, app, why string) (release func(), err error) {
	for {
		r.mu.Lock()
		a := r.state(app)
		if a.held != "" {
			defer r.mu.Unlock()
			return nil, fmt.Errorf("%w: %s: %s", ErrBusy, app, a.held)
		}
		if !a.busy {
			a.held = why
			r.mu.Unlock()
			return func() {
				r.mu.Lock()
				a.held = ""
				a.notify()
				r.mu.Unlock()
				r.Wake()
			}, nil
		}
		changed := a.changed
		r.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %s has work under way", ErrBusy, app)
		}
	}
}

// WriteBackup writes a backup of an application to w. The application is stopped
// while its volumes are copied, and goes on while the copy is read.
func (r *Reconciler) WriteBackup(ctx context.Context, app string, recipients []age.Recipient, who string, w io.Writer) (err error) {
	defer func() {
		if logErr := r.store.Audit(who, app, "backup", err); logErr != nil {
			r.log.Error("audit", "error", logErr)
		}
	}()
	if len(recipients) == 0 {
		return errors.New("a backup needs a recipient who can decrypt its secrets")
	}
	d, err := r.store.Get(app)
	if err != nil || d.Goal == state.Absent {
		return fmt.Errorf("%s: %w", app, ErrNotInstalled)
	}
	if d.Update != nil || len(d.Adopted) > 0 {
		return fmt.Errorf("%w: %s is being updated or adopted", ErrBusy, app)
	}
	release, err := r.hold(ctx, app, "a backup is being made")
	if err != nil {
		return err
	}
	dir := filepath.Join(r.snapshots, app+".backup")
	err = r.copyStopped(ctx, d, dir)
	release()
	if err != nil {
		return fmt.Errorf("backing up %s: %w", app, err)
	}
	defer func() {
		if delErr := r.engine.DeleteTree(context.WithoutCancel(ctx), dir); delErr != nil {
			err = errors.Join(err, delErr)
		}
	}()
	b := Backup{backupFormat, app, time.Now().UTC(), d.Goal, d.Manifest, d.Config, r.store.Data(app)}
	if err := r.writeBackup(ctx, b, dir, recipients, w); err != nil {
		return fmt.Errorf("backing up %s: %w", app, err)
	}
	return r.awaitUp(ctx, d)
}

// awaitUp waits until an application that is wanted running is up again, or has failed.
func (r *Reconciler) awaitUp(ctx context.Context, d state.Desired) error {
	if d.Goal != state.Running {
		return nil
	}
	budget := d.Manifest.StartBudget()
	ctx, cancel := context.WithTimeoutCause(ctx, budget, fmt.Errorf("%s did not come up again within its budget of %s", d.App, budget))
	defer cancel()
	for {
		r.mu.Lock()
		a := r.state(d.App)
		v, changed := r.view(d.App, d, nil), a.changed
		busy := a.busy
		r.mu.Unlock()
		switch {
		case v.State == Failed:
			return fmt.Errorf("%s did not come up again: %s", d.App, v.Error)
		case !busy && (v.State == Up || v.State == Waiting):
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// copyStopped copies the volumes while nothing writes to them.
func (r *Reconciler) copyStopped(ctx context.Context, d state.Desired, dir string) error {
	out, err := r.renderer.render(d.Manifest, &d, true)
	if err != nil {
		return err
	}
	r.say(d.App, "stopped for a backup")
	for _, u := range slices.Backward(out.services) {
		if err := r.engine.StopUnit(ctx, u); err != nil {
			return err
		}
	}
	var dirs []string
	for _, v := range r.store.Data(d.App).Volumes {
		dirs = append(dirs, filepath.Join(r.renderer.DataDir, d.App, v))
	}
	return r.engine.CopyVolumes(ctx, dirs, dir)
}

func (r *Reconciler) writeBackup(ctx context.Context, b Backup, dir string, recipients []age.Recipient, w io.Writer) error {
	z := zip.NewWriter(w)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestSpeed) })
	var sums []byte
	add := func(name string, method uint16, write func(io.Writer) error) error {
		entry, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: method, Modified: b.Made})
		if err != nil {
			return err
		}
		h := sha256.New()
		if err := write(io.MultiWriter(entry, h)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		sums = fmt.Appendf(sums, "%s  %s\n", hex.EncodeToString(h.Sum(nil)), name)
		return nil
	}
	values, err := r.secrets.All(b.Manifest)
	if err != nil {
		return err
	}
	err = errors.Join(
		add(BackupHeader, zip.Deflate, func(w io.Writer) error { return json.NewEncoder(w).Encode(b) }),
		add(BackupSecrets, zip.Store, func(w io.Writer) error {
			sealed, err := age.Encrypt(w, recipients...)
			if err != nil {
				return err
			}
			return errors.Join(json.NewEncoder(sealed).Encode(values), sealed.Close())
		}),
		add(BackupVolumes, zip.Deflate, func(w io.Writer) error { return r.archive(ctx, dir, w) }))
	if err != nil {
		return err
	}
	entry, err := z.Create(BackupSums)
	if err != nil {
		return err
	}
	if _, err := entry.Write(sums); err != nil {
		return err
	}
	return z.Close()
}

// archive passes the tar that the engine makes through a pipe, so that it takes no
// space on the node.
func (r *Reconciler) archive(ctx context.Context, dir string, w io.Writer) error {
	pipe := dir + ".pipe"
	os.Remove(pipe)
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		return err
	}
	defer os.Remove(pipe)
	from, err := os.OpenFile(pipe, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	// Held open until tar has ended: a pipe that nobody writes to reads as ended.
	keeper, err := os.OpenFile(pipe, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	made := make(chan error, 1)
	go func() {
		err := r.engine.Archive(ctx, dir, pipe)
		keeper.Close()
		made <- err
	}()
	_, err = io.Copy(w, from)
	if err != nil {
		cancel()
	}
	return errors.Join(err, <-made)
}

// Restore brings a backup back: an application that is not installed and has no
// data on this node. volumes is the tar, sum its SHA-256 in hex.
func (r *Reconciler) Restore(ctx context.Context, b Backup, values map[string]string, volumes io.Reader, sum, who string) (gen uint64, err error) {
	defer func() {
		if logErr := r.store.Audit(who, b.App, "restore", err); logErr != nil {
			r.log.Error("audit", "error", logErr)
		}
	}()
	if err := r.checkBackup(b); err != nil {
		return 0, err
	}
	release, err := r.hold(ctx, b.App, "a backup is being restored")
	if err != nil {
		return 0, err
	}
	defer release()
	if d, err := r.store.Get(b.App); err == nil {
		return 0, fmt.Errorf("%w: %s is installed (%s); uninstall it with --purge before a backup takes its place", ErrRefused, b.App, d.Goal)
	} else if !errors.Is(err, state.ErrNotFound) {
		return 0, err
	}
	home := filepath.Join(r.renderer.DataDir, b.App)
	if len(r.store.Data(b.App).Volumes) > 0 {
		return 0, fmt.Errorf("%w: %s has data on this node; uninstall it with --purge before a backup takes its place", ErrRefused, b.App)
	}
	if err := os.MkdirAll(r.snapshots, 0o700); err != nil {
		return 0, err
	}
	file := filepath.Join(r.snapshots, b.App+".restore.tar")
	defer os.Remove(file)
	if err := receive(file, volumes, sum); err != nil {
		return 0, fmt.Errorf("restoring %s: %w", b.App, err)
	}
	dir := filepath.Join(r.snapshots, b.App+".restore")
	err = r.engine.Extract(ctx, file, dir)
	if err == nil {
		err = r.engine.PutBack(ctx, dir, home)
	}
	if err != nil {
		return 0, fmt.Errorf("restoring %s: %w", b.App, err)
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if err := r.secrets.Import(b.Manifest, name, values[name], true); err != nil {
			return 0, err
		}
	}
	if err := r.store.PutData(b.Data); err != nil {
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	goal := b.Goal
	if goal != state.Stopped {
		goal = state.Running
	}
	gen, err = r.accept(state.Desired{App: b.App, Goal: goal, Manifest: b.Manifest, Source: "backup", Config: b.Config, Installed: true})
	return gen, err
}

// checkBackup takes nothing on trust: the file may come from anywhere.
func (r *Reconciler) checkBackup(b Backup) error {
	if b.Format != backupFormat {
		return fmt.Errorf("%w: backup format %d; this daemon reads %d", ErrRefused, b.Format, backupFormat)
	}
	if b.Manifest == nil || b.Manifest.ID != b.App || b.Data.App != b.App {
		return fmt.Errorf("%w: the backup's parts belong to different applications", ErrRefused)
	}
	js, err := json.Marshal(b.Manifest)
	if err != nil {
		return err
	}
	if _, err := manifest.Parse(BackupHeader, js); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if _, err := b.Manifest.With(b.Config); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	for _, v := range b.Data.Volumes {
		if filepath.Base(v) != v || v == "." || v == ".." {
			return fmt.Errorf("%w: %q is not the name of a volume", ErrRefused, v)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := r.requirements(b.Manifest); err != nil {
		return err
	}
	if why := r.Offer().revoked(b.App, b.Manifest.Version); why != "" {
		return fmt.Errorf("%w: %s: %s", ErrRefused, b.App, why)
	}
	return r.collision(b.Manifest)
}

// receive writes what comes to a file, and wants it to be what was sent.
func receive(file string, from io.Reader, sum string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, h), from)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != sum {
		return fmt.Errorf("the volumes arrived damaged: SHA-256 %s, expected %s", got, sum)
	}
	return nil
}
