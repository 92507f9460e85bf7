package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/orchestrator/access"
)

func TestAnOwnerChangesThePasswordInTheBrowser(t *testing.T) {
	n := site(t, t.TempDir(), "sesame")
	if err := access.NewPasswords(n.dir).Set(good); err != nil {
		t.Fatal(err)
	}
	n.pages.About = About{Name: "box.local"}
	c, _ := n.owner(t)
	other, _ := n.owner(t)
	const next = "blue harbour lantern"
	form := func(before, password, again string) url.Values {
		return url.Values{"before": {before}, "password": {password}, "again": {again}, "form": {tokenOf(t, c, n.URL+"/system/password")}}
	}
	for what, refused := range map[string]struct {
		form   url.Values
		status int
		field  string // after which it is said
		why    string
	}{
		"another one before":     {form("a guess", next, next), http.StatusUnauthorized, `id="password-before"`, "That is neither this node’s password nor its access token."},
		"a weak one":             {form(good, "margaret1987", "margaret1987"), http.StatusUnprocessableEntity, `id="password-new"`, "it is guessed too soon: it is made of a name and a date."},
		"the node's name":        {form(good, "box.local.box", "box.local.box"), http.StatusUnprocessableEntity, `id="password-new"`, "known of this node"},
		"two that differ":        {form(good, next, next+"!"), http.StatusUnprocessableEntity, `id="password-new"`, "the second one differs from it"},
		"a form without a token": {url.Values{"before": {good}, "password": {next}, "again": {next}}, http.StatusForbidden, "", "this form is not of your session"},
	} {
		status, page := sent(t, c, n.URL, "/system/password", refused.form)
		_, below, _ := strings.Cut(strings.ReplaceAll(page, "&#39;", "’"), refused.field)
		if status != refused.status || !strings.Contains(strings.ReplaceAll(below, "'", "’"), refused.why) {
			t.Errorf("%s: status %d, and not %q after %s in\n%s", what, status, refused.why, refused.field, page)
		}
		for _, typed := range []string{good, next, "margaret1987"} {
			if strings.Contains(page, typed) {
				t.Errorf("%s: the page holds what was typed", what)
			}
		}
	}
	if status, _ := get(t, other, n.URL+"/system"); status != http.StatusOK {
		t.Fatalf("what was refused signed a browser out: status %d", status)
	}
	status, page := sent(t, c, n.URL, "/system/password", form(good, next, next))
	if status != http.StatusOK || !strings.Contains(page, "Your password is changed, and all other browsers are signed out.") {
		t.Errorf("status %d:\n%s", status, page)
	}
	if status, _ := get(t, other, n.URL+"/system"); status != http.StatusUnauthorized {
		t.Errorf("the other browser is still signed in: status %d", status)
	}
	for password, want := range map[string]int{good: http.StatusUnauthorized, next: http.StatusOK} {
		if status := post(t, n.visitor(t), n.URL+"/login", url.Values{"token": {password}}); status != want {
			t.Errorf("signing in with %q: status %d", password, status)
		}
	}
	asked, err := n.pages.Reconciler.History("", historyMost)
	if err != nil {
		t.Fatal(err)
	}
	changes, refused := 0, 0
	for _, a := range asked {
		if a.What == "change password" {
			changes++
			if a.Refused != "" {
				refused++
			}
		}
		for _, secret := range []string{good, next, "margaret", "a name", "differs"} {
			if strings.Contains(a.What+a.Refused, secret) {
				t.Errorf("the log holds %s: %+v", secret, a)
			}
		}
	}
	if changes != 5 || refused != 4 {
		t.Errorf("in the log are %d changes, %d of them refused", changes, refused)
	}
}

func TestWhatTheGuardAnswersIsOfTheLanguage(t *testing.T) {
	for _, said := range access.Answers {
		if !slices.Contains(terms, said) {
			t.Errorf("%q has no word in German", said)
		}
	}
	n := site(t, t.TempDir(), "sesame")
	c := asking(n.visitor(t), "de")
	var status int
	var answer string
	for range 6 {
		status, answer = sent(t, c, n.URL, "/login", url.Values{"token": {"a guess"}})
	}
	if status != http.StatusTooManyRequests || !strings.HasPrefix(answer, "Zu viele falsche Versuche von Ihrer Adresse") {
		t.Errorf("too many attempts: status %d: %s", status, answer)
	}
	if status, answer = sent(t, c, n.URL, "/login", nil, "Origin", "https://evil.example"); status != http.StatusForbidden || !strings.HasPrefix(answer, "Abgelehnt: Die Anfrage kommt nicht von dieser Seite.") {
		t.Errorf("another page: status %d: %s", status, answer)
	}
}
