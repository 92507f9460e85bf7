package rpc

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
)

// An adoption asks as an installation does.
func TestInstallationTellsAndTakesWhatItGives(t *testing.T) {
	s, _ := server(t, t.TempDir())
	m, _ := s.Reconciler.Offer().Manifest("feeds")
	m.Containers[0].Capabilities = []string{"SETUID"}
	_, h := s.Handler(access.NewGuard(s.Sessions))
	const privilege = "may become any user (SETUID) in its container feeds"
	got := call(h, "GetApp", "application/json", "sesame", []byte(`{"id": "feeds"}`))
	var app struct{ NewPrivileges []string }
	if err := json.Unmarshal(got.Body.Bytes(), &app); err != nil || len(app.NewPrivileges) != 1 || app.NewPrivileges[0] != privilege {
		t.Errorf("%v: %s", err, got.Body)
	}
	if got := call(h, "Install", "application/json", "sesame", []byte(`{"id": "feeds"}`)); !bytes.Contains(got.Body.Bytes(), []byte("failed_precondition")) || !bytes.Contains(got.Body.Bytes(), []byte(privilege)) {
		t.Errorf("without consent: status %d: %s", got.Code, got.Body)
	}
	if got := call(h, "Adopt", "application/json", "sesame", []byte(`{"id": "feeds", "consent": ["`+privilege+`"]}`)); bytes.Contains(got.Body.Bytes(), []byte(request.ErrConsent.Error())) {
		t.Errorf("an adoption loses the consent: %s", got.Body)
	}
	if got := call(h, "Install", "application/json", "sesame", []byte(`{"id": "feeds", "consent": ["`+privilege+`"]}`)); got.Code != http.StatusOK {
		t.Errorf("with consent: status %d: %s", got.Code, got.Body)
	}
}
