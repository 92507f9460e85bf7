package backup

import (
	"archive/zip"
	"compress/flate"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"syscall"

	"filippo.io/age"

	"github.com/archipelago-cloud/archipelago/orchestrator/archive"
)

// pack writes the backup file: the volumes from the copy in dir. Nothing of it is in the
// clear. The secrets are encrypted once more within, as they were when the volumes were not:
// every client reads both.
func (m *Manager) pack(ctx context.Context, b Backup, dir string, recipients []age.Recipient, w io.Writer) error {
	whole, err := archive.Seal(w, recipients)
	if err != nil {
		return err
	}
	z := zip.NewWriter(whole)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestSpeed) })
	var sums []byte
	add := func(name string, method uint16, write func(io.Writer) error) error {
		entry, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: method, Modified: b.Made})
		if err != nil {
			return err
		}
		h := sha256.New()
		if err := write(io.MultiWriter(entry, h)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		sums = fmt.Appendf(sums, "%s  %s\n", hex.EncodeToString(h.Sum(nil)), name)
		return nil
	}
	values, err := m.values(b)
	if err != nil {
		return err
	}
	err = errors.Join(
		add(archive.Header, zip.Deflate, func(w io.Writer) error { return json.NewEncoder(w).Encode(b) }),
		add(archive.Secrets, zip.Store, func(w io.Writer) error {
			sealed, err := age.Encrypt(w, recipients...)
			if err != nil {
				return err
			}
			return errors.Join(json.NewEncoder(sealed).Encode(values), sealed.Close())
		}),
		add(archive.Volumes, zip.Deflate, func(w io.Writer) error { return m.tar(ctx, dir, w) }))
	if err != nil {
		return err
	}
	entry, err := z.Create(archive.Sums)
	if err != nil {
		return err
	}
	if _, err := entry.Write(sums); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return whole.Close()
}

// values are the secrets of what is backed up, and its secret settings.
func (m *Manager) values(b Backup) (map[string]string, error) {
	values, err := m.Secrets.All(b.Manifest)
	if err != nil {
		return nil, err
	}
	settings, err := m.Secrets.Settings(b.Manifest, b.Config)
	if err != nil {
		return nil, err
	}
	maps.Copy(values, settings)
	return values, nil
}

// tar passes the tar that the engine makes through a pipe, so that it takes no space
// on the node.
func (m *Manager) tar(ctx context.Context, dir string, w io.Writer) error {
	pipe := dir + ".pipe"
	os.Remove(pipe)
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		return err
	}
	defer os.Remove(pipe)
	from, err := os.OpenFile(pipe, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	// Held open until tar has ended: a pipe that nobody writes to reads as ended.
	keeper, err := os.OpenFile(pipe, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	made := make(chan error, 1)
	go func() {
		err := m.Engine.Archive(ctx, dir, pipe)
		keeper.Close()
		made <- err
	}()
	_, err = io.Copy(w, from)
	if err != nil {
		cancel()
	}
	return errors.Join(err, <-made)
}
