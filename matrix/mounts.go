package matrix

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// engineMounts are what Podman mounts in every container by itself, with the file systems
// that may be there; nil: any, since it is a file of Podman's own.
var engineMounts = map[string][]string{
	"/": {"overlay", "fuse.fuse-overlayfs"}, "/proc": {"proc"}, "/sys": {"sysfs"}, "/sys/fs/cgroup": {"cgroup2"},
	"/dev": {"tmpfs"}, "/dev/pts": {"devpts"}, "/dev/mqueue": {"mqueue"}, "/dev/shm": {"tmpfs"},
	"/dev/null": {"tmpfs", "devtmpfs"}, "/dev/zero": {"tmpfs", "devtmpfs"}, "/dev/full": {"tmpfs", "devtmpfs"},
	"/dev/tty": {"tmpfs", "devtmpfs"}, "/dev/random": {"tmpfs", "devtmpfs"}, "/dev/urandom": {"tmpfs", "devtmpfs"},
	"/etc/hosts": nil, "/etc/hostname": nil, "/etc/resolv.conf": nil, "/etc/passwd": nil, "/etc/group": nil,
	"/run/.containerenv": nil, "/run/secrets": {"tmpfs"},
}

// engineFiles end the place on the node of those files of Podman's own.
var engineFiles = map[string]string{
	"/etc/hosts": "/userdata/hosts", "/etc/hostname": "/userdata/hostname", "/etc/resolv.conf": "/userdata/resolv.conf",
	"/etc/passwd": "/userdata/passwd", "/etc/group": "/userdata/group",
	"/run/.containerenv": "/userdata/.containerenv", "/run/secrets": "/userdata/run/secrets",
}

// readOnly are those that must not be written to.
var readOnly = []string{"/sys", "/sys/fs/cgroup", "/proc/sys"}

// devices are the kernel's own nodes that are mounted from the node's /dev by their name.
func isDevice(target string) bool {
	return slices.Contains([]string{"/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/random", "/dev/urandom"}, target)
}

// masked tells whether Podman hides or protects a part of the kernel's file systems by
// this mount: with itself, with nothing, or with /dev/null.
func masked(m Mount) bool {
	below := strings.HasPrefix(m.Target, "/proc/") || strings.HasPrefix(m.Target, "/sys/")
	itself := m.Type == "proc" && "/proc"+m.Root == m.Target || m.Type == "sysfs" && "/sys"+m.Root == m.Target
	return below && has(m.Options, "ro") && (itself || slices.Contains([]string{"tmpfs", "devtmpfs"}, m.Type) && (m.Root == "/" || m.Root == "/null"))
}

func has(options, option string) bool { return slices.Contains(strings.Split(options, ","), option) }

func access(options string) string {
	if has(options, "ro") {
		return "read-only"
	}
	return "writable"
}

// addMounts adds all that is mounted in a container but what Podman always mounts.
func (s *Snapshot) addMounts(p properties, r *Details, m *Meant) {
	last := map[string]Mount{} // what is mounted later covers what was there
	for _, mount := range r.Mounted {
		last[mount.Target] = mount
	}
	for _, target := range readOnly {
		if mount, ok := last[target]; ok {
			p.add("mount "+target, access(mount.Options))
		}
	}
	secret := func(target string) (SecretMeant, bool) {
		i := slices.IndexFunc(m.Secrets, func(s SecretMeant) bool { return s.Target == target })
		if i < 0 {
			return SecretMeant{}, false
		}
		return m.Secrets[i], true
	}
	for target, mount := range last {
		types, engines := engineMounts[target]
		sec, isSecret := secret(target)
		v, isVolume := m.Volumes[target]
		f, isFile := m.Files[target]
		switch {
		case isVolume:
			p.add("mount "+target, s.volume(r, mount, v.Dir))
		case isFile:
			s.addFile(p, r, mount, f)
		case isSecret:
			name := "another file, " + mount.Root
			if strings.HasSuffix(mount.Root, "/userdata/secrets/"+sec.Name) {
				name = "secret " + sec.Name
			}
			p.add("mount "+target, name)
		case slices.ContainsFunc(m.Tmpfs, func(t TmpfsMeant) bool { return t.Target == target }):
			size := sizeOf(r.HostConfig.Tmpfs[target])
			if slices.ContainsFunc(m.Tmpfs, func(t TmpfsMeant) bool { return t.Target == target && t.Size > 0 }) {
				size = sizeOf(mount.Super)
			}
			p.add("mount "+target, tmpfs(mount, size))
		case s.deviceAt(m, target) != nil:
			p.add("mount "+target, s.device(s.deviceAt(m, target), mount))
		case target == initPath && m.Init:
			p.add("mount "+target, initMount(mount))
		case slices.Contains(readOnly, target) && (types == nil || slices.Contains(types, mount.Type)):
		case engines && isDevice(target) && slices.Contains(types, mount.Type) && mount.Root == "/"+filepath.Base(target):
		case engines && !isDevice(target) && engineFiles[target] != "" && strings.HasSuffix(mount.Root, engineFiles[target]):
		case engines && !isDevice(target) && engineFiles[target] == "" && slices.Contains(types, mount.Type) && mount.Root == "/":
		case masked(mount):
		default:
			p.add("mount "+target, fmt.Sprintf("%s of a %s, %s", mount.Root, mount.Type, access(mount.Options)))
		}
	}
	for target := range r.HostConfig.Tmpfs {
		if _, mounted := last[target]; !mounted {
			p.add("tmpfs "+target, "declared in Podman alone")
		}
	}
	for _, b := range r.Mounts {
		if _, mounted := last[b.Destination]; !mounted {
			p.add("mount "+b.Destination, cmp.Or(b.Source, b.Type)+", in Podman alone")
		}
	}
	for _, sec := range m.Secrets {
		if in, ok := r.Inside[sec.Target]; ok {
			value := "with its value"
			if r.Texts[sec.Target] != sec.text(m.App) {
				value = "with another value"
			}
			p.add("secret "+sec.Target, fmt.Sprintf("mode %s of %s:%s, %s", in.Mode, s.inside(in.UID, s.SubUID), s.inside(in.GID, s.SubGID), value))
		}
	}
	switch kernels := has(last["/"].Options, "ro"); {
	case kernels && r.HostConfig.ReadonlyRootfs:
		p.add("root file system", "read-only")
	case kernels:
		p.add("root file system", "read-only, though not in Podman")
	case r.HostConfig.ReadonlyRootfs:
		p.add("root file system", "read-only in Podman alone")
	}
}

// source is what a unit says of a volume: the directory, and how it is mounted where that
// is not writable.
func (v VolumeMeant) source() string {
	if v.ReadOnly {
		return v.Dir + ", ro"
	}
	return v.Dir
}

// volume tells which directory of the node is mounted: by what Podman says, and by its
// inode, which is the kernel's word.
func (s *Snapshot) volume(r *Details, mount Mount, dir string) string {
	source := "something that Podman does not show, " + mount.Root
	for _, b := range r.Mounts {
		if b.Destination == mount.Target {
			source = b.Source
		}
	}
	if on, in := s.inodeOf(dir), r.Inside[mount.Target]; source == dir && on != in.Inode {
		source = fmt.Sprintf("another directory than %s, inode %s instead of %s", dir, cmp.Or(in.Inode, "unknown"), on)
	}
	return source + ", " + access(mount.Options)
}

// tmpfs tells what matters of one. Its mode is shown by the kernel unless it is 1777
// (tmpfs(5)).
func tmpfs(m Mount, size string) string {
	if m.Type != "tmpfs" || m.Root != "/" {
		return fmt.Sprintf("%s of a %s, %s", m.Root, m.Type, access(m.Options))
	}
	mode := "1777"
	for o := range strings.SplitSeq(m.Super, ",") {
		if v, ok := strings.CutPrefix(o, "mode="); ok {
			mode = v
		}
	}
	out := "tmpfs, " + access(m.Options) + ", mode " + mode
	for _, o := range []string{"nosuid", "nodev"} {
		if !has(m.Options, o) {
			out += ", without " + o
		}
	}
	if size != "" {
		out += fmt.Sprintf(", %s bytes", size)
	}
	return out
}
