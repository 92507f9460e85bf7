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
	page := appPageOf(t, s, "hub")
	const privilege = "may become any user (SETUID) in its container hub"
	for _, part := range []string{`<input type="checkbox" name="consent" value="` + privilege + `" required>`, "Install hub", "needs your agreement", "to be installed, it needs your consent"} {
		if !strings.Contains(page, part) {
			t.Errorf("the page lacks %q:\n%s", part, page)
		}
	}
	if n := strings.Count(page, `name="consent"`) + strings.Count(appPageOf(t, s, "feeds"), `name="consent"`); n != 1 {
		t.Errorf("%d ask for consent", n)
	}
	home := httptest.NewRecorder()
	s.home(home, httptest.NewRequest(http.MethodGet, "/", nil))
	if body := home.Body.String(); strings.Contains(body, `action="/apps/hub/install"`) || !strings.Contains(body, `action="/apps/feeds/install"`) {
		t.Errorf("what needs consent is installed without a question, or what needs none is not:\n%s", body)
	}
	install := func(form url.Values) int {
		r := httptest.NewRequest(http.MethodPost, "/apps/hub/install", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetPathValue("id", "hub")
		r.SetPathValue("verb", "install")
		w := httptest.NewRecorder()
		if err := r.ParseForm(); err != nil {
			t.Fatal(err)
		}
		s.act(w, r)
		return w.Code
	}
	if status := install(nil); status != http.StatusConflict {
		t.Errorf("without consent: status %d", status)
	}
	if status := install(url.Values{"consent": {privilege}}); status != http.StatusSeeOther {
		t.Errorf("with consent: status %d", status)
	}
}
