package release

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/archipelago-cloud/archipelago/dist"
	"github.com/archipelago-cloud/archipelago/gate/plan"
)

// Packages gives Debian's packages in a directory, by file name, as 'make release' built
// them. What runs from them must be the artifacts and the files of package dist, digest for
// digest: a run stands behind those.
func Packages(dir string, artifacts []Artifact) (map[string][]byte, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	var problems []error
	for _, file := range files {
		name := filepath.Base(file)
		if err := sameInside(file, artifacts); err != nil {
			problems = append(problems, fmt.Errorf("%w: %s: %w; build them all again", plan.ErrUsage, file, err))
			continue
		}
		if out[name], err = os.ReadFile(file); err != nil {
			problems = append(problems, err)
		}
	}
	return out, errors.Join(problems...)
}

// sameInside refuses a package with a program, or a file beside the daemon, that is none of
// the release.
func sameInside(deb string, artifacts []Artifact) error {
	want := dist.Digests()
	_, arch, _ := strings.Cut(strings.TrimSuffix(filepath.Base(deb), ".deb"), "_")
	arch = arch[strings.LastIndex(arch, "_")+1:]
	for _, a := range artifacts {
		if command, its, _ := strings.Cut(a.Name, "-linux-"); its == arch {
			want[command] = a.SHA256
		}
	}
	cmd := exec.Command("dpkg-deb", "--fsys-tarfile", deb)
	var said strings.Builder
	cmd.Stderr = &said
	stream, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	programs, read := compare(stream, want)
	io.Copy(io.Discard, stream) // so that dpkg-deb ends
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(said.String()))
	}
	if read == nil && programs == 0 {
		return errors.New("it has no program")
	}
	return read
}

// compare looks at the files of a package where programs are.
func compare(archive io.Reader, want map[string]string) (programs int, err error) {
	r := tar.NewReader(archive)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return programs, nil
		}
		if err != nil {
			return programs, err
		}
		dir, name := path.Split(path.Join("/", h.Name))
		if h.Typeflag == tar.TypeDir || dir != "/usr/bin/" && dir != "/usr/lib/archipelago/" {
			continue
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, r); err != nil {
			return programs, err
		}
		if got := fmt.Sprintf("%x", sum.Sum(nil)); got != want[name] {
			return programs, fmt.Errorf("%s in it (%.12s…) is none of this release", h.Name, got)
		}
		programs++
	}
}
