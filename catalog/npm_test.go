package catalog

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestImagesFromNpmBeginAlike holds the Containerfiles of all applications from npm, and of
// their earlier releases, to the same text down to their own packages, but for the line that
// says what they build: only so do builds, registries and nodes have one base of theirs
// instead of one each.
func TestImagesFromNpmBeginAlike(t *testing.T) {
	const last = "npm-cli.js ci "
	tops := map[string][]string{}
	alike := func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "Containerfile" {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(filepath.Dir(path), "package-lock.json")); os.IsNotExist(err) {
			if strings.Contains(string(b), "npm") {
				t.Errorf("%s: packages of npm's without a package-lock.json are others in every build", path)
			}
			return nil
		}
		_, text, _ := strings.Cut(string(b), "\n")
		end := strings.Index(text, last)
		if end < 0 {
			t.Errorf("%s: nothing is installed by 'npm-cli.js ci', from package-lock.json", path)
			return nil
		}
		top := text[:end]
		tops[top] = append(tops[top], path)
		return nil
	}
	for _, dir := range []string{"field", "previous"} {
		if err := filepath.WalkDir(dir, alike); err != nil {
			t.Fatal(err)
		}
	}
	if len(tops) == 0 {
		t.Error("no image is built from npm")
	}
	if len(tops) > 1 {
		for _, paths := range tops {
			t.Errorf("alike, but unlike the others: %s", strings.Join(paths, " "))
		}
	}
}
