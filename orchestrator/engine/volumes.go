package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"

	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
)

const (
	copyTimeout = 2 * time.Hour // of all volumes of an application
	maxOutput   = 64 << 10      // bytes kept of what a helper or a hook says
)

// EnsureVolumes has each directory exist, owned by the id that the container's
// user is mapped to.
func (e *Engine) EnsureVolumes(ctx context.Context, volumes []host.VolumeOwner) error {
	for _, v := range volumes {
		if err := os.MkdirAll(filepath.Dir(v.Dir), 0o711); err != nil {
			return fmt.Errorf("volume %s: %w", v.Dir, err)
		}
		if _, err := os.Stat(v.Dir); err == nil {
			continue
		}
		// Made beside its place and renamed, so that it never exists with another owner.
		script := `mkdir -p "$1.new" && chown "$2" "$1.new" && chmod 0700 "$1.new" && mv -T "$1.new" "$1"`
		if err := e.unshare(ctx, changeTimeout, script, v.Dir, fmt.Sprintf("%d:%d", v.UID, v.GID)); err != nil {
			return fmt.Errorf("volume %s: %w", v.Dir, err)
		}
		if err := atomicfile.SyncDir(filepath.Dir(v.Dir)); err != nil {
			return fmt.Errorf("volume %s: %w", v.Dir, err)
		}
	}
	return nil
}

// DeleteTree destroys a directory that holds files of mapped owners.
func (e *Engine) DeleteTree(ctx context.Context, dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return e.unshare(ctx, changeTimeout, `rm -rf --one-file-system -- "$1"`, dir)
}

// spaceLeft is how much of the file system a copy leaves free, in KiB.
const spaceLeft = 256 << 10

// CopyVolumes makes dir a complete copy of directories, each under its own name:
// by reflink where the file system can. It is refused where the space for a full
// copy is missing; an incomplete copy never bears the name.
func (e *Engine) CopyVolumes(ctx context.Context, dirs []string, dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return fmt.Errorf("copying volumes: %w", err)
	}
	script := `to=$1; shift
rm -rf --one-file-system -- "$to" "$to.new" "$to.old"; mkdir "$to.new"
[ $# = 0 ] || need=$(du -skc -- "$@" | tail -n1 | cut -f1)
free=$(df -Pk -- "$to.new" | awk 'NR==2{print $4}')
if [ $((${need:-0} + ` + fmt.Sprint(spaceLeft) + `)) -gt "$free" ]; then echo "the copy needs $((need / 1024)) MiB and leaves less than 256 MiB of the $((free / 1024)) MiB that are free" >&2; rmdir "$to.new"; exit 1; fi
for d; do cp -a --reflink=auto -- "$d" "$to.new/"; done
sync -f "$to.new"; mv -T -- "$to.new" "$to"; sync -f "$to"`
	if err := e.unshare(ctx, copyTimeout, script, append([]string{dir}, dirs...)...); err != nil {
		return fmt.Errorf("copying volumes: %w", err)
	}
	return nil
}

// PutBack has the copies in dir take the place of the directories of the same name
// in home; what they replace goes. Repeated after a cut, it goes on.
func (e *Engine) PutBack(ctx context.Context, dir, home string) error {
	script := `[ -d "$1" ] || exit 0
old=$1.old; mkdir -p -- "$old" "$2"
for d in "$1"/*; do
  [ -d "$d" ] || continue
  v=$2/${d##*/}
  if [ -e "$v" ]; then rm -rf --one-file-system -- "$old/${d##*/}"; mv -T -- "$v" "$old/${d##*/}"; fi
  mv -T -- "$d" "$v"
done
sync -f "$2"; rm -rf --one-file-system -- "$1" "$old"`
	if err := e.unshare(ctx, changeTimeout, script, dir, home); err != nil {
		return fmt.Errorf("putting volumes back: %w", err)
	}
	return nil
}

// TakeOver copies what another container kept at from into a new volume, for this
// owner; where the volume exists it is left alone.
func (e *Engine) TakeOver(ctx context.Context, from string, to host.VolumeOwner) error {
	if err := os.MkdirAll(filepath.Dir(to.Dir), 0o711); err != nil {
		return fmt.Errorf("taking over %s: %w", from, err)
	}
	script := `[ ! -e "$2" ] || exit 0
rm -rf --one-file-system -- "$2.new"; need=$(du -sk -- "$1" | cut -f1); free=$(df -Pk -- "${2%/*}" | awk 'NR==2{print $4}')
if [ $((need + ` + fmt.Sprint(spaceLeft) + `)) -gt "$free" ]; then echo "the copy needs $((need / 1024)) MiB and leaves less than 256 MiB of the $((free / 1024)) MiB that are free" >&2; exit 1; fi
cp -a --reflink=auto -- "$1" "$2.new"; chown -R "$3" "$2.new"; chmod 0700 "$2.new"; sync -f "$2.new"; mv -T -- "$2.new" "$2"; sync -f "$2"`
	if err := e.unshare(ctx, copyTimeout, script, from, to.Dir, fmt.Sprintf("%d:%d", to.UID, to.GID)); err != nil {
		return fmt.Errorf("taking over %s: %w", from, err)
	}
	return nil
}

// Archive writes a directory's content to file, a pipe, as tar; Extract reads it
// from there into a new directory. Owners are kept as the container sees them.
func (e *Engine) Archive(ctx context.Context, dir, file string) error {
	return e.unshare(ctx, copyTimeout, `tar --numeric-owner --xattrs -C "$1" -cf "$2" .`, dir, file)
}

// Extract is the inverse of Archive.
func (e *Engine) Extract(ctx context.Context, file, dir string) error {
	return e.unshare(ctx, copyTimeout, `rm -rf --one-file-system -- "$2"; mkdir -p -- "$2"; tar --numeric-owner --xattrs -C "$2" -xpf "$1"; sync -f "$2"`, file, dir)
}

// execStartEx is a command as systemd's D-Bus interface takes it (org.freedesktop.systemd1(5)).
type execStartEx struct {
	Path  string
	Argv  []string
	Flags []string
}

// unshare runs a shell script where the user namespace's ids can be given: in
// "podman unshare", started by systemd as a transient unit, so that the daemon
// itself needs no privilege. What it says on standard error is in the error.
func (e *Engine) unshare(ctx context.Context, timeout time.Duration, script string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	e.systemd.mu.Lock()
	e.systemd.helper++
	name := fmt.Sprintf("archipelago-unshare-%d-%d.service", os.Getpid(), e.systemd.helper)
	e.systemd.mu.Unlock()
	said, err := os.CreateTemp(e.runtime, "archipelago-unshare-*")
	if err != nil {
		return err
	}
	defer os.Remove(said.Name())
	defer said.Close()
	argv := append([]string{"/usr/bin/podman", "unshare", "/bin/sh", "-euc", script, "sh"}, args...)
	result := make(chan string, 1)
	_, err = e.systemd.conn.StartTransientUnitContext(ctx, name, "replace", []dbus.Property{
		dbus.PropDescription("archipelago: volumes"),
		dbus.PropType("oneshot"),
		// Without expansion by systemd: it would take ${name…} for a variable of its own
		// and, worse, mean something else by $ once it has reloaded.
		{Name: "ExecStartEx", Value: godbus.MakeVariant([]execStartEx{{argv[0], argv, []string{"no-env-expand"}}})},
		{Name: "CollectMode", Value: godbus.MakeVariant("inactive-or-failed")},
		{Name: "StandardErrorFileToAppend", Value: godbus.MakeVariant(said.Name())},
	}, result)
	if err != nil {
		return fmt.Errorf("podman unshare: %w", err)
	}
	select {
	case r := <-result:
		if r == "done" {
			return nil
		}
		b := make([]byte, maxOutput)
		n, _ := said.Read(b)
		if text := strings.TrimSpace(string(b[:n])); text != "" {
			return errors.New(text)
		}
		return fmt.Errorf("podman unshare: %s; see journalctl --user -u %s", r, name)
	case <-ctx.Done():
		// Not left to change files behind the back of whoever comes next.
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), changeTimeout)
		defer cancel()
		ended := make(chan string, 1)
		if _, err := e.systemd.conn.StopUnitContext(stop, name, "replace", ended); err == nil {
			select {
			case <-ended:
			case <-stop.Done():
			}
		}
		return fmt.Errorf("podman unshare: %w", context.Cause(ctx))
	}
}
