package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Audit appends to the record of who asked for what: one JSON object a line.
func (s *Store) Audit(who, app, what string, refused error) error {
	line := struct {
		Time    time.Time `json:"time"`
		Who     string    `json:"who"`
		App     string    `json:"app,omitempty"`
		What    string    `json:"what"`
		Refused string    `json:"refused,omitempty"`
	}{s.now().UTC(), who, app, what, ""}
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
