package gate

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/gate/runner"
	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
	"github.com/archipelago-cloud/archipelago/reports"
)

const (
	binDir = "bin" // of a run: the programs that it is made with

	daemonPin, suitePin, lookPin, archyPin = "archipelago", "matrix.test", runner.LookName, "archy"
)

// pin copies the programs that a fresh run is made with into its directory, and identifies
// them. From then on only the copies are run and deployed, in resumptions too: whatever is
// built meanwhile has no part in the run. They are copies, not links: a build may write into
// the file that is there.
func (e *execution) pin() error {
	self, err := reports.FileDigest("/proc/self/exe") // the program that runs, whatever has its name by now
	if err != nil {
		return fmt.Errorf("the gate's own program: %w", err)
	}
	bin := filepath.Join(e.dir, binDir)
	archy := filepath.Join(filepath.Dir(e.Suite), archyPin)
	e.Look = cmp.Or(e.Look, filepath.Join(filepath.Dir(e.Suite), lookPin))
	if e.fresh {
		err = e.copyPins(bin, archy)
	} else {
		err = e.samePins(bin, archy, self)
	}
	if err != nil {
		return err
	}
	e.Daemon, e.Suite, e.Look = filepath.Join(bin, daemonPin), filepath.Join(bin, suitePin), filepath.Join(bin, lookPin)
	if e.fresh {
		e.plan.Judge.Gate, e.plan.Judge.Policy = self, plan.PolicyDigest(e.plan.Policy)
	}
	return nil
}

func (e *execution) copyPins(bin, archy string) error {
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return fmt.Errorf("%w: %w", runner.ErrIncomplete, err)
	}
	var err error
	if e.plan.Subject.Daemon, err = copyProgram(e.Daemon, filepath.Join(bin, daemonPin)); err != nil {
		return fmt.Errorf("%w: the daemon: %w; 'make build' builds it, --daemon names another", uncopied(err), err)
	}
	if e.plan.Judge.Suite, err = copyProgram(e.Suite, filepath.Join(bin, suitePin)); err != nil {
		return fmt.Errorf("%w: the suite: %w; 'make build' builds it, --suite names another", uncopied(err), err)
	}
	if e.plan.Judge.Look, err = copyProgram(e.Look, filepath.Join(bin, lookPin)); err != nil {
		return fmt.Errorf("%w: the witnesses' program: %w; 'make build' builds it, --look names another", uncopied(err), err)
	}
	sum, err := copyProgram(archy, filepath.Join(bin, archyPin))
	switch {
	case err == nil:
		e.plan.Subject.Commands = map[string]string{archyPin: sum}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", runner.ErrIncomplete, err)
	}
	if err := atomicfile.SyncDir(bin); err != nil {
		return fmt.Errorf("%w: %w", runner.ErrIncomplete, err)
	}
	return nil
}

// uncopied is what a program means that could not be copied: it is not there, or the gate could
// not keep it.
func uncopied(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return plan.ErrUsage
	}
	return runner.ErrIncomplete
}

// samePins refuses a resumption with other programs than those that the run began with, and
// copies that were touched since.
func (e *execution) samePins(bin, archy, self string) error {
	began := e.plan.Judge
	if self != began.Gate {
		return fmt.Errorf("%w: this gate is sha256:%.12s…, and run %s began with sha256:%.12s…; a run is judged by one: go on with that one, or start a new run", plan.ErrUsage, self, e.plan.Run, began.Gate)
	}
	if policy := plan.PolicyDigest(e.plan.Policy); policy != began.Policy {
		return fmt.Errorf("%w: the policy in %s is sha256:%.12s…, and run %s began with sha256:%.12s…: it was edited; start a new run", plan.ErrUsage, reports.PlanFile, policy, e.plan.Run, began.Policy)
	}
	for _, p := range []struct{ what, file, copy, want, remedy string }{
		{"the daemon", e.Daemon, daemonPin, e.plan.Subject.Daemon, "--daemon " + filepath.Join(bin, daemonPin)},
		{"the suite", e.Suite, suitePin, began.Suite, "--suite " + filepath.Join(bin, suitePin)},
		{"the witnesses' program", e.Look, lookPin, began.Look, "--look " + filepath.Join(bin, lookPin)},
		{"archy, beside the suite,", archy, archyPin, e.plan.Subject.Commands[archyPin], "--suite " + filepath.Join(bin, suitePin)},
	} {
		if p.want == "" && p.copy == archyPin {
			continue // the run began without one, and goes on without one
		}
		have, err := reports.FileDigest(p.file)
		if err != nil {
			return fmt.Errorf("%w: %s: %w; go on with what the run began with: %s", plan.ErrUsage, p.what, err, p.remedy)
		}
		if have != p.want {
			return fmt.Errorf("%w: %s %s is sha256:%.12s…, and run %s began with sha256:%.12s…; go on with that one: %s; or start a new run", plan.ErrUsage, p.what, p.file, have, e.plan.Run, p.want, p.remedy)
		}
		if kept, err := reports.FileDigest(filepath.Join(bin, p.copy)); err != nil || kept != p.want {
			return fmt.Errorf("%w: %s that run %s began with (sha256:%.12s…) is not in %s any more, but %s; start a new run", plan.ErrUsage, p.what, e.plan.Run, p.want, bin, cmp.Or(kept, fmt.Sprint(err)))
		}
	}
	return nil
}

// copyProgram copies a program to a file that is not there yet, and gives the digest of
// what was copied, in hex.
func copyProgram(from, to string) (string, error) {
	in, err := os.Open(from)
	if err != nil {
		return "", err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, h), in)
	// Nobody writes into what runs.
	return hex.EncodeToString(h.Sum(nil)), errors.Join(err, out.Chmod(0o555), out.Sync(), out.Close())
}

// keepManifests keeps what was published to the nodes: each file has the digest that the
// subject names.
func (e *execution) keepManifests(published map[string][]byte) error {
	for id, b := range published {
		if err := reports.Write(e.dir, filepath.Join(reports.ManifestsDir, id+".json"), b); err != nil {
			return fmt.Errorf("%w: %w", runner.ErrIncomplete, err)
		}
	}
	return nil
}

// differs names what is not the same in two subjects, with both digests.
func differs(began, now reports.Subject) string {
	var out []string
	compare := func(what string, a, b map[string]string) {
		names := slices.Collect(maps.Keys(a))
		for name := range b {
			if _, both := a[name]; !both {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		for _, name := range names {
			if a[name] != b[name] {
				out = append(out, fmt.Sprintf("%s%s is sha256:%.12s…, and was sha256:%.12s…", what, name, cmp.Or(b[name], "none"), cmp.Or(a[name], "none")))
			}
		}
	}
	compare("the ", map[string]string{"daemon": began.Daemon}, map[string]string{"daemon": now.Daemon})
	compare("the manifest of ", began.Manifests, now.Manifests)
	compare("the image of ", began.Images, now.Images)
	compare("the file ", began.Installed, now.Installed)
	compare("the command ", began.Commands, now.Commands)
	return strings.Join(out, "; ")
}
