package orchestrator

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/storage"
)

// Folder is a folder of the owner's as people and programs see it.
type Folder struct {
	Name, Dir string
	Apps      []string // that have it
	Problem   string   // why it cannot be used now, and what to do
}

// Folders gives the owner's folders, sorted by name.
func (r *Reconciler) Folders() ([]Folder, error) {
	if err := r.store.FoldersBroken(); err != nil {
		return nil, err
	}
	records := r.store.Records()
	why := r.folders.Look(records.Folders)
	out := []Folder{}
	for _, name := range slices.Sorted(maps.Keys(records.Folders)) {
		dir := records.Folders[name].Dir
		out = append(out, Folder{name, dir, request.HaveFolder(records, name), cmp.Or(r.diskless(dir), why[name])})
	}
	return out, nil
}

// AddFolder gives a directory of the owner's a name, by which applications may have it with
// the owner's consent, and opens it to all of them; where all is true, also what is in it
// already, and left is how many files could not be. To add a folder again repairs what opens
// it. A folder that has moved, with its mark, is known by that.
func (r *Reconciler) AddFolder(ctx context.Context, name, dir string, all bool, who string) (f Folder, left int, err error) {
	f.Name = name
	left, err = r.addFolder(ctx, &f, dir, all)
	r.audit(who, "", fmt.Sprintf("storage add %s %s", name, dir), err)
	if err != nil {
		return f, 0, err
	}
	r.useDisk(f.Dir)
	f.Apps = request.HaveFolder(r.store.Records(), name)
	r.know(func(k *host.Known) { // it has just been tried
		k.Folders = maps.Clone(k.Folders)
		delete(k.Folders, name)
	})
	r.Wake() // somebody may wait for it
	return f, left, nil
}

func (r *Reconciler) addFolder(ctx context.Context, f *Folder, dir string, all bool) (left int, err error) {
	if f.Dir, err = r.place(f.Name, dir, r.dataDir); err != nil {
		return 0, fmt.Errorf("%w: %w", request.ErrRefused, err)
	}
	fits := func(folders map[string]manifest.Folder) error {
		if at := overlap(f.Dir, r.store.Records()); at != "" {
			return fmt.Errorf("%w: %w: %s and %s, where a volume of an application was moved, would share files", request.ErrRefused, storage.ErrPlace, f.Dir, at)
		}
		if err := storage.Fits(f.Name, f.Dir, folders); err != nil {
			return fmt.Errorf("%w: %w", request.ErrRefused, err)
		}
		had, known := folders[f.Name]
		if !known || had.Dir == f.Dir {
			return nil
		}
		// Also the old place may have the mark: of a copy, the owner says which counts.
		if id, err := storage.ReadMark(f.Dir, f.Name); err != nil || id != had.ID {
			return fmt.Errorf("%w: the folder %s is %s already; if it has moved, move its %s with it, and if another one is to have the name, 'archy storage remove %s' first", request.ErrRefused, f.Name, had.Dir, manifest.Mark(f.Name), f.Name)
		}
		return nil
	}
	// Nothing is done to a directory that is refused anyway.
	if err := r.store.FoldersBroken(); err != nil {
		return 0, err
	}
	if err := fits(r.store.Records().Folders); err != nil {
		return 0, err
	}
	id, left, err := r.engine.ShareFolder(ctx, f.Dir, f.Name, all)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", request.ErrRefused, err)
	}
	return left, r.changeFolders(func(folders map[string]manifest.Folder, _ state.Records) error {
		if err := fits(folders); err != nil {
			return err
		}
		folders[f.Name] = manifest.Folder{Dir: f.Dir, ID: id}
		return nil
	})
}

// RemoveFolder forgets a folder that no application has. The folder itself, and what is in
// it, stays as it is.
func (r *Reconciler) RemoveFolder(name, who string) error {
	err := r.changeFolders(func(folders map[string]manifest.Folder, records state.Records) error {
		if err := request.ForgetFolder(records, name); err != nil {
			return err
		}
		delete(folders, name)
		return nil
	})
	r.audit(who, "", "storage remove "+name, err)
	return err
}

func (r *Reconciler) changeFolders(change func(map[string]manifest.Folder, state.Records) error) error {
	if err := r.store.ChangeFolders(change); err != nil {
		return err
	}
	r.renderer.SetFolders(r.store.Records().Folders)
	return nil
}
