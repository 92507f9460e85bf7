package catalog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// published says where the pictures are of a manifest that was published, and is now below
// dir: beside the applications' folders.
func published(m *manifest.Manifest, dir string) {
	for _, digest := range m.Pictures() {
		if m.Beside[digest] != "" {
			continue
		}
		if m.Beside == nil {
			m.Beside = map[string]string{}
		}
		m.Beside[digest] = filepath.Join(dir, manifest.PicturesDir, manifest.PictureFile(digest))
	}
}

// ErrNoPicture is wrapped where a picture is not where it would be.
var ErrNoPicture = errors.New("no picture")

// Picture reads a picture of the application from the disk, of this version or another that
// shares it, and gives its media type.
func (e *Entry) Picture(of *manifest.Listing, digest string) (b []byte, mediaType string, err error) {
	file := e.Beside[digest]
	if file == "" {
		return nil, "", fmt.Errorf("%w: %s has none %s on this disk", ErrNoPicture, e.ID, digest)
	}
	if b, err = ReadPicture(file); err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrNoPicture, err)
	}
	if mediaType, err = of.CheckPicture(digest, b); err != nil {
		return nil, "", fmt.Errorf("%s: %w", file, err)
	}
	return b, mediaType, nil
}

// ReadPicture reads no more of a file than a picture may hold, and one byte.
func ReadPicture(file string) ([]byte, error) {
	info, err := os.Stat(file) // before it is opened: a pipe would keep us waiting
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", file)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, manifest.MaxScreenshot+1))
}

// Pictures are all pictures of the catalog that are on this disk, by the name of the file
// that PicturesDir holds. Those of a signed catalog are not.
func (c Catalog) Pictures() (map[string][]byte, error) {
	out := map[string][]byte{}
	var problems []error
	for _, id := range c.IDs() {
		for digest := range c[id].Beside {
			b, _, err := c[id].Picture(&c[id].Listing, digest)
			problems = append(problems, err)
			out[manifest.PictureFile(digest)] = b
		}
	}
	return out, errors.Join(problems...)
}
