package publish

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ErrInUse is returned where a registry cannot be pruned, because it is open.
var ErrInUse = errors.New("the registry is in use")

// share keeps the registry from being pruned for as long as the file is open.
func share(dir string, how int) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), how); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrInUse
		}
		return nil, fmt.Errorf("locking %s: %w", f.Name(), err)
	}
	return f, nil
}

// Prune removes from the registry in dir the images that were last used before a moment, and
// what belongs to no image. It gives the bytes that this frees; with dry, that it would free.
func Prune(dir string, before time.Time, dry bool) (freed int64, err error) {
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	lock, err := share(dir, unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return 0, err
	}
	defer lock.Close()
	remove := func(file string, info os.FileInfo) error {
		freed += info.Size()
		if dry {
			return nil
		}
		return os.Remove(file)
	}
	files, err := filepath.Glob(filepath.Join(dir, "manifests", "*.json"))
	if err != nil {
		return 0, err
	}
	needed := map[string]bool{}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			return freed, err
		}
		if info.ModTime().Before(before) {
			if err := remove(file, info); err != nil {
				return freed, err
			}
			continue
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return freed, err
		}
		var c cached
		if json.Unmarshal(b, &c) != nil {
			continue
		}
		if m, err := c.manifest(); err == nil {
			for _, part := range append(m.Layers, m.Config) {
				needed[part.Digest.Hex] = true
			}
		}
	}
	blobs, err := filepath.Glob(filepath.Join(dir, "blobs", "*", "*"))
	if err != nil {
		return freed, err
	}
	for _, file := range blobs {
		info, err := os.Stat(file)
		if err != nil {
			return freed, err
		}
		if !needed[filepath.Base(file)] {
			if err := remove(file, info); err != nil {
				return freed, err
			}
		}
	}
	return freed, nil
}
