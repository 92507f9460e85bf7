package look

import (
	"bufio"
	"bytes"
	"path/filepath"
	"regexp"
	"testing"
)

// A folder of the owner's is no volume: it stays when the application's data goes.
func TestAFolderOutsideTheDataIsToldByItsPlace(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	a := &answer{w: bufio.NewWriter(&out), left: most}
	a.volumes(filepath.Join(dir, "data"), "pair", []string{dir, filepath.Join(dir, "gone")})
	a.w.Flush()
	if want := regexp.MustCompile(`^place ` + regexp.QuoteMeta(dir) + ` [1-9][0-9]* -\nplace ` + regexp.QuoteMeta(dir) + `/gone absent -\n$`); !want.Match(out.Bytes()) {
		t.Errorf("%s", out.Bytes())
	}
}
