package perform

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/orchestrator/fault"
	"github.com/archipelago-cloud/archipelago/orchestrator/plan"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

type removeEngine interface {
	Remove(ctx context.Context, app string, containers []string) error
	DeleteTree(ctx context.Context, dir string) error
	DeleteMoved(ctx context.Context, dir string) error
}

// remove takes an application off the node, but for its data and secrets. The way back from
// its last update ends.
func (p *Performer) remove(ctx context.Context, d state.Desired, a plan.Action) error {
	app := d.App
	if data := p.store.Data(app); data.App != "" && d.Manifest != nil && !maps.Equal(data.Settings, d.Manifest.SecretRefs(d.Config)) {
		data.Settings = d.Manifest.SecretRefs(d.Config)
		if err := p.store.PutData(data); err != nil {
			return err
		}
	}
	p.say(app, "removing containers and units")
	// A network's unit is a oneshot that stays active; without this a later install
	// would believe that the network exists. Its file may be gone already.
	for _, file := range plan.Union([]string{quadlet.Network(app) + ".network"}, a.Gone) {
		if network, ok := strings.CutSuffix(file, ".network"); ok {
			if err := p.engine.StopUnit(ctx, quadlet.NetworkService(network)); err != nil {
				return err
			}
		}
	}
	if err := p.engine.WriteUnits(ctx, nil, a.Gone); err != nil {
		return err
	}
	if err := p.engine.Remove(ctx, app, a.Units); err != nil {
		return err
	}
	if d.Previous != nil { // what is installed next is no step from there
		if err := p.engine.DeleteTree(ctx, p.copyOf(app, d.Previous.Copy)); err != nil {
			return err
		}
	}
	return p.deleteFiles(app)
}

// purge deletes an application's data and secrets, for ever.
func (p *Performer) purge(ctx context.Context, d state.Desired) error {
	return Long(p.observer, d.App, "deleting data", func() error { return p.deleteData(ctx, d) })
}

func (p *Performer) deleteData(ctx context.Context, d state.Desired) error {
	trees := []string{p.home(d.App)}
	if fault.Planted(fault.FolderLeft) {
		trees = p.volumeDirs(d.App)
	}
	if err := p.deleteMoved(ctx, d.App); err != nil {
		return err
	}
	for _, dir := range trees {
		if err := p.engine.DeleteTree(ctx, dir); err != nil {
			return err
		}
	}
	if !d.Purge {
		return nil
	}
	copies, err := p.copies(d.App)
	if err != nil {
		return err
	}
	for _, dir := range copies {
		if err := p.engine.DeleteTree(ctx, dir); err != nil {
			return err
		}
	}
	if err := p.deleteFiles(d.App); err != nil {
		return err
	}
	if err := p.secrets.Delete(d.App); err != nil {
		return err
	}
	return p.store.DeleteData(d.App)
}

// deleteMoved deletes what of an application's data is outside its own directory. Where the
// directory is gone that a move made for the application, the disk is, and with it data that
// nobody would remember: that is found before anything is deleted.
func (p *Performer) deleteMoved(ctx context.Context, app string) error {
	places := p.store.Data(app).Places
	volumes := slices.Sorted(maps.Keys(places))
	for _, volume := range volumes {
		dir := places[volume].Dir
		if made := filepath.Dir(dir); dir != "" && !exists(made) {
			return fmt.Errorf("its volume %s is at %s, which is not there, so it cannot be deleted; connect and mount its disk, or, if that is lost, make the directory %s", volume, dir, made)
		}
	}
	for _, volume := range volumes {
		place := places[volume]
		doomed := []string{place.Left}
		if place.To != "" {
			doomed = append(doomed, place.To, place.To+".new")
		}
		if place.Dir != "" {
			doomed = append(doomed, place.Dir)
		}
		for i, dir := range doomed {
			if dir == "" || filepath.Dir(dir) == p.home(app) {
				continue
			}
			if i == len(doomed)-1 && place.Dir != "" {
				// On record before it is gone: it is not to be taken for a disk that is.
				if err := p.store.UpdateData(app, func(d state.Data) state.Data { return d.At(volume, state.Place{Left: dir}) }); err != nil {
					return err
				}
			}
			if err := p.engine.DeleteMoved(ctx, dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// copies are all that updates, backups and restores have left of an application's data.
func (p *Performer) copies(app string) (dirs []string, err error) {
	dirs = []string{p.copyOf(app, "")}
	entries, err := os.ReadDir(Snapshots(p.dataDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if of, _, more := strings.Cut(e.Name(), "."); of == app && more { // no id has a dot
			dirs = append(dirs, filepath.Join(Snapshots(p.dataDir), e.Name()))
		}
	}
	return dirs, nil
}
