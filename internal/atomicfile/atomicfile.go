// Package atomicfile replaces files so that a power cut leaves the old content or
// the new, never a part of either.
package atomicfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Write replaces a file: a new file, synced, renamed over the old one, and the
// directory synced. When it returns nil, the content survives a power cut; where it
// fails, it leaves nothing behind.
func Write(name string, data []byte, mode fs.FileMode) error {
	root, err := os.OpenRoot(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer root.Close()
	return WriteIn(root, filepath.Base(name), data, mode)
}

// WriteIn does the same for a file below a directory, and writes nothing outside it, whatever
// links lead there.
func WriteIn(root *os.Root, name string, data []byte, mode fs.FileMode) error {
	// A name that nobody can have taken, or planted a link at: two may write at the same time.
	tmp := filepath.Join(filepath.Dir(name), ".new-"+rand.Text())
	if err := write(root, tmp, data, mode); err != nil {
		return fmt.Errorf("writing %s: %w", filepath.Join(root.Name(), name), errors.Join(err, removed(root, tmp)))
	}
	if err := root.Rename(tmp, name); err != nil {
		return errors.Join(err, removed(root, tmp))
	}
	dir, err := root.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func write(root *os.Root, name string, data []byte, mode fs.FileMode) error {
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func removed(root *os.Root, name string) error {
	if err := root.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// SyncDir makes what was created, renamed and removed in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
