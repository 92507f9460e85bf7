package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/internal/strength"
)

// TestThePagesRefuseInTheLanguageOfWhoeverAsks has German forms refused by these pages
// themselves; what the daemon says stays English, and is marked.
func TestThePagesRefuseInTheLanguageOfWhoeverAsks(t *testing.T) {
	const de = "de"
	for name, c := range map[string]struct {
		path, from string // where the form goes, and the page that it is on
		form       url.Values
		want       string
	}{
		"data to delete":        {"/apps/wiki/uninstall", "/apps/wiki", url.Values{"purge": {"yes"}}, "Nicht ausgeführt: Um die Daten von Wiki endgültig zu löschen, tippen Sie den Namen der App ein"},
		"what reaches a place":  {"/backups/add", "/backups", url.Values{"name": {"disk"}, "url": {"/mnt"}, "environment": {"nothing"}}, "Nicht ausgeführt: Zugang zum Repository: In jeder Zeile muss NAME=WERT stehen"},
		"what the daemon says":  {"/system/folders/add", "/system", url.Values{"name": {"photos"}, "dir": {"photos"}}, `Nicht ausgeführt: <span lang="en">`},
		"a form that is no one": {"/system/refresh", "/system", url.Values{"form": {"x"}}, "Abgelehnt: Dieses Formular gehört nicht zu Ihrer Sitzung."},
	} {
		n, c2 := settled(t)
		g := asking(c2, de)
		post(t, c2, n.URL+"/apps/wiki/install", nil)
		if c.form.Get("form") == "" {
			c.form.Set("form", tokenOf(t, c2, n.URL+c.path))
		}
		status, page := sent(t, g, n.URL, c.path, c.form)
		if status < 400 || !strings.Contains(page, c.want) {
			t.Errorf("%s: status %d, and not %q in\n%s", name, status, c.want, page)
		}
	}
	n := claimable(t)
	status, page := sent(t, asking(n.visitor(t), de), n.URL, "/claim", n.claiming(n.pages.Claim.Code(), "margaret1987"))
	if want := "Dieses Passwort wurde nicht angenommen: Es wäre zu bald erraten, denn es besteht aus einem Namen und einem Datum. Nehmen Sie vier"; status != http.StatusUnprocessableEntity || !strings.Contains(page, want) {
		t.Errorf("a weak password: status %d, and not %q in\n%s", status, want, page)
	}
}

func TestPasswordsAreJudgedInTheWordsOfTheJudge(t *testing.T) {
	for _, w := range []*strength.Weakness{
		{},
		{Parts: []strength.Part{{Kind: "a name"}}, More: 1},
		{Parts: []strength.Part{{Kind: "a common word", Backwards: true, Replaced: true}, {Kind: "a date"}, {Kind: "a repetition"}}},
		{Parts: []strength.Part{{Kind: "a date"}, {Kind: "a common password"}}, More: 3},
	} {
		if got := string(english.weak(w)) + "."; got != w.Error() {
			t.Errorf("the page says %q, and the judge %q", got, w)
		}
	}
	for _, kind := range strength.Kinds {
		if !slices.Contains(terms, kind) {
			t.Errorf("%q has no word in German", kind)
		}
	}
}
