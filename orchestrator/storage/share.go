package storage

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"regexp"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

var idForm = regexp.MustCompile(`^[A-Z0-9]{26}$`)

// Users that no container needs to have, but any may.
const first, second = 60001, 60002

// As runs a script of the shell in the current directory as a user of Podman's user
// namespace that has the groups of the node's user beside its own, as containers have that
// are given a folder.
type As func(uid int, script string) error

// Share opens a folder to all containers that are given it, whatever their users, and gives
// what its mark holds. It runs in Podman's user namespace, where files can belong to those.
//
// The folder's group may write, new files get the folder's group (setgid) and are the
// group's to write, whatever the umask of whoever makes them (a default ACL, acl(5)). Where
// all is true, so do the files that are in there already, as far as they are the node's
// user's or a container's; left is how many are not. Whether it works is tried, by two
// users.
func Share(dir, name string, all bool, as As) (id string, left int, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", 0, err
	}
	defer root.Close()
	// Where that is not for the node's user to do, it may be done already.
	if err := open(root, "."); err != nil && !notOurs(err) {
		return "", 0, err
	}
	if all {
		if left, err = openAll(root); err != nil {
			return "", 0, err
		}
	}
	if err := try(root, as); err != nil {
		return "", 0, fmt.Errorf("%s cannot be shared by programs of different users: %w; give it to the node's user, or to one of its groups: 'sudo chgrp GROUP %s' and 'sudo chmod 2770 %s', on a file system with default ACLs", dir, err, dir, dir)
	}
	id, err = mark(root, dir, name)
	return id, left, err
}

// mark gives what the folder's mark holds, and makes one where there is none.
func mark(root *os.Root, dir, name string) (string, error) {
	have, err := ReadMark(dir, name)
	switch {
	case err == nil && idForm.MatchString(have):
		return have, nil
	case err == nil:
		return "", fmt.Errorf("%s is not a mark of archipelago's; move it away", path.Join(dir, manifest.Mark(name)))
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	id := rand.Text()
	f, err := root.OpenFile(manifest.Mark(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(id + "\n")
	return id, errors.Join(err, f.Sync(), f.Close())
}

func notOurs(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EROFS)
}

// open gives a file or a directory to its group.
func open(root *os.Root, name string) error {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe that nobody writes to
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	mode := info.Mode()
	switch {
	case mode.IsRegular():
		want := mode.Perm() | 0o060
		if mode&0o100 != 0 {
			want |= 0o010
		}
		if want == mode.Perm() {
			return nil
		}
		return f.Chmod(want | mode&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky))
	case !mode.IsDir():
		return nil
	}
	if want := mode | fs.ModeSetgid | 0o070; want != mode {
		if err := f.Chmod(want & (fs.ModePerm | fs.ModeSetgid | fs.ModeSticky)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	const acl = "system.posix_acl_default"
	if n, err := unix.Fgetxattr(int(f.Fd()), acl, nil); err == nil && n > 0 {
		return nil // somebody's own
	}
	if err := unix.Fsetxattr(int(f.Fd()), acl, defaultACL(mode.Perm()), 0); err != nil {
		return fmt.Errorf("%s: default ACL: %w", name, err)
	}
	return nil
}

// defaultACL lets owner and group do all with what is made in a directory, and everybody
// else what they may do with the directory (the form of linux/posix_acl_xattr.h).
func defaultACL(mode fs.FileMode) []byte {
	const version, userObj, groupObj, other, noID = 2, 0x01, 0x04, 0x20, 0xffffffff
	b := binary.LittleEndian.AppendUint32(nil, version)
	for _, e := range [][2]uint16{{userObj, 7}, {groupObj, 7}, {other, uint16(mode & 7)}} {
		b = binary.LittleEndian.AppendUint16(b, e[0])
		b = binary.LittleEndian.AppendUint16(b, e[1])
		b = binary.LittleEndian.AppendUint32(b, noID)
	}
	return b
}

// openAll opens all that is in the folder. Applications may change it meanwhile: nothing
// outside the folder is reached, by whatever link.
func openAll(root *os.Root) (left int, err error) {
	return left, fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && (d.IsDir() || d.Type().IsRegular()) {
			err = open(root, name)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ELOOP): // gone, or another by now
		case err != nil && notOurs(err):
			left++
		case err != nil:
			return err
		}
		return nil
	})
}

// try has one user make a file and directories, and another one change them. Applications
// that have the folder may put links in the place of these meanwhile: each script works in a
// directory that was opened before, and follows none.
func try(root *os.Root, as As) (err error) {
	dir := ".archipelago-try-" + strings.ToLower(rand.Text())
	defer func() { err = errors.Join(err, in(root, ".", func() error { return root.RemoveAll(dir) })) }()
	for _, step := range []struct {
		in     string
		uid    int
		script string // with noclobber, the shell makes files and follows no link
	}{
		{".", first, "umask 022 && mkdir " + dir},
		{dir, first, "umask 022 && set -C && mkdir a && echo one > b"},
		{dir, second, "echo two | dd status=none oflag=append,nofollow conv=nocreat,notrunc of=b && rm b"},
		{path.Join(dir, "a"), second, "set -C && echo two > c"},
	} {
		if err := in(root, step.in, func() error { return as(step.uid, step.script) }); err != nil {
			return err
		}
	}
	return nil
}

// in does something with a directory of the folder as the current one.
func in(root *os.Root, dir string, do func() error) error {
	f, err := root.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Chdir(); err != nil {
		return err
	}
	return do()
}

// KeepingGroups is As in Podman's user namespace.
func KeepingGroups(uid int, script string) error {
	c := exec.Command("/bin/sh", "-c", script)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid), NoSetGroups: true}}
	var says bytes.Buffer
	c.Stderr = &says
	if err := c.Run(); err != nil {
		return fmt.Errorf("as user %d: %w: %s", uid, err, bytes.TrimSpace(says.Bytes()))
	}
	return nil
}
