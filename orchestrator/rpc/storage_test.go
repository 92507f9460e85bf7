package rpc

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

func TestFoldersAreToldAndForgotten(t *testing.T) {
	dir := t.TempDir()
	before, err := state.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := before.ChangeFolders(func(f map[string]manifest.Folder, _ state.Records) error {
		f["photos"] = manifest.Folder{Dir: "/nowhere/photos", ID: "x"}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	s, _ := server(t, dir)
	m, _ := s.Reconciler.Offer().Manifest("feeds")
	m.Containers[0].Storage = []manifest.StorageMount{{Name: "photos", Path: "/photos", Access: manifest.ReadOnly}}
	_, h := s.Handler(access.NewGuard(s.Sessions))
	for _, c := range []struct {
		verb, body string
		status     int
		want       string
	}{
		{"ListStorage", `{}`, http.StatusOK, `"problem":"/nowhere/photos is not there`},
		{"GetApp", `{"id": "feeds"}`, http.StatusOK, "reads your folder photos (/nowhere/photos) in its container feeds"},
		{"AddStorage", `{"name": "photos", "dir": "/etc"}`, http.StatusBadRequest, "which is the system's"},
		{"AddStorage", `{"name": "../x", "dir": "/srv"}`, http.StatusBadRequest, "is no name"},
		{"AddStorage", `{"name": "x", "dir": "srv"}`, http.StatusBadRequest, "no absolute path"},
		{"RemoveStorage", `{"name": "music"}`, http.StatusNotFound, "no folder is named"},
		{"RemoveStorage", `{"name": "photos"}`, http.StatusOK, "{}"},
		{"ListStorage", `{}`, http.StatusOK, "{}"},
	} {
		got := call(h, c.verb, "application/json", "sesame", []byte(c.body))
		if got.Code != c.status || !bytes.Contains(got.Body.Bytes(), []byte(c.want)) {
			t.Errorf("%s %s: status %d: %s, expected %d, %s", c.verb, c.body, got.Code, got.Body, c.status, c.want)
		}
	}
}
