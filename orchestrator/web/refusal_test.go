package web

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// settled is a signed-in node with an application that has settings, and one that it requires.
func settled(t *testing.T) (n *node, c *http.Client) {
	t.Helper()
	port := manifest.Port{Name: "web", Container: 80, Host: 8080}
	offered := catalog.Catalog{
		"base": {Manifest: &manifest.Manifest{ID: "base", Name: "Base", Version: "3", Containers: []manifest.Container{{Name: "base"}}}},
		"wiki": {Manifest: &manifest.Manifest{ID: "wiki", Name: "Wiki", Version: "1", Requires: []manifest.Requirement{{App: "base"}},
			Containers: []manifest.Container{{Name: "wiki", Ports: []manifest.Port{port}, Environment: map[string]string{"COLOR": "{{setting:color}}"}}, {Name: "wiki-db"}},
			Settings:   []manifest.Setting{{Name: "color", Default: "red", Values: []string{"red", "blue"}, Summary: "what it looks like"}, {Name: "title", Default: "A wiki"}, {Name: "key", Secret: true}}}},
	}
	store, of := recorded(t)
	if err := store.PutData(state.Data{App: "wiki", Version: "1", Volumes: []string{"pages"}}); err != nil {
		t.Fatal(err)
	}
	s := of(offered)
	n = &node{sessions: s.Sessions, pages: s}
	n.Server = httptest.NewTLSServer(s.Handler())
	t.Cleanup(n.Close)
	c, _ = n.owner(t)
	return n, c
}

func TestInstallationIsAPlanWithAFormOfTheSettings(t *testing.T) {
	n, c := settled(t)
	_, page := get(t, c, n.URL+"/apps/wiki")
	for _, want := range []string{
		"Comes along, because it is required", `<a href="/apps/base">Base</a> 3`, `<select id="set-color" name="set.color" aria-describedby="help-color"><option selected>red</option><option>blue</option></select>`,
		"what it looks like", `<input type="text" id="set-title" name="set.title" value="A wiki"`, `<input type="password" id="set-key"`, "By default: red",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s in\n%s", want, page)
		}
	}
	if status := post(t, c, n.URL+"/apps/wiki/install", url.Values{"set.color": {"blue"}, "set.title": {"A wiki"}, "set.key": {"hush hush"}}); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	v, err := n.pages.Reconciler.App("wiki")
	if err != nil || v.Config["color"] != "blue" || v.Config["key"] != "set" {
		t.Errorf("%+v, %v", v.Config, err)
	}
	_, page = get(t, c, n.URL+"/apps/wiki")
	for _, want := range []string{`<option selected>blue</option>`, "A change restarts wiki.", `name="clear.key"`} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s in\n%s", want, page)
		}
	}
	if strings.Contains(page, "hush hush") {
		t.Error("the page shows a secret setting")
	}
	// What is left empty stays; what is to be cleared goes.
	post(t, c, n.URL+"/apps/wiki/configure", url.Values{"set.color": {"blue"}, "set.key": {""}})
	if v, _ := n.pages.Reconciler.App("wiki"); v.Config["key"] != "set" {
		t.Error("an empty field cleared a secret")
	}
	post(t, c, n.URL+"/apps/wiki/configure", url.Values{"clear.key": {"yes"}})
	if v, _ := n.pages.Reconciler.App("wiki"); v.Config["key"] != "" {
		t.Error("the secret is not cleared")
	}
}

// sent sends a form as it is, as the node's own page does, and gives the answer.
func sent(t *testing.T, c *http.Client, base, path string, form url.Values, header ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, base+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", base)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestARefusalIsShownWhereItWasCausedAndInTheHistory(t *testing.T) {
	n, c := settled(t)
	post(t, c, n.URL+"/apps/wiki/install", nil)
	const why = "base is required by wiki; uninstall that first"
	send := func(path, header string, form url.Values) (int, string) {
		t.Helper()
		form.Set("form", tokenOf(t, c, n.URL+path))
		if header != "" {
			return sent(t, c, n.URL, path, form, header, "true")
		}
		return sent(t, c, n.URL, path, form)
	}
	// Without scripts: the page again, with why beside the form.
	status, page := send("/apps/base/uninstall", "", url.Values{})
	_, below, _ := strings.Cut(page, `id="refused-uninstall"`)
	if status != http.StatusConflict || !strings.Contains(below, why) || strings.Count(page, why) != 1 {
		t.Errorf("%d:\n%s", status, page)
	}
	// With htmx: what belongs below the form, and nothing else.
	status, part := send("/apps/base/uninstall", "HX-Request", url.Values{})
	if status != http.StatusConflict || !strings.Contains(part, why) || strings.Contains(part, "<form") {
		t.Errorf("%d:\n%s", status, part)
	}
	if _, page := get(t, c, n.URL+"/apps/base/history"); strings.Count(page, "Refused: ") != 2 || !strings.Contains(page, why) || !strings.Contains(page, "My Apps from 127.0.0.1") {
		t.Errorf("the history:\n%s", page)
	}
	// It is this browser's alone, and ends with what is accepted.
	other, _ := n.owner(t)
	if _, page := get(t, other, n.URL+"/apps/base"); strings.Contains(page, why) {
		t.Error("another browser sees it")
	}
	send("/apps/base/stop", "", url.Values{})
	if _, page := get(t, c, n.URL+"/apps/base"); strings.Contains(page, why) {
		t.Error("it stays")
	}
	// What was typed is there again.
	_, page = send("/apps/wiki/configure", "", url.Values{"set.color": {"blue"}, "set.title": {strings.Repeat("long ", 100)}})
	if _, below, _ := strings.Cut(page, `id="refused-configure"`); !strings.Contains(below, "expected one line of at most 300 bytes") || !strings.Contains(page, strings.Repeat("long ", 100)) {
		t.Errorf("the form of the settings:\n%s", page)
	}
}

func TestDataIsDeletedOnlyWhereItsNameIsTyped(t *testing.T) {
	n, c := settled(t)
	post(t, c, n.URL+"/apps/base/install", nil)
	for _, typed := range []string{"", "wiki"} {
		if status := post(t, c, n.URL+"/apps/base/uninstall", url.Values{"purge": {"yes"}, "typed": {typed}}); status != http.StatusConflict {
			t.Errorf("%q: status %d", typed, status)
		}
	}
	if v, err := n.pages.Reconciler.App("base"); err != nil || v.Goal != "running" {
		t.Errorf("%s, %v", v.Goal, err)
	}
	if _, page := get(t, c, n.URL+"/apps/base/history"); strings.Count(page, "type its name") != 2 {
		t.Errorf("the history:\n%s", page)
	}
	if status := post(t, c, n.URL+"/apps/base/uninstall", url.Values{"purge": {"yes"}, "typed": {" base"}}); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	if v, err := n.pages.Reconciler.App("base"); err != nil || v.Goal != "absent" {
		t.Errorf("%s, %v", v.Goal, err)
	}
}

func TestARefusalEndsByItself(t *testing.T) {
	var f refusals
	f.note("s", "app", "stop", access.ErrNoSession)
	if f.of("s", "app").Verb != "stop" || f.of("s", "other").Verb != "" {
		t.Error("it is not kept")
	}
	f.all[[2]string{"s", "app"}] = refusal{"stop", refusing("why"), time.Now().Add(-2 * refusalShown)}
	if f.of("s", "app").Verb != "" {
		t.Error("it stays")
	}
	if f.note("s", "other", "stop", nil); len(f.all) != 0 {
		t.Errorf("kept: %v", f.all)
	}
}
