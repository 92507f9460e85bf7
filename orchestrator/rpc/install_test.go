package rpc

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// An adoption asks as an installation does.
func TestInstallationTellsAndTakesWhatItGives(t *testing.T) {
	const privilege = "may become any user (SETUID) in its container feeds"
	for verb, unmanaged := range map[string]map[string]host.Container{"Install": {}, "Adopt": {"feeds": {Name: "feeds"}}} {
		dir := t.TempDir()
		before, err := state.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := before.Remember("observed.json", host.Observation{Containers: unmanaged}); err != nil {
			t.Fatal(err)
		}
		s, _ := server(t, dir)
		m, _ := s.Reconciler.Offer().Manifest("feeds")
		m.Containers[0].Capabilities = []string{"SETUID"}
		_, h := s.Handler(access.NewGuard(s.Sessions))
		got := call(h, "GetApp", "application/json", "sesame", []byte(`{"id": "feeds"}`))
		var app struct{ NewPrivileges []string }
		if err := json.Unmarshal(got.Body.Bytes(), &app); err != nil || len(app.NewPrivileges) != 1 || app.NewPrivileges[0] != privilege {
			t.Errorf("%s: %v: %s", verb, err, got.Body)
		}
		if got := call(h, verb, "application/json", "sesame", []byte(`{"id": "feeds"}`)); !bytes.Contains(got.Body.Bytes(), []byte("failed_precondition")) || !bytes.Contains(got.Body.Bytes(), []byte(privilege)) {
			t.Errorf("%s without consent: status %d: %s", verb, got.Code, got.Body)
		}
		if got := call(h, verb, "application/json", "sesame", []byte(`{"id": "feeds", "consent": ["`+privilege+`"]}`)); got.Code != http.StatusOK {
			t.Errorf("%s with consent: status %d: %s", verb, got.Code, got.Body)
		}
	}
}
