package orchestrator

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/archipelago-cloud/archipelago/orchestrator/disk"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// lookAtDisks has an observation say which volumes, and which of the owner's folders, are not on
// the disks that they were on; of those that are there, the disk is recorded where none is yet.
func (r *Reconciler) lookAtDisks(obs *host.Observation, records state.Records) {
	mounts, err := r.mounted()
	if err != nil {
		r.log.Warn("disks cannot be looked at", "error", err)
		return
	}
	known := r.store.Disks()
	obs.Disks = map[string]string{}
	for app, data := range records.Data {
		d, _ := records.Get(app)
		for _, p := range data.Places {
			for _, dir := range []string{p.Dir, p.Left} {
				if d.Purge && mounts.Of(dir).At != known[dir].At && there(filepath.Dir(dir)) && !there(dir) {
					continue // that its owner has made, since the disk is lost
				}
				if why := mounts.Absent(dir, known[dir]); why != "" {
					obs.Disks[dir] = why
				}
			}
		}
		for _, volume := range data.Volumes { // also where its owner has mounted a disk in the application's directory
			dir := data.Dir(r.dataDir, app, volume)
			if why := mounts.Absent(dir, known[dir]); why != "" && data.Places[volume].Dir == "" && !(d.Purge && !there(dir)) {
				obs.Disks[dir] = why
			}
			if obs.Disks[dir] == "" && records.Installed(app) && !slices.Contains(obs.Missing[app], volume) {
				r.learnDisk(dir, known, mounts)
			}
		}
	}
	for name, f := range records.Folders {
		if why := mounts.Absent(f.Dir, known[f.Dir]); why != "" {
			obs.Folders[name] = why
		} else if obs.Folders[name] == "" {
			r.learnDisk(f.Dir, known, mounts)
		}
	}
}

// learnDisk records the disk of a directory that is there, if none is known yet and it has one of
// its own.
func (r *Reconciler) learnDisk(dir string, known map[string]disk.Disk, mounts disk.Mounts) {
	if _, has := known[dir]; has || r.store.DisksBroken() != nil {
		return
	}
	if d, apart := r.apart(dir, mounts); apart {
		r.setDisk(dir, d)
	}
}

// useDisk records that the disk that a directory is on now is the one that it is to be on: its
// owner has just named the directory.
func (r *Reconciler) useDisk(dir string) {
	mounts, err := r.mounted()
	if err != nil {
		r.log.Warn("the disk of a directory is not known", "directory", dir, "error", err)
		return
	}
	d, _ := r.apart(dir, mounts)
	r.setDisk(dir, d)
}

// apart gives the disk of a directory where that is another one than the system's, the data's and
// that of the user's home: without these nothing runs anyway. Where a symbolic link leads cannot
// be told later.
func (r *Reconciler) apart(dir string, mounts disk.Mounts) (d disk.Disk, apart bool) {
	if _, apart := mounts.Apart(dir, "/"); !apart { // as most are, at every pass
		return disk.Disk{}, false
	}
	var others []string
	home, err := os.UserHomeDir()
	if err != nil {
		return disk.Disk{}, false
	}
	for _, other := range []string{r.dataDir, home} {
		if other, err = filepath.EvalSymlinks(other); err != nil {
			return disk.Disk{}, false
		}
		others = append(others, other)
	}
	if d, apart = mounts.Apart(dir, others...); !apart {
		return disk.Disk{}, false
	}
	if at, err := filepath.EvalSymlinks(dir); err != nil || at != dir {
		return disk.Disk{}, false
	}
	return d, true
}

func (r *Reconciler) setDisk(dir string, d disk.Disk) {
	if err := r.store.SetDisk(dir, d); err != nil {
		r.log.Error("remembering a disk", "error", err)
		return
	}
	r.renderer.SetDisks(r.store.Disks())
}

// forgetDisks forgets the disks of directories that nothing is in any more.
func (r *Reconciler) forgetDisks() {
	records := r.store.Records()
	repositories, err := r.backups.To.List()
	if err != nil || len(records.Broken) > 0 || r.store.FoldersBroken() != nil {
		return // what may be in use is not known
	}
	used := map[string]bool{}
	for app, data := range records.Data {
		for _, p := range data.Places {
			used[p.Dir], used[p.Left] = true, true
		}
		for _, volume := range data.Volumes {
			used[data.Dir(r.dataDir, app, volume)] = true
		}
	}
	for _, f := range records.Folders {
		used[f.Dir] = true
	}
	for _, repo := range repositories {
		if repo.Problem != "" {
			return
		}
		used[repo.URL] = true
	}
	for dir := range r.store.Disks() {
		if !used[dir] {
			r.setDisk(dir, disk.Disk{})
		}
	}
}

// diskless says which disk a directory is not on that it was on, and what to do; empty where it
// is there, or nothing is known.
func (r *Reconciler) diskless(dir string) string {
	was, known := r.store.Disks()[dir]
	if !known {
		return ""
	}
	mounts, err := r.mounted()
	if err != nil {
		return ""
	}
	return mounts.Absent(dir, was)
}

// Absent is why a repository's directory is not on its disk, for backups.
func (n backupNode) Absent(dir string) string { return n.r.diskless(dir) }

// Found has the disk of a repository that was just used be recorded, if none is yet.
func (n backupNode) Found(dir string) {
	if mounts, err := n.r.mounted(); err == nil && filepath.IsAbs(dir) {
		n.r.learnDisk(dir, n.r.store.Disks(), mounts)
	}
}

// writable tells whether there is a directory to which the daemon's user, or everybody, may
// write. In the daemon's sandbox, all other users are one.
func writable(dir string) bool {
	var s unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, dir, 0, unix.STATX_BASIC_STATS, &s)
	return err == nil && s.Attributes&unix.STATX_ATTR_IMMUTABLE == 0 && (s.Mode&0o022 != 0 || int(s.Uid) == os.Getuid())
}

// disks says which disks the node waits for, and where something could be written in the place
// of one.
func (r *Reconciler) disks() host.Finding {
	const name = "disks"
	if err := r.store.DisksBroken(); err != nil {
		return host.Finding{Name: name, Detail: err.Error(), Remedy: "move the file away, or install a daemon at least as new"}
	}
	r.forgetDisks()
	known := r.store.Disks()
	var there, absent, open []string
	for _, dir := range slices.Sorted(maps.Keys(known)) {
		at := known[dir].At
		why := r.diskless(dir)
		if why == "" {
			there = append(there, fmt.Sprintf("%s at %s", known[dir], at))
			continue
		}
		absent = append(absent, why)
		if writable(at) {
			open = append(open, at)
		}
	}
	there, absent, open = slices.Compact(there), slices.Compact(absent), slices.Compact(open)
	switch {
	case len(open) > 0:
		at := strings.Join(open, " ")
		return host.Finding{Name: name, Detail: "waiting for " + strings.Join(absent, ", ") + "; until then, something could be written beneath", Remedy: "sudo chown root: " + at + "; sudo chmod 755 " + at + "; sudo chattr +i " + at}
	case len(absent) > 0:
		return host.Finding{Name: name, Detail: "waiting for " + strings.Join(absent, ", "), Remedy: "connect and mount it"}
	case len(there) > 0:
		return host.Finding{Name: name, OK: true, Detail: strings.Join(there, ", ")}
	}
	return host.Finding{Name: name, OK: true, Detail: "the system's alone"}
}
