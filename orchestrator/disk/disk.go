// Package disk says how much room file systems have.
package disk

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Space is what a file system has, in bytes. Free is what users other than root may still
// write.
type Space struct{ Free, Total int64 }

// Of gives the space of the file system that holds a directory or file.
func Of(path string) (Space, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return Space{}, fmt.Errorf("%s: %w", path, err)
	}
	return Space{Free: int64(s.Bavail) * s.Bsize, Total: int64(s.Blocks) * s.Bsize}, nil
}
