package reports

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// maxFile bounds a file of a run, in bytes: files are read as a whole. A gate's are far smaller.
const maxFile = 1 << 30

// ErrForeign is wrapped when something in a run's directory is not what a gate leaves there.
var ErrForeign = errors.New("not of a run")

// Own refuses a run, whoever made it, in whose directory something is neither a directory nor
// a file of at most maxFile bytes: a link would lead whoever reads or writes the run outside
// it, and a pipe or a device has no end.
func Own(dir string) error {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(real, PlanFile)); err != nil {
		return err // it is no run, but may be half a disk
	}
	return filepath.WalkDir(real, func(file string, d fs.DirEntry, err error) error {
		var info fs.FileInfo
		if err == nil && !d.IsDir() {
			info, err = d.Info()
		}
		switch {
		case errors.Is(err, fs.ErrNotExist): // the gate that works on the run has removed it meanwhile
			return nil
		case err != nil || info == nil:
			return err
		case !info.Mode().IsRegular():
			return fmt.Errorf("%s: %w: it is neither a file nor a directory (%s), and a gate leaves nothing else; remove it, if you trust the rest", file, ErrForeign, info.Mode())
		case info.Size() > maxFile:
			return fmt.Errorf("%s: %w: %d bytes; at most %d are read", file, ErrForeign, info.Size(), maxFile)
		}
		return nil
	})
}
