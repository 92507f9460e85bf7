package state

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// foldersFormat is the format of the record of the owner's folders.
const foldersFormat = 1

func (s *Store) foldersFile() string { return filepath.Join(s.dir, "folders.json") }

// loadFolders reads the owner's folders. What cannot be read is not overwritten: then there
// are none until somebody has put that right, and FoldersBroken says why.
func (s *Store) loadFolders() {
	s.folders = map[string]manifest.Folder{}
	decode := func(file string) (folders map[string]manifest.Folder, err error) {
		record, format, err := readEnvelope(file, foldersFormat)
		if err != nil {
			return nil, err
		}
		if err := strict(record, &folders); err != nil {
			return nil, foreignError{fmt.Errorf("%s: written by a newer daemon: format %d holds what this one does not know: %w", file, format, err)}
		}
		return folders, nil
	}
	folders, err := decode(s.foldersFile())
	if err != nil && !foreign(err) {
		last, lastErr := decode(s.foldersFile() + lastGood)
		switch {
		case errors.Is(err, fs.ErrNotExist) && errors.Is(lastErr, fs.ErrNotExist):
			return
		case lastErr == nil:
			folders, err = last, nil
		default:
			err = errors.Join(err, lastErr)
		}
	}
	if err != nil {
		s.foldersBroken = fmt.Errorf("the record of the owner's folders cannot be read: %w", err)
		return
	}
	maps.Copy(s.folders, folders)
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
