package web

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/archipelago-cloud/archipelago/internal/restictest"
	"github.com/archipelago-cloud/archipelago/orchestrator"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// remembering is a site whose pages remember in a directory of the daemon's.
func remembering(t *testing.T, dir, dataDir string, engine orchestrator.Engine) *node {
	t.Helper()
	n := siteOn(t, dir, dataDir, engine)
	store, err := state.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	n.pages.Memory = store
	return n
}

// ticked are the steps on Home that are done, and those that are left.
func ticked(t *testing.T, c *http.Client, base string) (done, left string) {
	t.Helper()
	_, page := get(t, c, base+"/")
	_, list, _ := strings.Cut(page, `<h2 id="steps">`)
	list, _, _ = strings.Cut(list, "</ul>")
	for _, item := range strings.Split(list, "<li")[1:] {
		name := "trust"
		for said, short := range map[string]string{"Install your first application": "install", "Say where backups go": "backups", "Have notices sent to you": "notices"} {
			if strings.Contains(item, said) {
				name = short
			}
		}
		if strings.HasPrefix(item, ` class="good"`) != strings.Contains(item, `<span class="unseen">: done</span>`) || strings.Contains(item, "<a ") == strings.HasPrefix(item, ` class="good"`) {
			t.Errorf("what is done is not said, or leads somewhere: %s", item)
		}
		if strings.HasPrefix(item, ` class="good"`) {
			done += name + " "
		} else {
			left += name + " "
		}
	}
	return strings.TrimSpace(done), strings.TrimSpace(left)
}

func TestFirstStepsAreTickedByWhatTheNodeHas(t *testing.T) {
	dir, dataDir := t.TempDir(), t.TempDir()
	n := remembering(t, dir, dataDir, nil)
	c, _ := n.owner(t)
	see := func(when, done, left string) {
		t.Helper()
		if d, l := ticked(t, c, n.URL); d != done || l != left {
			t.Errorf("%s: done %q, left %q", when, d, l)
		}
	}
	see("at first", "", "install backups notices trust")
	if _, sheet := get(t, c, n.URL+"/sheet"); !strings.Contains(sheet, `<h2 id="steps">`) || !strings.Contains(sheet, "Have notices sent to you") {
		t.Errorf("the sheet ends without them:\n%s", sheet)
	}
	tabs := tab(t, c, n.URL+"/events")
	message(t, tabs, "First steps")
	post(t, c, n.URL+"/apps/feeds/install", nil)
	see("with an application", "install", "backups notices trust")
	if _, err := n.pages.Reconciler.AddTarget("phone", "ntfy://ntfy.sh/topic", "a test"); err != nil {
		t.Fatal(err)
	}
	see("with a place for notices", "install notices", "backups trust")
	served := 0
	fetch := n.pages.Fetches(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }))
	fetch.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodHead, "/ca.crt", nil))
	see("with the certificate looked at", "install notices", "backups trust")
	for range 2 {
		fetch.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/ca.crt", nil))
	}
	see("with the certificate fetched", "install notices trust", "backups")
	if served != 3 {
		t.Errorf("it was served %d times of 3", served)
	}
	// A restart of the daemon forgets nothing.
	n = remembering(t, dir, dataDir, nil)
	c, _ = n.owner(t)
	see("after a restart", "install notices trust", "backups")
	if status := post(t, n.visitor(t), n.URL+"/steps/away", nil); status != http.StatusUnauthorized {
		t.Errorf("put away by a stranger: status %d", status)
	}
	if status, _ := sent(t, c, n.URL, "/steps/away", url.Values{"form": {"x"}}); status != http.StatusForbidden {
		t.Errorf("put away by a form of nobody's: status %d", status)
	}
	see("after that", "install notices trust", "backups")
	if status := post(t, c, n.URL+"/steps/away", nil); status != http.StatusOK {
		t.Errorf("put away: status %d", status)
	}
	n = remembering(t, dir, dataDir, nil)
	other, _ := n.owner(t)
	if done, left := ticked(t, other, n.URL); done+left != "" {
		t.Errorf("put away, another browser has %s, %s", done, left)
	}
	if _, sheet := get(t, other, n.URL+"/sheet"); strings.Contains(sheet, `<h2 id="steps">`) {
		t.Error("put away, they are on the sheet")
	}
}

// Once all was done, the list does not come back when one of it is undone.
func TestFirstStepsEndWithTheLastOne(t *testing.T) {
	n := remembering(t, t.TempDir(), t.TempDir(), storing{restic: restictest.New(t)})
	n.pages.keepSteps(func(k *keptSteps) { k.Fetched = true })
	c, _ := n.owner(t)
	post(t, c, n.URL+"/apps/feeds/install", nil)
	if _, err := n.pages.Reconciler.AddTarget("phone", "ntfy://ntfy.sh/topic", "a test"); err != nil {
		t.Fatal(err)
	}
	if done, left := ticked(t, c, n.URL); done != "install notices trust" || left != "backups" {
		t.Fatalf("done %q, left %q", done, left)
	}
	if status := post(t, c, n.URL+"/backups/add", url.Values{"name": {"disk"}, "url": {filepath.Join(t.TempDir(), "backups")}}); status != http.StatusOK {
		t.Fatalf("adding a repository: status %d", status)
	}
	if done, left := ticked(t, c, n.URL); done+left != "" {
		t.Errorf("all done: done %q, left %q", done, left)
	}
	if err := n.pages.Reconciler.RemoveTarget("phone", "a test"); err != nil {
		t.Fatal(err)
	}
	if done, left := ticked(t, c, n.URL); done+left != "" {
		t.Errorf("one undone: done %q, left %q", done, left)
	}
}

// TestStepsAndPasswordInABrowser has axe look at the list and at the form of the password, open
// and refused, on a phone and in German.
func TestStepsAndPasswordInABrowser(t *testing.T) {
	n, c := settled(t)
	post(t, c, n.URL+"/apps/wiki/install", nil)
	w := open(t, n)
	fits := func(where string) {
		t.Helper()
		if over := is[float64](w, beyond); over > 0 {
			t.Errorf("%s: %v px beyond the window", where, over)
		}
		w.look(where)
	}
	press := func(what string) { // by keyboard: what the page loads later moves what a mouse aims at
		t.Helper()
		is[bool](w, `document.querySelector(`+"`"+what+"`"+`).focus() ?? true`)
		w.do("pressing "+what, chromedp.KeyEvent("\r"))
	}
	for _, language := range []string{"en", "de"} {
		w.do("the page", chromedp.EmulateViewport(360, 800), chromedp.Navigate(n.URL+"/system"), visible("#speak"), chromedp.SetValue(chromedp.CSS("#speak"), language))
		press(`form[action="/system/language"] button`)
		w.do("choosing "+language, visible("html[lang="+language+"] #language:target"))
		w.do("the list", chromedp.Navigate(n.URL+"/"), visible("#steps"))
		fits("the list, " + language)
		w.do("the page", chromedp.Navigate(n.URL+"/system"), visible("#password summary"))
		press("#password summary")
		w.do("the form", visible("#password-new"))
		fits("the form, " + language)
		w.do("a weak password", chromedp.SendKeys(chromedp.CSS("#password-before"), "sesame"), chromedp.SendKeys(chromedp.CSS("#password-new"), "margaret1987"), chromedp.SendKeys(chromedp.CSS("#password-again"), "margaret1987\r"), visible("#problem"))
		fits("a refusal, " + language)
	}
	w.mu.Lock()
	w.problems = nil // the browser complains of each refusal
	w.mu.Unlock()
	w.do("another password", chromedp.SendKeys(chromedp.CSS("#password-before"), "sesame"), chromedp.SendKeys(chromedp.CSS("#password-new"), good), chromedp.SendKeys(chromedp.CSS("#password-again"), good+"\r"), visible("#password .ok"))
	fits("a password that is changed")
	w.do("the list once more", chromedp.Navigate(n.URL+"/"), visible("#steps"))
	press(`form[action="/steps/away"] button`)
	w.do("the page without it", chromedp.WaitNotPresent(chromedp.CSS("#steps")), visible("#apps"))
	w.complaints()
}
