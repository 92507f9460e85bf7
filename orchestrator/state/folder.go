package state

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/disk"
)

// foldersFormat is the format of the record of the owner's folders.
const foldersFormat = 1

func (s *Store) foldersFile() string { return filepath.Join(s.dir, "folders.json") }

// readOne reads a record that there is one of, or its second copy where it is damaged; the zero
// value where there is neither.
func readOne[T any](file string, newest int) (v T, err error) {
	decode := func(file string) (v T, err error) {
		record, format, err := readEnvelope(file, newest)
		if err != nil {
			return v, err
		}
		if err := strict(record, &v); err != nil {
			return v, foreignError{fmt.Errorf("%s: written by a newer daemon: format %d holds what this one does not know: %w", file, format, err)}
		}
		return v, nil
	}
	v, err = decode(file)
	if err == nil || foreign(err) {
		return v, err
	}
	switch last, lastErr := decode(file + lastGood); {
	case errors.Is(err, fs.ErrNotExist) && errors.Is(lastErr, fs.ErrNotExist):
		return v, nil
	case lastErr == nil:
		return last, nil
	default:
		return v, errors.Join(err, lastErr)
	}
}

// loadOwners reads the owner's folders, and the disks. What cannot be read is not overwritten:
// then there are none until somebody has put that right, and FoldersBroken and DisksBroken say
// why.
func (s *Store) loadOwners() {
	s.folders, s.disks = map[string]manifest.Folder{}, map[string]disk.Disk{}
	folders, err := readOne[map[string]manifest.Folder](s.foldersFile(), foldersFormat)
	if err != nil {
		s.foldersBroken = fmt.Errorf("the record of the owner's folders cannot be read: %w", err)
	} else {
		maps.Copy(s.folders, folders)
	}
	disks, err := readOne[map[string]disk.Disk](s.disksFile(), disksFormat)
	if err != nil {
		s.disksBroken = fmt.Errorf("the record of disks cannot be read: %w; move it away to have it made anew", err)
	} else {
		maps.Copy(s.disks, disks)
	}
}

// ChangeFolders has the owner's folders changed, durably: change gets a copy of them, and
// decides by all records as they are now. It runs under the store's lock, and must not call
// the store; an error of its own comes back as it is.
func (s *Store) ChangeFolders(change func(folders map[string]manifest.Folder, r Records) error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.foldersBroken != nil {
		return s.foldersBroken
	}
	r := s.Records()
	folders := maps.Clone(r.Folders)
	if err := change(folders, r); err != nil {
		return err
	}
	if maps.Equal(folders, r.Folders) {
		return nil
	}
	if err := s.writeRecord(s.foldersFile(), foldersFormat, folders); err != nil {
		return fmt.Errorf("recording the owner's folders: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snapshot, s.folders = nil, folders
	return nil
}

// FoldersBroken says why the record of the owner's folders cannot be used; nil where it can.
func (s *Store) FoldersBroken() error { return s.foldersBroken }
