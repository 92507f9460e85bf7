package draft

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// maxBlob is the largest file of an OCI archive that is looked at: manifests and
// configurations are smaller, and layers are not needed.
const maxBlob = 4 << 20

// extractLayout unpacks an OCI archive, without its layers, into a directory of its own,
// which done removes. dir is empty where the archive holds no OCI layout.
func extractLayout(file string) (dir string, done func(), err error) {
	done = func() {}
	f, err := os.Open(file)
	if err != nil {
		return "", done, err
	}
	defer f.Close()
	var in io.Reader = f
	magic := make([]byte, 2)
	if _, err := io.ReadFull(f, magic); err != nil {
		return "", done, errors.New("this is no archive")
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", done, err
	}
	if magic[0] == 0x1f && magic[1] == 0x8b {
		if in, err = gzip.NewReader(f); err != nil {
			return "", done, err
		}
	}
	tmp, err := os.MkdirTemp("", "archy-image-")
	if err != nil {
		return "", done, err
	}
	done = func() { os.RemoveAll(tmp) }
	defer func() {
		if dir == "" {
			done()
			done = func() {}
		}
	}()
	isLayout := false
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", done, fmt.Errorf("this is no tar archive: %w", err)
		}
		name := path.Clean(h.Name)
		wanted := name == "index.json" || name == "oci-layout" || strings.HasPrefix(name, "blobs/sha256/")
		if h.Typeflag != tar.TypeReg || !wanted || !filepath.IsLocal(name) || h.Size > maxBlob {
			continue
		}
		isLayout = isLayout || name == "index.json"
		if err := place(filepath.Join(tmp, name), r); err != nil {
			return "", done, err
		}
	}
	if !isLayout {
		return "", done, nil
	}
	return tmp, done, nil
}

func place(file string, r io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}
