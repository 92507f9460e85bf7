// Package secrets owns the secrets of applications, in files that only the daemon's user
// can read, never logged. Generated ones are made once, and never again over data that
// was initialised with them. Secret settings are their owner's, who may replace them.
package secrets

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
	"github.com/archipelago-cloud/archipelago/orchestrator/fault"
)

// ErrLost is returned where data exists but the secret it was initialised with
// does not.
var ErrLost = errors.New("secret lost")

// ErrInUse is returned where another value of a secret is in use.
var ErrInUse = errors.New("secret in use")

const (
	defaultLength = 32 // characters, or bytes
	alphabet      = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)

// Store is a directory with a folder for each application.
type Store struct{ dir string }

// Open prepares the directory, private to its owner.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening secrets: %w", err)
	}
	return &Store{dir}, nil
}

// Ensure gives the application's secrets by name, generating those that do not
// exist. hasData tells whether a volume of the application exists: then a missing
// secret is ErrLost, since the data cannot be opened with another.
func (s *Store) Ensure(m *manifest.Manifest, hasData bool) (map[string]string, error) {
	out := map[string]string{}
	if len(m.Secrets) == 0 {
		return out, nil
	}
	dir := filepath.Join(s.dir, m.ID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("secrets of %s: %w", m.ID, err)
	}
	if err := atomicfile.SyncDir(s.dir); err != nil {
		return nil, fmt.Errorf("secrets of %s: %w", m.ID, err)
	}
	made := map[string]bool{}
	for _, g := range inOrder(m.Secrets) {
		file := filepath.Join(dir, g.Name)
		b, err := os.ReadFile(file)
		outdated := g.Derive != nil && made[g.Derive.From] // it is of what was there before
		switch {
		case err == nil && len(b) > 0 && !outdated && !fault.Planted(fault.SecretRegenerated):
			out[g.Name] = string(b)
			continue
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("secret %s of %s: %w", g.Name, m.ID, err)
		case hasData && !g.Repeatable() && !fault.Planted(fault.SecretRegenerated):
			return nil, fmt.Errorf("secret %s of %s: %w: the application has data that was initialised with it; bring it in with 'archy secret import %s %s', put the file %s back, or uninstall with --purge to begin anew", g.Name, m.ID, ErrLost, m.ID, g.Name, file)
		}
		value, err := generated(m, g, out)
		if err != nil {
			return nil, fmt.Errorf("secret %s of %s: %w", g.Name, m.ID, err)
		}
		if err := atomicfile.Write(file, []byte(value), 0o600); err != nil {
			return nil, fmt.Errorf("secret %s of %s: %w", g.Name, m.ID, err)
		}
		out[g.Name], made[g.Name] = value, true
	}
	return out, nil
}

// maxValue is the longest secret that can be imported, in bytes.
const maxValue = 4096

// Import keeps a value that was made elsewhere. One that exists is replaced only
// where replace says that no data depends on it; importing the same value again
// changes nothing.
func (s *Store) Import(m *manifest.Manifest, name, value string, replace bool) error {
	i := slices.IndexFunc(m.Secrets, func(g manifest.GeneratedSecret) bool { return g.Name == name })
	if i < 0 {
		return fmt.Errorf("%s has no secret %q", m.ID, name)
	}
	if err := importable(m.Secrets[i], value); err != nil {
		return fmt.Errorf("secret %s of %s: %w", name, m.ID, err)
	}
	dir := filepath.Join(s.dir, m.ID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("secrets of %s: %w", m.ID, err)
	}
	file := filepath.Join(dir, name)
	have, err := os.ReadFile(file)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("secret %s of %s: %w", name, m.ID, err)
	case err == nil && string(have) == value:
		return nil
	case err == nil && len(have) > 0 && !replace:
		return fmt.Errorf("secret %s of %s: %w: it has another value, with which the application's data was initialised", name, m.ID, ErrInUse)
	}
	for _, g := range m.Secrets {
		if replace && g.Derive != nil && g.Derive.From == name { // it is of another value, and made anew
			if err := os.Remove(filepath.Join(dir, g.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("secret %s of %s: %w", g.Name, m.ID, err)
			}
		}
	}
	if err := atomicfile.Write(file, []byte(value), 0o600); err != nil {
		return fmt.Errorf("secret %s of %s: %w", name, m.ID, err)
	}
	return atomicfile.SyncDir(s.dir)
}

// Keep keeps a value of a secret setting, durably, and gives what stands for it. The
// values before it stay until Sweep.
func (s *Store) Keep(app, setting, value string) (ref string, err error) {
	dir := filepath.Join(s.dir, app)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("secrets of %s: %w", app, err)
	}
	ref = generate(manifest.SecretRefLength)
	if err := atomicfile.Write(filepath.Join(dir, setting+"."+ref), []byte(value), 0o600); err != nil {
		return "", fmt.Errorf("setting %s of %s: %w", setting, app, err)
	}
	return ref, atomicfile.SyncDir(s.dir)
}

// Settings gives the values of an application's secret settings that config refers to,
// by name. One that is gone is ErrLost.
func (s *Store) Settings(m *manifest.Manifest, config map[string]string) (map[string]string, error) {
	out := map[string]string{}
	for name, ref := range m.SecretRefs(config) {
		b, err := os.ReadFile(filepath.Join(s.dir, m.ID, name+"."+ref))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("setting %s of %s: %w: set it again with 'archy configure %s %s=-'", name, m.ID, ErrLost, m.ID, name)
		case err != nil:
			return nil, fmt.Errorf("setting %s of %s: %w", name, m.ID, err)
		}
		out[name] = string(b)
	}
	return out, nil
}

// Sweep deletes the values of an application's secret settings that config does not
// refer to: those that were replaced, and those of requests that were never accepted.
func (s *Store) Sweep(app string, config map[string]string) error {
	dir := filepath.Join(s.dir, app)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if name, ref, setting := strings.Cut(e.Name(), "."); setting && name != "" && config[name] != ref {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	if err != nil {
		return fmt.Errorf("secrets of %s: %w", app, err)
	}
	return nil
}

// Values gives every secret of every application that is kept, by "APP/NAME".
func (s *Store) Values() (map[string]string, error) {
	out := map[string]string{}
	err := fs.WalkDir(os.DirFS(s.dir), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(s.dir, path))
		app, file, _ := strings.Cut(path, "/")
		name, _, _ := strings.Cut(file, ".")
		out[app+"/"+name] += string(b) + "\n" // of a setting, there may be several for a while
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the secrets: %w", err)
	}
	return out, nil
}

// All gives every generated secret of an application that exists, by name.
func (s *Store) All(m *manifest.Manifest) (map[string]string, error) {
	out := map[string]string{}
	for _, g := range m.Secrets {
		b, err := os.ReadFile(filepath.Join(s.dir, m.ID, g.Name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("secret %s of %s: %w", g.Name, m.ID, err)
		}
		out[g.Name] = string(b)
	}
	return out, nil
}

// Borrow gives a generated secret of an application to another one that has it as a
// credential. One that does not exist is ErrLost, and is not made here.
func (s *Store) Borrow(app, name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(s.dir, app, name))
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && len(b) == 0:
		return "", fmt.Errorf("secret %s of %s: %w: it is made when %s is prepared", name, app, ErrLost, app)
	case err != nil:
		return "", fmt.Errorf("secret %s of %s: %w", name, app, err)
	}
	return string(b), nil
}

// Shown gives those secrets that the manifest declares as shown and that exist.
func (s *Store) Shown(m *manifest.Manifest) (map[string]string, error) {
	out, err := s.All(m)
	for _, g := range m.Secrets {
		if !g.Shown {
			delete(out, g.Name)
		}
	}
	return out, err
}

// Delete destroys an application's secrets, with its data.
func (s *Store) Delete(app string) error {
	if err := os.RemoveAll(filepath.Join(s.dir, app)); err != nil {
		return fmt.Errorf("deleting the secrets of %s: %w", app, err)
	}
	return atomicfile.SyncDir(s.dir)
}

// generate draws each character with the same chance: of six random bits, the
// values beyond the alphabet are drawn again.
func generate(length int) string {
	out := make([]byte, 0, length)
	var b [1]byte
	for len(out) < length {
		rand.Read(b[:])
		if i := int(b[0] & 63); i < len(alphabet) {
			out = append(out, alphabet[i])
		}
	}
	return string(out)
}
