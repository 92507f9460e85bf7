package engine

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
)

// What a copy leaves free of the file system, in KiB.
const (
	spaceReserve = "262144"
	returnSlack  = "16384" // on the way back, which nothing takes the place of: two disks do not store the same in as much
)

// scripts are what runs outside the daemon's sandbox, most of it inside the user namespace; each says at its top what it does.
//
//go:embed scripts
var scripts embed.FS

// ErrLink is wrapped where a volume is a symbolic link: a copy of it would be empty, and what
// it leads to need not be the application's.
var ErrLink = errors.New("a symbolic link")

// EnsureVolumes makes the directories that do not exist, owned by the id that the
// container's user is mapped to. An empty file system that is mounted there is given to
// that id.
func (e *Engine) EnsureVolumes(ctx context.Context, volumes []host.VolumeOwner) error {
	var words, parents []string
	for _, v := range volumes {
		parent := filepath.Dir(v.Dir)
		if err := os.MkdirAll(parent, 0o711); err != nil {
			return fmt.Errorf("volume %s: %w", v.Dir, err)
		}
		there, err := volumeThere(v.Dir)
		if err != nil {
			return err
		}
		if there {
			continue
		}
		words = append(words, v.Dir, fmt.Sprintf("%d:%d", v.UID, v.GID))
		if !slices.Contains(parents, parent) {
			parents = append(parents, parent)
		}
	}
	if len(words) == 0 {
		return nil
	}
	// One process for all of them. It stops at the first that it cannot make, and names it.
	if err := e.runScript(ctx, quick, "ensure-volumes.sh", words...); err != nil {
		return fmt.Errorf("making volumes: %w", err)
	}
	for _, dir := range parents {
		if err := atomicfile.SyncDir(dir); err != nil {
			return fmt.Errorf("volumes in %s: %w", dir, err)
		}
	}
	return nil
}

// volumeThere tells whether a volume exists as its application is to find it. A mount point
// has yet to be looked at.
func volumeThere(dir string) (bool, error) {
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("volume %s: %w", dir, err)
	case info.Mode()&fs.ModeSymlink != 0:
		return false, fmt.Errorf("volume %s: it is %w; move what it leads to in its place, or mount that there", dir, ErrLink)
	case !info.IsDir():
		return false, fmt.Errorf("volume %s: it is no directory; move it away", dir)
	}
	parent, err := os.Stat(filepath.Dir(dir))
	if err != nil {
		return false, fmt.Errorf("volume %s: %w", dir, err)
	}
	own, ok := info.Sys().(*syscall.Stat_t)
	above, ok2 := parent.Sys().(*syscall.Stat_t)
	return !ok || !ok2 || own.Dev == above.Dev, nil
}

// DeleteTree deletes a directory that holds files of mapped owners. A mount point in it is
// emptied and stays, and so does the directory then.
func (e *Engine) DeleteTree(ctx context.Context, dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := e.runScript(ctx, patient, "delete-tree.sh", dir); err != nil {
		return fmt.Errorf("deleting %s: %w", dir, err)
	}
	return nil
}

// full is what the scripts say where something does not fit.
const full = "make room on that disk"

// lacking wraps host.ErrNoRoom where a script says that something does not fit.
func lacking(err error) error {
	if err != nil && strings.Contains(err.Error(), full) {
		return fmt.Errorf("%w: %w", host.ErrNoRoom, err)
	}
	return err
}

// fits fails with host.ErrNoRoom if volumes cannot be emptied and filled with their copies in
// the directory from, and leave so much of their disks free.
func (e *Engine) fits(ctx context.Context, reserve, from string, volumes []string) error {
	if len(volumes) == 0 {
		return nil
	}
	return lacking(e.runScript(ctx, patient, "fits.sh", append([]string{reserve, from}, volumes...)...))
}

// CopyVolumes makes dir a complete copy of directories, each under its own name, by
// reflink where the file system can. It fails with host.ErrNoRoom if there is no space for a
// full copy. An incomplete copy never bears the name.
func (e *Engine) CopyVolumes(ctx context.Context, dirs []string, dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return fmt.Errorf("copying volumes: %w", err)
	}
	if err := lacking(e.runScript(ctx, patient, "copy-volumes.sh", append([]string{spaceReserve, dir}, dirs...)...)); err != nil {
		return fmt.Errorf("copying volumes: %w", err)
	}
	return nil
}

// swapSuffix ends the name of what an exchange has so far of the directory that it makes.
const swapSuffix = ".swap"

// BeginExchange prepares Exchange(ctx, dirs, from, to), which then needs no room where copies are:
// volumes that cannot be moved there, because they are mount points or on another disk, are
// copied, as by CopyVolumes. It fails if their own disk has no room for what they are to hold. No
// volume is changed.
func (e *Engine) BeginExchange(ctx context.Context, dirs []string, from, to string) error {
	fixed, err := unmovable(dirs, to)
	if err != nil {
		return err
	}
	if err := e.fits(ctx, spaceReserve, from, fixed); err != nil {
		return fmt.Errorf("exchanging volumes: %w", err)
	}
	return e.CopyVolumes(ctx, fixed, to+swapSuffix)
}

// unmovable are the volumes that cannot be moved to beside the directory to, which is made there.
func unmovable(dirs []string, to string) (fixed []string, err error) {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return nil, fmt.Errorf("exchanging volumes: %w", err)
	}
	for _, dir := range dirs {
		moves, err := movable(dir, filepath.Dir(to))
		if err != nil {
			return nil, fmt.Errorf("exchanging volumes: %w", err)
		}
		if !moves {
			fixed = append(fixed, dir)
		}
	}
	return fixed, nil
}

// movable tells whether a volume can be moved into a directory: by a rename, since a copy that a
// power cut ends looks like one. A volume that is not there can, but not one whose place is not
// there: its disk may come back with it.
func movable(volume, into string) (bool, error) {
	var of, at unix.Statx_t
	const mask = unix.STATX_BASIC_STATS | unix.STATX_MNT_ID
	err := unix.Statx(unix.AT_FDCWD, volume, unix.AT_SYMLINK_NOFOLLOW, mask, &of)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Dir(volume)); err != nil {
			return false, fmt.Errorf("%s, where the volume is to be, is not there; connect and mount its disk: %w", filepath.Dir(volume), err)
		}
		return true, nil
	}
	if err == nil {
		err = unix.Statx(unix.AT_FDCWD, into, 0, mask, &at)
	}
	root := of.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
	return !root && of.Mnt_id == at.Mnt_id && of.Dev_major == at.Dev_major && of.Dev_minor == at.Dev_minor, err
}

// Exchange has volumes hold what their copies in the directory from hold, each under its own
// name, and makes a directory to of what they held. A volume that has no copy is moved there,
// or, where it cannot be moved, stays as it is. It fails with host.ErrNoRoom, and has emptied
// nothing, where what cannot be moved does not fit. Called again after that, or a power cut, it
// continues, and does nothing once it is done.
func (e *Engine) Exchange(ctx context.Context, dirs []string, from, to string) error {
	there := func(dir string) bool { _, err := os.Lstat(dir); return err == nil }
	switch {
	case there(from):
		fixed, err := unmovable(dirs, to)
		if err != nil {
			return err
		}
		if err := e.fits(ctx, returnSlack, from, fixed); err != nil {
			return fmt.Errorf("exchanging volumes: %w", err)
		}
		if !there(to + swapSuffix) { // on the way back from a way back
			if err := e.CopyVolumes(ctx, fixed, to+swapSuffix); err != nil {
				return err
			}
		}
	case !there(to+swapSuffix) && !there(to):
		return fmt.Errorf("exchanging volumes: the copy %s is gone", from)
	}
	if err := e.runScript(ctx, patient, "exchange.sh", append([]string{from, to}, dirs...)...); err != nil {
		return fmt.Errorf("exchanging volumes: %w", err)
	}
	return nil
}

// PutBack moves the copies in dir to the places of the directories of the same name in
// home, and deletes what they replace. It fails with host.ErrNoRoom, and has changed nothing,
// where a volume that is a mount point has no room for its copy. Called again after that, or a
// power cut, it continues.
func (e *Engine) PutBack(ctx context.Context, dir, home string) error {
	mounted, err := mountPoints(dir, home)
	if err == nil {
		err = e.fits(ctx, returnSlack, dir, mounted)
	}
	if err == nil {
		err = e.runScript(ctx, patient, "put-back.sh", dir, home)
	}
	if err != nil {
		return fmt.Errorf("putting volumes back: %w", err)
	}
	return nil
}

// mountPoints are the volumes in home that are mount points and have a copy in dir.
func mountPoints(dir, home string) (mounted []string, err error) {
	copies, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, c := range copies {
		volume := filepath.Join(home, c.Name())
		if _, err := os.Lstat(volume); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		moves, err := movable(volume, dir)
		if err != nil {
			return nil, err
		}
		if !moves {
			mounted = append(mounted, volume)
		}
	}
	return mounted, nil
}

// Refill has a volume that was moved to dir hold what its copy holds, which is one of several in
// a directory that PutBack is given next. It fails with host.ErrNoRoom, and has changed nothing,
// where that does not fit. Called again after that, or a power cut, it continues.
func (e *Engine) Refill(ctx context.Context, copy, dir string) error {
	var err error
	if _, there := os.Stat(dir); there == nil { // refill.sh says what to do where it is not
		err = e.fits(ctx, returnSlack, filepath.Dir(copy), []string{dir})
	}
	if err == nil {
		err = e.runScript(ctx, patient, "refill.sh", copy, dir, filepath.Dir(copy)+".old")
	}
	if err != nil {
		return fmt.Errorf("putting volumes back: %w", err)
	}
	return nil
}

// CopyTo makes a directory, of which nothing is there, a complete copy of a volume. Of one that
// failed, DeleteMoved deletes the rest, whose name ends in ".new".
func (e *Engine) CopyTo(ctx context.Context, from, to string) error {
	if err := e.runScript(ctx, patient, "copy-to.sh", spaceReserve, from, to); err != nil {
		return fmt.Errorf("copying %s: %w", from, err)
	}
	return nil
}

// DeleteMoved deletes a directory that a move has made, and the one above, if that is empty.
func (e *Engine) DeleteMoved(ctx context.Context, dir string) error {
	if err := e.runScript(ctx, patient, "delete-moved.sh", dir); err != nil {
		return fmt.Errorf("deleting %s: %w", dir, err)
	}
	return nil
}

// TakeOver copies what another container kept at from into a new volume, for this
// owner. An existing volume stays as it is.
func (e *Engine) TakeOver(ctx context.Context, from string, to host.VolumeOwner) error {
	if err := os.MkdirAll(filepath.Dir(to.Dir), 0o711); err != nil {
		return fmt.Errorf("taking over %s: %w", from, err)
	}
	if err := e.runScript(ctx, patient, "take-over.sh", spaceReserve, from, to.Dir, fmt.Sprintf("%d:%d", to.UID, to.GID)); err != nil {
		return fmt.Errorf("taking over %s: %w", from, err)
	}
	return nil
}

// Archive writes a directory's content to file, a pipe, as tar; Extract reads it from
// there into a new directory. Owners are kept as the container sees them.
func (e *Engine) Archive(ctx context.Context, dir, file string) error {
	return e.unshare(ctx, patient, "tar", "--numeric-owner", "--xattrs", "-C", dir, "-cf", file, ".")
}

// Extract is the inverse of Archive.
func (e *Engine) Extract(ctx context.Context, file, dir string) error {
	return e.runScript(ctx, patient, "extract.sh", file, dir)
}

// runScript runs one of the scripts inside the user namespace.
func (e *Engine) runScript(ctx context.Context, l limit, name string, args ...string) error {
	argv, err := inShell(name, args)
	if err != nil {
		return err
	}
	return e.unshare(ctx, l, argv...)
}

// inShell is the command that runs one of the scripts.
func inShell(name string, args []string) ([]string, error) {
	body, err := scripts.ReadFile("scripts/" + name)
	return append([]string{"/bin/sh", "-c", string(body), name}, args...), err
}

// unshare runs a command inside the user namespace, where files can belong to its ids,
// with "podman unshare".
func (e *Engine) unshare(ctx context.Context, l limit, command ...string) error {
	_, err := e.helper(ctx, l, "archipelago: volumes", append([]string{"/usr/bin/podman", "unshare"}, command...)...)
	return err
}
