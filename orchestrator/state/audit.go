package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
)

const (
	auditFile = "audit.jsonl"
	auditMax  = 8 << 20 // bytes of one file
	auditKept = 4       // older files, audit.jsonl.1 being the newest of them
)

// Asked is a line of the audit log: who asked for what, and why that was refused.
type Asked struct {
	Time    time.Time `json:"time"`
	Who     string    `json:"who"`
	App     string    `json:"app,omitempty"`
	What    string    `json:"what"`
	Refused string    `json:"refused,omitempty"`
}

// Asked gives the newest lines of the audit log that concern an application, or that
// concern none where app is empty; the newest first. It looks at the newest file alone,
// and a line that a power cut has left half is none.
func (s *Store) Asked(app string, most int) (asked []Asked, err error) {
	s.auditing.Lock()
	b, err := os.ReadFile(filepath.Join(s.dir, auditFile))
	s.auditing.Unlock()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	var of []byte
	if app != "" {
		of = []byte(`"app":"` + app + `"`) // an id needs no escaping
	}
	for len(b) > 0 && len(asked) < most {
		b = bytes.TrimSuffix(b, []byte{'\n'})
		begin := bytes.LastIndexByte(b, '\n') + 1
		var line Asked
		if of != nil && !bytes.Contains(b[begin:], of) {
			b = b[:begin]
			continue // most lines are of others, and need not be read
		}
		if json.Unmarshal(b[begin:], &line) == nil && line.App == app {
			asked = append(asked, line)
		}
		b = b[:begin]
	}
	return asked, nil
}

// Audit appends durably to the record of who asked for what: one JSON object a line. A
// file that is full becomes audit.jsonl.1, and the oldest of them goes.
func (s *Store) Audit(who, app, what string, refused error) error {
	line := Asked{s.now().UTC(), who, app, what, ""}
	if refused != nil {
		line.Refused = refused.Error()
	}
	b, err := json.Marshal(line)
	if err != nil {
		return err
	}
	s.auditing.Lock()
	defer s.auditing.Unlock()
	if err := s.appendAudit(append(b, '\n')); err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	return nil
}

// Audit appends to the audit log in the daemon's state directory, for a program other than
// the daemon, which alone may open the store.
func Audit(dir, who, app, what string, refused error) error {
	return newStore(dir).Audit(who, app, what, refused)
}

func (s *Store) appendAudit(line []byte) error {
	file := filepath.Join(s.dir, auditFile)
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	} else if err == nil && info.Size() > 0 && info.Size()+int64(len(line)) > s.auditMax {
		err = rotate(file)
		info = nil
	}
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(line)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil && info == nil {
		err = atomicfile.SyncDir(s.dir) // the file is new
	}
	return err
}

// rotate makes room for a new file: FILE becomes FILE.1, FILE.1 becomes FILE.2. The
// oldest are renamed first, and no further than to the first number that is free, so
// that a rotation which a power cut interrupted loses no line when it is done again.
func rotate(file string) error {
	numbered := func(n int) string { return file + "." + strconv.Itoa(n) }
	last := 1
	for ; last < auditKept; last++ {
		if _, err := os.Lstat(numbered(last)); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return err
		}
	}
	for n := last; n > 1; n-- {
		if err := os.Rename(numbered(n-1), numbered(n)); err != nil {
			return err
		}
	}
	return os.Rename(file, numbered(1))
}
