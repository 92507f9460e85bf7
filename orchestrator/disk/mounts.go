package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/archipelago-cloud/archipelago/internal/plain"
)

const (
	table = "/proc/self/mountinfo"
	names = "/dev/disk" // by-uuid and by-label, which udev makes
)

// Disk is a file system of a disk that is mounted, or was.
type Disk struct {
	UUID string `json:"uuid"`           // of the file system; empty where it has none that the node knows, as a network's
	Name string `json:"name,omitempty"` // its label, where it has one
	At   string `json:"at"`             // where it is mounted
}

// String is what people call it, "BIG (0d61…)".
func (d Disk) String() string {
	if d.Name == "" {
		return d.UUID
	}
	return d.Name + " (" + d.UUID + ")"
}

// Mounts are the file systems that are mounted, as the kernel lists them: the later of two
// covers what the earlier one has there.
type Mounts []Disk

// Mounted gives what is mounted now. It asks no file system, of which one may be silent for ever.
func Mounted() (Mounts, error) {
	b, err := os.ReadFile(table)
	if err != nil {
		return nil, err
	}
	return parse(bytes.NewReader(b), names)
}

func parse(r io.Reader, names string) (Mounts, error) {
	list, err := mountinfo.GetMountsFromReader(r, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", table, err)
	}
	uuids, labels := byDevice(filepath.Join(names, "by-uuid")), byDevice(filepath.Join(names, "by-label"))
	out := make(Mounts, len(list))
	for i, m := range list {
		out[i].At = m.Mountpoint
		if device, err := filepath.EvalSymlinks(m.Source); err == nil { // a name of the device mapper's is a link
			out[i].UUID, out[i].Name = uuids[device], labels[device]
		}
	}
	return out, nil
}

// byDevice gives the names of devices that are links in a directory. Whoever made a file system
// chose its label.
func byDevice(dir string) map[string]string {
	out := map[string]string{}
	entries, _ := os.ReadDir(dir) // without udev, there is none
	for _, e := range entries {
		if device, err := filepath.EvalSymlinks(filepath.Join(dir, e.Name())); err == nil {
			name := e.Name()
			if unescaped, err := strconv.Unquote(`"` + name + `"`); err == nil {
				name = unescaped // udev writes "\x20" for a space
			}
			out[device] = plain.Text(name)
		}
	}
	return out
}

// Of gives the disk that a directory is on, or would be on, if it were there. The directory is
// clean and absolute, with no symbolic link on the way.
func (m Mounts) Of(dir string) (d Disk) {
	for _, has := range m {
		if len(has.At) >= len(d.At) && (dir == has.At || strings.HasPrefix(dir, strings.TrimSuffix(has.At, "/")+"/")) {
			d = has
		}
	}
	return d
}

// Apart gives the disk that a directory is on where that is a disk apart from those of others.
func (m Mounts) Apart(dir string, others ...string) (d Disk, apart bool) {
	d = m.Of(dir)
	apart = d.UUID != ""
	for _, other := range others {
		apart = apart && m.Of(other).UUID != d.UUID
	}
	return d, apart
}

// Absent says why a directory that was on a disk cannot be used now, and what to do; empty where
// it is on that disk. A file system that the node cannot tell from others is taken for the one
// that was mounted in its place.
func (m Mounts) Absent(dir string, was Disk) string {
	now := m.Of(dir)
	switch {
	case was.UUID == "" || now.UUID == was.UUID || now.UUID == "" && now.At == was.At:
		return ""
	case now.At == was.At:
		return fmt.Sprintf("disk %s at %s: another one is there, %s; mount the right one", was, was.At, now)
	}
	for _, has := range m {
		if has.UUID == was.UUID {
			return fmt.Sprintf("disk %s at %s: it is mounted at %s; mount it where it was", was, was.At, has.At)
		}
	}
	return fmt.Sprintf("disk %s at %s: connect and mount it", was, was.At)
}

// MountPoint tells whether something is mounted at a directory.
func MountPoint(dir string) bool {
	var s unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, dir, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &s)
	return err == nil && s.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// Changes calls changed whenever something was mounted or unmounted, until the context ends.
func Changes(ctx context.Context, changed func()) error {
	// Each open file is told once (proc_pid_mounts(5)): Go's own poller must not have this one.
	f, err := unix.Open(table, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", table, err)
	}
	defer unix.Close(f)
	ended, end, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ended.Close()
	stop := context.AfterFunc(ctx, func() { end.Close() })
	defer func() {
		if stop() {
			end.Close()
		}
	}()
	for {
		fds := []unix.PollFd{{Fd: int32(f), Events: unix.POLLPRI}, {Fd: int32(ended.Fd()), Events: unix.POLLIN}}
		_, err := unix.Poll(fds, -1)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("%s: %w", table, err)
		case fds[0].Revents&unix.POLLPRI != 0:
			changed()
		}
	}
}
