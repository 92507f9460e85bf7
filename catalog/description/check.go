package description

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// ErrFiles is wrapped when the files of a release are not those that its description names.
var ErrFiles = errors.New("files of a release")

// Check compares every file of a release with the description; open gives a file by its name.
// All that is not as it is signed is named at once, wrapped in ErrFiles.
func (d *Description) Check(open func(name string) (io.ReadCloser, error)) error {
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(d.Files)) {
		sum, err := sumOf(name, open)
		switch {
		case err != nil:
			problems = append(problems, fmt.Errorf("%w: %s: %w", ErrFiles, name, err))
		case sum != d.Files[name]:
			problems = append(problems, fmt.Errorf("%w: %s is sha256:%s, and signed is sha256:%s; download it again", ErrFiles, name, sum, d.Files[name]))
		}
	}
	return errors.Join(problems...)
}

func sumOf(name string, open func(string) (io.ReadCloser, error)) (string, error) {
	r, err := open(name)
	if err != nil {
		return "", err
	}
	defer r.Close()
	h := sha256.New()
	_, err = io.Copy(h, r)
	return fmt.Sprintf("%x", h.Sum(nil)), err
}
