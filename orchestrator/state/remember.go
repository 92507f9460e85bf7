package state

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// rememberedFormat is the format of what Remember writes.
const rememberedFormat = 1

// remembered says in which format a value is.
type remembered struct {
	Format int             `json:"format"`
	Value  json.RawMessage `json:"value"`
}

// Remember keeps something that is nice to have after a restart, such as the last
// observation; Recall reads it back. Remember does not wait for the disk.
func (s *Store) Remember(name string, v any) error {
	value, err := json.Marshal(v)
	if err != nil {
		return err
	}
	b, err := json.Marshal(remembered{rememberedFormat, value})
	if err != nil {
		return err
	}
	tmp := filepath.Join(s.dir, "."+name+".new")
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(s.dir, name))
}

// Recall reads what Remember kept. It returns fs.ErrNotExist where there is nothing,
// or where it is in another format: it was only nice to have.
func (s *Store) Recall(name string, v any) error {
	file := filepath.Join(s.dir, name)
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var r remembered
	if err := json.Unmarshal(b, &r); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if r.Format != rememberedFormat {
		return fmt.Errorf("%s is of another format: %w", file, fs.ErrNotExist)
	}
	return json.Unmarshal(r.Value, v)
}
