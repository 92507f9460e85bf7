package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
)

// kind is one kind of record: a directory with a file for each application.
type kind[T any] struct {
	name    string // of the directory
	format  int    // the format that this daemon writes, and the newest that it reads
	patches map[int]func(json.RawMessage) (json.RawMessage, error)
	app     func(T) string
	decode  func(json.RawMessage) (T, error)
}

// envelope is a record with what proves that it is whole and says how to read it.
type envelope struct {
	SHA256 string          `json:"sha256"`           // of the record's compact form
	Format int             `json:"format,omitempty"` // absent means 1: daemons wrote none before there were formats
	Record json.RawMessage `json:"record"`
}

// foreignError is about a record that is whole, but not for this daemon to read. Its
// file stays exactly as it is, and no other copy takes its place.
type foreignError struct{ error }

func foreign(err error) bool {
	_, is := errors.AsType[foreignError](err)
	return is
}

const lastGood = ".last" // suffix of the second copy of a record

// readEnvelope gives what an envelope holds, and in which format it is.
func readEnvelope(file string, newest int) (record json.RawMessage, format int, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, 0, err
	}
	// The format comes first: nothing else can be assumed of a newer envelope.
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", file, err)
	}
	if head.Format > newest {
		return nil, 0, foreignError{fmt.Errorf("%s: written by a newer daemon, format %d, this one knows %d; install a daemon at least as new", file, head.Format, newest)}
	}
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", file, err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, e.Record); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", file, err)
	}
	if sum := sha256.Sum256(compact.Bytes()); hex.EncodeToString(sum[:]) != e.SHA256 {
		return nil, 0, fmt.Errorf("%s: damaged: its content does not match its digest", file)
	}
	return e.Record, max(e.Format, 1), nil
}

// open brings a record of an older format to this daemon's and decodes it. The file
// keeps its format until the record is next written.
func (k kind[T]) open(file string, record json.RawMessage, format int) (r T, err error) {
	for ; format < k.format; format++ {
		patch := k.patches[format]
		if patch == nil {
			return r, foreignError{fmt.Errorf("%s: this daemon cannot bring format %d to %d", file, format, format+1)}
		}
		if record, err = patch(record); err != nil {
			return r, foreignError{fmt.Errorf("%s: bringing format %d to %d: %w", file, format, format+1, err)}
		}
	}
	// It is whole, so what cannot be understood is what an older daemon does not know.
	if r, err = k.decode(record); err != nil {
		return r, foreignError{fmt.Errorf("%s: written by a newer daemon: format %d holds what this one does not know: %w; install a daemon at least as new", file, format, err)}
	}
	return r, nil
}

func (k kind[T]) read(file, app string) (r T, err error) {
	record, format, err := readEnvelope(file, k.format)
	if err != nil {
		return r, err
	}
	if r, err = k.open(file, record, format); err == nil && k.app(r) != app {
		err = fmt.Errorf("%s: damaged: it is the record of %s", file, k.app(r))
	}
	return r, err
}

// readAll reads a directory of records. It notes those that cannot be used in the
// store's broken ones.
func (k kind[T]) readAll(s *Store) (map[string]T, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, k.name))
	if err != nil {
		return nil, err
	}
	out := map[string]T{}
	for _, e := range entries {
		app, ok := strings.CutSuffix(strings.TrimSuffix(e.Name(), lastGood), ".json")
		if _, done := out[app]; !ok || done || s.broken[app] != nil {
			continue
		}
		file := s.file(k.name, app)
		r, err := k.read(file, app)
		if err == nil {
			out[app] = r
			continue
		}
		if foreign(err) {
			s.broken[app] = err
			continue
		}
		last, lastErr := k.read(file+lastGood, app)
		if foreign(lastErr) {
			s.broken[app] = lastErr
			continue
		}
		if lastErr == nil && !errors.Is(err, fs.ErrNotExist) {
			// It is kept for whoever wants to know what happened to it. Where there is nothing to
			// take its place, it stays: a daemon that finds no record forgets the application.
			lastErr = s.putAside(file)
		}
		if lastErr != nil {
			s.broken[app] = fmt.Errorf("the record of %s cannot be read: %w; nor can its last good copy: %w", app, err, lastErr)
			continue
		}
		// Where that fails, as on a full disk, the last good copy is there for the next daemon.
		_ = s.writeRecord(file, k.format, last)
		out[app] = last
	}
	return out, nil
}

func (s *Store) file(kind, app string) string { return filepath.Join(s.dir, kind, app+".json") }

func (s *Store) putAside(file string) error {
	return os.Rename(file, file+".damaged-"+s.now().UTC().Format("20060102T150405.000"))
}

func seal(format int, r any) ([]byte, error) {
	record, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(record)
	b, err := json.Marshal(envelope{hex.EncodeToString(sum[:]), format, record})
	return append(b, '\n'), err
}

// writeRecord writes both copies, the second one first: until the first is written,
// the old record stays in force.
func (s *Store) writeRecord(file string, format int, r any) error {
	b, err := seal(format, r)
	if err != nil {
		return err
	}
	for _, f := range []string{file + lastGood, file} {
		if err := s.write(f, b, 0o600); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
	}
	return nil
}

func (s *Store) writeDesired(d Desired) error {
	if err := s.writeRecord(s.file(s.desired.name, d.App), s.desired.format, d); err != nil {
		return fmt.Errorf("writing the desired state of %s: %w", d.App, err)
	}
	return nil
}

func (s *Store) forget(kind, app string) error {
	// The second copy goes first: alone it would be taken for the last good one.
	for _, f := range []string{s.file(kind, app) + lastGood, s.file(kind, app)} {
		if err := s.remove(f); err != nil {
			return fmt.Errorf("forgetting %s: %s: %w", app, f, err)
		}
	}
	return nil
}

func remove(name string) error {
	if info, err := os.Lstat(name); err == nil && info.IsDir() {
		return nil // a directory is no record
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(name))
}

func (d Desired) app() string { return d.App }
func (d Data) app() string    { return d.App }

// check refuses a record that could not be read back.
func (d Desired) check() error {
	switch {
	case d.App == "" || d.App != filepath.Base(d.App):
		return fmt.Errorf("%q cannot be the name of an application", d.App)
	case d.Goal != Running && d.Goal != Stopped && d.Goal != Absent:
		return fmt.Errorf("%s: unknown goal %q", d.App, d.Goal)
	case len(d.Typed) > 0:
		return fmt.Errorf("%s: a record does not hold the value of a secret setting", d.App)
	case d.Restart == RestartRequested:
		return fmt.Errorf("%s: a restart is requested by accepting a record", d.App)
	case d.Update != nil && !slices.Contains([]Phase{Staged, Returning, Switched, RollingBack}, d.Update.Phase):
		return fmt.Errorf("%s: unknown phase %q of an update", d.App, d.Update.Phase)
	case d.Update != nil && d.Update.Back && d.Previous == nil:
		return fmt.Errorf("%s: there is nothing on record that it could go back to", d.App)
	case d.Previous != nil && d.Previous.Manifest == nil:
		return fmt.Errorf("%s: the version before has no manifest", d.App)
	}
	return nil
}

func decodeDesired(b json.RawMessage) (Desired, error) {
	type desired Desired
	type update Update
	type previous Previous
	var r struct {
		desired
		Manifest anyManifest `json:"manifest"`
		Update   *struct {
			update
			To anyManifest `json:"to"`
		} `json:"update"`
		Previous *struct {
			previous
			Manifest anyManifest `json:"manifest"`
		} `json:"previous"`
	}
	if err := strict(b, &r); err != nil {
		return Desired{}, err
	}
	d := Desired(r.desired)
	d.Manifest = r.Manifest.m
	if r.Update != nil {
		u := Update(r.Update.update)
		u.To = r.Update.To.m
		d.Update = &u
	}
	if r.Previous != nil {
		p := Previous(r.Previous.previous)
		p.Manifest = r.Previous.Manifest.m
		d.Previous = &p
	}
	return d, d.check()
}

func decodeData(b json.RawMessage) (d Data, err error) { return d, strict(b, &d) }

// strict refuses fields that it does not know: dropping what a newer daemon wrote
// would lose it at the next write.
func strict(b json.RawMessage, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}

// anyManifest is a manifest whose unknown fields are ignored: its language has a
// version of its own.
type anyManifest struct{ m *manifest.Manifest }

// UnmarshalJSON keeps the decoder's strictness out of the manifest.
func (a *anyManifest) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &a.m) }

// digested gives the record with the digest of its manifest.
func (d Desired) digested() Desired {
	if d.Digest = ""; d.Manifest != nil {
		d.Digest = d.Manifest.Digest()
	}
	return d
}
