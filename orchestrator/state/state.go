// Package state keeps on disk what the daemon must not forget: the desired state
// of each application, what has been done of it, and the daemon's own secrets.
// A write is durable when it returns: a new file, synced, renamed over the old
// one, and the directory synced.
package state

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
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
// What maps and pointers in it refer to is never changed in place.
type Desired struct {
	App        string             `json:"app"`
	Goal       Goal               `json:"goal"`
	Purge      bool               `json:"purge,omitempty"`     // with Absent: data and secrets too
	Generation uint64             `json:"generation"`          // of the last request
	Restart    uint64             `json:"restart,omitempty"`   // generation of the last request to restart; 0 for none
	Restarted  uint64             `json:"restarted,omitempty"` // the last one carried out
	AcceptedAt time.Time          `json:"accepted_at"`
	Manifest   *manifest.Manifest `json:"manifest,omitempty"`  // what is installed, whatever the catalog holds by now
	Source     string             `json:"source,omitempty"`    // where the manifest is from, such as "catalog beta 7"
	Declined   string             `json:"declined,omitempty"`  // digest of a manifest to which an update failed: it is not tried again by itself
	Config     map[string]string  `json:"config,omitempty"`    // settings that differ from the manifest's defaults
	Update     *Update            `json:"update,omitempty"`    // under way
	Adopted    map[string]string  `json:"adopted,omitempty"`   // member -> container of someone else's that serves as it
	Overrides  map[string]string  `json:"overrides,omitempty"` // member -> image of the owner's own that it runs
	Installed  bool               `json:"installed,omitempty"` // the hooks after the first start have run
	Note       string             `json:"note,omitempty"`      // what the owner should know of the last operation
}

// Phase is how far an update has come. Each is on disk before it is acted on.
type Phase string

// The phases. Until Switched the old version is the one in force; from then on the
// new one, unless it fails and RollingBack returns to the old.
const (
	Staged      Phase = "staged"       // images are fetched, volumes copied
	Switched    Phase = "switched"     // the copy is complete; the new version starts on the data
	RollingBack Phase = "rolling-back" // the copy takes the data's place
)

// Update is a change of version under way.
type Update struct {
	To         *manifest.Manifest `json:"to"`
	Source     string             `json:"source,omitempty"` // where To is from
	Phase      Phase              `json:"phase"`
	Error      string             `json:"error,omitempty"` // why it is rolled back
	Generation uint64             `json:"generation"`      // of the request
}

// Data is what is known of an application's data on this node. It outlives an
// uninstallation that keeps the data.
type Data struct {
	App       string   `json:"app"`
	Version   string   `json:"version"`             // that wrote the data last
	Migration int      `json:"migration,omitempty"` // its format
	Volumes   []string `json:"volumes,omitempty"`   // that were initialised
}

// Store is a directory of records. They are read once, when it is opened; the
// daemon is the only one that writes them.
type Store struct {
	dir string

	mu      sync.Mutex
	desired map[string]Desired
	data    map[string]Data
	broken  map[string]error // applications whose record could not be read
}

// Open reads the directory, private to its owner, and makes it where it is missing.
// A record that is damaged is put aside, and its last good copy used.
func Open(dir string) (*Store, error) {
	for _, d := range []string{dir, filepath.Join(dir, "desired"), filepath.Join(dir, "data")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("opening state: %w", err)
		}
	}
	s := &Store{dir: dir, broken: map[string]error{}}
	var err error
	if s.desired, err = readAll(filepath.Join(dir, "desired"), s.broken, func(app string, d Desired) bool {
		return d.App == app && (d.Goal == Running || d.Goal == Stopped || d.Goal == Absent)
	}); err != nil {
		return nil, err
	}
	if s.data, err = readAll(filepath.Join(dir, "data"), s.broken, func(app string, d Data) bool { return d.App == app }); err != nil {
		return nil, err
	}
	return s, nil
}

// envelope is a record with what proves that it is whole.
type envelope struct {
	SHA256 string          `json:"sha256"` // of the record's compact form
	Record json.RawMessage `json:"record"`
}

const lastGood = ".last" // suffix of the second copy of a record

func readAll[T any](dir string, broken map[string]error, valid func(app string, r T) bool) (map[string]T, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading state: %w", err)
	}
	out := map[string]T{}
	for _, e := range entries {
		app, ok := strings.CutSuffix(strings.TrimSuffix(e.Name(), lastGood), ".json")
		if _, done := out[app]; !ok || done || broken[app] != nil {
			continue
		}
		file := filepath.Join(dir, app+".json")
		r, err := readRecord[T](file)
		if err == nil && !valid(app, r) {
			err = fmt.Errorf("%s: not a record of %s", file, app)
		}
		if err == nil {
			out[app] = r
			continue
		}
		last, lastErr := readRecord[T](file + lastGood)
		if lastErr == nil && !valid(app, last) {
			lastErr = fmt.Errorf("%s: not a record of %s", file+lastGood, app)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			// Kept for whoever wants to know what happened to it.
			if aside := os.Rename(file, file+".damaged-"+time.Now().UTC().Format("20060102T150405.000")); aside != nil {
				lastErr = errors.Join(lastErr, aside)
			}
		}
		if lastErr != nil {
			broken[app] = fmt.Errorf("the record of %s cannot be read: %w; its last good copy neither: %w", app, err, lastErr)
			continue
		}
		if err := writeRecord(file, last); err != nil {
			return nil, err
		}
		out[app] = last
	}
	return out, nil
}

func readRecord[T any](file string) (r T, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return r, err
	}
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return r, fmt.Errorf("%s: %w", file, err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, e.Record); err != nil {
		return r, fmt.Errorf("%s: %w", file, err)
	}
	if sum := sha256.Sum256(compact.Bytes()); hex.EncodeToString(sum[:]) != e.SHA256 {
		return r, fmt.Errorf("%s: damaged: its content has another digest than it says", file)
	}
	return r, json.Unmarshal(e.Record, &r)
}

// writeRecord writes both copies, the second one first, so that a failure leaves
// the record in force as it was.
func writeRecord(file string, r any) error {
	record, err := json.Marshal(r)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(record)
	b, err := json.Marshal(envelope{hex.EncodeToString(sum[:]), record})
	if err != nil {
		return err
	}
	b = append(b, '\n')
	if err := atomicfile.Write(file+lastGood, b, 0o600); err != nil {
		return err
	}
	if err := atomicfile.Write(file, b, 0o600); err != nil {
		return errors.Join(err, os.Remove(file+lastGood))
	}
	return nil
}

func (s *Store) file(kind, app string) string { return filepath.Join(s.dir, kind, app+".json") }

// Get gives an application's record, or ErrNotFound.
func (s *Store) Get(app string) (Desired, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.broken[app]; err != nil {
		return Desired{}, err
	}
	d, ok := s.desired[app]
	if !ok {
		return Desired{}, fmt.Errorf("app %s: %w", app, ErrNotFound)
	}
	return d, nil
}

// Put writes an application's record; when it returns, the record survives a power cut.
func (s *Store) Put(d Desired) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.broken[d.App]; err != nil {
		return err
	}
	if err := writeRecord(s.file("desired", d.App), d); err != nil {
		return fmt.Errorf("writing the desired state of %s: %w", d.App, err)
	}
	s.desired[d.App] = d
	return nil
}

// Delete forgets an application; what is known of its data stays.
func (s *Store) Delete(app string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.desired, app)
	return s.remove("desired", app)
}

func (s *Store) remove(kind, app string) error {
	// The second copy first: alone it would be taken for the last good one.
	for _, f := range []string{s.file(kind, app) + lastGood, s.file(kind, app)} {
		if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forgetting %s: %w", app, err)
		}
	}
	return atomicfile.SyncDir(filepath.Join(s.dir, kind))
}

// All gives every record, sorted by application.
func (s *Store) All() []Desired {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Desired, 0, len(s.desired))
	for _, app := range slices.Sorted(maps.Keys(s.desired)) {
		out = append(out, s.desired[app])
	}
	return out
}

// Broken gives the applications whose record could not be read, and why.
func (s *Store) Broken() map[string]error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.broken)
}

// Data gives what is known of an application's data; the zero value where there is none.
func (s *Store) Data(app string) Data {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data[app]
}

// PutData records what is known of an application's data, durably.
func (s *Store) PutData(d Data) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := writeRecord(s.file("data", d.App), d); err != nil {
		return fmt.Errorf("recording the data of %s: %w", d.App, err)
	}
	s.data[d.App] = d
	return nil
}

// DeleteData forgets an application's data, once it is purged.
func (s *Store) DeleteData(app string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.data, app)
	return s.remove("data", app)
}

// Remember keeps something that is nice to have after a restart, such as the last
// known observation; Recall reads it back. It is written without waiting for the disk.
func (s *Store) Remember(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp := filepath.Join(s.dir, "."+name+".new")
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(s.dir, name))
}

// Recall reads what Remember kept; an error where there is nothing whole.
func (s *Store) Recall(name string, v any) error {
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// Audit appends to the record of who asked what: one JSON object a line.
func (s *Store) Audit(who, app, what string, refused error) error {
	line := struct {
		Time    time.Time `json:"time"`
		Who     string    `json:"who"`
		App     string    `json:"app,omitempty"`
		What    string    `json:"what"`
		Refused string    `json:"refused,omitempty"`
	}{time.Now().UTC(), who, app, what, ""}
	if refused != nil {
		line.Refused = refused.Error()
	}
	b, err := json.Marshal(line)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(s.dir, "audit.jsonl"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	return nil
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
	if err := atomicfile.Write(file, []byte(token+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("writing the access token: %w", err)
	}
	return token, nil
}
