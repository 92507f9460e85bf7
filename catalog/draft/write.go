package draft

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// ErrExists is wrapped when a file that would be written is there already.
var ErrExists = errors.New("exists already")

// Write puts the files of an application into its directory: all of them, or none. Files
// that are there already are replaced only if force is set. It returns their names, sorted.
// Programs, which begin with "#!", can be executed.
func Write(dir string, files map[string][]byte, force bool) (names []string, err error) {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		names = append(names, filepath.Join(dir, filepath.FromSlash(name)))
	}
	for _, name := range names {
		if info, err := os.Lstat(name); err == nil && (!force || info.IsDir()) {
			return nil, fmt.Errorf("%s %w; nothing is written", name, ErrExists)
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	var undo []func()
	defer func() {
		if err != nil {
			names = nil
			for _, back := range slices.Backward(undo) {
				back()
			}
		}
	}()
	// Everything that can be full, forbidden or missing is met here, before the first name.
	staged := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		to := filepath.Join(dir, filepath.FromSlash(name))
		made, err := makeDir(filepath.Dir(to))
		for _, d := range made {
			undo = append(undo, func() { os.Remove(d) })
		}
		if err != nil {
			return nil, err
		}
		tmp, err := stage(to, files[name])
		if tmp != "" {
			undo = append(undo, func() { os.Remove(tmp) })
		}
		if err != nil {
			return nil, err
		}
		staged[to] = tmp
	}
	for _, to := range names {
		if force {
			err = os.Rename(staged[to], to)
		} else if err = os.Link(staged[to], to); err == nil { // never over what came in the meantime
			undo = append(undo, func() { os.Remove(to) })
		}
		if err != nil {
			return nil, err
		}
	}
	for _, tmp := range staged {
		os.Remove(tmp)
	}
	return names, nil
}

// makeDir makes a directory and those above it, and returns those that it made.
func makeDir(dir string) (made []string, err error) {
	if _, err := os.Stat(dir); err == nil {
		return nil, nil
	}
	if parent := filepath.Dir(dir); parent != dir {
		if made, err = makeDir(parent); err != nil {
			return made, err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return made, err
	}
	return append(made, dir), nil
}

// stage writes a file beside its place.
func stage(to string, content []byte) (tmp string, err error) {
	f, err := os.CreateTemp(filepath.Dir(to), ".archy-*")
	if err != nil {
		return "", err
	}
	mode := os.FileMode(0o644)
	if bytes.HasPrefix(content, []byte("#!")) {
		mode = 0o755
	}
	_, err = f.Write(content)
	return f.Name(), errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
}
