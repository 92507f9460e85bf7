package web

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/orchestrator/access"
)

// TestAnOwnerMakesATokenForAProgram has the page show its secret once, and take the password for it.
func TestAnOwnerMakesATokenForAProgram(t *testing.T) {
	n := site(t, t.TempDir(), "sesame")
	if err := access.NewPasswords(n.dir).Set(good); err != nil {
		t.Fatal(err)
	}
	owner := n.visitor(t)
	if status, page := sent(t, owner, n.URL, "/login", url.Values{"token": {good}}); status != http.StatusOK {
		t.Fatalf("status %d: %s", status, page)
	}
	send := func(path string, form url.Values) (int, string) {
		form.Set("form", tokenOf(t, owner, n.URL+path))
		return sent(t, owner, n.URL, path, form)
	}
	form := url.Values{"name": {"prometheus"}, "scope": {"read"}, "days": {"30"}}
	secretIn := regexp.MustCompile(`<pre id="secret">(archipelago_[A-Z2-7]{26})</pre>`)
	for _, password := range []string{"", "not " + good} {
		form.Set("password", password)
		if status, page := send("/system/tokens/add", form); status != http.StatusConflict || secretIn.MatchString(page) {
			t.Errorf("password %q: status %d", password, status)
		}
	}
	form.Set("password", good)
	status, page := send("/system/tokens/add", form)
	secret := secretIn.FindStringSubmatch(page)
	if status != http.StatusOK || secret == nil || !strings.Contains(page, "The token “prometheus”") || !strings.Contains(page, "not used yet") {
		t.Fatalf("status %d:\n%s", status, page)
	}
	if _, page := get(t, owner, n.URL+"/system/tokens"); strings.Contains(page, secret[1]) || !strings.Contains(page, `id="token-prometheus"`) {
		t.Errorf("the page afterwards:\n%s", page)
	}
	if _, page := get(t, owner, n.URL+"/system"); !strings.Contains(page, "1 token opens this node to programs.") {
		t.Errorf("the page of the system:\n%s", page)
	}
	for what, wrong := range map[string]url.Values{
		"the same name": {}, "no days": {"name": {"other"}, "days": {"soon"}}, "no scope": {"name": {"other"}, "scope": {"king"}}, "the node's": {"name": {"other"}, "scope": {string(access.NodeToken)}},
	} {
		asked := url.Values{"name": {"prometheus"}, "scope": {"read"}, "days": {"30"}, "password": {good}}
		for field, value := range wrong {
			asked[field] = value
		}
		if status, page := send("/system/tokens/add", asked); status != http.StatusConflict || !strings.Contains(page, "Not done: refused") {
			t.Errorf("%s: status %d:\n%s", what, status, page)
		}
	}
	if status, page := send("/system/tokens/prometheus/remove", url.Values{}); status != http.StatusOK || strings.Contains(page, "prometheus</strong>") {
		t.Errorf("removed: status %d:\n%s", status, page)
	}
	if list, err := n.sessions.Tokens.List(); len(list) != 0 || err != nil {
		t.Errorf("%v, %v", list, err)
	}
}
