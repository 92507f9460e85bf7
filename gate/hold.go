package gate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/gate/runner"
	"github.com/archipelago-cloud/archipelago/reports"
)

const lockFile = "lock" // of a run's directory: held by the process that works on the run

// errWorkedOn is wrapped where another process works on a run.
var errWorkedOn = errors.New("it is being worked on")

// hold takes a run for this process. The lock ends with the process, however that ends.
func hold(dir string) (release func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", runner.ErrIncomplete, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		var pid [20]byte
		n, _ := f.ReadAt(pid[:], 0)
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: run %s: %w by process %s; wait for it, or end that", plan.ErrUsage, filepath.Base(dir), errWorkedOn, strings.TrimSpace(string(pid[:n])))
		}
		return nil, fmt.Errorf("%w: locking %s: %w", runner.ErrIncomplete, f.Name(), err)
	}
	if err := errors.Join(f.Truncate(0), writeAt(f, fmt.Sprintln(os.Getpid()))); err != nil {
		f.Close()
		return nil, fmt.Errorf("%w: %s: %w", runner.ErrIncomplete, f.Name(), err)
	}
	return func() { f.Close() }, nil
}

func writeAt(f *os.File, s string) error {
	_, err := f.WriteAt([]byte(s), 0)
	return err
}

// runs gives the directories of the runs in out.
func runs(out string) ([]string, error) {
	plans, err := filepath.Glob(filepath.Join(out, "*", reports.PlanFile))
	var dirs []string
	for _, p := range plans {
		// A link is no run: the one to the latest, or what a gate left that was killed as it made it.
		if info, err := os.Lstat(filepath.Dir(p)); err == nil && info.IsDir() {
			dirs = append(dirs, filepath.Dir(p))
		}
	}
	return dirs, err
}

// disarm takes the access tokens out of runs whose gate was killed.
func disarm(out string) error {
	dirs, err := runs(out)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if left, _ := filepath.Glob(filepath.Join(dir, "suite", "*.json")); len(left) == 0 {
			continue
		}
		if err := reports.Own(dir); err != nil {
			return fmt.Errorf("%w: %w; or move run %s away", plan.ErrUsage, err, filepath.Base(dir))
		}
		release, err := hold(dir)
		if errors.Is(err, errWorkedOn) {
			continue
		}
		if err != nil {
			return err
		}
		err = runner.Disarm(dir)
		release()
		if err != nil {
			return fmt.Errorf("%w: the access tokens that a killed gate left in %s: %w", runner.ErrIncomplete, dir, err)
		}
	}
	return nil
}
