package orchestrator

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

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/operation"
	"github.com/archipelago-cloud/archipelago/orchestrator/perform"
	"github.com/archipelago-cloud/archipelago/orchestrator/render"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/storage"
)

type moveEngine interface {
	// CopyTo makes a directory, of which nothing is there, a complete copy of a volume.
	CopyTo(ctx context.Context, from, to string) error
	// DeleteMoved deletes what a move has made, with the directory that it made for the
	// application, if that is empty.
	DeleteMoved(ctx context.Context, dir string) error
}

// incomplete ends the name of a copy that is being made.
const incomplete = ".new"

// Volume is one that an application has here.
type Volume struct {
	Name, Dir string
	Moved     bool // its owner has moved it there
}

// Volumes are those of an installed application that have data, by name.
func (r *Reconciler) Volumes(app string) (all []Volume) {
	data := r.store.Data(app)
	for _, name := range slices.Sorted(slices.Values(data.Volumes)) {
		dir := data.Dir(r.dataDir, app, name)
		all = append(all, Volume{name, dir, dir != manifest.VolumeDir(r.dataDir, app, name)})
	}
	return all
}

// MoveVolume moves a volume of an application to dir/APP/VOLUME, or, where dir is empty, back
// into the application's own directory, and gives where it is from now on. The application
// is stopped meanwhile. The volume stays in force where it was until its copy is complete,
// durable and on record; a context that ends before that leaves everything as it was. say is
// told what is being done, by one goroutine at a time.
func (r *Reconciler) MoveVolume(ctx context.Context, app, volume, dir, who string, say func(message string)) (to string, err error) {
	defer func() { r.audit(who, app, strings.TrimSpace("move-volume "+volume+" "+dir), err) }()
	if _, err := r.movable(app, volume); err != nil {
		return "", err
	}
	if to, err = r.target(app, volume, dir); err != nil {
		return "", err
	}
	held, err := r.holdMove(ctx, app)
	if err != nil {
		return "", err
	}
	release := sync.OnceFunc(func() { held(); r.Wake() })
	defer release()
	if !r.moving.TryLock() {
		return "", fmt.Errorf("%w: another volume is being moved, or what an earlier move has left is being deleted; wait until that has ended", operation.ErrBusy)
	}
	defer r.moving.Unlock()
	d, err := r.movable(app, volume) // as it is by now
	if err != nil {
		return "", err
	}
	if to, err = r.target(app, volume, dir); err != nil {
		return "", err
	}
	from := r.store.Data(app).Dir(r.dataDir, app, volume)
	if from == to && r.diskless(to) != "" && there(to) {
		r.useDisk(to) // its owner says that it is on this disk from now on
		return to, nil
	}
	if why := r.diskless(from); why != "" {
		return "", fmt.Errorf("%w: the volume %s of %s is waiting for %s", request.ErrRefused, volume, app, why)
	}
	if err := r.settleMove(ctx, app, volume); err != nil {
		return "", err
	}
	if from == to {
		return "", fmt.Errorf("%w: the volume %s of %s is at %s already", request.ErrRefused, volume, app, to)
	}
	var members []string
	for _, c := range d.Manifest.Ordered() {
		members = append(members, c.Name)
	}
	telling := teller{r.operations, say}
	telling.Say(app, "stopped to move its volume "+volume)
	for _, unit := range slices.Backward(render.Services(members)) {
		if err := r.engine.StopUnit(ctx, unit); err != nil {
			return "", fmt.Errorf("moving %s of %s: %w", volume, app, err)
		}
	}
	if err := r.move(ctx, app, volume, from, to, telling); err != nil {
		return "", err
	}
	release() // it starts while what it has left is deleted, which may take long
	if err := perform.Long(teller{nobody{}, say}, app, "deleting "+from, func() error { return r.settleMove(context.WithoutCancel(ctx), app, volume) }); err != nil {
		r.log.Error("what a move has left", "app", app, "volume", volume, "directory", from, "error", err)
	}
	return to, nil
}

// teller tells whoever asked for a move, too.
type teller struct {
	perform.Observer
	say func(message string)
}

func (t teller) Say(app, message string) {
	t.Observer.Say(app, message)
	t.say(message)
}

// nobody is told of what is no operation of the application's any more.
type nobody struct{}

func (nobody) Say(string, string) {}

// move copies a volume, and puts the copy in force once it is durable.
func (r *Reconciler) move(ctx context.Context, app, volume, from, to string, telling perform.Observer) error {
	before := r.store.Data(app).Places[volume]
	under := before
	under.To = to
	if err := r.recordPlace(app, volume, under); err != nil {
		return err
	}
	if err := perform.Long(telling, app, fmt.Sprintf("copying its volume %s to %s", volume, to), func() error { return r.engine.CopyTo(ctx, from, to) }); err != nil {
		err = fmt.Errorf("%w: moving %s of %s: %w; it is where it was", request.ErrRefused, volume, app, err)
		if delErr := r.engine.DeleteMoved(context.WithoutCancel(ctx), to+incomplete); delErr != nil {
			return errors.Join(err, delErr) // the record says what is left
		}
		return errors.Join(err, r.recordPlace(app, volume, before))
	}
	after := state.Place{Dir: to, Left: from}
	if to == manifest.VolumeDir(r.dataDir, app, volume) {
		after.Dir = ""
	}
	if err := r.recordPlace(app, volume, after); err != nil {
		return err
	}
	r.useDisk(to)
	return nil
}

// recordPlace records where one volume is.
func (r *Reconciler) recordPlace(app, volume string, p state.Place) error {
	if err := r.store.UpdateData(app, func(d state.Data) state.Data { return d.At(volume, p) }); err != nil {
		return err
	}
	r.renderer.SetMoved(r.store.Records().Moved())
	return nil
}

// movable gives the record of an application whose volume may be moved.
func (r *Reconciler) movable(app, volume string) (state.Desired, error) {
	d, err := r.store.Get(app)
	switch {
	case errors.Is(err, state.ErrNotFound) || err == nil && (d.Goal == state.Absent || d.Manifest == nil):
		return d, fmt.Errorf("%s: %w", app, request.ErrNotInstalled)
	case err != nil:
		return d, err
	case d.Update != nil || len(d.Adopted) > 0:
		return d, fmt.Errorf("%w: %s is being updated or adopted", operation.ErrBusy, app)
	}
	have := r.store.Data(app).Volumes
	if !slices.Contains(have, volume) {
		return d, fmt.Errorf("%w: %s has no volume %q here; it has %s", request.ErrRefused, app, volume, strings.Join(have, ", "))
	}
	for _, other := range r.mounting(app) {
		if other.Goal == state.Running {
			return d, fmt.Errorf("%w: %s has data of %s; stop it first", request.ErrRefused, other.App, app)
		}
	}
	return d, nil
}

// mounting are the applications that have a volume of this one.
func (r *Reconciler) mounting(app string) (all []state.Desired) {
	for _, other := range r.store.All() {
		if other.App == app || other.Goal == state.Absent || other.Manifest == nil {
			continue
		}
		if need, ok := other.Manifest.Requirement(app); ok && other.Manifest.Mounts(need) {
			all = append(all, other)
		}
	}
	return all
}

// holdMove keeps anything from beginning for an application, and for those that have data of it.
func (r *Reconciler) holdMove(ctx context.Context, app string) (release func(), err error) {
	var held []func()
	release = func() {
		for _, f := range slices.Backward(held) {
			f()
		}
	}
	names := []string{app}
	for _, other := range r.mounting(app) {
		names = append(names, other.App)
	}
	for _, name := range names {
		f, err := r.operations.Hold(ctx, name, "a volume of "+app+" is being moved")
		if err != nil {
			release()
			return nil, err
		}
		held = append(held, f)
	}
	return release, nil
}

// target is where a volume is to be: below dir, in a directory for its application, so that
// an empty mount point is never taken for it.
func (r *Reconciler) target(app, volume, dir string) (string, error) {
	if dir == "" {
		return manifest.VolumeDir(r.dataDir, app, volume), nil
	}
	at, err := r.place(app, dir, r.dataDir)
	if err != nil {
		return "", fmt.Errorf("%w: %w", request.ErrRefused, err)
	}
	to := filepath.Join(at, app, volume)
	records := r.store.Records()
	for _, name := range slices.Sorted(maps.Keys(records.Folders)) {
		if has := records.Folders[name].Dir; storage.Within(to, has) || storage.Within(has, to) {
			return "", fmt.Errorf("%w: %s and your folder %s, which is %s, would share files; applications that have the folder would have the data of %s", request.ErrRefused, to, name, has, app)
		}
	}
	if has := overlap(to, records); has != "" && has != to {
		return "", fmt.Errorf("%w: %s and %s, where a volume of an application is, would share files", request.ErrRefused, to, has)
	}
	return to, nil
}

// overlap is the place of a volume that was moved which shares files with a directory; empty
// where there is none.
func overlap(dir string, records state.Records) string {
	for _, app := range slices.Sorted(maps.Keys(records.Data)) {
		places := records.Data[app].Places
		for _, volume := range slices.Sorted(maps.Keys(places)) {
			for _, has := range []string{places[volume].Dir, places[volume].To} {
				if has != "" && (storage.Within(dir, has) || storage.Within(has, dir)) {
					return has
				}
			}
		}
	}
	return ""
}

// settleMoves does what moves have left that a cut ended. The applications run meanwhile.
func (r *Reconciler) settleMoves(ctx context.Context) {
	r.moving.Lock()
	defer r.moving.Unlock()
	for app, data := range r.store.Records().Data {
		for volume, p := range data.Places {
			if p.To == "" && p.Left == "" {
				continue
			}
			if err := r.settleMove(ctx, app, volume); err != nil && ctx.Err() == nil {
				r.log.Error("what a move has left", "app", app, "volume", volume, "error", err)
			}
		}
	}
}

// settleMove does what a move of a volume has left: the half of a copy is deleted, and so is
// the directory that the volume was in before, once the one that it is in is there. A whole
// copy that was not put in force is not: it is its owner's to look at. The caller holds moving.
func (r *Reconciler) settleMove(ctx context.Context, app, volume string) error {
	p := r.store.Data(app).Places[volume]
	if p.To != "" {
		if err := r.engine.DeleteMoved(ctx, p.To+incomplete); err != nil {
			return err
		}
		if there(p.To) {
			return fmt.Errorf("%w: %s is what a move that a power cut ended has left: a copy of the volume %s of %s, which is in force at %s; remove it", request.ErrRefused, p.To, volume, app, r.store.Data(app).Dir(r.dataDir, app, volume))
		}
		p.To = ""
	}
	if p.Left != "" {
		dir := r.store.Data(app).Dir(r.dataDir, app, volume)
		for _, d := range []string{dir, p.Left} {
			if why := r.diskless(d); why != "" {
				return fmt.Errorf("%w: %s, where the volume %s of %s is or was, is waiting for %s", request.ErrRefused, d, volume, app, why)
			}
		}
		if !there(dir) {
			return fmt.Errorf("%w: %s is not there, where the volume %s of %s is; connect and mount its disk", request.ErrRefused, dir, volume, app)
		}
		remove := r.engine.DeleteMoved
		if filepath.Dir(p.Left) == filepath.Join(r.dataDir, app) {
			remove = r.engine.DeleteTree
		}
		if err := remove(ctx, p.Left); err != nil {
			return err
		}
		p.Left = ""
	}
	if p == r.store.Data(app).Places[volume] {
		return nil
	}
	return r.recordPlace(app, volume, p)
}

func there(dir string) bool {
	_, err := os.Lstat(dir)
	return err == nil
}

// moves names what moves have left, and says where volumes are that were moved.
func (r *Reconciler) moves() host.Finding {
	const name = "moved volumes"
	operations, data := r.operations.All(), r.store.Records().Data
	var left, at []string
	for _, app := range slices.Sorted(maps.Keys(data)) {
		for _, volume := range slices.Sorted(maps.Keys(data[app].Places)) {
			p := data[app].Places[volume]
			if p.Dir != "" {
				at = append(at, fmt.Sprintf("%s of %s at %s", volume, app, p.Dir))
			}
			for _, dir := range []string{p.To, p.Left} {
				if dir != "" && !operations[app].Busy && there(dir) {
					left = append(left, dir)
				}
			}
		}
	}
	if len(left) == 0 && len(at) > 0 {
		return host.Finding{Name: name, OK: true, Detail: strings.Join(at, ", ")}
	}
	return named(name, left, "compare them with what is in force, and remove them", "a move that a cut ended has left ")
}
