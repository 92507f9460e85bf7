package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/orchestrator/backup"
	"github.com/archipelago-cloud/archipelago/orchestrator/drill"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/perform"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// doomed begins the name of a copy that is to be deleted: whatever it was, nothing reads it.
const doomed = ".deleted-"

// needless tells whether a copy that is there when the daemon starts is of no use: what was
// under way ended with the daemon before, but for an update, whose record says how far it is.
// What only might be the last copy of something stays, and is named.
func needless(name string, records state.Records) bool {
	app, _, _ := strings.Cut(name, ".") // no id has a dot
	kind := strings.TrimPrefix(name, app)
	complete, half := strings.CutSuffix(kind, incomplete)
	switch {
	case strings.HasPrefix(name, doomed), strings.HasPrefix(name, ".new-"): // a file that was not written to its end
		return true
	case half && slices.Contains(state.CopyKinds, complete), kind == ".trial", kind == ".backup", strings.HasPrefix(kind, ".backup."): // an incomplete copy; one of data that is in its place
		return true
	case kind == ".restore", kind == ".restore.tar": // of a file that its owner has
		return true
	case slices.Contains(state.CopyKinds, kind):
		d, err := records.Get(app)
		return err == nil && !slices.Contains(d.Copies(), kind)
	}
	return false
}

// snapshots are the names in the directory of copies.
func (r *Reconciler) snapshots() ([]string, error) {
	entries, err := os.ReadDir(perform.Snapshots(r.dataDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// setAside gives what a cut has left another name, so that it can be deleted while others
// begin to use its old one.
func (r *Reconciler) setAside() {
	names, err := r.snapshots()
	if err != nil {
		r.log.Error("copies that a cut has left", "error", err)
	}
	records := r.store.Records()
	for _, name := range names {
		app, _, _ := strings.Cut(name, ".")
		if !needless(name, records) || strings.HasPrefix(name, doomed) || r.backups.Left(app) {
			continue
		}
		if _, err := r.doom(name); err != nil {
			r.log.Error("a copy that a cut has left", "copy", name, "error", err)
			continue
		}
		r.log.Warn("deleting a copy that a cut has left", "copy", name)
	}
}

// doom gives a copy another name, under which nothing reads it, and that name.
func (r *Reconciler) doom(name string) (to string, err error) {
	dir := perform.Snapshots(r.dataDir)
	for next := 0; ; next++ {
		to = filepath.Join(dir, fmt.Sprint(doomed, next))
		if !there(to) {
			return to, os.Rename(filepath.Join(dir, name), to)
		}
	}
}

// restorations names those that were cut off and are neither finished nor undone.
func (r *Reconciler) restorations() host.Finding {
	apps := slices.DeleteFunc(r.backups.Unsettled(), func(app string) bool { return r.backups.Under(app) == backup.Restoring })
	return named("restorations", apps, "the daemon finishes or undoes them when it starts, and 'journalctl --user -u archipelago' says why it could not; 'archy restore' tries again, and 'archy uninstall --purge APP' deletes what there is of one", "cut off, and not at an end yet: ")
}

// endDrills removes what restore drills have left that a cut ended, before their volumes are
// deleted. Where that fails, it is tried again whenever it is looked whether a backup is due.
func (r *Reconciler) endDrills(ctx context.Context) {
	if r.AwaitObserved(ctx) != nil {
		return
	}
	if err := r.drills.Sweep(ctx, r.known.Load().Observation); err != nil && ctx.Err() == nil {
		r.log.Error("what a restore drill has left", "error", err)
	}
}

// drilled names a drill that is on record and not under way.
func (r *Reconciler) drilled() host.Finding {
	const name = "restore drills"
	under := r.drills.Under()
	app, err := r.drills.Left()
	switch {
	case err != nil:
		return host.Finding{Name: name, Detail: err.Error()}
	case app == "" || under || r.drills.Under():
		return host.Finding{Name: name, OK: true, Detail: "nothing is left of any"}
	}
	return host.Finding{Name: name, Detail: "the trial of a backup of " + app + " has not been removed", Remedy: "the daemon tries again every minute; 'journalctl --user -u archipelago' says why it fails"}
}

// sweep deletes what was set aside. What cannot be deleted is named by Findings, and tried
// again at the next start.
func (r *Reconciler) sweep(ctx context.Context) {
	defer r.swept.Store(true)
	names, _ := r.snapshots()
	for _, name := range names {
		if !strings.HasPrefix(name, doomed) {
			continue
		}
		if err := r.engine.DeleteTree(ctx, filepath.Join(perform.Snapshots(r.dataDir), name)); err != nil && ctx.Err() == nil {
			r.log.Error("deleting what a cut has left", "copy", name, "error", err)
		}
	}
}

// Findings are what on the node does not fit its records: copies that nobody uses, and
// containers of applications that are not installed; and what is damaged of who may sign in.
func (r *Reconciler) Findings(ctx context.Context, damaged error) []host.Finding {
	before, drilling := r.store.Records(), r.drills.Under()
	obs, err := r.engine.Observe(ctx)
	strays := host.Finding{Name: "containers of no application"}
	if err != nil {
		strays.Detail = err.Error()
	} else {
		all := slices.DeleteFunc(stray(obs, before, r.store.Records()), func(name string) bool {
			_, of := drill.Of(name)
			return drilling && of
		})
		strays = named(strays.Name, all, "podman rm --force NAME", "they carry this daemon's label, and no record has their application: ")
	}
	return []host.Finding{strays, r.leftovers(), r.restorations(), r.drilled(), r.moves(), r.disks(), r.overdue(), r.told(), signIns(damaged)}
}

func signIns(damaged error) host.Finding {
	f := host.Finding{Name: "who may sign in", OK: damaged == nil, Detail: "the password, second factor, passkeys, users and access tokens can be read"}
	if damaged != nil {
		f.Detail = damaged.Error()
	}
	return f
}

// stray are the containers that bear an application's label, of which there was no record
// before they were looked at, nor after.
func stray(obs host.Observation, before, after state.Records) (names []string) {
	known := func(records state.Records, app string) bool {
		_, err := records.Get(app)
		return !errors.Is(err, state.ErrNotFound)
	}
	for _, name := range slices.Sorted(maps.Keys(obs.Containers)) {
		if app := obs.Containers[name].App; app != "" && !known(before, app) && !known(after, app) {
			names = append(names, name+" ("+app+")")
		}
	}
	return names
}

// leftovers names copies that nothing under way explains.
func (r *Reconciler) leftovers() host.Finding {
	const name = "leftover copies"
	operations, names := r.operations.All(), []string(nil)
	all, err := r.snapshots()
	if err != nil {
		return host.Finding{Name: name, Detail: err.Error()}
	}
	for _, copied := range all {
		app, _, _ := strings.Cut(copied, ".")
		d, err := r.store.Get(app)
		kept := err == nil && slices.Contains(d.Copies(), strings.TrimPrefix(copied, app))
		switch {
		case strings.HasPrefix(copied, doomed) && !r.swept.Load():
		case kept || operations[app].Busy || r.backups.Under(app) != "" || r.backups.Left(app) || err == nil && d.Update != nil:
		default:
			// What was under way may have ended since the directory was read, and the copy with it.
			if _, err := os.Lstat(filepath.Join(perform.Snapshots(r.dataDir), copied)); err == nil {
				names = append(names, copied)
			}
		}
	}
	halves, err := r.halves()
	if err != nil {
		return host.Finding{Name: name, Detail: err.Error()}
	}
	if len(halves) > 0 {
		return named(name, append(halves, names...), "look at them, and remove what you do not need; 'archy uninstall --purge APP' deletes what is in the directory of an application", "nothing uses them (those without a directory are in "+perform.Snapshots(r.dataDir)+"): ")
	}
	return named(name, names, "look at them, and remove what you do not need; those called "+doomed+"… are deleted when the daemon next starts", "in "+perform.Snapshots(r.dataDir)+", and nothing uses them: ")
}

// appID is what the directory of an application is called.
var appID = regexp.MustCompile(`^[a-z0-9-]+$`)

// found tells whether the node has data of an application, on record or not, or of a restoration of it.
func (r *Reconciler) found(app string) bool {
	if !appID.MatchString(app) {
		return false
	}
	info, err := os.Lstat(filepath.Join(r.dataDir, app))
	return r.store.Data(app).App != "" || err == nil && info.IsDir() || r.backups.Left(app)
}

// halves are directories in those of applications that were to become volumes, where whoever
// made them was cut off, and nobody goes on; and all of an application that no record knows:
// of a restore that was cut, or of a record that is lost.
func (r *Reconciler) halves() (dirs []string, err error) {
	homes, err := os.ReadDir(r.dataDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, home := range homes {
		app := home.Name()
		d, err := r.store.Get(app)
		// While work is under way, and until an adoption has ended, somebody goes on.
		if !home.IsDir() || !appID.MatchString(app) || r.operations.Status(app).Busy || r.backups.Under(app) != "" || r.backups.Left(app) || err == nil && len(d.Adopted) > 0 {
			continue
		}
		nobodys := errors.Is(err, state.ErrNotFound) && r.store.Data(app).App == ""
		inside, err := os.ReadDir(filepath.Join(r.dataDir, app))
		if err != nil {
			continue // it may have been deleted meanwhile, or be none of an application's
		}
		for _, e := range inside {
			volume, half := strings.CutSuffix(e.Name(), incomplete)           // no volume's name has a dot
			if nobodys || half && r.store.Data(app).Places[volume].To == "" { // or else it is being moved there
				dirs = append(dirs, filepath.Join(r.dataDir, app, e.Name()))
			}
		}
	}
	return dirs, nil
}

// named is a finding that is good where there are no names.
func named(finding string, names []string, remedy, detail string) host.Finding {
	if len(names) == 0 {
		return host.Finding{Name: finding, OK: true, Detail: "none"}
	}
	return host.Finding{Name: finding, Detail: detail + strings.Join(names, ", "), Remedy: remedy}
}
