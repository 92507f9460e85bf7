package web

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator"
	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/secrets"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

const anna = "blue harbour lantern" // her password

// household is a node with an owner, who is signed in, and two applications that run: one has a
// page and a credential, the other neither.
func household(t *testing.T) (n *node, owner *http.Client) {
	t.Helper()
	dir := t.TempDir()
	store, err := state.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	seen := host.Observation{At: time.Now(), Containers: map[string]host.Container{"wiki": {ID: "1", Name: "wiki", App: "wiki", State: "running"}, "jobs": {ID: "2", Name: "jobs", App: "jobs", State: "running"}}}
	if err := store.Remember("observed.json", seen); err != nil {
		t.Fatal(err)
	}
	sec, err := secrets.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	wiki := &manifest.Manifest{ID: "wiki", Name: "Wiki", Version: "1", Containers: []manifest.Container{{Name: "wiki", Ports: []manifest.Port{{Name: "web", Container: 80, Host: 8080}}}},
		Interfaces: map[string]manifest.Interface{"web": {Port: "web", Path: "/"}}, Secrets: []manifest.GeneratedSecret{{Name: "admin-password", Shown: true}}}
	jobs := &manifest.Manifest{ID: "jobs", Name: "Jobs", Version: "1", Containers: []manifest.Container{{Name: "jobs"}}}
	log := slog.New(slog.DiscardHandler)
	n = &node{dir: dir, pages: &Server{Reconciler: orchestrator.New(nil, store, sec, catalog.Catalog{"wiki": {Manifest: wiki}, "jobs": {Manifest: jobs}}, t.TempDir(), log), Log: log}}
	passwords := access.NewPasswords(dir)
	if err := passwords.Set(good); err != nil {
		t.Fatal(err)
	}
	n.sessions = access.OpenSessions(dir, "sesame", passwords, log)
	n.pages.Sessions, n.pages.Guard = n.sessions, access.NewGuard(n.sessions)
	n.Server = httptest.NewTLSServer(n.pages.Handler())
	t.Cleanup(n.Close)
	if err := n.pages.Reconciler.ImportSecret("wiki", "admin-password", "hush-hush-1", "test"); err != nil {
		t.Fatal(err)
	}
	for _, app := range []string{"wiki", "jobs"} {
		if _, err := n.pages.Reconciler.Request(request.Request{App: app, Verb: request.Install}); err != nil {
			t.Fatal(err)
		}
	}
	owner, _ = n.owner(t)
	return n, owner
}

// user is a browser of a user of that role, who has taken the invitation up.
func (n *node) user(t *testing.T, name string, role access.Role) *http.Client {
	t.Helper()
	i, err := n.sessions.Users.Add(name, role)
	if err != nil {
		t.Fatal(err)
	}
	c := n.visitor(t)
	if status, page := sent(t, c, n.URL, "/join", url.Values{"name": {name}, "code": {i.Code}, "password": {anna}, "again": {anna}}); status != http.StatusOK {
		t.Fatalf("joining: status %d\n%s", status, page)
	}
	return c
}

// routesOf gives the method and pattern of each route that web.go has.
func routesOf(t *testing.T) (all [][2]string) {
	t.Helper()
	source, err := os.ReadFile("web.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, route := range regexp.MustCompile(`mux\.HandleFunc\("(GET|POST) ([^"]+)"`).FindAllStringSubmatch(string(source), -1) {
		all = append(all, [2]string{route[1], route[2]})
	}
	// What is registered otherwise are the files that pages load.
	if others := strings.Count(string(source), "mux.Handle") - len(all); len(all) < 30 || others != 1 {
		t.Fatalf("%d routes are found, and not %d", len(all), others)
	}
	return all
}

// addressOf is an address that a route is for.
func addressOf(n *node, pattern, app string) string {
	return n.URL + regexp.MustCompile(`\{[a-z]+\}`).ReplaceAllString(strings.TrimSuffix(pattern, "{$}"), app)
}

// TestAGuestIsForbiddenWhateverIsNotAGuests asks for all routes: one that is added is forbidden,
// or has to be named here.
func TestAGuestIsForbiddenWhateverIsNotAGuests(t *testing.T) {
	doors := []string{"GET /claim", "POST /claim", "GET /join", "POST /join", "GET /login", "POST /login", "POST /login/passkey/begin", "POST /login/passkey", "POST /logout"}
	own := []string{"GET /{$}", "GET /events", "GET /account", "POST /system/language", "POST /system/password", "GET /apps/{id}/pictures/{digest}"}
	n, _ := household(t)
	guest := n.user(t, "anna", access.Guest)
	guest.Timeout = messageTime // a stream that is let through does not end
	before, err := os.ReadFile(filepath.Join(n.dir, "users.json"))
	if err != nil {
		t.Fatal(err)
	}
	changing := 0
	for _, route := range routesOf(t) {
		method, address := route[0], addressOf(n, route[1], "wiki")
		if name := method + " " + route[1]; slices.Contains(doors, name) || slices.Contains(own, name) {
			continue
		}
		var status int
		var body string
		if method == "GET" {
			status, body = get(t, guest, address)
		} else {
			changing++
			form := url.Values{"form": {tokenOf(t, guest, address)}, "name": {"anna"}, "role": {"owner"}, "share": {"wiki"}}
			status, body = sent(t, guest, n.URL, strings.TrimPrefix(address, n.URL), form)
		}
		if status != http.StatusForbidden || strings.Contains(body, "Wiki") || strings.Contains(body, "hush-hush-1") {
			t.Errorf("%s %s: status %d:\n%s", method, route[1], status, body)
		}
	}
	if changing < 20 {
		t.Errorf("%d routes that change something were asked", changing)
	}
	after, err := os.ReadFile(filepath.Join(n.dir, "users.json"))
	if err != nil || string(after) != string(before) {
		t.Errorf("the users were changed: %v", err)
	}
	for _, app := range []string{"wiki", "jobs"} {
		if v, err := n.pages.Reconciler.App(app); err != nil || v.Goal != state.Running || v.Generation != 1 {
			t.Errorf("%s was changed: %s, %d, %v", app, v.Goal, v.Generation, err)
		}
	}
	if status, body := get(t, guest, n.URL+"/static/pages.js"); status != http.StatusOK {
		t.Errorf("what pages load: %d\n%s", status, body)
	}
}

// TestAnotherOwnerMayDoEverythingButWhatIsOfTheFirstOnesPassword asks for all routes, too.
func TestAnotherOwnerMayDoEverythingButWhatIsOfTheFirstOnesPassword(t *testing.T) {
	n, _ := household(t)
	c := n.user(t, "bert", access.Owner)
	for _, route := range routesOf(t) {
		if route[0] != "GET" || strings.HasSuffix(route[1], "events") || strings.Contains(route[1], "events/") {
			continue
		}
		status, _ := get(t, c, addressOf(n, route[1], "wiki"))
		if first := slices.ContainsFunc([]string{"/system/factor", "/system/passkeys", "/system/tokens"}, func(of string) bool { return strings.HasPrefix(route[1], of) }); (status == http.StatusForbidden) != first || status == http.StatusUnauthorized {
			t.Errorf("%s: status %d", route[1], status)
		}
	}
	for _, of := range []string{"factor/begin", "factor/confirm", "factor/codes", "factor/off", "passkeys/begin", "passkeys/add", "passkeys/feeds/remove", "tokens/add", "tokens/feeds/remove"} {
		if status := post(t, c, n.URL+"/system/"+of, url.Values{"password": {anna}}); status != http.StatusForbidden {
			t.Errorf("of the first owner, %s: status %d", of, status)
		}
	}
	if status := post(t, c, n.URL+"/apps/wiki/stop", nil); status != http.StatusOK {
		t.Errorf("stopping an application: status %d", status)
	}
	if _, page := get(t, c, n.URL+"/system"); strings.Contains(page, "/system/factor") || strings.Contains(page, "/system/passkeys") || strings.Contains(page, "/system/tokens") || !strings.Contains(page, "bert") {
		t.Errorf("the second factor, the passkeys or the tokens of the first owner are offered:\n%s", page)
	}
	if _, page := get(t, c, n.URL+"/apps/wiki/history"); !strings.Contains(page, "bert on My Apps from 127.0.0.1") {
		t.Errorf("who stopped it is not in the history:\n%s", page)
	}
}

func TestAGuestSeesWhatCanBeOpenedAndNothingElse(t *testing.T) {
	n, owner := household(t)
	guest := n.user(t, "anna", access.Guest)
	_, page := get(t, guest, n.URL+"/")
	if !strings.Contains(page, `href="https://127.0.0.1:18080/"`) || strings.Contains(page, "Jobs") {
		t.Errorf("what can be opened:\n%s", page)
	}
	for _, not := range []string{`method="post" action="/apps`, "/store", "/backups", "/system\"", "/credentials", "Version", "Load"} {
		if strings.Contains(page, not) {
			t.Errorf("the page has %s:\n%s", not, page)
		}
	}
	live := tab(t, guest, n.URL+"/events")
	message(t, live, `href="https://127.0.0.1:18080/"`)
	// What the owner shares is there, of that application, and goes again.
	set := url.Values{"role": {"guest"}, "share": {"wiki"}}
	if status := post(t, owner, n.URL+"/system/users/anna/set", set); status != http.StatusOK {
		t.Fatalf("sharing: status %d", status)
	}
	if _, page := get(t, guest, n.URL+"/"); !strings.Contains(page, `href="/apps/wiki/credentials"`) {
		t.Errorf("it is not shown:\n%s", page)
	}
	if status, page := get(t, guest, n.URL+"/apps/wiki/credentials"); status != http.StatusOK || !strings.Contains(page, "hush-hush-1") || strings.Contains(page, `href="/apps/wiki"`) {
		t.Errorf("what is shared: status %d\n%s", status, page)
	}
	if status, _ := get(t, guest, n.URL+"/apps/jobs/credentials"); status != http.StatusForbidden {
		t.Errorf("what is not: status %d", status)
	}
	set["share"] = []string{"wiki", "no-such"}
	if status := post(t, owner, n.URL+"/system/users/anna/set", set); status != http.StatusConflict {
		t.Errorf("sharing what is not there: status %d", status)
	}
	delete(set, "share")
	post(t, owner, n.URL+"/system/users/anna/set", set)
	if status, page := get(t, guest, n.URL+"/apps/wiki/credentials"); status != http.StatusForbidden || strings.Contains(page, "hush-hush-1") {
		t.Errorf("what is not shared any more: status %d", status)
	}
	// Removed, the live page ends, and no other is shown.
	if status := post(t, owner, n.URL+"/system/users/anna/remove", nil); status != http.StatusOK {
		t.Fatalf("removing: status %d", status)
	}
	if status, _ := get(t, guest, n.URL+"/events"); status != http.StatusUnauthorized {
		t.Errorf("a user who is removed: status %d", status)
	}
	deadline := time.After(messageTime)
	for {
		select {
		case _, ok := <-live:
			if !ok {
				return
			}
		case <-deadline:
			t.Fatalf("waited %s for the live page of a removed user to end", messageTime)
		}
	}
}

func TestAnOwnerInvitesInTheBrowser(t *testing.T) {
	n, owner := household(t)
	if _, page := get(t, n.visitor(t), n.URL+"/login"); strings.Contains(page, `name="name"`) {
		t.Errorf("a name is asked for where there is nobody but the owner:\n%s", page)
	}
	path := "/system/users/add"
	form := url.Values{"name": {"anna"}, "role": {"guest"}, "form": {tokenOf(t, owner, n.URL+path)}}
	status, page := sent(t, owner, n.URL, path, form)
	link := regexp.MustCompile(`<pre id="link">([^<]+)</pre>`).FindStringSubmatch(page)
	if status != http.StatusOK || link == nil {
		t.Fatalf("status %d\n%s", status, page)
	}
	if _, page := get(t, owner, n.URL+"/system"); !strings.Contains(page, `id="user-anna"`) || strings.Contains(page, "code=") {
		t.Errorf("the page of the system:\n%s", page)
	}
	if status, page = sent(t, owner, n.URL, path, form); status != http.StatusConflict || !strings.Contains(page, "there is a user") {
		t.Errorf("a second time: status %d\n%s", status, page)
	}
	at, err := url.Parse(strings.ReplaceAll(link[1], "&amp;", "&"))
	if err != nil || !strings.HasPrefix(at.String(), n.URL+"/join?") {
		t.Fatal(at, err)
	}
	guest := n.from(n.visitor(t), "127.0.0.2")
	code := at.Query().Get("code")
	if _, page := get(t, guest, at.String()); !strings.Contains(page, `value="anna"`) || !strings.Contains(page, `value="`+code+`"`) {
		t.Errorf("the invitation:\n%s", page)
	}
	join := func(code, password, again string) (int, string) {
		return sent(t, guest, n.URL, "/join", url.Values{"name": {" Anna"}, "code": {code}, "password": {password}, "again": {again}})
	}
	for what, refused := range map[string]struct {
		code, password, again string
		status                int
		why                   string
	}{
		"a wrong code":      {"0000-0000-0000-0000", anna, anna, http.StatusUnauthorized, "That is not the code of an invitation"},
		"a weak password":   {code, "margaret1987", "margaret1987", http.StatusUnprocessableEntity, "it is guessed too soon"},
		"the own name":      {code, "anna-anna-anna", "anna-anna-anna", http.StatusUnprocessableEntity, "it is guessed too soon"},
		"two that differ":   {code, anna, anna + "!", http.StatusUnprocessableEntity, "the second one differs from it"},
		"one that is short": {code, "x", "x", http.StatusUnprocessableEntity, "it is"},
	} {
		if status, page := join(refused.code, refused.password, refused.again); status != refused.status || !strings.Contains(page, refused.why) || strings.Contains(page, refused.password+`"`) && len(refused.password) > 1 {
			t.Errorf("%s: status %d\n%s", what, status, page)
		}
	}
	if status, page := join(code, anna, anna); status != http.StatusOK || !strings.Contains(page, "/account") {
		t.Errorf("joining: status %d\n%s", status, page)
	}
	if status, _ := join(code, anna, anna); status != http.StatusUnauthorized {
		t.Errorf("a second time: status %d", status)
	}
	// From now on the page asks for a name, which the owner leaves empty.
	if _, page := get(t, n.visitor(t), n.URL+"/login"); !strings.Contains(page, `name="name"`) {
		t.Errorf("no name is asked for:\n%s", page)
	}
	for typed, want := range map[[2]string]int{
		{"anna", anna}: http.StatusOK, {" ANNA ", anna}: http.StatusOK, {"", good}: http.StatusOK, {"owner", good}: http.StatusOK, {"", "sesame"}: http.StatusOK,
		{"anna", good}: http.StatusUnauthorized, {"", anna}: http.StatusUnauthorized, {"nobody", anna}: http.StatusUnauthorized,
	} {
		if status := post(t, n.visitor(t), n.URL+"/login", url.Values{"name": {typed[0]}, "token": {typed[1]}}); status != want {
			t.Errorf("signing in as %q: status %d", typed, status)
		}
	}
	audit, err := os.ReadFile(filepath.Join(n.dir, "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"what":"add user anna as guest"}`, `"who":"anna on My Apps from 127.0.0.2","what":"take up an invitation of anna"}`, `"who":"anna on My Apps from 127.0.0.1","what":"sign in"}`, `"what":"sign in of anna","refused":`} {
		if !strings.Contains(string(audit), want) {
			t.Errorf("no %s in\n%s", want, audit)
		}
	}
	for _, secret := range []string{code, anna, good, "nobody", "margaret"} {
		if strings.Contains(string(audit), secret) {
			t.Errorf("the audit log holds %s", secret)
		}
	}
	if _, page := get(t, owner, n.URL+"/system"); !strings.Contains(page, "<strong>anna</strong><br>") {
		t.Errorf("whose the browsers are is not said:\n%s", page)
	}
}

func TestAGuestChangesTheOwnPasswordAndLanguage(t *testing.T) {
	n, _ := household(t)
	c := n.user(t, "anna", access.Guest)
	const next = "seven quiet rivers"
	path := "/system/password"
	form := func(before, password string) url.Values {
		return url.Values{"before": {before}, "password": {password}, "again": {password}, "form": {tokenOf(t, c, n.URL+path)}}
	}
	if status, page := sent(t, c, n.URL, path, form(good, next)); status != http.StatusUnauthorized || !strings.Contains(page, "That is not your password.") || strings.Contains(page, "/system/users") {
		t.Errorf("the owner's password: status %d\n%s", status, page)
	}
	if status, page := sent(t, c, n.URL, path, form(anna, "anna-anna-anna")); status != http.StatusUnprocessableEntity || !strings.Contains(page, "guessed too soon") {
		t.Errorf("the own name: status %d\n%s", status, page)
	}
	if status, page := sent(t, c, n.URL, path, form(anna, next)); status != http.StatusOK || !strings.Contains(page, "Your password is changed") {
		t.Errorf("status %d\n%s", status, page)
	}
	if status := post(t, n.visitor(t), n.URL+"/login", url.Values{"name": {"anna"}, "token": {next}}); status != http.StatusOK {
		t.Errorf("signing in with it: status %d", status)
	}
	if status := post(t, n.visitor(t), n.URL+"/login", url.Values{"token": {good}}); status != http.StatusOK {
		t.Errorf("the owner's password is another one: status %d", status)
	}
	if status, page := sent(t, c, n.URL, "/system/language", url.Values{"language": {"de"}, "form": {tokenOf(t, c, n.URL+"/system/language")}}); status != http.StatusOK || !strings.Contains(page, "Konto") {
		t.Errorf("the language: status %d\n%s", status, page)
	}
}
