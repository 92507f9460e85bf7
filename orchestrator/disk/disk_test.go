package disk_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/orchestrator/disk"
)

func TestSpaceIsOfTheFileSystemAndNamesThePathWhereThereIsNone(t *testing.T) {
	dir := t.TempDir()
	if s, err := disk.Of(dir); err != nil || s.Free <= 0 || s.Total < s.Free {
		t.Errorf("%+v, %v", s, err)
	}
	none := filepath.Join(dir, "none")
	if _, err := disk.Of(none); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), none) {
		t.Error(err)
	}
}
