package web

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/archipelago-cloud/archipelago/orchestrator/notify"
)

func TestNoticesGoWhereTheOwnerSaysOnThePageOfTheSystem(t *testing.T) {
	n := siteOn(t, t.TempDir(), t.TempDir(), nil)
	c, _ := n.owner(t)
	status := http.StatusOK
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	defer service.Close()
	host := strings.TrimPrefix(service.URL, "http://")
	shows := func(what string, want ...string) {
		t.Helper()
		_, page := get(t, c, n.URL+"/system")
		_, page, _ = strings.Cut(page, `id="notify"`)
		page, _, _ = strings.Cut(page, "</section>")
		for _, w := range append(want, `action="/system/notify/add"`) {
			if !strings.Contains(page, w) {
				t.Errorf("%s: no %s in\n%s", what, w, page)
			}
		}
		if strings.Contains(page, "hunter2") {
			t.Errorf("%s: a secret is shown:\n%s", what, page)
		}
	}
	shows("none", "They go nowhere yet")
	add := n.URL + "/system/notify/add"
	if got := post(t, c, add, url.Values{"name": {"phone"}, "address": {"gopher://hunter2"}}); got != http.StatusConflict {
		t.Errorf("a wrong address: status %d", got)
	}
	shows("a wrong address", "<details open>", "Not done: refused: this node cannot send there")
	if got := post(t, c, add, url.Values{"name": {"phone"}, "address": {"ntfy://:hunter2@" + host + "/topic?scheme=http"}}); got != http.StatusOK {
		t.Errorf("adding: status %d", got)
	}
	shows("added", "<strong>phone</strong>", "ntfy://"+host+"/…", "Nothing went there yet", `action="/system/notify/phone/test"`)
	at := n.URL + "/system/notify/phone"
	if got := post(t, c, at+"/test", nil); got != http.StatusOK {
		t.Errorf("a test: status %d", got)
	}
	shows("tested", "A message went there less than a minute ago")
	status = http.StatusForbidden
	if got := post(t, c, at+"/test", nil, "HX-Request", "true"); got != http.StatusConflict {
		t.Errorf("a test that fails: status %d", got)
	}
	shows("a test failed", "The last message did not go out, less than a minute ago", "answers 403", "Not done: ")
	if got := post(t, n.visitor(t), at+"/remove", nil); got != http.StatusUnauthorized {
		t.Errorf("somebody else removes it: status %d", got)
	}
	if got := post(t, c, at+"/remove", url.Values{"form": {"wrong"}}); got != http.StatusForbidden {
		t.Errorf("a form without its token: status %d", got)
	}
	if got := post(t, c, at+"/remove", nil); got != http.StatusOK {
		t.Errorf("removing: status %d", got)
	}
	shows("removed", "They go nowhere yet")
	if got := post(t, c, at+"/test", nil); got != http.StatusConflict {
		t.Errorf("a test of none: status %d", got)
	}
	if status, _ := get(t, n.visitor(t), n.URL+"/events/notify"); status != http.StatusUnauthorized {
		t.Errorf("events without a session: status %d", status)
	}
}

func TestHomeShowsFirstWhatNoticesAreMadeOf(t *testing.T) {
	all := matters([]notify.Condition{
		{Kind: notify.Failed, App: "feeds", Subject: "Feeds", What: "failed", Text: "no <b>image"}, {Kind: notify.Backup, App: "feeds", Subject: "Feeds", What: "has no good backup", Text: "overdue"},
		{Kind: notify.Repository, Subject: "The repository nas", What: "cannot be used"}, {Kind: notify.Disk, Subject: "The disk", What: "is filling"}, {Kind: notify.Engine, Subject: "Podman"}, {Kind: notify.Frozen},
	})
	n := site(t, t.TempDir(), "sesame")
	part, err := n.pages.execute(english, "apps", homePage{Attention: all, Said: "Wants your attention: " + subjects(all) + "."})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`role="status">Wants your attention: Feeds, The repository nas, The disk.`, `<a href="/apps/feeds">Feeds</a> <span>failed: no &lt;b&gt;image</span>`, `<span>has no good backup: overdue</span>`, `<a href="/backups">The repository nas</a>`, `<a href="/system">The disk</a> <span>is filling</span>`} {
		if !strings.Contains(string(part), want) {
			t.Errorf("no %s in\n%s", want, part)
		}
	}
	if strings.Contains(string(part), "Podman") {
		t.Errorf("the banner's is said twice:\n%s", part)
	}
}

func TestWhereNoticesGoIsLive(t *testing.T) {
	n, _ := settled(t)
	w := open(t, n)
	w.do("the page", chromedp.Navigate(n.URL+"/system"), visible("#targets"))
	is[bool](w, `document.querySelector("#notify details").open = true`)
	w.do("adding", chromedp.SendKeys(chromedp.CSS("#notify-name"), "phone"), chromedp.SendKeys(chromedp.CSS("#notify-address"), "ntfy://127.0.0.1:1/topic?scheme=http"),
		chromedp.Click(chromedp.CSS(`form[action="/system/notify/add"] button`)), visible("#target-phone"))
	is[string](w, `window.same = "same"`)
	w.do("a test that nobody takes", chromedp.Click(chromedp.CSS(`#targets form[action$="/phone/test"] button`)), visible("#targets [role=alert]"))
	w.until(`document.querySelector("#target-phone .error").textContent.includes("connection refused")`)
	w.do("removing", chromedp.Click(chromedp.CSS(`#targets form[action$="/phone/remove"] button`)), chromedp.WaitNotPresent(chromedp.CSS("#target-phone")))
	if got := is[string](w, `window.same + " " + document.querySelector("#targets").textContent.includes("nowhere yet")`); got != "same true" {
		t.Errorf("after removing: %s", got)
	}
	w.complaints()
}
