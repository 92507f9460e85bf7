// Package transfer writes what arrives over a connection to a file, and takes it only
// if it is exactly what the sender announced.
package transfer

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// ErrDamaged is wrapped when the bytes that arrived have another digest than announced.
var ErrDamaged = errors.New("arrived damaged")

// ErrTooLarge is wrapped when more bytes arrive than the file may have.
var ErrTooLarge = errors.New("too large")

// File is a file that is about to arrive.
type File struct {
	Name    string
	Mode    fs.FileMode
	Max     int64  // bytes; 0: any number
	SHA256  string // of the whole file, in hex
	Durable bool   // once received, it survives a power cut
}

// Receive writes the file, replacing one of that name. When it fails, no file is left.
func (f File) Receive(from io.Reader) (err error) {
	file, err := os.OpenFile(f.Name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, f.Mode)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, file.Close()); err != nil {
			os.Remove(f.Name)
		}
	}()
	if f.Max > 0 {
		from = io.LimitReader(from, f.Max+1)
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(file, h), from)
	switch got := hex.EncodeToString(h.Sum(nil)); {
	case err != nil:
		return err
	case f.Max > 0 && n > f.Max:
		return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, f.Max)
	case got != f.SHA256:
		return fmt.Errorf("%w: SHA-256 %s, expected %s", ErrDamaged, got, f.SHA256)
	}
	if err := file.Chmod(f.Mode); err != nil { // the umask, or a file that was there before
		return err
	}
	if f.Durable {
		return file.Sync()
	}
	return nil
}
