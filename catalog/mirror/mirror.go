// Package mirror owns the layout of a mirror: a directory that any web server can
// serve. Publishers write it and nodes fetch from it, and both take the names from here:
//
//	root/1.json    the first root document
//	root/2.json    its successor, and so on
//	beta.json      the signed catalog of a channel
//	pictures/HEX   an icon or a screenshot that one names by this SHA-256
package mirror

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/root"
	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
)

// ErrDuplicate is wrapped when two catalogs of one channel are to be written.
var ErrDuplicate = errors.New("duplicate channel")

const suffix = ".json"

// Root is the path of a root document, relative to the mirror.
func Root(version int64) string { return fmt.Sprintf("root/%d%s", version, suffix) }

// Catalog is the path of a channel's catalog, relative to the mirror.
func Catalog(channel string) string { return channel + suffix }

// Channel is the channel whose catalog a file is by its name.
func Channel(file string) string { return strings.TrimSuffix(filepath.Base(file), suffix) }

// Chain is a chain of root documents, each the successor of the one before it.
type Chain struct {
	Documents [][]byte
	Newest    int64 // version of the last
}

// Signed is a catalog whose signatures have been verified.
type Signed struct {
	Name     string // what errors call it, such as the file that it was read from
	Document *document.Document
	Envelope []byte
	Pictures string // directory with those of its entries that the mirror lacks
}

// ErrDamaged is wrapped when a mirror holds something that cannot be read, so that nothing
// says what would be an older one.
var ErrDamaged = errors.New("damaged mirror")

// Roots continues a chain of root documents, whose last has the version newest, by the
// successors that the mirror holds: keys that have been rotated out sign nothing more.
// Whoever publishes verifies the whole. A mirror that holds another root of a version of
// the chain, or one that cannot be chained, is refused.
func Roots(dir string, chain [][]byte, newest int64) ([][]byte, error) {
	out := slices.Clone(chain)
	first := newest - int64(len(chain)) + 1
	for i, b := range chain {
		file := filepath.Join(dir, Root(first+int64(i)))
		there, err := os.ReadFile(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		case !root.Same(there, b):
			return nil, fmt.Errorf("%w: %s is another root than the one given with --root; nodes trust what they got from there: give that one, or publish to another directory", ErrDamaged, file)
		}
	}
	for v := newest + 1; ; v++ {
		file := filepath.Join(dir, Root(v))
		b, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			return out, noneAfter(dir, v)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		out = append(out, b)
		if _, err := root.Verify(time.Time{}, out[0], out[1:]...); err != nil {
			return nil, fmt.Errorf("%w: %s does not succeed the root before it (%w); put back the one that was published", ErrDamaged, file, err)
		}
	}
}

// noneAfter refuses a mirror that holds a root after one that it lacks.
func noneAfter(dir string, missing int64) error {
	files, err := filepath.Glob(filepath.Join(dir, filepath.Dir(Root(1)), "*"+suffix))
	if err != nil {
		return err
	}
	for _, f := range files {
		if v, err := strconv.ParseInt(Channel(f), 10, 64); err == nil && v > missing {
			return fmt.Errorf("%w: %s is there, and %s before it is missing; put it back", ErrDamaged, f, Root(missing))
		}
	}
	return nil
}

// Publish writes root documents and catalogs into a mirror's directory, and returns
// the files of the catalogs. A catalog that is not newer than the one there is refused
// with document.ErrRollback, unless it is the same; so is one that has dropped a
// revocation, and one whose entries require each other in a circle. A catalog there that
// cannot be read is ErrDamaged. One whose pictures are not to be had is ErrNoPicture. All are
// checked before any is written, and the roots and pictures are written first: a node that
// finds a catalog can verify it, and show it.
func Publish(dir string, roots Chain, catalogs ...Signed) (files []string, err error) {
	taken := map[string]bool{}
	var problems []error
	for _, c := range catalogs {
		d := c.Document
		if taken[d.Channel] {
			problems = append(problems, fmt.Errorf("%s: %w: another catalog of %s is to be published too", c.Name, ErrDuplicate, d.Channel))
		}
		taken[d.Channel] = true
		if err := d.Cycles(); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", c.Name, err))
		}
		file := filepath.Join(dir, Catalog(d.Channel))
		there, err := published(file)
		switch {
		case err != nil:
			problems = append(problems, err)
		case there == nil || there.Digest == d.Digest:
		case there.Serial >= d.Serial:
			problems = append(problems, fmt.Errorf("%s: %w: serial %d; %s has %d", c.Name, document.ErrRollback, d.Serial, file, there.Serial))
		default:
			for _, r := range there.Revoked {
				if d.Revocation(r.ID, r.Version) == nil {
					problems = append(problems, fmt.Errorf("%s: %w: %s %s was revoked on %s, and the catalog does not say so any more; make it from the one in %s", c.Name, document.ErrRollback, r.ID, r.Version, r.Since.Format(time.DateOnly), file))
				}
			}
		}
	}
	pictures, err := lacking(dir, catalogs)
	if err := errors.Join(append(problems, err)...); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(Root(1))), 0o755); err != nil {
		return nil, err
	}
	if err := WritePictures(dir, pictures); err != nil {
		return nil, err
	}
	first := roots.Newest - int64(len(roots.Documents)) + 1
	for i, b := range roots.Documents {
		if err := atomicfile.Write(filepath.Join(dir, Root(first+int64(i))), b, 0o644); err != nil {
			return nil, err
		}
	}
	for _, c := range catalogs {
		file := filepath.Join(dir, Catalog(c.Document.Channel))
		if err := atomicfile.Write(file, c.Envelope, 0o644); err != nil {
			return files, err
		}
		files = append(files, file)
	}
	return files, nil
}

// published reads the catalog that a mirror serves now, only to learn what it must not go
// back behind; nil if there is none.
func published(file string) (*document.Document, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var d *document.Document
	if err == nil {
		d, err = document.Peek(b)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s cannot be read, so nobody can tell which serial nodes have seen (%w); put back the last one that was published, or remove the file if the new one is newer than that", ErrDamaged, file, err)
	}
	return d, nil
}
