package engine

import (
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

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
	groups, _ := os.Getgroups()
	groups = append(groups, os.Getegid())
	out := map[string]host.Device{}
	for _, p := range paths {
		info, err := os.Stat(root + p)
		if err != nil || info.Mode()&fs.ModeCharDevice == 0 {
			continue
		}
		out[p] = deviceOf(info, groups)
	}
	return out
}

// deviceOf says who may use a device, of whom one of these groups counts.
func deviceOf(info fs.FileInfo, groups []int) host.Device {
	const group, everybody = 0o060, 0o006
	mode := info.Mode().Perm()
	d := host.Device{Open: mode&everybody == everybody}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		d.Group = strconv.Itoa(int(st.Gid))
		d.Held = mode&group == group && slices.Contains(groups, int(st.Gid))
		if g, err := user.LookupGroupId(d.Group); err == nil {
			d.Group = g.Name
		}
	}
	return d
}
