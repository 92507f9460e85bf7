package rpc

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/api/apiconnect"
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

func TestAMoveThatCannotBeIsToldSo(t *testing.T) {
	s, _ := server(t, t.TempDir())
	path, h := s.Handler(access.NewGuard(s.Sessions))
	mux := http.NewServeMux()
	mux.Handle(path, h)
	served := httptest.NewServer(mux)
	defer served.Close()
	c := apiconnect.NewOrchestratorClient(served.Client(), served.URL)
	for token, want := range map[string]connect.Code{"sesame": connect.CodeFailedPrecondition, "": connect.CodeUnauthenticated} {
		r := connect.NewRequest(&api.MoveVolumeRequest{Id: "feeds", Volume: "db", Dir: "/srv"})
		r.Header().Set("Authorization", "Bearer "+token)
		stream, err := c.MoveVolume(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if stream.Receive() || connect.CodeOf(stream.Err()) != want {
			t.Errorf("token %q: %v, expected %s", token, stream.Err(), want)
		}
		stream.Close()
	}
}
