package state

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
	"github.com/archipelago-cloud/archipelago/orchestrator/disk"
)

// reserve is how many bytes are held for records while the disk is full: of some hundred stops
// and uninstallations.
const reserve = 4 << 20

// Store is a directory of records. It reads them once, when it is opened; the daemon
// is the only one that writes them. Reading never waits for the disk: until a write
// is durable, readers get the record that it replaces.
type Store struct {
	dir     string
	desired kind[Desired]
	data    kind[Data]
	broken  map[string]error // applications whose record cannot be used; fixed once the store is open

	now    func() time.Time
	write  func(name string, data []byte, mode fs.FileMode) error // durable and atomic
	remove func(name string) error                                // durable; nil where there is no such file

	reserve *atomicfile.Reserve

	auditing sync.Mutex // held while the audit log is written
	auditMax int64      // bytes of one of its files

	writing sync.Mutex        // held while the disk is written; guards what follows
	seen    map[string]uint64 // the highest generation of each application, deleted ones included
	journal bool              // a journal may be on disk
	sparing bool              // what is written does without the reserve
	undo    []string          // applications whose files a failed write may have left otherwise than in force

	mu       sync.RWMutex // held for moments only; writers hold writing too
	byApp    map[string]Desired
	dataOf   map[string]Data
	folders  map[string]manifest.Folder // the owner's, by name; replaced, never changed
	disks    map[string]disk.Disk       // by directory; replaced, never changed
	snapshot *Records                   // of these; nil where they have changed since

	foldersBroken error // why the record of folders cannot be used; fixed once the store is open
	disksBroken   error // the same of disks
}

// Open reads the directory and creates it, private to its owner, where it is missing.
// It completes an acceptance that a power cut interrupted. A damaged record is put
// aside and its last good copy used; an application without a usable record is in
// Broken. Open fails where the interrupted acceptance is a newer daemon's.
func Open(dir string) (*Store, error) {
	s := newStore(dir)
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("opening the state in %s: %w", dir, err)
	}
	return s, nil
}

func newStore(dir string) *Store {
	s := &Store{
		dir:     dir,
		desired: kind[Desired]{name: "desired", format: 1, app: Desired.app, decode: decodeDesired},
		data:    kind[Data]{name: "data", format: 1, app: Data.app, decode: decodeData},
		broken:  map[string]error{},
		now:     time.Now,
		remove:  remove,
		seen:    map[string]uint64{},

		auditMax: auditMax,
	}
	s.write = func(name string, data []byte, mode fs.FileMode) error {
		if s.sparing {
			return atomicfile.Write(name, data, mode)
		}
		return s.reserve.Write(name, data, mode)
	}
	return s
}

// Reserve is room on the disk for what must be written while that is full.
func (s *Store) Reserve() *atomicfile.Reserve { return s.reserve }

func (s *Store) load() (err error) {
	for _, d := range []string{s.dir, filepath.Join(s.dir, s.desired.name), filepath.Join(s.dir, s.data.name)} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	s.reserve = atomicfile.NewReserve(filepath.Join(s.dir, "reserve"), reserve)
	if s.byApp, err = s.desired.readAll(s); err != nil {
		return err
	}
	if err := s.replay(); err != nil {
		return err
	}
	if s.dataOf, err = s.data.readAll(s); err != nil {
		return err
	}
	s.loadOwners()
	for app, d := range s.byApp {
		s.seen[app] = d.Generation
		s.byApp[app] = d.digested()
	}
	return nil
}

// Get gives an application's record, or ErrNotFound.
func (s *Store) Get(app string) (Desired, error) {
	if err := s.broken[app]; err != nil {
		return Desired{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	d, ok := s.byApp[app]
	if !ok {
		return Desired{}, fmt.Errorf("app %s: %w", app, ErrNotFound)
	}
	return d, nil
}

// All gives every record that can be read, sorted by application. The slice is shared: it is
// not to be changed.
func (s *Store) All() []Desired { return s.Records().All }

// Broken gives the applications whose record cannot be used, and why. No write for
// one of them succeeds.
func (s *Store) Broken() map[string]error { return maps.Clone(s.broken) }

// Update changes an application's record durably and gives it as written, or
// ErrNotFound. Its name and generation stay as they are, whatever change does to
// them. The change runs under the store's lock: it must not call the store.
func (s *Store) Update(app string, change func(*Desired)) (Desired, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	d, err := s.Get(app)
	if err != nil {
		return Desired{}, err
	}
	generation := d.Generation
	change(&d)
	d.App, d.Generation = app, generation
	if err := d.check(); err != nil {
		return Desired{}, err
	}
	if err := s.settle(); err != nil {
		return Desired{}, err
	}
	if err := s.put(d); err != nil {
		return Desired{}, err
	}
	return d, nil
}

// put writes one record and makes it the one in force. The writer's lock is held.
func (s *Store) put(d Desired) error {
	if err := s.writeDesired(d); err != nil {
		return s.undone(err, d.App)
	}
	s.publish(d)
	return nil
}

// publish shows readers what is durable. The writer's lock is held.
func (s *Store) publish(records ...Desired) {
	for i, d := range records {
		records[i] = d.digested()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snapshot = nil
	for _, d := range records {
		s.byApp[d.App] = d
		s.seen[d.App] = max(s.seen[d.App], d.Generation)
	}
}

// DeleteIf forgets an application whose record still has that generation, and says
// whether it did. What is known of its data stays.
func (s *Store) DeleteIf(app string, generation uint64) (deleted bool, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	d, err := s.Get(app)
	if errors.Is(err, ErrNotFound) || err == nil && d.Generation != generation {
		return false, nil
	} else if err != nil {
		return false, err
	}
	if err := s.settle(); err != nil {
		return false, err
	}
	if err := s.forget(s.desired.name, app); err != nil {
		return false, s.undone(err, app)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snapshot = nil
	delete(s.byApp, app)
	return true, nil
}

// Data gives what is known of an application's data; the zero value where nothing is.
func (s *Store) Data(app string) Data {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.dataOf[app]
}

// PutData records durably what is known of an application's data.
func (s *Store) PutData(d Data) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.putData(d)
}

// putData is PutData for whoever holds the writer's lock.
func (s *Store) putData(d Data) error {
	if err := s.broken[d.App]; err != nil {
		return err
	}
	if err := s.writeRecord(s.file(s.data.name, d.App), s.data.format, d); err != nil {
		return fmt.Errorf("recording the data of %s: %w", d.App, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snapshot = nil
	s.dataOf[d.App] = d
	return nil
}

// UpdateData changes durably what is known of an application's data; nothing where there is
// none. The change runs under the store's lock: it must not call the store.
func (s *Store) UpdateData(app string, change func(Data) Data) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	d := s.Data(app)
	if d.App == "" {
		return nil
	}
	return s.putData(change(d))
}

// DeleteData forgets an application's data, once it is purged.
func (s *Store) DeleteData(app string) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.broken[app]; err != nil {
		return err
	}
	if err := s.forget(s.data.name, app); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snapshot = nil
	delete(s.dataOf, app)
	return nil
}
