// Package buildcontext tells whether an image has to be built again: it gives the digest
// of the directory that an image is built from.
package buildcontext

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"strings"
)

// Digest is the SHA-256, in hex, of every file's name, executable bit and content below a
// build context, and of what else goes into the build. Equal digests are taken for equal
// images.
func Digest(files fs.FS, more ...string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, strings.Join(more, "\x00"))
	err := fs.WalkDir(files, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(files, p)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%s\x00%v\x00%d\x00", p, info.Mode()&0o100 != 0, len(b))
		h.Write(b)
		return nil
	})
	return hex.EncodeToString(h.Sum(nil)), err
}
