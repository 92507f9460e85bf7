package state

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/disk"
)

func add(name, dir string) func(map[string]manifest.Folder, Records) error {
	return func(f map[string]manifest.Folder, _ Records) error {
		f[name] = manifest.Folder{Dir: dir, ID: "id"}
		return nil
	}
}

func TestFoldersOutliveARestartAndADamagedFile(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if err := errors.Join(s.ChangeFolders(add("photos", "/srv/photos")), s.ChangeFolders(add("music", "/srv/music"))); err != nil {
		t.Fatal(err)
	}
	want := map[string]manifest.Folder{"photos": {Dir: "/srv/photos", ID: "id"}, "music": {Dir: "/srv/music", ID: "id"}}
	refused := errors.New("refused")
	if err := s.ChangeFolders(func(f map[string]manifest.Folder, _ Records) error { delete(f, "music"); return refused }); !errors.Is(err, refused) {
		t.Error(err)
	}
	if got := s.Records().Folders; !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "folders.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := open(t, dir).Records().Folders; !reflect.DeepEqual(got, want) {
		t.Errorf("of the last good copy: %v", got)
	}
	if info, err := os.Stat(filepath.Join(dir, "folders.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestDisksOutliveARestartAndADamagedFile(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	big := disk.Disk{UUID: "bbbb", Name: "BIG", At: "/mnt/big"}
	if err := errors.Join(s.SetDisk("/mnt/big/photos", big), s.SetDisk("/mnt/other", disk.Disk{UUID: "cccc", At: "/mnt/other"}), s.SetDisk("/mnt/other", disk.Disk{}), s.SetDisk("/mnt/big/photos", big)); err != nil {
		t.Fatal(err)
	}
	want := map[string]disk.Disk{"/mnt/big/photos": big}
	file := filepath.Join(dir, "disks.json")
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := open(t, dir).Disks(); !reflect.DeepEqual(got, want) || !reflect.DeepEqual(s.Disks(), want) {
		t.Errorf("of the last good copy: %v", got)
	}
	if err := os.WriteFile(file+lastGood, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if err := s.SetDisk("/mnt/big/photos", big); s.DisksBroken() == nil || err == nil || len(s.Disks()) > 0 {
		t.Errorf("%v, %v, %v", s.DisksBroken(), err, s.Disks())
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "{" {
		t.Errorf("it was changed: %s, %v", b, err)
	}
}

// What cannot be read is neither overwritten nor taken for an empty list.
func TestARecordOfFoldersThatCannotBeReadStays(t *testing.T) {
	newer, err := seal(1, map[string]any{"photos": map[string]any{"dir": "/srv/photos", "id": "x", "newer": true}})
	if err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string]string{"damaged": "{", "a newer daemon's": string(newer)} {
		dir := t.TempDir()
		file := filepath.Join(dir, "folders.json")
		if err := errors.Join(os.WriteFile(file, []byte(body), 0o600), os.WriteFile(file+lastGood, []byte("{"), 0o600)); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir)
		if s.FoldersBroken() == nil || len(s.Records().Folders) > 0 {
			t.Errorf("%s: %v, %v", name, s.FoldersBroken(), s.Records().Folders)
		}
		if err := s.ChangeFolders(add("music", "/srv/music")); err == nil || !strings.Contains(err.Error(), "cannot be read") {
			t.Errorf("%s: %v", name, err)
		}
		if b, err := os.ReadFile(file); err != nil || string(b) != body {
			t.Errorf("%s: it was changed: %s, %v", name, b, err)
		}
	}
}
