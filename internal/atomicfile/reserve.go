package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Reserve is room on a disk that is held by a file, and given up for what must be written while
// the disk is full. Without one, nil, files are written all the same.
type Reserve struct {
	file string
	size int64

	mu   sync.Mutex
	held int64 // bytes
}

// step is how much of a reserve is given up at a time: others may take what is free before the
// write that it is for.
const step = 128 << 10

// NewReserve holds so many bytes by a file, or as many as there are once there is room for them.
func NewReserve(file string, size int64) *Reserve {
	r := &Reserve{file: file, size: size}
	r.fill()
	return r
}

// Write is Write, for which the reserve is given up where the disk is full. Once there is room
// again, a write has it filled.
func (r *Reserve) Write(name string, data []byte, mode fs.FileMode) error {
	err := Write(name, data, mode)
	if r == nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for full(err) && r.give() {
		err = Write(name, data, mode)
	}
	if err == nil {
		r.fill()
	}
	return err
}

func full(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// give gives a part of the reserve up, and tells whether there was any.
func (r *Reserve) give() bool {
	if r.held == 0 {
		return false
	}
	r.held = max(0, r.held-step)
	if err := os.Truncate(r.file, r.held); err != nil {
		r.held = 0
		return os.Remove(r.file) == nil
	}
	return true
}

// fill holds what is missing, where there is twice as much room: the last of it is not the
// reserve's to take.
func (r *Reserve) fill() {
	if r.held == r.size {
		return
	}
	f, err := os.OpenFile(r.file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &s); err != nil || int64(s.Bavail)*s.Bsize < 2*r.size {
		if info, err := f.Stat(); err == nil {
			r.held = min(r.size, info.Size()) // the daemon before this one may have held it
		}
		return
	}
	if unix.Fallocate(int(f.Fd()), 0, 0, r.size) == nil {
		r.held = r.size
	}
}
