package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// unitFiles knows the services' files in systemd's directories. It reads a directory again
// only when it has changed, since every pass asks. The zero value knows none.
type unitFiles struct {
	dirs map[string]unitDir
}

type unitDir struct {
	changed time.Time
	names   []string
}

// settled is how old a directory's last change must be to tell it from another one: file
// systems note times by the clock's ticks, of milliseconds, and some by the second or two.
const settled = 4 * time.Second

// find gives the files in these directories, of which systemd takes the first of a name.
func (u *unitFiles) find(dirs []string) (map[string]string, error) {
	out := map[string]string{}
	for _, dir := range dirs {
		names, err := u.names(dir)
		if err != nil {
			return nil, fmt.Errorf("reading units: %w", err)
		}
		for _, name := range names {
			if out[name] == "" {
				out[name] = filepath.Join(dir, name)
			}
		}
	}
	return out, nil
}

// names gives the services' files in a directory, which may be missing.
func (u *unitFiles) names(dir string) ([]string, error) {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	changed := info.ModTime()
	if known, ok := u.dirs[dir]; ok && known.changed.Equal(changed) {
		return known.names, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, f := range entries {
		if !f.IsDir() && strings.HasSuffix(f.Name(), ".service") {
			names = append(names, f.Name())
		}
	}
	if time.Since(changed) > settled {
		if u.dirs == nil {
			u.dirs = map[string]unitDir{}
		}
		u.dirs[dir] = unitDir{changed, names}
	}
	return names, nil
}
