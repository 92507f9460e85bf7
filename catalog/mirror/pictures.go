package mirror

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
)

// Picture is the path of a picture, by its digest ("sha256:HEX"), relative to the mirror.
func Picture(digest string) string {
	return path.Join(manifest.PicturesDir, manifest.PictureFile(digest))
}

// lacking gives the pictures of catalogs that the mirror in dir does not have yet, by the
// names of their files.
func lacking(dir string, catalogs []Signed) (map[string][]byte, error) {
	out := map[string][]byte{}
	var problems []error
	for _, c := range catalogs {
		for _, e := range c.Document.Entries {
			l := e.Listing()
			for _, digest := range l.Pictures() {
				name := manifest.PictureFile(digest)
				if name == "" || out[name] != nil {
					continue // a digest that is none is refused with its entry
				}
				if b, err := catalog.ReadPicture(filepath.Join(dir, Picture(digest))); err == nil && manifest.PictureDigest(b) == digest {
					continue
				}
				b, err := catalog.ReadPicture(filepath.Join(c.Pictures, name))
				if err != nil {
					problems = append(problems, fmt.Errorf("%s: %w: %s: neither the mirror nor the catalog's own directory has it, where 'catalog build' writes it: %w", c.Name, catalog.ErrNoPicture, e.ID, err))
					continue
				}
				if _, err := l.CheckPicture(digest, b); err != nil {
					problems = append(problems, fmt.Errorf("%s: %s: %s: %w", c.Name, e.ID, filepath.Join(c.Pictures, name), err))
				}
				out[name] = b
			}
		}
	}
	return out, errors.Join(problems...)
}

// WritePictures writes pictures, by the names of their files, below a directory.
func WritePictures(dir string, pictures map[string][]byte) error {
	dir = filepath.Join(dir, manifest.PicturesDir)
	if len(pictures) > 0 {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for name, b := range pictures {
		if err := atomicfile.Write(filepath.Join(dir, name), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}
