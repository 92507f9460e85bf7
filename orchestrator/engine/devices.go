package engine

import (
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
)

// devices looks for those that applications may ask for, below a directory that is the
// node's root. What is not there, or no device that is read and written by characters, is
// left out.
func devices(root string) map[string]host.Device {
	dirs, paths := manifest.DevicePlaces()
	for _, dir := range dirs {
		entries, _ := os.ReadDir(root + dir) // a node without such devices has no directory for them
		for _, e := range entries {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	out := map[string]host.Device{}
	for _, p := range paths {
		info, err := os.Stat(root + p)
		if err != nil || info.Mode()&fs.ModeCharDevice == 0 {
			continue
		}
		out[p] = deviceOf(info, unix.Access(root+p, unix.R_OK|unix.W_OK) == nil)
	}
	return out
}

// overflowGroup stands for a group that has no id in this process's user namespace: the daemon's
// unit has one, in which only the user's own groups count to the kernel (user_namespaces(7)).
const overflowGroup = 65534

// deviceOf says who may use a device; usable is whether this process may. It never opens one.
func deviceOf(info fs.FileInfo, usable bool) host.Device {
	const group, everybody = 0o060, 0o006
	mode := info.Mode().Perm()
	d := host.Device{Open: mode&everybody == everybody, Held: mode&group == group && usable}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Gid != overflowGroup {
		d.Group = strconv.Itoa(int(st.Gid))
		if g, err := user.LookupGroupId(d.Group); err == nil {
			d.Group = g.Name
		}
	}
	return d
}
