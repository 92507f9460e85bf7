package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// Accept puts several records in force at once, all of them or none, and gives them
// as written. Each gets a generation of its own, one greater than any that the store
// has seen for that application; deleting a record does not start the count again.
// Each gets the time of acceptance, and its Update and Restart get the generation
// where they ask for it (Update.Generation 0, RestartRequested).
//
// Several records go through a journal, so that after a power cut Open finds all of
// them or none. Where a write fails, what was there is restored. If the disk refuses
// that too, it is tried again before the next write; a restart before that may put
// the records in force, all of them.
func (s *Store) Accept(records []Desired) ([]Desired, error) {
	return s.Decide(func(Records) ([]Desired, error) { return records, nil })
}

// Decide has records decided on and accepted as one step: nothing is written between
// what the decision sees and what it gives. The decision runs under the store's lock
// and must not call the store; an error of its own comes back as it is.
func (s *Store) Decide(decide func(Records) ([]Desired, error)) ([]Desired, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	records, err := decide(s.Records())
	if err != nil {
		return nil, err
	}
	out, err := s.number(records)
	if err != nil {
		return nil, err
	}
	// What is to run could fill the disk further: the reserve is for what makes room.
	s.sparing = slices.ContainsFunc(out, func(d Desired) bool { return d.Goal == Running })
	defer func() { s.sparing = false }()
	if err := s.settle(); err != nil {
		return nil, err
	}
	switch len(out) {
	case 0:
		return nil, nil
	case 1:
		if err := s.put(out[0]); err != nil {
			return nil, err
		}
		return out, nil
	}
	if err := s.writeJournaled(out); err != nil {
		return nil, fmt.Errorf("accepting %s together: %w", strings.Join(apps(out), ", "), err)
	}
	s.publish(out...)
	// The records are in force. Should the journal stay, the next write removes it.
	_ = s.settle()
	return out, nil
}

// number gives copies of the records, checked, with their generations.
func (s *Store) number(records []Desired) ([]Desired, error) {
	out := make([]Desired, 0, len(records))
	next := map[string]uint64{}
	now := s.now().UTC()
	for _, d := range records {
		if err := s.broken[d.App]; err != nil {
			return nil, err
		}
		if next[d.App] != 0 {
			return nil, fmt.Errorf("%s: two records of one application cannot be accepted together", d.App)
		}
		d.Generation, d.AcceptedAt = s.seen[d.App]+1, now
		next[d.App] = d.Generation
		if d.Update != nil && d.Update.Generation == 0 {
			u := *d.Update
			u.Generation = d.Generation
			d.Update = &u
		}
		if d.Restart == RestartRequested {
			d.Restart = d.Generation
		}
		if err := d.check(); err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

func (s *Store) journalFile() string { return filepath.Join(s.dir, "accept.json") }

// writeJournaled writes the journal and then the records. It leaves the journal,
// unless a write fails: then it restores what was there.
func (s *Store) writeJournaled(records []Desired) error {
	b, err := seal(s.desired.format, records)
	if err != nil {
		return err
	}
	s.journal = true
	if err := s.write(s.journalFile(), b, 0o600); err != nil {
		return s.undone(fmt.Errorf("%s: %w", s.journalFile(), err))
	}
	for i, d := range records {
		if err := s.writeDesired(d); err != nil {
			return s.undone(err, apps(records[:i+1])...)
		}
	}
	return nil
}

// undone restores what a failed write may have changed, and adds to its error where
// that fails too. A write that reports a failure may have replaced the file.
func (s *Store) undone(failed error, apps ...string) error {
	s.undo = append(s.undo, apps...)
	if err := s.settle(); err != nil {
		return fmt.Errorf("%w; %w", failed, err)
	}
	return failed
}

// settle restores the records that failed writes may have changed, and then removes
// the journal. Every change of desired state begins with it: what failed must not
// come into force at the next start, and a journal left behind would bring back what
// has been deleted since. A record that cannot be restored stops the others only
// while there is a journal.
func (s *Store) settle() error {
	var errs []error
	s.undo = slices.DeleteFunc(s.undo, func(app string) bool {
		err := s.restore(app)
		errs = append(errs, err)
		return err == nil
	})
	if !s.journal {
		return nil
	}
	err := errors.Join(errs...)
	if err == nil {
		err = s.remove(s.journalFile())
	}
	if err != nil {
		return fmt.Errorf("%s cannot be cleared away, and nothing more is accepted until it is; make %s writable: %w", s.journalFile(), s.dir, err)
	}
	s.journal = false
	return nil
}

// restore writes the record that is in force over what a failed write left.
func (s *Store) restore(app string) error {
	if d, ok := s.byApp[app]; ok {
		return s.writeDesired(d)
	}
	return s.forget(s.desired.name, app)
}

// replay completes an acceptance that a power cut interrupted.
func (s *Store) replay() error {
	file := s.journalFile()
	journal, format, err := readEnvelope(file, s.desired.format)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case foreign(err):
		// Going on would overwrite it, or accept half of what it holds.
		return err
	case err != nil:
		return s.putAside(file) // it was never complete, so no record was written after it
	}
	var each []json.RawMessage
	if err := json.Unmarshal(journal, &each); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	records := make([]Desired, len(each))
	for i := range each {
		if records[i], err = s.desired.open(file, each[i], format); err != nil {
			return err
		}
	}
	for _, d := range records {
		if foreign(s.broken[d.App]) || s.byApp[d.App].Generation >= d.Generation {
			continue
		}
		if err := s.writeDesired(d); err != nil {
			return fmt.Errorf("completing %s: %w", file, err)
		}
		s.byApp[d.App] = d
		delete(s.broken, d.App)
	}
	return s.remove(file)
}

func apps(records []Desired) []string {
	out := make([]string, len(records))
	for i, d := range records {
		out[i] = d.App
	}
	return out
}
