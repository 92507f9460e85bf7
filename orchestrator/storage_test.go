package orchestrator

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// folderOf makes a directory with the mark of a folder.
func folderOf(t *testing.T, name, id string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err == nil && id != "" {
		err = os.WriteFile(filepath.Join(dir, manifest.Mark(name)), []byte(id+"\n"), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// storing is a node that lets folders lie in the tests' directories.
func storing(t *testing.T, h *fakeHost, dir string, wants string) *Reconciler {
	t.Helper()
	m := pair()
	m.Containers[0].Storage = []manifest.StorageMount{{Name: wants, Path: "/photos", Access: manifest.ReadWrite}}
	r := nodeWith(t, h, dir, catalog.Catalog{"pair": {Manifest: m, Source: catalog.Source{From: catalog.FromDisk}}})
	r.place = func(_, dir, _ string) (string, error) { return filepath.EvalSymlinks(dir) }
	return r
}

func TestFoldersAreNamedListedAndForgotten(t *testing.T) {
	dir, photos := t.TempDir(), folderOf(t, "photos", "ONE")
	h := empty()
	h.shared = "ONE"
	r := storing(t, h, dir, "photos")
	install := request.Request{App: "pair", Verb: request.Install, Consent: []string{"reads and writes your folder photos (" + photos + ") in its container pair"}}
	if _, err := r.Request(install); !errors.Is(err, request.ErrFolder) {
		t.Fatal(err)
	}
	f, _, err := r.AddFolder(t.Context(), "photos", photos, false, "test")
	if want := (Folder{Name: "photos", Dir: photos}); err != nil || !reflect.DeepEqual(f, want) {
		t.Fatalf("%+v, %v", f, err)
	}
	if _, err := r.Request(install); err != nil {
		t.Fatal(err)
	}
	list := func(r *Reconciler, want ...Folder) {
		t.Helper()
		if got, err := r.Folders(); err != nil || len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v, expected %+v", got, err, want)
		}
	}
	list(r, Folder{"photos", photos, []string{"pair"}, ""})
	if err := r.RemoveFolder("photos", "test"); !errors.Is(err, request.ErrRefused) || !strings.Contains(err.Error(), "in use by pair") {
		t.Errorf("forgotten while it is in use: %v", err)
	}
	if err := r.RemoveFolder("music", "test"); !errors.Is(err, request.ErrUnknownFolder) {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(photos, ".archipelago-photos")); err != nil {
		t.Fatal(err)
	}
	if got, err := r.Folders(); err != nil || !strings.Contains(got[0].Problem, "mount it") {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := r.Request(request.Request{App: "pair", Verb: request.Uninstall, Purge: true}); err != nil {
		t.Fatal(err)
	}
	if err := r.RemoveFolder("photos", "test"); err != nil {
		t.Error(err)
	}
	list(r)
	if _, err := os.Stat(photos); err != nil {
		t.Errorf("the folder itself: %v", err)
	}
	audit, err := os.ReadFile(filepath.Join(dir, "state", "audit.jsonl"))
	if err != nil || !strings.Contains(string(audit), "storage add photos "+photos) || !strings.Contains(string(audit), "storage remove photos") {
		t.Errorf("%s, %v", audit, err)
	}
}

func TestWhatAFolderMayNotBeIsRefusedBeforeAnythingIsDone(t *testing.T) {
	photos, other, moved := folderOf(t, "photos", "ONE"), folderOf(t, "photos", "TWO"), folderOf(t, "photos", "ONE")
	h := empty()
	h.shared = "ONE"
	r := storing(t, h, t.TempDir(), "photos")
	add := func(name, dir string) error {
		_, _, err := r.AddFolder(t.Context(), name, dir, false, "test")
		return err
	}
	if err := add("photos", photos); err != nil {
		t.Fatal(err)
	}
	h.shared = "NEVER"
	if err := os.Mkdir(filepath.Join(photos, "in"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{"a part of another": add("music", filepath.Join(photos, "in")), "the same": add("music", photos), "another by the same name": add("photos", other)} {
		if !errors.Is(err, request.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	h.noShare = errors.New("no default ACLs")
	if err := add("music", other); !errors.Is(err, request.ErrRefused) || !strings.Contains(err.Error(), "no default ACLs") {
		t.Errorf("it cannot be shared: %v", err)
	}
	h.noShare, h.shared = nil, "ONE"
	if got := r.store.Records().Folders; len(got) != 1 || got["photos"] != (manifest.Folder{Dir: photos, ID: "ONE"}) {
		t.Errorf("%+v", got)
	}
	if err := add("photos", moved); err != nil || r.store.Records().Folders["photos"].Dir != moved {
		t.Errorf("it has moved, with its mark: %v, %+v", err, r.store.Records().Folders)
	}
}

// An application whose folder is on a disk that is not there waits, says for what, and
// starts when it is back.
func TestAnApplicationWaitsForItsFolder(t *testing.T) {
	synctest.Test(t, anApplicationWaitsForItsFolder)
}

func anApplicationWaitsForItsFolder(t *testing.T) {
	photos := folderOf(t, "photos", "ONE")
	mark := filepath.Join(photos, ".archipelago-photos")
	h := empty()
	h.shared = "ONE"
	r := storing(t, h, t.TempDir(), "photos")
	if _, _, err := r.AddFolder(t.Context(), "photos", photos, false, "test"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(mark, mark+"x"); err != nil {
		t.Fatal(err)
	}
	m, _ := r.Offer().Manifest("pair")
	if _, err := r.store.Accept([]state.Desired{{App: "pair", Goal: state.Running, Manifest: m}}); err != nil {
		t.Fatal(err)
	}
	look := func() (view.State, string) {
		t.Helper()
		time.Sleep(2 * passInterval)
		synctest.Wait()
		v, err := r.App("pair")
		if err != nil {
			t.Fatal(err)
		}
		return v.State, v.Note
	}
	if is, note := look(); is != view.Waiting || !strings.Contains(note, "waiting for its folder photos: "+photos+" is not what was added") {
		t.Errorf("%s: %s", is, note)
	}
	h.mu.Lock()
	if slices.Contains(h.calls, "start") {
		t.Errorf("it is started: %q", h.calls)
	}
	h.mu.Unlock()
	if err := os.Rename(mark+"x", mark); err != nil {
		t.Fatal(err)
	}
	if is, note := look(); is != view.Up {
		t.Errorf("with its folder: %s: %s", is, note)
	}
}
