// Package state keeps on disk what the daemon must not forget: the desired state
// of each application, what has been done of it, and the daemon's own secrets.
// A write is durable when it returns: a new file, synced, renamed over the old
// one, and the directory synced.
package state

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// ErrNotFound is returned for an application of which nothing is recorded.
var ErrNotFound = errors.New("not recorded")

// Goal is what the owner wants of an application.
type Goal string

// The goals. Absent stays on record until nothing of the application is left.
const (
	Running Goal = "running"
	Stopped Goal = "stopped"
	Absent  Goal = "absent"
)

// Desired is the record of one application. Generation grows with every request.
type Desired struct {
	App        string    `json:"app"`
	Goal       Goal      `json:"goal"`
	Purge      bool      `json:"purge,omitempty"`     // with Absent: data and secrets too
	Generation uint64    `json:"generation"`          // of the last request
	Restart    uint64    `json:"restart,omitempty"`   // generation of the last request to restart; 0 for none
	Restarted  uint64    `json:"restarted,omitempty"` // the last one carried out
	Migration  int       `json:"migration,omitempty"` // format of the data, from the manifest that was installed
	AcceptedAt time.Time `json:"accepted_at"`
}

// Store is a directory of records.
type Store struct{ dir string }

// Open prepares the directory, private to its owner.
func Open(dir string) (*Store, error) {
	for _, d := range []string{dir, filepath.Join(dir, "desired")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("opening state: %w", err)
		}
	}
	return &Store{dir}, nil
}

func (s *Store) file(app string) string { return filepath.Join(s.dir, "desired", app+".json") }

// Get reads an application's record, or ErrNotFound.
func (s *Store) Get(app string) (Desired, error) {
	b, err := os.ReadFile(s.file(app))
	if errors.Is(err, fs.ErrNotExist) {
		return Desired{}, fmt.Errorf("app %s: %w", app, ErrNotFound)
	}
	if err != nil {
		return Desired{}, fmt.Errorf("reading the desired state of %s: %w", app, err)
	}
	var d Desired
	if err := json.Unmarshal(b, &d); err != nil {
		return Desired{}, fmt.Errorf("reading the desired state of %s: %s: %w", app, s.file(app), err)
	}
	return d, nil
}

// Put writes an application's record; when it returns, the record survives a power cut.
func (s *Store) Put(d Desired) error {
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	if err := WriteFile(s.file(d.App), append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the desired state of %s: %w", d.App, err)
	}
	return nil
}

// Delete forgets an application.
func (s *Store) Delete(app string) error {
	if err := os.Remove(s.file(app)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forgetting %s: %w", app, err)
	}
	return SyncDir(filepath.Join(s.dir, "desired"))
}

// All reads every record, sorted by application. An unreadable one is reported
// beside those that could be read.
func (s *Store) All() ([]Desired, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "desired"))
	if err != nil {
		return nil, fmt.Errorf("reading desired states: %w", err)
	}
	var all []Desired
	var problems []error
	for _, e := range entries {
		app, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok {
			continue
		}
		d, err := s.Get(app)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		all = append(all, d)
	}
	return all, errors.Join(problems...)
}

// Token is the secret that opens the daemon's interface, made on first use.
func (s *Store) Token() (string, error) {
	file := filepath.Join(s.dir, "token")
	b, err := os.ReadFile(file)
	if err == nil && len(strings.TrimSpace(string(b))) >= 26 {
		return strings.TrimSpace(string(b)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading the access token: %w", err)
	}
	token := rand.Text()
	if err := WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("writing the access token: %w", err)
	}
	return token, nil
}

// WriteFile replaces a file durably.
func WriteFile(name string, data []byte, mode fs.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Chmod(mode)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), name); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(name))
}

// SyncDir makes renames in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
