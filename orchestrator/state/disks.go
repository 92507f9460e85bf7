package state

import (
	"fmt"
	"maps"
	"path/filepath"

	"github.com/archipelago-cloud/archipelago/orchestrator/disk"
)

// disksFormat is the format of the record of disks.
const disksFormat = 1

func (s *Store) disksFile() string { return filepath.Join(s.dir, "disks.json") }

// Disks are the disks that directories which the owner has named are on: folders, volumes that
// were moved, repositories. The map is shared: it is not to be changed.
func (s *Store) Disks() map[string]disk.Disk {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.disks
}

// SetDisk records durably which disk a directory is on; the zero value: none that is known.
func (s *Store) SetDisk(dir string, d disk.Disk) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.disksBroken != nil {
		return s.disksBroken
	}
	if s.disks[dir] == d {
		return nil
	}
	disks := maps.Clone(s.disks)
	if d == (disk.Disk{}) {
		delete(disks, dir)
	} else {
		disks[dir] = d
	}
	if err := s.writeRecord(s.disksFile(), disksFormat, disks); err != nil {
		return fmt.Errorf("recording the disk of %s: %w", dir, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disks = disks
	return nil
}

// DisksBroken says why the record of disks cannot be used; nil where it can.
func (s *Store) DisksBroken() error { return s.disksBroken }
