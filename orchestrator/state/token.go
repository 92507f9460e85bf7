package state

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Token gives the secret that opens the daemon's interface. It is made on first use.
func (s *Store) Token() (string, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	file := filepath.Join(s.dir, "token")
	b, err := os.ReadFile(file)
	if err == nil && len(strings.TrimSpace(string(b))) >= 26 {
		return strings.TrimSpace(string(b)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading the access token: %w", err)
	}
	token := rand.Text()
	if err := s.write(file, []byte(token+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("writing the access token: %w", err)
	}
	return token, nil
}
