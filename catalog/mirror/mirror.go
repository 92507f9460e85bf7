// Package mirror owns the layout of a mirror: a directory that any web server can
// serve. Publishers write it and nodes fetch from it, and both take the names from here:
//
//	root/1.json    the first root document
//	root/2.json    its successor, and so on
//	beta.json      the signed catalog of a channel
package mirror

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/document"
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
}

// Publish writes root documents and catalogs into a mirror's directory, and returns
// the files of the catalogs. A catalog that is not newer than the one there is refused
// with document.ErrRollback, unless it is the same, and so is one whose entries require
// each other in a circle. All are checked before any is
// written, and the roots are written first: a node that finds a catalog can verify it.
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
		if there := published(file); there != nil && there.Serial >= d.Serial && there.Digest != d.Digest {
			problems = append(problems, fmt.Errorf("%s: %w: serial %d; %s has %d", c.Name, document.ErrRollback, d.Serial, file, there.Serial))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(Root(1))), 0o755); err != nil {
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

// published reads the catalog that a mirror serves now, only to learn its serial; nil
// if there is none, or none that can be read.
func published(file string) *document.Document {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	d, err := document.Peek(b)
	if err != nil {
		return nil
	}
	return d
}
