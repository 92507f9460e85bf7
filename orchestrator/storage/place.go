// Package storage owns what the node does with folders of its owner's: where one may lie,
// how it is opened to all containers that are given it, and whether it is there. It never
// deletes anything in one but what it has put there itself, to try it.
package storage

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// ErrPlace is wrapped where a directory cannot be a folder for applications.
var ErrPlace = errors.New("not a folder for applications")

// maxFolders is how many folders a node has at most; each is looked at in every pass.
const maxFolders = 32

var nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// system are directories in which, and below which, no folder lies: they are the system's,
// or their content is gone with the next boot. The daemon does not see the node's /tmp.
var system = []string{"/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys", "/tmp", "/usr", "/var/tmp"}

// automounted is where some desktops mount disks, although it is in /run.
const automounted = "/run/media"

// Place gives the real path of a directory that may be a folder by that name: resolved, so
// that no symbolic link is on the way. Neither the daemon's directory, dataDir, nor its
// user's home may be in it, and it may not be in dataDir.
func Place(name, dir, dataDir string) (string, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}

	refused := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrPlace, fmt.Sprintf(format, args...))
	}
	if !nameForm.MatchString(name) {
		return "", refused("%q is no name: expected lower-case letters, digits and hyphens, at most 63, such as photos", name)
	}
	if !filepath.IsAbs(dir) {
		return "", refused("%q is no absolute path, such as /srv/photos", dir)
	}
	if err := plain(dir); err != nil {
		return "", err
	}
	at, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", refused("%v; make it first, as the node's user: 'mkdir %s'", err, dir)
	}
	if info, err := os.Stat(at); err != nil || !info.IsDir() {
		return "", refused("%s is no directory", at)
	}
	if err := plain(at); err != nil {
		return "", err
	}
	for _, s := range system {
		if Within(at, s) && !(Within(at, automounted) && at != automounted) {
			return "", refused("%s is in %s, which is the system's; expected a directory such as /srv/%s", at, s, name)
		}
	}
	for part := range strings.SplitSeq(strings.TrimPrefix(at, "/"), "/") {
		if strings.HasPrefix(part, ".") {
			return "", refused("%s is, or is in, the hidden directory %s, where programs keep their own", at, part)
		}
	}
	for _, own := range []string{dataDir, home} {
		if resolved, err := filepath.EvalSymlinks(own); err == nil {
			own = resolved
		}
		if Within(own, at) {
			return "", refused("%s is, or holds, %s, which is the daemon's or its user's home; expected a directory of its own", at, own)
		}
	}
	if resolved, err := filepath.EvalSymlinks(dataDir); err == nil && Within(at, resolved) {
		return "", refused("%s is in %s, where applications' data is; expected a directory elsewhere", at, resolved)
	}
	return at, nil
}

// plain wants a path that means the same to Podman, systemd and people.
func plain(dir string) error {
	if len(dir) > 1024 || !utf8.ValidString(dir) || strings.ContainsFunc(dir, func(r rune) bool { return unicode.IsControl(r) || strings.ContainsRune(`:"'\$%`, r) }) || strings.TrimSpace(dir) != dir {
		return fmt.Errorf("%w: %q: expected a path of at most 1024 bytes without control characters, spaces at its end and any of :\"'\\$%%", ErrPlace, dir)
	}
	return nil
}

// Within tells whether a directory is another one, or in it. Both paths are clean.
func Within(dir, in string) bool {
	return dir == in || strings.HasPrefix(dir, strings.TrimSuffix(in, "/")+"/")
}

// Fits wants a new folder to share no file with another one: whoever can write to the outer
// one could put a symbolic link in the inner one's place.
func Fits(name, dir string, folders map[string]manifest.Folder) error {
	for _, other := range slices.Sorted(maps.Keys(folders)) {
		if has := folders[other].Dir; other != name && (Within(dir, has) || Within(has, dir)) {
			return fmt.Errorf("%w: %s and the folder %s, which is %s, would share files", ErrPlace, dir, other, has)
		}
	}
	if _, known := folders[name]; !known && len(folders) >= maxFolders {
		return fmt.Errorf("%w: there are %d folders, as many as a node may have; 'archy storage remove NAME' forgets one", ErrPlace, len(folders))
	}
	return nil
}
