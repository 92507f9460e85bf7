package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrInUse is wrapped where the lab is someone else's, or where somebody uses it who would
// lose it.
var ErrInUse = errors.New("the lab is in use")

const (
	runDir   = "/run/archipelago-lab"       // of the engine
	usersDir = "/run/archipelago-lab.users" // a file for each process that uses the nodes, which it has locked
)

// Hold notes that this process uses the nodes, until release or its end: until then, nobody
// else removes them. user says for what.
func (l *Lab) Hold(user string) (release func(), err error) {
	if err := os.MkdirAll(l.users, 0o700); err != nil {
		return nil, fmt.Errorf("noting who uses the lab, which takes root: %w", err)
	}
	// A file of its own for each, because a process may use the lab twice.
	f, err := os.CreateTemp(l.users, strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return nil, fmt.Errorf("noting who uses the lab, which takes root: %w", err)
	}
	_, err = fmt.Fprintf(f, "%s, process %d", user, os.Getpid())
	if err = errors.Join(err, unix.Flock(int(f.Fd()), unix.LOCK_EX)); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	if _, err := os.Stat(f.Name()); errors.Is(err, fs.ErrNotExist) {
		f.Close() // somebody looked before it was locked, and took it for a dead process's
		return l.Hold(user)
	}
	return func() { os.Remove(f.Name()); f.Close() }, nil
}

// othersUse refuses to take the nodes away from other processes, which it names.
func (l *Lab) othersUse(what string) error {
	files, err := filepath.Glob(filepath.Join(l.users, "*"))
	if err != nil {
		return err
	}
	var users []string
	for _, file := range files {
		if strings.HasPrefix(filepath.Base(file), strconv.Itoa(os.Getpid())+"-") {
			continue
		}
		f, err := os.Open(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
		case errors.Is(err, unix.EWOULDBLOCK):
			b := make([]byte, 4<<10)
			n, _ := f.ReadAt(b, 0)
			users = append(users, string(b[:n]))
		case err == nil:
			os.Remove(file) // of a process that was killed
		}
		f.Close()
	}
	if len(users) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s would take it away from %s; wait for that, or end it", ErrInUse, what, strings.Join(users, "; "))
}

// foreign refuses an engine that another user, or another home, has started: its nodes are
// not this lab's.
func (e *Engine) foreign() error {
	b, err := os.ReadFile(e.pidFile())
	if err != nil {
		return nil
	}
	pid, err := strconv.Atoi(string(b))
	if err != nil || !isPodman(pid) {
		return nil
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return nil
	}
	return judgeOwner(pid, strings.Split(string(cmdline), "\x00"), e.storageRoot())
}

// judgeOwner takes the command line of the engine's process.
func judgeOwner(pid int, argv []string, storage string) error {
	for i, arg := range argv[:len(argv)-1] {
		if arg == "--root" && argv[i+1] != storage {
			return fmt.Errorf("%w: it is the one that keeps its images in %s (process %d), and this one would keep them in %s; a machine has one lab: end the other with 'gate lab down', as its user", ErrInUse, argv[i+1], pid, storage)
		}
	}
	return nil
}

// left names the volumes of the nodes that are in the engine's store.
func (e *Engine) left() (volumes []string) {
	for _, m := range machines() {
		for v := range disks {
			dir := filepath.Join(e.storageRoot(), "volumes", containerName(m.Name)+v)
			if _, err := os.Stat(dir); err == nil {
				volumes = append(volumes, dir)
			}
		}
	}
	return volumes
}
