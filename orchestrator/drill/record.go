package drill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/render"
)

// record is what a drill makes on the node, written before any of it is there.
type record struct {
	App        string   `json:"app"`        // under its name in the drill
	Containers []string `json:"containers"` // each after those that it depends on
	Files      []string `json:"files"`      // in the Quadlet directory
}

func (d *Drills) file() string { return filepath.Join(d.DataDir, manifest.OwnDir, "drill.json") }

func (d *Drills) write(r record) error {
	js, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(d.file(), js, 0o600); err != nil {
		return fmt.Errorf("recording a restore drill: %w", err)
	}
	return nil
}

// Left is the application whose drill is on record; empty where there is none.
func (d *Drills) Left() (app string, err error) {
	r, there, err := d.read()
	if err != nil || !there {
		return "", err
	}
	app, _ = Of(r.App)
	return app, nil
}

func (d *Drills) read() (r record, there bool, err error) {
	js, err := os.ReadFile(d.file())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return r, false, nil
	case err != nil:
		return r, false, err
	}
	if err := json.Unmarshal(js, &r); err != nil {
		return r, true, fmt.Errorf("%s: %w; remove it", d.file(), err)
	}
	if _, ok := Of(r.App); !ok {
		return r, true, fmt.Errorf("%s names %q, which is no drill; remove it", d.file(), r.App)
	}
	return r, true, nil
}

// Tidy removes what a drill has left whose end was cut off, if one is on record. It waits for
// the drill that is under way.
func (d *Drills) Tidy(ctx context.Context) error {
	if err := d.begin(ctx); err != nil {
		return err
	}
	defer d.end()
	return d.tidy(ctx)
}

func (d *Drills) tidy(ctx context.Context) error {
	r, there, err := d.read()
	if err != nil || !there {
		return err
	}
	d.Log.Warn("removing what a restore drill has left", "app", r.App)
	return d.remove(ctx, r)
}

// Sweep removes what drills have left, when the daemon starts: what is on record, and what of
// an observation carries a drill's label.
func (d *Drills) Sweep(ctx context.Context, seen host.Observation) error {
	if err := d.begin(ctx); err != nil {
		return err
	}
	defer d.end()
	err := d.tidy(ctx)
	for _, r := range labelled(seen) {
		d.Log.Warn("removing what a restore drill has left", "app", r.App)
		err = errors.Join(err, d.remove(ctx, r))
	}
	return err
}

// labelled are the drills of which something is there.
func labelled(seen host.Observation) (all []record) {
	found := map[string]record{}
	for name, c := range seen.Containers {
		if _, ok := Of(c.App); ok {
			r := found[c.App]
			r.Containers = append(r.Containers, name)
			found[c.App] = r
		}
	}
	for app, files := range render.FilesByApp(seen.Files) {
		if _, ok := Of(app); !ok {
			continue
		}
		r := found[app]
		r.Files = append(r.Files, files...)
		for _, file := range files {
			if name, ok := render.ContainerOf(file); ok && !slices.Contains(r.Containers, name) {
				r.Containers = append(r.Containers, name)
			}
		}
		found[app] = r
	}
	for _, app := range slices.Sorted(maps.Keys(found)) {
		r := found[app]
		r.App = app
		slices.Sort(r.Containers)
		slices.Sort(r.Files)
		all = append(all, r)
	}
	return all
}

// remove takes a drill off the node, and then off the record. Whatever is gone already counts
// as removed.
func (d *Drills) remove(ctx context.Context, r record) error {
	ctx, cancel := context.WithTimeoutCause(ctx, removeTimeout, fmt.Errorf("it took longer than %s", removeTimeout))
	defer cancel()
	units := render.Services(r.Containers)
	slices.Reverse(units)
	for _, unit := range append(units, quadlet.NetworkService(quadlet.Network(r.App))) {
		if err := d.Engine.StopUnit(ctx, unit); err != nil {
			return err
		}
	}
	if err := d.Engine.WriteUnits(ctx, nil, r.Files); err != nil {
		return err
	}
	if err := d.Engine.Remove(ctx, r.App, r.Containers); err != nil {
		return err
	}
	if err := os.RemoveAll(quadlet.FilesDir(d.DataDir, r.App)); err != nil {
		return err
	}
	if on, there, err := d.read(); err != nil || !there || on.App != r.App {
		return err
	}
	if err := os.Remove(d.file()); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(d.file()))
}
