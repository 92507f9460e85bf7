package gate

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/archipelago-cloud/archipelago/gate/runner"
	"github.com/archipelago-cloud/archipelago/reports"
)

// Cleaning says which runs Clean removes.
type Cleaning struct {
	Keep   int           // of the newest runs, which stay whatever they are
	Age    time.Duration // older runs go; 0: any
	Bytes  int64         // runs go, the oldest first, until the rest is no larger; 0: no bound
	Signed bool          // signed runs may go, too
	DryRun bool          // remove nothing
}

// Cleaned is what became of a run.
type Cleaned struct {
	Dir   string
	Bytes int64
	Why   string // it was kept; empty: it was removed, or would be
}

// Clean removes runs from out: those that are too old, and the oldest of those that are too
// many bytes together. It never removes one that is being worked on.
func Clean(out string, c Cleaning, now time.Time) ([]Cleaned, error) {
	dirs, err := runs(out)
	if err != nil {
		return nil, err
	}
	type run struct {
		dir   string
		bytes int64
		last  time.Time
	}
	var all []run
	total := int64(0)
	for _, dir := range dirs {
		r := run{dir: dir}
		if r.bytes, r.last, err = measure(dir); err != nil {
			return nil, err
		}
		total += r.bytes
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b run) int { return cmp.Or(b.last.Compare(a.last), cmp.Compare(b.dir, a.dir)) })
	newest, _ := filepath.EvalSymlinks(filepath.Join(out, latest))
	var done []Cleaned
	for i, r := range slices.Backward(all) { // the oldest first
		old, large := now.Sub(r.last) > c.Age, c.Bytes > 0 && total > c.Bytes
		why := ""
		switch {
		case i < c.Keep:
			why = fmt.Sprintf("one of the newest %d", c.Keep)
		case newest != "" && filepath.Base(newest) == filepath.Base(r.dir):
			why = "the latest"
		case !c.Signed && exists(filepath.Join(r.dir, reports.SignedFile)):
			why = "signed"
		case !old && !large:
			why = "neither old nor too large"
		default:
			if why, err = remove(r.dir, c.DryRun); err != nil {
				return done, err
			}
		}
		if why == "" {
			total -= r.bytes
		}
		done = append(done, Cleaned{r.dir, r.bytes, why})
	}
	return done, nil
}

// remove removes a run, unless somebody works on it; why says so.
func remove(dir string, dry bool) (why string, err error) {
	release, err := hold(dir)
	if errors.Is(err, errWorkedOn) {
		return err.Error(), nil
	}
	if err != nil {
		return "", err
	}
	defer release()
	if dry {
		return "", nil
	}
	// First the plan: without it, it is a run no more, should this be cut short.
	if err := errors.Join(os.Remove(filepath.Join(dir, reports.PlanFile)), os.RemoveAll(dir)); err != nil {
		return "", fmt.Errorf("%w: %w", runner.ErrIncomplete, err)
	}
	return "", nil
}

// measure gives the size of a run in bytes, and when its results were last written to.
func measure(dir string) (bytes int64, last time.Time, err error) {
	err = filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		bytes += info.Size()
		if name := d.Name(); filepath.Dir(file) == dir && (name == reports.PlanFile || name == reports.ResultsFile) && info.ModTime().After(last) {
			last = info.ModTime()
		}
		return nil
	})
	return bytes, last, err
}

func exists(file string) bool {
	_, err := os.Lstat(file)
	return err == nil
}
