// Package disk says how much room file systems have, which of them a directory is on, and when
// one is mounted.
package disk

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Space is what a file system has, in bytes. Free is what users other than root may still
// write.
type Space struct{ Free, Total int64 }

// Used is how much of it is in use, in percent; 0 where that is not known.
func (s Space) Used() int {
	if s.Total <= 0 {
		return 0
	}
	return int(100 * (s.Total - s.Free) / s.Total)
}

// Of gives the space of the file system that holds a directory or file.
func Of(path string) (Space, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return Space{}, fmt.Errorf("%s: %w", path, err)
	}
	return Space{Free: int64(s.Bavail) * s.Bsize, Total: int64(s.Blocks) * s.Bsize}, nil
}
