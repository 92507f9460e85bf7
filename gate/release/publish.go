package release

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/gate/plan"
)

// publish makes a release appear as a directory that is not there yet, or is empty. What was
// built is copied, and must still be what was described.
func publish(dir, to string, artifacts []Artifact, files map[string][]byte) error {
	to = filepath.Clean(to)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	fresh, err := os.MkdirTemp(filepath.Dir(to), "."+filepath.Base(to)+".*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(fresh)
	for _, a := range artifacts {
		b, err := os.ReadFile(filepath.Join(dir, a.Name))
		if err != nil {
			return err
		}
		if sum := fmt.Sprintf("%x", sha256.Sum256(b)); sum != a.SHA256 {
			return fmt.Errorf("%w: %s was replaced while the release was made: it is sha256:%.12s…, and described is %.12s…; build them all again", plan.ErrUsage, a.Name, sum, a.SHA256)
		}
		if err := os.WriteFile(filepath.Join(fresh, a.Name), b, 0o755); err != nil {
			return err
		}
	}
	if err := errors.Join(write(fresh, files), os.Chmod(fresh, 0o755)); err != nil {
		return err
	}
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) { // an empty one
		return err
	}
	return os.Rename(fresh, to)
}

func write(dir string, files map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		mode := os.FileMode(0o644)
		if strings.HasSuffix(name, ".sh") {
			mode = 0o755
		}
		if err := os.WriteFile(filepath.Join(dir, name), files[name], mode); err != nil {
			return err
		}
	}
	return nil
}
