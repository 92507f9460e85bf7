package transfer

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReceive(t *testing.T) {
	const content = "a program"
	sum := sha256.Sum256([]byte(content))
	announced := hex.EncodeToString(sum[:])
	broken := errors.New("connection lost")
	for name, c := range map[string]struct {
		from io.Reader
		max  int64
		sum  string
		want error
	}{
		"what was announced":      {strings.NewReader(content), 0, announced, nil},
		"as large as it may be":   {strings.NewReader(content), int64(len(content)), announced, nil},
		"one byte too many":       {strings.NewReader(content), int64(len(content)) - 1, announced, ErrTooLarge},
		"another content":         {strings.NewReader("A program"), 0, announced, ErrDamaged},
		"cut off":                 {strings.NewReader(content[:3]), 0, announced, ErrDamaged},
		"nothing was announced":   {strings.NewReader(content), 0, "", ErrDamaged},
		"the connection broke":    {io.MultiReader(strings.NewReader(content), iotest.ErrReader(broken)), 0, announced, broken},
		"it broke after too much": {io.MultiReader(strings.NewReader(content), iotest.ErrReader(broken)), 2, announced, ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(file, []byte("what was there before, and is longer"), 0o600); err != nil {
				t.Fatal(err)
			}
			err := File{Name: file, Mode: 0o755, Max: c.max, SHA256: c.sum, Durable: true}.Receive(c.from)
			if !errors.Is(err, c.want) {
				t.Fatalf("%v, expected %v", err, c.want)
			}
			b, readErr := os.ReadFile(file)
			if c.want != nil {
				if !errors.Is(readErr, fs.ErrNotExist) {
					t.Errorf("a file is left: %q, %v", b, readErr)
				}
				return
			}
			info, statErr := os.Stat(file)
			if readErr != nil || statErr != nil || string(b) != content || info.Mode() != 0o755 {
				t.Errorf("%q, %v, %v", b, readErr, info)
			}
		})
	}
}
