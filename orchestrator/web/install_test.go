package web

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

func TestInstallationShowsWhatItGivesAndCarriesTheConsent(t *testing.T) {
	offered := catalog.Catalog{}
	for id, names := range map[string][]string{"hub": {"SETUID"}, "feeds": nil} {
		offered[id] = &catalog.Entry{Manifest: &manifest.Manifest{APIVersion: manifest.APIVersion, ID: id, Name: id, Version: "1", Containers: []manifest.Container{{Name: id, User: "0", Capabilities: names}}}}
	}
	s := ofOneNode(t)(offered)
	page := httptest.NewRecorder()
	s.page(page, httptest.NewRequest(http.MethodGet, "/", nil))
	const privilege = "may become any user (SETUID) in its container hub"
	for _, part := range []string{`<input type="hidden" name="consent" value="` + privilege + `"><button>Install</button>`, `hx-confirm="Install hub? You agree that from then on it ` + privilege + `."`, "to be installed, it needs your consent"} {
		if !strings.Contains(page.Body.String(), part) {
			t.Errorf("the page lacks %q:\n%s", part, page.Body)
		}
	}
	if n := strings.Count(page.Body.String(), `name="consent"`); n != 1 {
		t.Errorf("%d buttons carry consent", n)
	}
	install := func(form url.Values) int {
		r := httptest.NewRequest(http.MethodPost, "/apps/hub/install", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetPathValue("id", "hub")
		r.SetPathValue("verb", "install")
		w := httptest.NewRecorder()
		s.act(w, r)
		return w.Code
	}
	if status := install(nil); status != http.StatusConflict {
		t.Errorf("without consent: status %d", status)
	}
	if status := install(url.Values{"consent": {privilege}}); status != http.StatusNoContent {
		t.Errorf("with consent: status %d", status)
	}
}
