package rpc

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

func TestRollbackTellsWhatItGoesBackTo(t *testing.T) {
	const privilege = "publishes port 8333/tcp of the node"
	dir := t.TempDir()
	before, err := state.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	of := func(version string, ports ...manifest.Port) *manifest.Manifest {
		return &manifest.Manifest{APIVersion: manifest.APIVersion, ID: "feeds", Name: "Feeds", Version: version, Containers: []manifest.Container{{Name: "feeds", Ports: ports}}}
	}
	taken := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	if _, err := before.Accept([]state.Desired{{App: "feeds", Goal: state.Running, Manifest: of("2"), Source: "disk",
		Previous: &state.Previous{Manifest: of("1", manifest.Port{Name: "p2p", Container: 8333, Host: 8333}), Taken: taken, Since: taken.Add(time.Hour)}}}); err != nil {
		t.Fatal(err)
	}
	s, _ := server(t, dir)
	_, h := s.Handler(access.NewGuard(s.Sessions))
	got := call(h, "GetApp", "application/json", "sesame", []byte(`{"id": "feeds"}`))
	var app struct {
		Previous struct {
			Version, Taken, Until string
			NewPrivileges         []string
		}
	}
	if err := json.Unmarshal(got.Body.Bytes(), &app); err != nil || app.Previous.Version != "1" || app.Previous.Taken != "2026-06-01T12:00:00Z" || app.Previous.Until != "2026-06-08T13:00:00Z" || len(app.Previous.NewPrivileges) != 1 || app.Previous.NewPrivileges[0] != privilege {
		t.Errorf("%v: %s", err, got.Body)
	}
	for body, why := range map[string]string{
		`{"id": "feeds", "version": "1"}`:                                     privilege,
		`{"id": "feeds", "version": "0.9", "consent": ["` + privilege + `"]}`: "is 1, not 0.9",
	} {
		if got := call(h, "Rollback", "application/json", "sesame", []byte(body)); !bytes.Contains(got.Body.Bytes(), []byte("failed_precondition")) || !bytes.Contains(got.Body.Bytes(), []byte(why)) {
			t.Errorf("%s: status %d: %s", body, got.Code, got.Body)
		}
	}
	if got := call(h, "Rollback", "application/json", "sesame", []byte(`{"id": "feeds", "version": "1", "consent": ["`+privilege+`"]}`)); got.Code != http.StatusOK || !bytes.Contains(got.Body.Bytes(), []byte(`"feeds"`)) {
		t.Errorf("with consent: status %d: %s", got.Code, got.Body)
	}
	asked, err := s.Reconciler.History("feeds", 1)
	if err != nil || len(asked) != 1 || asked[0].What != "rollback to 1" || asked[0].Refused != "" {
		t.Errorf("the audit log: %+v, %v", asked, err)
	}
}
